"""The file of a stored object: DICOM Part 10, inside a zstd frame where that saves space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from scp.archive.framing import Framing, Wrap, Written, framed, in_frame
from scp.config.rules import Stage
from scp.encoding.forms import Encoded
from scp.model import Provenance, Received
from scp.objects import part10
from scp.objects.dictionaries import Dictionaries, Dictionary
from scp.objects.part10 import Part10
from scp.spool import IN_MEMORY, Buffer, Spool, sha256, xxh3


@dataclass(frozen=True, slots=True)
class StoredForm:
    """A file, ready for the object store. ``sha256`` is that of ``data``, hexadecimal; empty until needed.

    ``dictionary_tried`` is the ID of the zstd dictionary that there was for it; 0 for none.
    """

    encoded: Encoded
    provenance: Provenance
    data: Buffer
    wrapped: bool
    sha256: str
    dictionary_tried: int = 0


def framing_of(
    stage: Stage,
    form: str,
    is_image_form: bool,
    pixel_bytes: int,
    dictionary: Callable[[], Dictionary | None],
    dense: int = 0,
) -> Framing:
    """The frame that a stage asks for around a form, of which ``pixel_bytes`` are pixel data.

    ``dense`` is as in :class:`scp.archive.framing.Framing`.
    """
    if form == "zstd":
        return Framing("zstd", 0, stage.level, dictionary)
    wrap: Wrap = stage.wrap or ("auto" if is_image_form else "none")
    return Framing(wrap, pixel_bytes, stage.level, dictionary, dense)


class Packer:
    """Packs the forms of one object as a stage asks for; ``dictionaries`` are those of the store."""

    def __init__(self, received: Received, stage: Stage, dictionaries: Dictionaries | None) -> None:
        self._received = received
        self._stage = stage
        self._dictionaries = dictionaries

    def pack(self, result: Encoded, base: Provenance) -> StoredForm:
        """The file of a form; ``base`` is the provenance of the object without what depends on its form."""
        provenance = replace(
            base,
            form=result.form,
            codec=result.codec,
            restoration=result.restoration,
            native_sha256=result.native_sha256,
            xxh3=xxh3(result.dataset),
        )
        framing = self._framing(result)
        plain = self._plain(result, provenance, hashing=framing.wrap != "zstd")
        wrapped = framed(plain.data, framing)
        kept = plain if wrapped is None else wrapped
        found = self._dictionary()
        tried = 0 if found is None else found.id
        return StoredForm(result, provenance, kept.data, wrapped is not None, kept.sha256, tried)

    def pack_again(self, form: StoredForm, provenance: Provenance) -> StoredForm:
        """The same file with another ``provenance``; unchanged if its dataset does not read back the same."""
        plain = self._plain(form.encoded, provenance, hashing=not form.wrapped)
        again = in_frame(plain.data, self._framing(form.encoded)) if form.wrapped else plain
        if sha256(self.unpack(again.data).dataset) != sha256(form.encoded.dataset):
            return form
        return replace(form, provenance=provenance, data=again.data, sha256=again.sha256)

    def unpack(self, data: Buffer) -> Part10:
        """A packed file, read back with the dictionary that a reader will find in the store."""
        return part10.unpack(data, self._dictionaries.by_id if self._dictionaries is not None else None)

    def _framing(self, result: Encoded) -> Framing:
        return framing_of(
            self._stage,
            result.form,
            result.is_image_form,
            result.pixel_bytes,
            self._dictionary,
            result.dense,
        )

    def _dictionary(self) -> Dictionary | None:
        """The newest dictionary of the object's SOP class, if the stage wants one and it is there."""
        if not self._stage.dictionary or self._dictionaries is None:
            return None
        return self._dictionaries.newest(self._received.sop_class_uid)

    def _plain(self, result: Encoded, provenance: Provenance, hashing: bool) -> Written:
        received = self._received
        file = Part10(
            received.sop_class_uid,
            received.sop_instance_uid,
            result.transfer_syntax,
            result.dataset,
            provenance,
            received.calling_aet,
        )
        spool = Spool(hashing=hashing and len(result.dataset) > IN_MEMORY)
        return Written(part10.pack(file, spool), spool.sha256)
