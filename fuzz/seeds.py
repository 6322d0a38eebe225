"""The seed corpus: small inputs for each target, made from what the tests make; and the dictionary.

Nothing of it is kept in the repository: ``python -m fuzz.seeds FOLDER`` writes it in some seconds.
"""

from __future__ import annotations

import re
import struct
import sys
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from damaged import STREAMS, picture
from objects import Shape, as_received, deflate, element, item, phantom, sequence, written
from pydicom.dataset import Dataset

from bench.window import ABORT, RELEASE_RQ, message
from fuzz import codecs, datasets, network, queries, stored
from scp.archive.encode import keep
from scp.config.rules import PolicyRule, Stage
from scp.dimse.negotiation.association_pdus import item as association_item
from scp.dimse.wire.messages import write_command
from scp.encoding.codecs.table import encoder_of
from scp.encoding.elements import PIXEL_DATA, UNDEFINED
from scp.encoding.facts import survey
from scp.encoding.fragments import encapsulate
from scp.encoding.pixels import PixelFormat
from scp.encoding.transcode import transcoding
from scp.model import Received
from scp.objects import part10
from scp.objects.landing import LandingLog
from scp.syntaxes import DEFLATED, EXPLICIT, IMPLICIT, RLE, lookup

Seeds = Iterator[tuple[str, bytes]]  # target, input

_SMALL = Shape(rows=8, columns=8)


def seeds() -> Seeds:
    """All of them."""
    yield from _codestreams()
    yield from _datasets()
    yield from _stored()
    yield from _network()
    yield from _connections()
    yield from _actions()
    yield from _keys()
    yield from _configurations()


def _codestreams() -> Seeds:
    families = {uid: name for name, uids in codecs.FAMILIES.items() for uid in uids}
    for make in STREAMS.values():
        stream = make()
        data = codecs.written(stream.syntax, stream.form, stream.data)
        yield from _of_all(families[stream.syntax], data)
    for syntax, name in families.items():  # small ones too: more of them are run in a second
        codec = encoder_of(syntax)
        for bits, samples in ((8, 1), (12, 1), (16, 1), (8, 3)):
            frame = picture(bits, samples, 9, 11)
            allocated, photometric = frame.itemsize * 8, "RGB" if samples == 3 else "MONOCHROME2"
            form = PixelFormat(9, 11, samples, allocated, bits, bits - 1, False, photometric, 0, 1)
            if codec is not None and not codec.refuses(form):
                yield from _of_all(name, codecs.written(syntax, form, codec.encode(frame, form, 0)))


def _of_all(family: str, data: bytes) -> Seeds:
    yield f"native-{family}", data
    yield f"caged-{family}", data
    yield f"library-{family}", data


def _objects() -> Iterator[Received]:
    """Native in each syntax, nested, with fragments, and with all that zscp pads."""
    for syntax in datasets.SYNTAXES[:4]:
        yield phantom(_SMALL, syntax)
    yield phantom(Shape(rows=8, columns=8, samples=3, bits_allocated=8, bits_stored=8, planar=1))
    yield phantom(Shape(rows=8, columns=8, frames=3, group_lengths=True, tail=b"tail"))
    nested = sequence(0x00081115, [item(sequence(0x00081199, [item(b"", False)], True), False)], False)
    odd = element(0x00091001, "UN", b"odd") + element(0x00091002, "OB", b"odd") + nested
    yield as_received(odd + element(0x00100010, "PN", b"\x1b$B1234\x1b(B=A^B"), EXPLICIT)
    native = phantom(_SMALL)
    yield as_received(b"".join(transcoding(native.dataset, EXPLICIT, RLE, None)), RLE)
    jpeg = STREAMS["jpeg"]().data
    items = bytes(encapsulate([jpeg], 1))
    shape = Shape(rows=88, columns=104, bits_allocated=8, bits_stored=8)
    header = phantom(shape).dataset[: -88 * 104 - 12]
    end = element(0xFFFEE0DD, "", b"")
    yield as_received(header + element(PIXEL_DATA, "OB", items, UNDEFINED) + end, datasets.SYNTAXES[5])


def _datasets() -> Seeds:
    for one in _objects():
        data = datasets.written(one.transfer_syntax, bytes(one.dataset))
        for target in ("dataset", "keep", "looked-at", "evenness"):
            yield target, data
    for count, fragments in ((1, [b"\xff\xd8ab", b"cd"]), (3, [b"a", b"bcd", b"\xff\xd8"])):
        yield "fragments", bytes((count - 1,)) + bytes(encapsulate(fragments, len(fragments)))
    yield "fragments", b"\1" + item(b"", True) + b"".join(item(each, True) for each in (b"a", b"b"))


