"""Datasets that are vast in one respect, of any size: elements, items, fragments, depth, values, deflated.

    python tests/vast.py KIND SYNTAX COUNT [STEPS]

makes one, takes it through the steps (survey, split, join to each native syntax, keep, out), and writes what
each took in processor time and memory, MB beyond the object itself. The process has 3 GB at most.
"""

from __future__ import annotations

import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from scp.encoding.dataset import encoding_of
from scp.encoding.elements import (
    CANONICAL,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    element_header,
)
from scp.model import Received
from scp.spool import Buffer, Spool
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, lookup

Pieces = Iterator[bytes]

SOP_CLASS, STUDY, SERIES = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", "1.2.3.4.5"
JPEG_LS = "1.2.840.10008.1.2.4.80"
SYNTAXES = {
    "implicit": IMPLICIT,
    "explicit": EXPLICIT,
    "big": BIG_ENDIAN,
    "deflated": DEFLATED,
    "jpegls": JPEG_LS,
}
_BATCH = 4096
_SEQUENCE, _PER_FRAME = 0x00081140, 0x52009230  # Referenced Image, Per-frame Functional Groups


def element(encoding: Encoding, tag: int, vr: bytes, value: bytes = b"") -> bytes:
    """An element of defined length."""
    return element_header(tag, vr, len(value), encoding) + value


def item(encoding: Encoding, content: bytes, defined: bool = True) -> bytes:
    """An item, of undefined length where it is not ``defined``."""
    if defined:
        return element_header(ITEM, b"", len(content), encoding) + content
    end = element_header(ITEM_END, b"", 0, encoding)
    return element_header(ITEM, b"", UNDEFINED, encoding) + content + end


def sequence(encoding: Encoding, tag: int, content: Pieces, size: int = UNDEFINED) -> Pieces:
    """A sequence around items; of ``size`` bytes where that is given."""
    yield element_header(tag, b"SQ", size, encoding)
    yield from content
    if size == UNDEFINED:
        yield element_header(SEQUENCE_END, b"", 0, encoding)


def repeated(part: bytes, count: int) -> Pieces:
    """``count`` times the same, in batches."""
    whole, rest = divmod(count, _BATCH)
    batch = part * _BATCH
    for _ in range(whole):
        yield batch
    yield part * rest


def batched(make: Callable[[int], bytes], count: int) -> Pieces:
    """``make(0)`` to ``make(count - 1)``, in batches."""
    for at in range(0, count, _BATCH):
        yield b"".join(make(each) for each in range(at, min(at + _BATCH, count)))


def identified(encoding: Encoding, uid: str = "1.2.3") -> bytes:
    """What says which object it is; all that is vast follows it."""
    texts = (
        (0x00080016, b"UI", SOP_CLASS),
        (0x00080018, b"UI", uid),
        (0x00080060, b"CS", "OT"),
        (0x00100010, b"PN", "VAST"),
        (0x00100020, b"LO", "P1"),
        (0x0020000D, b"UI", STUDY),
        (0x0020000E, b"UI", SERIES),
    )
    padded = ((tag, vr, text.encode() + b"\0" * (len(text) % 2)) for tag, vr, text in texts)
    return b"".join(element(encoding, *each) for each in padded)


def _in_order(encoding: Encoding, first: bytes, rest: Pieces) -> Pieces:
    yield first
    yield from rest


def same_tag(encoding: Encoding, count: int) -> Pieces:
    """One empty element again and again."""
    yield from repeated(element(encoding, 0x00280010, b"US"), count)


