"""Stored files read back: as a row of the index, and as the object that was received."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from scp.archive.encode import uids_within
from scp.archive.package import StoredForm
from scp.archive.refusal import NO_STAGE, within
from scp.config.rules import PolicyRule
from scp.encoding.dataset import encoding_of
from scp.encoding.facts import survey
from scp.encoding.forms import prove
from scp.encoding.scan import pixels_at
from scp.encoding.streams import gathered
from scp.encoding.transcode import transcoding
from scp.encoding.uids import uid_of, uids_of
from scp.errors import CodecError, NotReproduced, ObjectDamaged, UidMismatch
from scp.identity import Identity
from scp.index.attributes import IDENTIFYING
from scp.index.rows import cleaned
from scp.model import Facts, Instance, Provenance, Received
from scp.objects import part10
from scp.objects.beginning import Beginning
from scp.objects.names import has_own_file, in_store, object_key, store_of
from scp.objects.part10 import Part10
from scp.policy.stages import NewestDictionary, no_dictionary, step
from scp.spool import Buffer, sha256, xxh3
from scp.syntaxes import lookup

# Forms that hold the received stream: a survey of it shows whether it is readable.
AS_THEY_CAME = ("received", "zstd")
_FIRST_MOMENT = datetime(1993, 1, 1, tzinfo=UTC)  # of DICOM
_LONGEST_AET = 16  # PS3.5 table 6.2-1


def provenance_of(file: Part10) -> Provenance:
    """The provenance that zscp wrote into a stored file. Raises ObjectDamaged if there is none."""
    if file.provenance is None:
        raise ObjectDamaged("zscp's private information is missing from its File Meta Information")
    return file.provenance


def check_is_of(file: Part10, instance: Instance) -> None:
    """Compare what a file says of itself with a row of the index. Raises ObjectDamaged."""
    told = (provenance_of(file).sha256, file.sop_instance_uid, file.transfer_syntax)
    if told != (instance.received_sha256, instance.sop_instance_uid, instance.transfer_syntax):
        raise ObjectDamaged(f"{instance.key} is not the file of its object; restore it from a copy")


def facts_unseen(file: Part10, reason: str) -> Facts:
    """The facts of an object that is not surveyed, for a ``reason``: they say nothing of its dataset."""
    known = provenance_of(file)
    called = (known.calling_aet, known.called_aet)
    return Facts({}, known.transfer_syntax, known.size, *called, readable=False, fault=reason)


def facts_of_stored(file: Part10) -> Facts:
    """The facts of an object as it was received, from its stored form."""
    known = provenance_of(file)
    found = survey(_as_it_is(file, known))
    if known.form in AS_THEY_CAME:
        return found
    return _as_it_came(found, known)


def _as_it_came(found: Facts, known: Provenance) -> Facts:
    """What a survey of a stored form, or of a part of it, ``found``, as the object came."""
    return replace(
        found,
        transfer_syntax=known.transfer_syntax,
        size=known.size,
        readable=known.readable,
        fault=known.fault,
    )


def facts_of_beginning(begun: Beginning, readable: bool) -> Facts | None:
    """As :func:`facts_of_stored`, of an object that the index has as ``readable``, or not.

    None where more of the file has to be read for them.
    """
    known = provenance_of(begun.file)
    if not begun.unread:
        return facts_of_stored(begun.file)
    if known.form in AS_THEY_CAME and not readable:
        return None  # the fault may lie anywhere
    syntax = lookup(begun.file.transfer_syntax)
    end = pixels_at(begun.file.dataset, encoding_of(syntax), begun.size)
    if end is None:
        return None
    header = memoryview(begun.file.dataset)[:end]
    found = survey(_as_it_is(replace(begun.file, dataset=header), known))
    if not found.readable:
        return None  # a header that cannot be followed is told of with the digest of the file
    return _as_it_came(found, known)


def received_from(file: Part10, aet: str, proven: bool = False) -> Received:
    """A file as if ``aet`` received it now; a file that zscp wrote, as zscp received its object.

    A form that was ``proven`` here before is restored even if the limits have become smaller. Where the
    received codestream was replaced, the stored one counts as received.
    """
    known = file.provenance
    if known is None:
        uids = (file.sop_class_uid, file.sop_instance_uid)
        return Received(*uids, file.transfer_syntax, file.dataset, file.source_aet, aet, datetime.now(UTC))
    if file.transfer_syntax == known.transfer_syntax:
        stored = _as_it_is(file, known)
        if stored.sha256 == known.sha256:
            return stored
    try:
        dataset = gathered(
            transcoding(
                file.dataset, file.transfer_syntax, known.transfer_syntax, known.restoration, proven=proven
            )
        )
    except CodecError:
        dataset = b""
    if sha256(dataset) != known.sha256:
        return _as_it_is(file, known)
    return _as_it_is(replace(file, transfer_syntax=known.transfer_syntax, dataset=dataset), known)


def imported_from(file: Part10, aet: str) -> tuple[Received, str]:
    """As :func:`received_from`, of a file from elsewhere; and why its provenance is not believed, or empty.

    Such a file may say when and from whom it was received. That is believed only if its digests match its
    content, and zscp can have written it; otherwise it is imported as any other file. A digest is no
    signature: the person who imports a file vouches for it.
    """
    doubt = ""
    if file.provenance is not None:
        try:
            return _believed(file, file.provenance, aet), ""
        except Exception as error:  # noqa: BLE001 - false provenance may make a codec raise anything
            doubt = f"what it says of its receipt is not believed: {error}"
    return received_from(replace(file, provenance=None), aet), doubt


def _believed(file: Part10, known: Provenance, aet: str) -> Received:
    """Raises NotReproduced, or whatever a false provenance makes a codec raise."""
    if (
        known.received_at < _FIRST_MOMENT
        or max(map(len, (known.calling_aet, known.called_aet))) > _LONGEST_AET
    ):
        raise NotReproduced("its time or AE titles are none")
    received = received_from(file, aet)
    if (received.transfer_syntax, received.sha256) != (known.transfer_syntax, known.sha256):
        if not known.native_sha256:
            raise NotReproduced("its digest is that of something else")
        prove(file.dataset, file.transfer_syntax, known, held=False)
    elif len(received.dataset) != known.size:
        raise NotReproduced("its size is that of something else")
    # With a time in the future it would replace every copy that is received until then.
    return replace(received, received_at=min(known.received_at, datetime.now(UTC)))


def restored_from(file: Part10) -> Received:
    """The received object, from its stored form; with its ``origin`` if the received codestream is gone.

    Raises ObjectDamaged if the form should reproduce the received stream and does not.
    """
    known = provenance_of(file)
    received = received_from(file, known.called_aet, proven=True)
    if (received.transfer_syntax, received.sha256) == (known.transfer_syntax, known.sha256):
        return received
    if not known.native_sha256:
        raise ObjectDamaged("it does not give back what was received, so that nothing can be made from it")
    return replace(received, origin=known)


def _as_it_is(file: Part10, known: Provenance) -> Received:
    return Received(
        file.sop_class_uid,
        file.sop_instance_uid,
        file.transfer_syntax,
        file.dataset,
        known.calling_aet,
        known.called_aet,
        known.received_at,
        given=known.given,
        loss=known.loss,
    )


def identity_of(sop_instance_uid: str, study: str, facts: Facts) -> Identity:
    """The identity of an object with these facts; ``study`` is its (maybe derived) Study Instance UID."""
    patient = (cleaned(keyword, facts.attributes.get(keyword, "")) for keyword in IDENTIFYING)
    return Identity(sop_instance_uid, study, *patient)


def instance_of(
    key: str, size: int, digest: str, file: Part10, facts: Facts, waits_for: str | None = None
) -> Instance:
    """The index row of a stored file of ``size`` bytes with this SHA-256.

    Without a ``digest`` the file holds the dataset as received, and is checked by the digest of that. A
    pending one ``waits_for`` the rule of this name, which may be empty (:func:`as_pending`).
    """
    known = provenance_of(file)
    uids = uids_of(file.sop_class_uid, file.sop_instance_uid, facts.attributes, known.given)
    refusal = within(known)
    return Instance(
        sop_class_uid=file.sop_class_uid,
        **identity_of(file.sop_instance_uid, uids.study, facts)._asdict(),
        series_instance_uid=uids.series,
        key=key,
        form=known.form,
        transfer_syntax=file.transfer_syntax,
        stored_size=size,
        stored_sha256=digest,
        received_transfer_syntax=known.transfer_syntax,
        received_size=known.size,
        received_sha256=known.sha256,
        received_at=known.received_at,
        calling_aet=known.calling_aet,
        rule=known.rule if waits_for is None else waits_for,
        pending=waits_for is not None,
        readable=facts.readable,
        stage=known.stage if refusal is None else NO_STAGE,
        checked=int(known.received_at.timestamp()),
        refused="" if refusal is None else refusal.text,
        lossy_of="" if known.loss is None else known.loss.sop_instance_uid,
    )


def planned(
    instance: Instance,
    rule: PolicyRule | None,
    policy: str,
    now: float | None = None,
    newest: NewestDictionary = no_dictionary,
) -> Instance:
    """An instance after a stage was carried out, with the time of the next. ``now`` None: when received."""
    due = step(rule, instance, instance.received_at.timestamp() if now is None else now, newest).due
    return replace(instance, planned=policy, due=due)


def as_pending(instance: Instance, rule: PolicyRule | None) -> Instance:
    """An instance whose form by ``rule`` is yet to be made."""
    return replace(instance, pending=True, rule=rule.name if rule else "")


def instance_of_form(
    received: Received, facts: Facts, form: StoredForm, token: str = "", store: str = ""
) -> Instance:
    """The index row of a form that is about to be put into a store; a ``token`` makes its key unique."""
    known = form.provenance
    study = uids_within(received, facts).study
    key = object_key(study, received.sop_instance_uid, known.sha256, known.form, form.wrapped, token)
    uids = (received.sop_class_uid, received.sop_instance_uid)
    file = Part10(*uids, form.encoded.transfer_syntax, form.encoded.dataset, known)
    made = instance_of(in_store(store, key), len(form.data), form.sha256, file, facts)
    made = replace(made, dictionary_tried=form.dictionary_tried)
    return servable(made, form.data, file, facts)


def servable(instance: Instance, data: Buffer, file: Part10, facts: Facts) -> Instance:
    """The row of a file, of which ``data`` are the bytes, with what its dataset is sent by as it lies there.

    Nothing is added where something has to be padded or filled in first. Of a frame, the dictionary is noted
    that it needs.
    """
    known = provenance_of(file)
    if part10.is_framed(data):
        return replace(instance, dictionary=part10.dictionary_id(data))
    if not known.even:
        return instance
    if uids_of(file.sop_class_uid, file.sop_instance_uid, facts.attributes, known.given).given:
        return instance
    return replace(instance, stored_xxh3=xxh3(data), dataset_at=len(data) - len(file.dataset))


def key_of(received: Received, facts: Facts) -> str:
    """The key of an object that is stored as received."""
    study = uids_within(received, facts).study
    return object_key(study, received.sop_instance_uid, received.sha256, "received")


def lacks_only_a_file(instance: Instance) -> bool:
    """Whether an object lies in the landing log in the form of its rule.

    A record of one that is to be encoded has no digest of the whole file.
    """
    return not has_own_file(instance.key) and bool(instance.stored_sha256)


def in_own_file(instance: Instance, data: Buffer, token: str = "") -> Instance:
    """The row of an object of the landing log when it is given a file of its own, of these bytes.

    What is not the encoder gives a ``token``, as that one may put the same form at the same time.
    """
    if not lacks_only_a_file(instance):
        return replace(instance, key=own_key(instance))
    uids = (instance.study_instance_uid, instance.sop_instance_uid)
    key = object_key(*uids, instance.received_sha256, instance.form, part10.is_framed(data), token)
    return replace(instance, key=key, pending=False)


def packed_anew(instance: Instance, data: Buffer, tried: int) -> Instance:
    """The row of an object whose Part 10 file was packed anew as ``data``, beside its former file.

    ``tried`` is the dictionary that was offered for that, 0 for none.
    """
    uids = (instance.study_instance_uid, instance.sop_instance_uid)
    framed, token = part10.is_framed(data), secrets.token_hex(4)
    key = object_key(*uids, instance.received_sha256, instance.form, framed, token)
    return replace(
        instance,
        key=in_store(store_of(instance.key), key),
        stored_size=len(data),
        stored_sha256=sha256(data),
        stored_xxh3="",
        dataset_at=0,
        dictionary=part10.dictionary_id(data),
        dictionary_tried=tried,
    )


def own_key(instance: Instance) -> str:
    """The key of an object of the landing log when it is given a file of its own, as received."""
    uids = (instance.study_instance_uid, instance.sop_instance_uid)
    return object_key(*uids, instance.received_sha256, "received")


def check_uids(commanded: Received | Instance, facts: Facts) -> None:
    """Compare the command set's UIDs with the dataset's; a UID that the dataset lacks is no mismatch.

    Raises UidMismatch.
    """
    for keyword, uid in (
        ("SOPClassUID", commanded.sop_class_uid),
        ("SOPInstanceUID", commanded.sop_instance_uid),
    ):
        found = uid_of(facts.attributes.get(keyword, ""))
        if found and found != uid:
            raise UidMismatch(f"{keyword} is {found} in the dataset and {uid} in the command")


def shared_studies(instances: Iterable[Instance]) -> list[str]:
    """The Study Instance UIDs, among some instances, that several patients share."""
    patients: dict[str, set[tuple[str, str]]] = {}
    for one in instances:
        patients.setdefault(one.study_instance_uid, set()).add((one.patient_id, one.issuer_of_patient_id))
    return [study for study, of in patients.items() if study and len(of) > 1]
