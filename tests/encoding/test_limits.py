"""What one dataset may hold: each limit at its edge, what becomes of what is beyond it, and its memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damaged import format_of
from generated import compressed_case
from objects import Shape, phantom
from vast import JPEG_LS, KINDS, STUDY, vast

from scp.archive.archive import Archive
from scp.archive.encode import keep
from scp.archive.package import StoredForm
from scp.config.rules import PolicyRule, Stage
from scp.encoding import streams
from scp.encoding.census import excess
from scp.encoding.codecs import lengths
from scp.encoding.codecs.lossless.jpeg import JPEG_LOSSLESS_CODEC
from scp.encoding.coercion import with_uids
from scp.encoding.dataset import join, split
from scp.encoding.elements import (
    CANONICAL,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    element_header,
    walk,
)
from scp.encoding.facts import survey
from scp.encoding.fragments import evened_items, frames_within, moved_offsets
from scp.encoding.streams import Draft, inflated
from scp.encoding.transcode import transcoding
from scp.errors import BeyondBounds, CodecError, PixelsBeyondBounds
from scp.index.sql import SqlIndex
from scp.model import Received
from scp.objects import part10
from scp.objects.local import LocalStore
from scp.resources.bounds import DEFAULTS, Bounds, use
from scp.spool import Spool
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, lookup

NATIVE = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
OWN = 7  # elements that say which object it is
COUNT = 60
MANY = Bounds(elements=10**6, items=10**6, fragments=10**6)
# What there is of what the limit is on, in so many of the kind.
EDGES = [
    *[
        ("elements", kind, COUNT + OWN + more, syntax)
        for kind, more in (("same_tag", 0), ("private_tags", 0), ("high_groups", 0), ("behind_pixels", 1),
                           ("nested_elements", 1), ("defined_elements", 1), ("many_sequences", 0))
        for syntax in NATIVE
    ],
    *[("elements", "unknown_vr", COUNT + OWN, syntax) for syntax in (EXPLICIT, BIG_ENDIAN)],
    *[
        ("items", kind, COUNT, syntax)
        for kind in ("empty_items", "open_items", "unknown_items")
        for syntax in NATIVE
    ],
    *[("fragments", kind, COUNT, JPEG_LS) for kind in ("fragments", "small_fragments")],
    *[
        ("depth", kind, COUNT + more, syntax)
        for kind, more in (("deep", 0), ("deep_defined", 0), ("deep_unknown", 2))
        for syntax in NATIVE
    ],
]  # fmt: skip


def in_form(object_: Received, form: str = "htj2k") -> StoredForm:
    return keep(object_, survey(object_), PolicyRule(name="test", stages=(Stage(forms=(form,)),)))


@pytest.mark.parametrize(("key", "kind", "there", "syntax"), EDGES)
def test_each_limit_at_its_edge(key: str, kind: str, there: int, syntax: str) -> None:
    object_ = vast(kind, COUNT, syntax)
    use(replace(MANY, **{key: there}))
    facts = survey(object_)
    assert facts.readable, facts.fault
    assert split(object_.dataset, lookup(syntax))
    use(replace(MANY, **{key: there - 1}))
    facts = survey(object_)
    assert not facts.readable
    assert f"(limits.{key})" in facts.fault
    assert str(there - 1) in facts.fault
    assert facts.attributes["StudyInstanceUID"] == STUDY
    with pytest.raises(BeyondBounds, match=key):
        split(object_.dataset, lookup(syntax))


_MARK = {ITEM: b"\xfe\xff\x00\xe0", ITEM_END: b"\xfe\xff\x0d\xe0", SEQUENCE_END: b"\xfe\xff\xdd\xe0"}
_OPEN = b"\xff\xff\xff\xff"
_LONG_OB = b"\x09\0\x02\x10OB\0\0"
_SEQUENCE = b"\x09\0\x01\x10SQ\0\0"
_NO_VR = b"\x09\0\x03\x10\1\2\3\4"


def _length(of: int) -> bytes:
    return of.to_bytes(4, "little")


# What readers step over, or follow to its end, before what stands behind it.
TRICKS = {
    "an element longer than its item": _SEQUENCE + _OPEN + _MARK[ITEM] + _length(12) + _LONG_OB
    + _length(0xFFFFFF00) + _MARK[SEQUENCE_END] + _length(0),
    "the end of a sequence within one that has a length": _SEQUENCE + _length(16) + _MARK[SEQUENCE_END]
    + _length(0) + _NO_VR,
    "an item where no sequence is": _MARK[ITEM] + _length(8) + _NO_VR,
    "the end of a sequence that has a length": _MARK[SEQUENCE_END] + _length(8) + _NO_VR,
    "the end of an item that has a length": _MARK[ITEM_END] + _length(8) + _NO_VR,
    "an open item where no sequence is": _MARK[ITEM] + _OPEN + _MARK[ITEM] + _length(8) + _NO_VR
    + _MARK[SEQUENCE_END] + _length(8),
    "an end with a length": _SEQUENCE + _OPEN + _MARK[ITEM] + _OPEN + _MARK[ITEM_END] + _length(8)
    + _MARK[SEQUENCE_END] + _length(8),
    "fragments without a length": _LONG_OB + _OPEN + _MARK[ITEM] + _OPEN + _MARK[ITEM_END] + _length(0)
    + _MARK[SEQUENCE_END] + _length(0),
    "an item within an item": _SEQUENCE + _OPEN + _MARK[ITEM] + _OPEN + _MARK[ITEM] + _length(8) + _NO_VR
    + _MARK[ITEM_END] + _length(0) + _MARK[SEQUENCE_END] + _length(0),
}  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
def test_nothing_hides_what_stands_behind_it(name: str) -> None:
    """Whoever reads it comes to a hundred elements; so they are counted."""
    hidden = b"".join(b"\x0b\0" + each.to_bytes(2, "little") + b"SH\0\0" for each in range(0x1000, 0x1064))
    data = TRICKS[name] + hidden
    assert sum(each.tag >> 16 == 0x000B for each in walk(data, CANONICAL)) == 100
    use(replace(MANY, elements=110))
    assert excess(data + hidden, CANONICAL) is not None


def test_fragments_are_counted_in_big_endian_too() -> None:
    big = Encoding(little=False)
    fragments = element_header(0x00091002, b"OB", UNDEFINED, big) + 10 * (
        element_header(ITEM, b"", 8, big) + bytes(8)
    )
    data = fragments + element_header(SEQUENCE_END, b"", 0, big)
    use(replace(MANY, fragments=8))
    assert excess(data, big) is not None


def test_items_within_items_are_as_deep_as_sequences() -> None:
    """Else what is held of those that it is in would have no bound."""
    data = b"".join(element_header(ITEM, b"", 8 * each, CANONICAL) for each in reversed(range(200)))
    use(replace(MANY, items=1))
    assert "limits.items" in excess(data, CANONICAL).reason
    use(replace(MANY, elements=1, depth=64))
    assert "limits.depth" in excess(data, CANONICAL).reason


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("kind", ["same_tag", "empty_items", "deep_defined"])
def test_what_is_beyond_a_limit_is_kept_and_given_back_as_it_came(kind: str, syntax: str) -> None:
    use(replace(MANY, elements=50, items=50, depth=50))
    object_ = vast(kind, COUNT, syntax)
    form = in_form(object_)
    assert form.encoded.form in {"zstd", "received"}
    assert not form.provenance.readable
    assert "(limits." in form.provenance.fault
    file = part10.unpack(form.data)
    assert file.dataset == object_.dataset
    for target in NATIVE:
        if target == syntax:
            assert b"".join(transcoding(file.dataset, syntax, target, None, even=True)) == object_.dataset
        else:
            with pytest.raises(CodecError, match=r"limits\."):
                transcoding(file.dataset, syntax, target, None)


def test_what_was_encoded_before_a_limit_was_lowered_comes_back() -> None:
    object_ = phantom(Shape(rows=64, columns=64))
    form = in_form(object_)
    assert form.encoded.form == "htj2k"
    use(replace(MANY, elements=3, header_bytes=10))
    file = part10.unpack(form.data)
    known = file.provenance
    assert known is not None
    pieces = transcoding(file.dataset, file.transfer_syntax, object_.transfer_syntax, known.restoration)
    assert b"".join(pieces) == object_.dataset


_TINY = Bounds(
    elements=1, items=1, fragments=1, depth=1, header_bytes=1, inflated_bytes=1, inflated_ratio=1,
    frame_bytes=1, pixel_bytes=1, frame_ratio=1,
)  # fmt: skip


@pytest.mark.parametrize(
    "form",
    [
        *("received", "zstd", "native", "deflate", "htj2k", "jpeg2000", "jpegls", "jpegxl", "jpeg-lossless"),
        *("rle", "deflated-frames", "jpegxl-recompression"),
    ],
)
def test_each_form_is_sound_after_limits_were_lowered(form: str, tmp_path: Path) -> None:
    """Invariant 7: what was accepted is whole, and comes back as it came."""
    object_ = phantom(Shape(rows=64, columns=64))
    if form in ("native", "deflate"):  # of codestreams that came
        object_ = compressed_case("ls-fragments")
    elif form == "zstd":  # to less than a tenth
        object_ = vast("zeros", 1 << 20, EXPLICIT)
    elif form == "jpegxl-recompression":
        object_ = compressed_case("jpeg-422")
    rule = PolicyRule.model_validate({"name": "rule", "stages": [{"form": form}]})
    index = SqlIndex.open(f"sqlite:///{tmp_path}/index.db")
    archive = Archive(LocalStore(tmp_path / "objects"), index, [rule])
    archive.ingest(object_)
    held = next(archive.index.all())
    assert held.form == form
    plain = b"".join(archive.fetch(held, [IMPLICIT]).chunks) if form in ("native", "deflate") else b""
    use(_TINY)
    assert archive.verify(held) == ""
    archive.verify(held, deep=True)
    if plain:
        assert b"".join(archive.fetch(held, [IMPLICIT]).chunks) == plain
    else:
        assert b"".join(archive.fetch(held, [object_.transfer_syntax]).chunks) == object_.dataset


def test_a_jpeg_of_this_archive_is_decoded_whatever_its_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = np.zeros((64, 64), "u1")
    form = format_of(frame, 8)
    coded = JPEG_LOSSLESS_CODEC.encode(frame, form, 0)
    monkeypatch.setattr(lengths, "_ANY_CONTENT", 1)
    use(_TINY)
    assert not JPEG_LOSSLESS_CODEC.decode(coded, form).any()
    with pytest.raises(PixelsBeyondBounds):
        JPEG_LOSSLESS_CODEC.strictly(coded, form)


def test_a_deflated_dataset_at_the_edge_of_either_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    object_ = vast("zeros", 1 << 22, DEFLATED)
    size = len(inflated(object_.dataset).stream)
    use(replace(DEFAULTS, inflated_bytes=size))
    assert survey(object_).readable
    use(replace(DEFAULTS, inflated_bytes=size - 1))
    facts = survey(object_)
    assert f"over {size - 1} bytes (limits.inflated_bytes)" in facts.fault
    assert facts.attributes["StudyInstanceUID"] == STUDY
    with pytest.raises(BeyondBounds, match="inflated_bytes"):
        split(object_.dataset, lookup(DEFLATED))
    monkeypatch.setattr(streams, "_OF_ANYTHING", 1 << 20)
    ratio = -(-size // len(object_.dataset))
    use(replace(DEFAULTS, inflated_ratio=ratio))
    assert survey(object_).readable
    use(replace(DEFAULTS, inflated_ratio=ratio - 1))
    assert f"over {ratio - 1} times its size (limits.inflated_ratio)" in survey(object_).fault


def test_what_inflates_beyond_a_limit_is_not_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    use(replace(DEFAULTS, inflated_bytes=4 << 20))
    written = []
    spool_write = Spool.write
    monkeypatch.setattr(
        Spool, "write", lambda self, data: (written.append(len(data)), spool_write(self, data))[1]
    )
    assert not survey(vast("zeros", 64 << 20, DEFLATED)).readable
    assert sum(written) < 12 << 20


def test_a_header_at_the_edge_is_coded_and_beyond_it_given_out_in_native_syntaxes() -> None:
    object_ = vast("long_before_pixels", 10_000, EXPLICIT)
    header = len(split(object_.dataset, lookup(EXPLICIT)).header)
    use(replace(DEFAULTS, header_bytes=header))
    assert "htj2k" in {attempt.form for attempt in in_form(object_).provenance.attempts}
    assert not any("limits" in attempt.reason for attempt in in_form(object_).provenance.attempts)
    use(replace(DEFAULTS, header_bytes=header - 1))
    form = in_form(object_)
    assert survey(object_).readable
    assert form.provenance.attempts[0].reason == (
        f"{header} bytes outside its pixel data, over {header - 1} (limits.header_bytes)"
    )
    file = part10.unpack(form.data)
    implicit = b"".join(transcoding(file.dataset, EXPLICIT, IMPLICIT, None, even=True))
    assert b"".join(join(split(implicit, lookup(IMPLICIT)), lookup(EXPLICIT))) != b""


@pytest.mark.parametrize("syntax", NATIVE)
def test_many_functional_groups_and_long_values_pass(syntax: str) -> None:
    for object_ in (vast("functional_groups", 500, syntax), vast("long_value", 3 << 20, syntax)):
        facts = survey(object_)
        assert facts.readable, facts.fault
        parts = split(object_.dataset, lookup(syntax))
        if syntax != DEFLATED:
            assert b"".join(join(parts, lookup(syntax))) == object_.dataset


@pytest.mark.parametrize(
    "kind", sorted(set(KINDS) - {"fragments", "small_fragments", "odd_fragments", "long_table"})
)
def test_every_kind_converts_there_and_back(kind: str) -> None:
    use(replace(DEFAULTS, depth=128))
    object_ = vast(kind, COUNT, EXPLICIT)
    for target in (IMPLICIT, BIG_ENDIAN):
        other = b"".join(join(split(object_.dataset, lookup(EXPLICIT)), lookup(target)))
        again = b"".join(join(split(other, lookup(target)), lookup(target)))
        assert again == other


def test_a_top_level_of_more_elements_than_any_dictionary_has_is_read_nevertheless() -> None:
    facts = survey(vast("private_tags", 40_000))
    assert facts.readable
    assert facts.attributes["PatientID"] == "P1"


def test_values_longer_than_anybody_reads_are_read_in_part() -> None:
    assert len(survey(vast("long_text", 1 << 20)).attributes["StudyDescription"]) == 10240
    assert survey(vast("many_values", 1 << 18)).readable


def test_fragments_stay_in_their_places() -> None:
    object_ = vast("odd_fragments", 1000, JPEG_LS)
    pixel = split(object_.dataset, lookup(JPEG_LS)).pixel
    assert pixel is not None
    frames = frames_within(pixel.held(), 1000)
    assert len(frames) == frames.fragments == 1000
    assert {frame.whole() for frame in frames} == {b"\xff"}
    even, moved = evened_items(pixel.held())
    assert len(even) == 8 + 4000 + 1000 * 10
    assert [len(one) for one in frames_within(even, 1000)[:2]] == [1, 1]
    assert bytes(even[8:20]) == b"".join(at.to_bytes(4, "little") for at in (0, 10, 20))
    assert moved_offsets(b"\7\0\0\0", moved, 4) == b"\7\0\0\0"  # no fragment's: it stays


def test_a_draft_takes_back_and_fills_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STEP", 8)
    draft = Draft()
    for part in (b"0123", b"456789", b"x" * 20, b"abc"):
        draft.write(part)
    draft.rewrite(2, b"AB")
    draft.rewrite(29, b"CDE")
    assert draft.size == 33
    draft.cut(31)
    draft.write(b"end")
    assert draft.view() == b"01AB456789" + b"x" * 19 + b"CD" + b"end"
    draft = Draft()
    draft.write(b"y" * 40)
    draft.cut(3)
    draft.write(b"z" * 30)
    draft.write(b"!")
    assert draft.view() == b"yyy" + b"z" * 30 + b"!"


def test_uids_are_put_in_within_twice_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands ahead of them was gone through again for each piece that came."""
    object_ = vast("private_tags", 1, EXPLICIT)
    pieces = [bytes(object_.dataset[at : at + 1]) for at in range(len(object_.dataset))]
    calls = []
    from scp.encoding import coercion  # noqa: PLC0415

    run = coercion._Placing.run
    monkeypatch.setattr(coercion._Placing, "run", lambda self, whole: (calls.append(1), run(self, whole))[1])
    assert b"".join(with_uids(pieces, lookup(EXPLICIT), {0x0020000D: "1.2"})) == object_.dataset
    assert len(calls) < 12


@pytest.mark.parametrize(
    ("kind", "syntax", "steps"),
    [
        ("private_tags", "explicit", "survey,split,implicit"),
        ("open_items", "implicit", "survey,split"),
        ("small_fragments", "jpegls", "survey,split,store"),
        ("long_text", "explicit", "survey,split"),
    ],
)
def test_memory_is_bounded(kind: str, syntax: str, steps: str) -> None:
    """300,000 of each took 75 to 120 MB."""
    count = "3e5" if kind != "long_text" else "1.5e8"
    script = Path(__file__).parents[1] / "vast.py"
    run = subprocess.run(
        [sys.executable, str(script), kind, syntax, count, steps],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(script.parents[1])},
    )  # fmt: skip
    grown = [int(each) for each in re.findall(r"grown (\d+) MB", run.stdout)]
    assert len(grown) == steps.count(",") + 1, run.stdout + run.stderr
    assert max(grown) < 50, run.stdout