def _stored() -> Seeds:
    for one in _objects():
        for form in ("received", "zstd", "htj2k", "deflate", "jpegxl-recompression"):
            rule = PolicyRule(name="seed", stages=(Stage(forms=(form,)),))
            file = bytes(part10.unwrap(keep(one, survey(one), rule).data))
            for kind in range(3):
                yield "stored", bytes((kind,)) + file
            yield "foreign", file
            yield "foreign", bytes(part10.wrap(file, 3))
        yield "foreign", bytes(one.dataset)
        yield "foreign", _landed(one)
        yield "landing", _landed(one)
    yield "provenance", stored.sound_provenance()
    yield "dictionary", stored.small_dictionary().content
    yield (
        "notes",
        b'{"key": "a", "sop_instance_uid": "1.2", "study_instance_uid": "1", "size": 1, "reason": "",',
    )
    yield (
        "notes",
        (
            b'{"key": "a", "sop_instance_uid": "1.2", "study_instance_uid": "1", "size": 1, "reason": "",'
            b' "at": 1.0, "uids": {"PATIENT": "a"}, "received_sha256": "0", "id": "a", "state": "gone"}'
        ),
    )
    yield (
        "notes",
        (
            b'{"level": "STUDY", "uid": "1.2", "reason": "", "since": 1.0, "id": "a",'
            b' "patient_id": "b", "issuer": null}'
        ),
    )
    yield (
        "notes",
        (b'{"archive": "a", "index": "b", "sequence": 1, "stores": ["c"], "unread": [], "suspect": false}'),
    )


def _landed(one: Received) -> bytes:
    """A segment with two records, one of them over."""
    with tempfile.TemporaryDirectory() as root:
        log = LandingLog(Path(root), segment=64 << 10)
        file = part10.unpack(keep(one, survey(one), None).data)
        keys = [log.write(part10.head(file), one.dataset) for _ in range(2)]
        for key in keys:
            log.sync(key)
        log.settle(keys[:1])
        segment = next(Path(root).glob(".landing/*/*.log")).read_bytes()
        for key in keys:
            log.recorded(key)
        log.close()
    return segment.rstrip(b"\0") + bytes(64)


def _network() -> Seeds:
    uid = b"1.2.840.10008.1.1"
    context = bytes((1, 0, 0, 0)) + association_item(0x30, uid) + association_item(0x40, IMPLICIT.encode())
    subs = association_item(0x51, struct.pack(">L", 16384)) + association_item(0x52, b"1.2.3")
    subs += association_item(0x53, b"\0\1\0\1") + association_item(0x54, b"\0\x11" + uid + b"\1\1")
    subs += association_item(0x55, b"NAME") + association_item(0x58, b"\1\0\0\4user\0\0")
    fixed = b"\0\1\0\0" + b"ZSCP".ljust(16) + b"CT".ljust(16) + bytes(32)
    body = fixed + association_item(0x10, b"1.2.840.10008.3.1.1.1")
    yield "association", body + association_item(0x20, context) + association_item(0x50, subs)
    answer = association_item(0x21, b"\1\0\0\0" + association_item(0x40, IMPLICIT.encode()))
    yield "association", body + answer + association_item(0x50, subs)
    command = write_command({
        "AffectedSOPClassUID": uid.decode(), "CommandField": 1, "MessageID": 1, "Priority": 0,
        "CommandDataSetType": 0, "AffectedSOPInstanceUID": "1.2.3",
    })  # fmt: skip
    pdv = struct.pack(">LBB", len(command) + 2, 1, 3) + command
    pdv += struct.pack(">LBB", 6, 1, 2) + b"data"
    yield "messages", command
    yield "messages", struct.pack(">H", len(pdv)) + pdv
    for number, syntax in enumerate(network.SYNTAXES):
        plain = _identifier(syntax)
        for flags in (0, 4, 8, 16):
            yield "identifier", bytes((number | flags,)) + plain
            yield "query", bytes((number | flags | 32,)) + plain