def private_tags(encoding: Encoding, count: int) -> Pieces:
    """Different private elements, empty."""
    at = 0x00291000
    yield from batched(lambda n: element(encoding, at + ((n // 65536) * 2 << 16) + n % 65536, b"LO"), count)


def even_tags(encoding: Encoding, count: int) -> Pieces:
    """Different elements of groups that nobody knows, empty, up to the last ones."""
    at = 0x00400001
    yield from batched(lambda n: element(encoding, at + ((n // 65535) * 2 << 16) + n % 65535, b"SH"), count)


def unknown_vr(encoding: Encoding, count: int) -> Pieces:
    """Empty elements of a VR that no standard has."""
    yield from repeated(element(encoding, 0x00280010, b"ZZ"), count)


def group_lengths(encoding: Encoding, count: int) -> Pieces:
    """A group length, and one element of its group, again and again."""
    length = element(encoding, 0x00290000, b"UL", struct.pack("<L" if encoding.little else ">L", 8))
    other = element(encoding, 0x00310000, b"UL", bytes(4))
    yield from repeated(length + other, count // 2)


def behind_pixels(encoding: Encoding, count: int) -> Pieces:
    """Empty elements of the pixel data's group, and pixel data before them."""
    yield element(encoding, PIXEL_DATA, b"OW", bytes(8))
    yield from repeated(element(encoding, 0x7FE01010, b"LO"), count)


def high_groups(encoding: Encoding, count: int) -> Pieces:
    """Empty elements of a group behind that of pixel data, of which there is none."""
    yield from repeated(element(encoding, 0xFFFC0010, b"LO"), count)


def empty_items(encoding: Encoding, count: int) -> Pieces:
    """A sequence of empty items of defined length."""
    yield from sequence(encoding, _SEQUENCE, repeated(item(encoding, b""), count), 8 * count)


def open_items(encoding: Encoding, count: int) -> Pieces:
    """A sequence of undefined length, of empty items of undefined length."""
    yield from sequence(encoding, _SEQUENCE, repeated(item(encoding, b"", defined=False), count))


def nested_elements(encoding: Encoding, count: int) -> Pieces:
    """One item of undefined length with as many empty elements."""
    yield element_header(_SEQUENCE, b"SQ", UNDEFINED, encoding)
    yield element_header(ITEM, b"", UNDEFINED, encoding)
    yield from repeated(element(encoding, 0x00280010, b"US"), count)
    yield element_header(ITEM_END, b"", 0, encoding) + element_header(SEQUENCE_END, b"", 0, encoding)


def defined_elements(encoding: Encoding, count: int) -> Pieces:
    """One item of defined length with as many empty elements."""
    one = element(encoding, 0x00280010, b"US")
    head = element_header(ITEM, b"", len(one) * count, encoding)
    content = _in_order(encoding, head, repeated(one, count))
    yield from sequence(encoding, _SEQUENCE, content, 8 + len(one) * count)


def many_sequences(encoding: Encoding, count: int) -> Pieces:
    """Empty sequences of undefined length, each of another tag."""
    end = element_header(SEQUENCE_END, b"", 0, encoding)

    def one(n: int) -> bytes:
        return (
            element_header(0x00291000 + ((n // 65536) * 2 << 16) + n % 65536, b"SQ", UNDEFINED, encoding)
            + end
        )

    yield from batched(one, count)


def unknown_items(encoding: Encoding, count: int) -> Pieces:
    """UN of undefined length, with empty items: implicit VR little endian in all encodings (PS3.5 6.2.2)."""
    yield element_header(0x00291001, b"UN", UNDEFINED, encoding)
    yield from repeated(item(IMPLICIT_LITTLE, b""), count)
    yield element_header(SEQUENCE_END, b"", 0, IMPLICIT_LITTLE)


def functional_groups(encoding: Encoding, count: int) -> Pieces:
    """Per-frame Functional Groups as whole-slide images have them: 12 elements and 4 items a frame."""

    def frame(n: int) -> bytes:
        def group(tag: int, *elements: bytes) -> bytes:
            content = item(encoding, b"".join(elements))
            return b"".join(sequence(encoding, tag, iter([content]), len(content)))

        word = "<L" if encoding.little else ">L"
        return item(
            encoding,
            group(0x00209111, element(encoding, 0x00209157, b"UL", struct.pack(word, n + 1) * 3))
            + group(
                0x0048021A,
                element(encoding, 0x0040072A, b"DS", b"%-16.6f" % (n / 3)),
                element(encoding, 0x0040073A, b"DS", b"%-16.6f" % (n / 7)),
                element(encoding, 0x0040074A, b"DS", b"0 "),
                element(encoding, 0x0048021E, b"SL", struct.pack(word, n * 512)),
                element(encoding, 0x0048021F, b"SL", struct.pack(word, n)),
            )
            + group(0x00480207, element(encoding, 0x00480106, b"SH", b"1 ")),
        )

    items = list(batched(frame, count))
    yield from sequence(encoding, _PER_FRAME, iter(items), sum(map(len, items)))


def deep(encoding: Encoding, count: int, defined: bool = False) -> Pieces:
    """As many sequences within one another."""
    if not defined:
        begun = element_header(_SEQUENCE, b"SQ", UNDEFINED, encoding)
        begun += element_header(ITEM, b"", UNDEFINED, encoding)
        ends = element_header(ITEM_END, b"", 0, encoding) + element_header(SEQUENCE_END, b"", 0, encoding)
        yield from repeated(begun, count)
        yield from repeated(ends, count)
        return
    heads, size = [], 0
    for _ in range(count):
        within = element_header(ITEM, b"", size, encoding)
        heads.append(element_header(_SEQUENCE, b"SQ", size + 8, encoding) + within)
        size += len(heads[-1])
    yield from reversed(heads)


def deep_defined(encoding: Encoding, count: int) -> Pieces:
    """As many sequences of defined length within one another."""
    yield from deep(encoding, count, defined=True)


def deep_unknown(encoding: Encoding, count: int) -> Pieces:
    """As many sequences within one another, in UN of undefined length, in a sequence."""
    yield element_header(_SEQUENCE, b"SQ", UNDEFINED, encoding)
    yield element_header(ITEM, b"", UNDEFINED, encoding)
    yield element_header(0x00291001, b"UN", UNDEFINED, encoding)
    yield element_header(ITEM, b"", UNDEFINED, IMPLICIT_LITTLE)
    yield from deep(IMPLICIT_LITTLE, count)
    yield element_header(ITEM_END, b"", 0, IMPLICIT_LITTLE)
    yield element_header(SEQUENCE_END, b"", 0, IMPLICIT_LITTLE)
    yield element_header(ITEM_END, b"", 0, encoding) + element_header(SEQUENCE_END, b"", 0, encoding)


def long_value(encoding: Encoding, count: int, tag: int = 0x00420011, vr: bytes = b"OB") -> Pieces:
    """One value of ``count`` bytes: Encapsulated Document."""
    yield element_header(tag, vr, count, encoding)
    yield from repeated(b"AB", count // 2)


def long_text(encoding: Encoding, count: int) -> Pieces:
    """One UT of ``count`` bytes, that an index asks for."""
    yield from long_value(encoding, count, 0x00081030, b"UT")


def long_before_pixels(encoding: Encoding, count: int) -> Pieces:
    """A long private value ahead of an image."""
    yield from described(encoding, 1)
    yield from long_value(encoding, count, 0x00291001, b"OB")
    yield element(encoding, PIXEL_DATA, b"OW", bytes(8))


def many_names(encoding: Encoding, count: int) -> Pieces:
    """A PN with ``count`` components, in UC so that any length fits."""
    yield element_header(0x00101001, b"UC", 2 * count, encoding)
    yield from repeated(b"A^", count)


def many_values(encoding: Encoding, count: int) -> Pieces:
    """A Specific Character Set, and a name in it, of ``count`` values each."""
    yield element_header(0x00080005, b"UC", 2 * count, encoding)
    yield from repeated(b"\\\\", count)
    yield element_header(0x00104000, b"UT", 2 * count, encoding)
    yield from repeated(b"\x1b\\", count)


def described(encoding: Encoding, frames: int) -> Pieces:
    """The Image Pixel module of frames of 2 × 2 samples of 16 bits."""
    order = "<H" if encoding.little else ">H"
    yield element(encoding, 0x00280002, b"US", struct.pack(order, 1))
    yield element(encoding, 0x00280004, b"CS", b"MONOCHROME2 ")
    text = str(frames).encode()
    yield element(encoding, 0x00280008, b"IS", text + b" " * (len(text) % 2))
    for tag, number in ((0x10, 2), (0x11, 2), (0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0)):
        yield element(encoding, 0x00280000 | tag, b"US", struct.pack(order, number))


def fragments(encoding: Encoding, count: int, content: bytes = b"") -> Pieces:
    """Encapsulated pixel data of one frame in as many fragments, behind an empty Basic Offset Table."""
    yield from described(encoding, 1)
    yield element_header(PIXEL_DATA, b"OB", UNDEFINED, encoding)
    yield item(CANONICAL, b"")
    yield from repeated(item(CANONICAL, content), count)
    yield element_header(SEQUENCE_END, b"", 0, CANONICAL)


def small_fragments(encoding: Encoding, count: int) -> Pieces:
    """As many fragments, each of which begins like a frame, of as many frames."""
    yield from described(encoding, count)
    yield element_header(PIXEL_DATA, b"OB", UNDEFINED, encoding)
    yield item(CANONICAL, b"")
    yield from repeated(item(CANONICAL, b"\xff\xd8"), count)
    yield element_header(SEQUENCE_END, b"", 0, CANONICAL)


def odd_fragments(encoding: Encoding, count: int) -> Pieces:
    """As many fragments of one byte, with an offset for each."""
    yield from described(encoding, count)
    yield element_header(PIXEL_DATA, b"OB", UNDEFINED, encoding)
    yield element_header(ITEM, b"", 4 * count, CANONICAL)
    yield from batched(lambda n: struct.pack("<L", 9 * n), count)
    yield from repeated(item(CANONICAL, b"\xff"), count)
    yield element_header(SEQUENCE_END, b"", 0, CANONICAL)


def long_table(encoding: Encoding, count: int) -> Pieces:
    """A Basic Offset Table of ``count`` offsets, and two fragments of one frame."""
    yield from described(encoding, 1)
    yield element_header(PIXEL_DATA, b"OB", UNDEFINED, encoding)
    yield element_header(ITEM, b"", 4 * count, CANONICAL)
    yield from repeated(bytes(4), count)
    yield item(CANONICAL, b"\xff\xd8") + item(CANONICAL, b"\xff\xd9")
    yield element_header(SEQUENCE_END, b"", 0, CANONICAL)


def zeros(encoding: Encoding, count: int) -> Pieces:
    """``count`` bytes of nothing: deflated, a thousandth."""
    yield element_header(0x00420011, b"OB", count, encoding)
    yield from repeated(bytes(1 << 12), count >> 12)
    yield bytes(count % (1 << 12))


KINDS: dict[str, Callable[[Encoding, int], Pieces]] = {
    make.__name__: make
    for make in (
        same_tag, private_tags, even_tags, unknown_vr, group_lengths, behind_pixels, high_groups, empty_items,
        open_items, nested_elements, defined_elements, many_sequences, unknown_items, functional_groups, deep,
        deep_defined, deep_unknown, long_value, long_text, long_before_pixels, many_names, many_values,
        fragments, small_fragments, odd_fragments, long_table, zeros,
    )
}  # fmt: skip
ENCAPSULATED = ("fragments", "small_fragments", "odd_fragments", "long_table")


def stream(kind: str, count: int, transfer_syntax: str = EXPLICIT, uid: str = "1.2.3") -> Buffer:
    """A dataset stream of a kind, behind what identifies it."""
    syntax = lookup(transfer_syntax)
    encoding = encoding_of(syntax)
    pieces = _in_order(encoding, identified(encoding, uid), KINDS[kind](encoding, count))
    spool = Spool()
    deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS) if syntax.deflated else None
    for piece in pieces:
        spool.write(deflater.compress(piece) if deflater else piece)
    if deflater:
        last = deflater.flush()
        spool.write(last + b"\0" * ((spool.size + len(last)) % 2))
    return spool.view()


def vast(kind: str, count: int, transfer_syntax: str = EXPLICIT, uid: str = "1.2.3") -> Received:
    """An object of a kind, as if a modality had just sent it."""
    dataset = stream(kind, count, transfer_syntax, uid)
    return Received(SOP_CLASS, uid, transfer_syntax, dataset, "VAST", "ZSCP", datetime.now(UTC))


def memory() -> tuple[int, int]:
    """Of this process, MB: anonymous resident memory now, and the peak of all that is resident, files too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return tuple(int(status.partition(name)[2].split()[0]) // 1024 for name in ("RssAnon:", "VmHWM:"))  # type: ignore[return-value]


def steps(object_: Received) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is done with an object, by name."""
    from scp.archive.encode import keep  # noqa: PLC0415
    from scp.config.rules import PolicyRule, Stage  # noqa: PLC0415 - the measured code may be another tree's
    from scp.encoding.dataset import join, split  # noqa: PLC0415
    from scp.encoding.facts import survey  # noqa: PLC0415
    from scp.encoding.transcode import transcoding  # noqa: PLC0415
    from scp.index.attributes import KEYWORDS  # noqa: PLC0415
    from scp.objects import part10  # noqa: PLC0415

    syntax = lookup(object_.transfer_syntax)

    def surveyed() -> str:
        facts = survey(object_)
        found = facts.attributes.chosen(KEYWORDS)  # type: ignore[attr-defined]
        return f"{facts.readable} {facts.fault} {found.get('StudyInstanceUID')}"

    def joined(target: str) -> Callable[[], object]:
        def run() -> object:
            parts = split(object_.dataset, syntax)
            native = parts.pixel is None or not parts.pixel.encapsulated
            return sum(map(len, join(parts, lookup(target if native else object_.transfer_syntax))))

        return run

    def stored() -> object:
        rule = PolicyRule(name="test", stages=(Stage(forms=("htj2k",)),))
        form = keep(object_, survey(object_), rule)
        file = part10.unpack(form.data)
        out = [form.encoded.form, *(attempt.reason[:80] for attempt in form.provenance.attempts)]
        for target in (object_.transfer_syntax, IMPLICIT, EXPLICIT):
            try:
                known = file.provenance
                restoration = known.restoration if known else None
                pieces = transcoding(file.dataset, file.transfer_syntax, target, restoration, even=True)
                out.append(str(sum(map(len, pieces))))
            except Exception as error:  # noqa: BLE001 - shown
                out.append(f"{type(error).__name__}: {error}"[:90])
        return out

    yield "survey", surveyed
    yield "split", lambda: len(split(object_.dataset, syntax).header)
    for name, target in (
        ("implicit", IMPLICIT),
        ("explicit", EXPLICIT),
        ("big", BIG_ENDIAN),
        ("deflated", DEFLATED),
    ):
        yield name, joined(target)
    yield "store", stored


def main(kind: str, syntax: str, count: str, wanted: str = "survey,split,implicit,store") -> None:
    """See the module."""
    object_ = vast(kind, int(float(count)), SYNTAXES[syntax])
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    sys.stdout.write(f"{kind} {syntax} {count}: {len(object_.dataset) >> 20} MB\n")
    for name, run in steps(object_):
        if name not in wanted.split(","):
            continue
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        (before, least), started = memory(), time.process_time()
        try:
            result = run()
        except Exception as error:  # noqa: BLE001 - shown
            result = f"{type(error).__name__}: {str(error)[:100]}"
        after, peak = memory()
        took = time.process_time() - started
        sys.stdout.write(
            f"  {name:9} {took:6.1f} s  grown {peak - least} MB  left {after - before} MB  {result}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