def _connections() -> Seeds:
    """An echo, a store in small PDUs, a query and a cancel of it; released, aborted, or cut off."""
    class_and_instance = {"AffectedSOPClassUID": "1.2.3", "AffectedSOPInstanceUID": "1.2.4"}
    echo = message(1, {"CommandField": 0x30, "MessageID": 1, "AffectedSOPClassUID": "1.2.840.10008.1.1"})
    store = message(
        3, {"CommandField": 1, "MessageID": 2, "Priority": 0, **class_and_instance}, bytes(90), 60
    )
    asked = {"CommandField": 0x20, "MessageID": 3, "AffectedSOPClassUID": "1.2.3", "Priority": 0}
    find = message(5, asked, _identifier(IMPLICIT))
    cancel = message(5, {"CommandField": 0xFFF, "MessageIDBeingRespondedTo": 3})
    for end in (RELEASE_RQ, ABORT, store[:100]):
        yield "connection", echo + store + find + cancel + end
    for fields in (
        {
            "CommandField": 0x21,
            "MessageID": 9,
            "Priority": 0,
            "MoveDestination": "SINK",
            **class_and_instance,
        },
        {
            "CommandField": 0x130,
            "MessageID": 7,
            "ActionTypeID": 1,
            "RequestedSOPInstanceUID": "1.2.840.10008",
        },
        {"CommandField": 0x8001, "MessageIDBeingRespondedTo": 7, "Status": 0xA700, "ErrorComment": "full"},
    ):
        yield "command", write_command({"CommandDataSetType": 0, **fields})


def _actions() -> Seeds:
    asked = Dataset()
    asked.TransactionUID = "1.2.9"
    asked.ReferencedSOPSequence = []
    for number in range(2):
        one = Dataset()
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.{number}"
        asked.ReferencedSOPSequence.append(one)
    for number, syntax in enumerate(network.SYNTAXES):
        found = lookup(syntax)
        plain = written(asked, found.explicit_vr, found.little_endian)
        yield "action", bytes((number,)) + (deflate(plain) if syntax == DEFLATED else plain)


_KEYS = (
    ("PatientName", "D?E^*", "Doe^John=山田^太郎"),
    ("PatientName", "Yamada*=山田*=", "Yamada^Tarou=山田^太郎"),
    ("PatientID", "A*", "A1"), ("OtherPatientIDs", "*B", "A\\B"), ("StudyDate", "20240101-", "2024.01.31"),
    ("StudyTime", "10-12", "10:15:30"), ("AcquisitionDateTime", "2024-0500-", "20240131101530.5+0100"),
    ("SeriesNumber", "+007", "7"), ("StudyInstanceUID", "1.2\\1.3", "1.3"),
    ("StudyDescription", "*_%/*", "_%/"),
)  # fmt: skip


def _keys() -> Seeds:
    numbers = {one.keyword: number for number, one in enumerate(queries.ATTRIBUTES)}
    for keyword, asked, held in _KEYS:
        both = f"{asked}\n{held}".encode()
        yield "wildcards", both
        yield "matching", numbers[keyword].to_bytes(2, "big") + both


def _configurations() -> Seeds:
    """The shipped file by its tables, each without comments, so that mutants reach the values."""
    shipped = (Path(__file__).parents[1] / "conf" / "zscp.toml").read_text(encoding="utf-8")
    lines = [line for line in shipped.splitlines() if line and not line.startswith("#")]
    tables: list[list[str]] = []
    for line in lines:
        if line.startswith("[") or not tables:
            tables.append([])
        tables[-1].append(line)
    yield "configuration", "\n".join(lines).encode()
    for table in tables:
        yield "configuration", "\n".join(table).encode()
    # What stands in the shipped file as an example only.
    examples = re.findall(r"(?m)^# ?(\[\[?[a-z.]+\]\]?\n(?:# ?[a-z_]+ *=.*\n)+)", shipped)
    for example in examples:
        yield "configuration", re.sub(r"(?m)^# ?", "", example).encode()
    yield "configuration", b'\0NODE__PORT=11113\0STORAGE__BACKLOG="1GB"\0ACCESS__MAY=["echo"]\0PEER=1'


def _identifier(syntax: str) -> bytes:
    asked = Dataset()
    asked.SpecificCharacterSet = "ISO_IR 192"
    asked.QueryRetrieveLevel = "STUDY"
    asked.PatientName = "A*"
    asked.PatientID = "1"
    asked.StudyDate = "20260101-"
    asked.StudyInstanceUID = ["1.2", "1.3"]
    asked.ModalitiesInStudy = ""
    inner = Dataset()
    inner.ScheduledProcedureStepID = "1"
    asked.RequestAttributesSequence = [inner]
    found = lookup(syntax)
    plain = written(asked, found.explicit_vr, found.little_endian)
    return deflate(plain) if syntax == DEFLATED else plain


def write(folder: Path) -> None:
    """Each seed as a file of its target's folder, named by its digest."""
    for target, data in seeds():
        (folder / target).mkdir(parents=True, exist_ok=True)
        (folder / target / sha256(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
