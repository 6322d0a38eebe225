"""Codecs compared on one's own objects: what is chosen, what is measured, what is proposed, what is drawn."""

from __future__ import annotations

import json
import random
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from objects import Shape, as_received, corpus, described, kept, phantom, written
from PIL import Image
from typer.testing import CliRunner

from scp.advise import candidates as table
from scp.advise import measuring, sampling
from scp.advise.advise import Advice, Wanted, advise
from scp.advise.candidates import ByteCandidate, Candidate, ImageCandidate, candidates
from scp.advise.measuring import Measured, Row, measure, row
from scp.advise.proposal import Evidence, propose
from scp.advise.sampling import Seen, grouped, look, spread
from scp.advise.sampling import load as load_sample
from scp.archive.foreign import files_below
from scp.background.progress import Progress, Silent
from scp.cli.chart import best, draw
from scp.cli.main import app
from scp.config.load import load
from scp.config.rules import Stage
from scp.encoding.codecs.lossless.jpeg2000 import HTJ2K_CODEC
from scp.encoding.codecs.lossy_table import LOSSY_CODECS
from scp.encoding.elements import CANONICAL, element_header
from scp.encoding.pixels import PixelFormat
from scp.errors import ConfigurationError
from scp.model import Received
from scp.objects import part10
from scp.objects.part10 import Part10
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, RLE

pytestmark = pytest.mark.usefixtures("codecs_here")

_TIMES = measuring._MOST_TIMES


@pytest.fixture(autouse=True)
def _measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick work is repeated for a better time, which one of these tests has to show."""
    monkeypatch.setattr(measuring, "_MOST_TIMES", 1)


OWN = {"htj2k", "rle", "jpegls", "jpegxl 3", "jpegxl 7", "jpeg2000"}


@contextmanager
def told(_doing: str, _unit: str) -> Iterator[Progress]:
    yield Silent()


def as_file(received: Received, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    uids = (received.sop_class_uid, received.sop_instance_uid)
    path.write_bytes(part10.pack(Part10(*uids, received.transfer_syntax, received.dataset)))
    return path


def image(shape: Shape, syntax: str = EXPLICIT, header: bytes = b"", **values: str) -> Received:
    """A phantom with other values in its header; ``header`` in a private element makes it longer."""
    plain = phantom(shape, EXPLICIT)
    dataset = described(shape, f"1.2.3.{shape.seed}")
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    if header:
        dataset.private_block(0x0009, "ZSCP TEST", create=True).add_new(
            1, "OB", header + b"\0" * (len(header) % 2)
        )
    pixels = bytes(plain.dataset)[-len(_pixels(shape)) - 12 :]
    stream = written(dataset, explicit=True, little=True) + pixels
    return as_received(stream, syntax, plain.sop_class_uid, f"1.2.3.{shape.seed}")


def _pixels(shape: Shape) -> bytes:
    size = shape.rows * shape.columns * shape.samples * shape.frames * shape.bits_allocated // 8
    return bytes(size + size % 2)


def folder_of(tmp_path: Path, objects: Sequence[Received], name: str = "in") -> Path:
    for number, received in enumerate(objects):
        as_file(received, tmp_path / name / f"{number:03}.dcm")
    return tmp_path / name


def one_sample(tmp_path: Path, received: Received) -> sampling.SampledObject:
    (seen,) = look([as_file(received, tmp_path / "one.dcm")])
    assert seen.outcome == "sound", seen
    return load_sample(seen)


def measured(
    sample: sampling.SampledObject, compared: Sequence[Candidate] | None = None
) -> dict[str, Measured]:
    compared = compared or candidates()
    return dict(zip((each.name for each in compared), measure(sample, compared), strict=True))


# What is chosen


def _seen(series: str, number: int) -> Seen:
    return Seen(Path(f"{series}/{number:04}"), "sound", series=series, size=10, measured=10)


def test_a_choice_is_the_same_each_time_and_spread_over_series() -> None:
    files = [
        _seen(series, each) for series, count in (("a", 100), ("b", 3), ("c", 40)) for each in range(count)
    ]
    chosen = spread(files, 13)
    shuffled = files.copy()
    random.Random(1).shuffle(shuffled)
    assert set(spread(shuffled, 13)) == set(chosen)
    assert Counter(one.series for one in chosen) == {"a": 5, "b": 3, "c": 5}
    assert [int(one.path.name) for one in chosen if one.series == "a"] == [10, 30, 50, 70, 90]


def test_of_more_series_than_fit_some_are_chosen_across_all() -> None:
    files = [_seen(f"{series:02}", 0) for series in range(50)]
    assert [one.series for one in spread(files, 5)] == ["05", "15", "25", "35", "45"]
    assert len(spread(files, 500)) == 50
    assert spread([], 5) == []


def test_groups_are_bounded_in_bytes_but_hold_one_object() -> None:
    files = [replace(_seen("a", each), modality="MG", measured=10**6) for each in range(9)]
    assert len(grouped(files, [], "modality", 32, 3 * 10**6)[0].chosen) == 3
    assert len(grouped(files, [], "modality", 32, 10)[0].chosen) == 1
    assert len(grouped(files, [], "modality", 2, 10**9)[0].chosen) == 2


def test_groups_by_folder_are_named_by_it(tmp_path: Path) -> None:
    root = folder_of(tmp_path, [image(Shape(seed=1)), image(Shape(seed=2))])
    as_file(image(Shape(seed=3)), root / "deep" / "er" / "x.dcm")
    names = [group.name for group in grouped(look(files_below([root])), [root], "folder", 9, 10**9)]
    assert names == ["deep/er", "in"]


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED, EXPLICIT])
def test_what_files_are(tmp_path: Path, syntax: str) -> None:
    files = {
        "sound": as_file(phantom(Shape(), syntax), tmp_path / "a"),
        "lossy": as_file(replace(phantom(Shape()), transfer_syntax="1.2.840.10008.1.2.4.50"), tmp_path / "b"),
        "skipped": tmp_path / "c",
        "failed": tmp_path / "d",
    }
    files["skipped"].write_bytes(b"no DICOM" * 30)
    whole = as_file(phantom(Shape(), EXPLICIT), tmp_path / "e").read_bytes()
    files["failed"].write_bytes(whole[:-20])
    found = {seen.path: seen for seen in look(files.values())}
    assert found[files["sound"]].outcome == "sound"
    assert (found[files["sound"]].modality, found[files["sound"]].series) == ("OT", "1.2.826.0.1.2")
    assert found[files["skipped"]].outcome == "skipped"
    assert found[files["failed"]].outcome == "failed"
    assert found[files["failed"]].reason
    # The label says JPEG, the pixel data is native: nobody can follow that.
    assert found[files["lossy"]].outcome == "failed"


def test_what_came_lossy_is_counted_and_not_compared(tmp_path: Path) -> None:
    dataset = written(described(Shape(), "1.2.3"), explicit=True, little=True)
    codestream = element_header(0x7FE00010, b"OB", 0xFFFFFFFF, CANONICAL)
    items = bytes.fromhex("feff00e000000000feff00e004000000ffd8ffd9feffdde000000000")
    lossy = as_received(dataset + codestream + items, "1.2.840.10008.1.2.4.50")
    root = folder_of(tmp_path, [lossy, image(Shape(rows=64, columns=64))])
    found = advise([root], Wanted(), told)
    assert (len(found.lossy), len(found.failed), found.tables[0].measured) == (1, 0, 1)


def test_frames_of_long_multi_frames_are_taken_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape(rows=8, columns=8, frames=20)
    monkeypatch.setattr(sampling, "_MOST_OF_ONE", 4 * 128 + 5)
    sample = one_sample(tmp_path, phantom(shape))
    assert (len(sample.frames), sample.cut) == (4, True)
    values = np.frombuffer(bytes(phantom(shape).dataset[-20 * 128 :]), "<u2").reshape(20, 8, 8)
    assert all(
        np.array_equal(frame, values[at]) for frame, at in zip(sample.frames, (2, 7, 12, 17), strict=True)
    )
    assert sample.raw == len(phantom(shape).dataset) - 16 * 128
    assert sample.seen.size == len(phantom(shape).dataset)


# What is measured


def test_every_form_of_the_table_is_compared_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_MOST_TIMES", _TIMES)
    found = measured(one_sample(tmp_path, phantom(Shape(rows=64, columns=64))))
    lossless = {name for name, one in found.items() if one.outcome == "lossless"}
    others = {"zstd 1", "zstd 3", "zstd 19", "deflate", "native", "gzip 6", "brotli 9", "xz 6"}
    assert lossless >= OWN | others | {"PNG", "AVIF lossless"}
    assert {one.outcome for one in found.values()} == {"lossless", "refused"}
    assert all(
        one.encode > 0 and one.disk and one.line for one in found.values() if one.outcome == "lossless"
    )
    assert found["WebP lossless"].reason == "takes 8 bits a sample, not 16"


def test_which_are_storable() -> None:
    assert {each.name for each in candidates() if not each.storable} == {
        "gzip 6",
        "brotli 9",
        "xz 6",
        "PNG",
        "WebP lossless",
        "AVIF lossless",
    }
    assert not any(each.lossy for each in candidates())
    assert any(each.lossy for each in candidates(lossy=True))
    assert not any(each.storable for each in candidates(lossy=True) if each.lossy)


@pytest.mark.parametrize(
    ("bits", "samples", "signed"), [(8, 1, False), (8, 3, False), (16, 1, True), (16, 1, False), (8, 1, True)]
)
def test_codecs_that_stand_beside_give_back_what_they_take(
    tmp_path: Path, bits: int, samples: int, signed: bool
) -> None:
    shape = Shape(
        rows=24, columns=40, bits_allocated=bits, bits_stored=min(bits, 12), samples=samples, signed=signed,
        photometric="RGB" if samples == 3 else "MONOCHROME2",
    )  # fmt: skip
    found = measured(one_sample(tmp_path, phantom(shape)))
    assert {one.outcome for one in found.values()} <= {"lossless", "refused"}
    assert found["PNG"].outcome == "lossless"
    assert found["WebP lossless"].outcome == ("lossless" if bits == 8 else "refused")
    assert found["AVIF lossless"].outcome == ("refused" if signed else "lossless")


def test_a_new_row_of_the_table_is_compared_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "CODECS", (*table.CODECS, replace(HTJ2K_CODEC, name="newest")))  # type: ignore[attr-defined]
    found = measured(one_sample(tmp_path, phantom(Shape(rows=64, columns=64))))
    assert found["newest"].outcome == "lossless"


def _wrong(frame: np.ndarray, form: object, effort: int) -> bytes:
    return HTJ2K_CODEC.encode(frame * 0, form, effort)  # type: ignore[arg-type, operator]


def test_a_codec_that_does_not_give_back_what_it_took_is_marked_and_never_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(HTJ2K_CODEC, name="wrong", encode=_wrong)
    monkeypatch.setattr(table, "CODECS", (wrong, *table.CODECS))  # type: ignore[attr-defined]
    root = folder_of(tmp_path, [image(Shape(rows=64, columns=64, seed=each, noise=0.3)) for each in range(3)])
    found = advise([root], Wanted(), told)
    rows = {one.candidate.name: one for one in found.tables[0].rows}
    assert rows["wrong"].verdict == "wrong"
    assert rows["wrong"].disk == min(one.disk for one in rows.values() if one.taken)  # and still not proposed
    assert found.proposal is not None
    assert '"wrong"' not in found.proposal.toml


def test_codecs_that_raise_do_not_end_the_rest(tmp_path: Path) -> None:
    def fail(_data: object) -> bytes:
        raise RuntimeError("gone")

    compared = (ByteCandidate("bad", "zstd", encode=fail), *candidates())
    found = measured(one_sample(tmp_path, phantom(Shape())), compared)
    assert (found["bad"].outcome, found["bad"].reason) == ("refused", "RuntimeError: gone")
    assert found["zstd 3"].outcome == "lossless"


def _failing(frame: np.ndarray, form: object, effort: int) -> bytes:
    raise RuntimeError("gone")


def test_a_codec_that_raises_while_a_dictionary_is_trained_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (replace(one, encode=_failing) if one.name == "htj2k" else one for one in table.CODECS)  # type: ignore[attr-defined]
    monkeypatch.setattr(table, "CODECS", tuple(rows))
    objects = [image(Shape(seed=each), header=b"A" * 3000) for each in range(30)]
    (found,) = advise([folder_of(tmp_path, objects)], Wanted(sample=8), told).tables
    taken = {one.candidate.name: one.taken for one in found.rows}
    assert (taken["htj2k"], taken["zstd 3 +dict"], len(found.group.others)) == (0, 8, 22)


def test_objects_that_a_codec_refuses_count_as_the_fallback_keeps_them(tmp_path: Path) -> None:
    """All candidates are compared over the same objects, or a codec that takes the easy ones would win."""
    taken = image(Shape(rows=48, columns=48, seed=1))
    refused = image(Shape(rows=48, columns=48, seed=2, signed=True))
    found = advise([folder_of(tmp_path, [taken, refused])], Wanted(), told)
    rows = {one.candidate.name: one for one in found.tables[0].rows}
    (sample,) = (one_sample(tmp_path, refused),)
    alone = measured(sample)
    assert (rows["jpegxl 3"].taken, rows["jpegxl 3"].objects) == (1, 2)
    assert (
        rows["jpegxl 3"].reason == "JPEG XL encodes negative samples only where Bits Stored is Bits Allocated"
    )
    assert alone["jpegxl 3"].disk == alone["zstd 3"].disk
    assert alone["jpegxl 3"].line == sample.raw
    assert rows["jpegxl 3"].verdict == "lossless"


def test_objects_without_pixels_are_compared_as_bytes(tmp_path: Path) -> None:
    dataset = described(Shape(), "1.2.3")
    dataset.Modality = "SR"
    stream = written(dataset, explicit=True, little=True)
    found = measured(one_sample(tmp_path, as_received(stream * 1, EXPLICIT)))
    assert found["zstd 3"].outcome == "lossless"
    assert {found[name].outcome for name in OWN} == {"refused"}


@pytest.mark.parametrize("header", [0, 700, 6000], ids=["little header", "some", "much"])
@pytest.mark.parametrize("form", ["htj2k", "jpegls", "zstd 3", "native", "deflate"])
def test_sizes_on_disk_are_those_that_are_kept(tmp_path: Path, form: str, header: int) -> None:
    """What advise says and what keep does must not drift apart."""
    text = bytes(random.Random(0).choices(b"ACGT ", k=header))
    received = image(Shape(rows=96, columns=96), header=text)
    compared = [each for each in candidates() if each.name == form]
    found = measured(one_sample(tmp_path, received), compared)[form]
    name, _, level = form.partition(" ")
    stored = kept(received, Stage(forms=(name,), level=int(level) if level else None))
    assert stored.encoded.form == name
    assert abs(found.disk - len(stored.data)) <= 80  # times, AE titles and what is noted of lengths differ
    if name != "zstd":
        assert abs(found.line - len(stored.encoded.dataset)) <= 2


def test_a_dictionary_is_trained_on_other_objects(tmp_path: Path) -> None:
    text = bytes(random.Random(0).choices(b"ABCDEFGH", k=3000))
    objects = [image(Shape(seed=each), header=text + str(each).encode()) for each in range(60)]
    (found,) = advise([folder_of(tmp_path, objects)], Wanted(sample=8), told).tables
    assert {one.path for one in found.group.chosen}.isdisjoint(one.path for one in found.group.others)
    rows = {one.candidate.name: one for one in found.rows}
    assert rows["zstd 3 +dict"].taken == 8
    assert rows["zstd 3 +dict"].disk < 0.5 * rows["zstd 3"].disk
    assert rows["htj2k +dict"].disk < 0.5 * rows["htj2k"].disk
    assert rows["htj2k +dict"].line == rows["htj2k"].line


def test_lossy_codecs_tell_their_error(tmp_path: Path) -> None:
    for bits in (8, 16):
        shape = Shape(rows=64, columns=64, bits_allocated=bits, bits_stored=min(bits, 12), noise=0.1)
        root = folder_of(tmp_path, [phantom(shape)], f"of {bits}")
        (found,) = advise([root], Wanted(lossy=True), told).tables
        rows = {one.candidate.name: one for one in found.rows}
        for bound in (1, 2, 4, 10):
            near = rows[f"JPEG-LS near-lossless ±{bound}"]
            assert (near.verdict, near.max_error) == ("lossy", bound)
            assert 0 < near.mean_error < bound
        own = [one for one in LOSSY_CODECS if not one.bounded and not one.refuses(pixels_of(shape))]
        assert len(own) == 4
        for one in own:
            fine, coarse = rows[f"{one.name} q90"], rows[f"{one.name} q75"]
            assert fine.psnr > coarse.psnr > 20
            assert 0 < fine.mean_error < coarse.mean_error < coarse.max_error
            assert fine.line > coarse.line
        assert rows["jpegls"].verdict == "lossless"


def pixels_of(shape: Shape) -> PixelFormat:
    bits = shape.bits_stored
    return PixelFormat(
        shape.rows, shape.columns, 1, shape.bits_allocated, bits, bits - 1, False, "MONOCHROME2", 0, 1
    )


def test_seconds_are_those_of_a_study_on_the_line() -> None:
    found = [Measured(1000, 250, 200, "lossless", encode=1e-3, decode=2e-3)] * 4
    one = row(Candidate("x", "x"), found, study=10_000_000, link=5.0)
    assert one.study_seconds == pytest.approx(10_000_000 * 0.25 * 8 / 5e6)
    assert (one.line, one.disk) == (25.0, 20.0)
    assert (one.encode, one.decode) == (pytest.approx(1.0), pytest.approx(0.5))


# What is proposed

_COMPARED: tuple[Candidate, ...] = (
    ImageCandidate("quick", "htj2k"),
    ImageCandidate("good", "jpegls"),
    ImageCandidate("best 3", "jpegxl", effort=3),
    ImageCandidate("best 7", "jpegxl", effort=7),
    ImageCandidate("other", "jpeg2000"),
    ByteCandidate("zstd 3", "zstd", level=3),
    ByteCandidate("native", "native"),
    ImageCandidate("PNG"),
)


def _evidence(modality: str, *figures: tuple[float, float]) -> Evidence:
    """Size in % and encode speed in MB/s of each candidate; decoding is as fast."""
    raw = 1_000_000
    found = [
        Measured(raw, raw, int(raw * disk / 100), "lossless", encode=1 / speed, decode=1 / speed)
        for disk, speed in figures
    ]
    return Evidence(modality, tuple(found))


_REST = ((45.0, 100.0), (100.0, 9000.0), (1.0, 9000.0))
_USUAL = ((28.7, 243.0), (26.7, 105.0), (24.4, 42.0), (24.3, 4.0), (26.1, 23.0), *_REST)


def _stages(toml: str, tmp_path: Path) -> dict[str, tuple[Stage, ...]]:
    path = tmp_path / "proposed.toml"
    path.write_text(toml)
    return {rule.name: rule.stages for rule in load(path, {}).policy}


def test_new_objects_get_the_fast_form_and_old_ones_the_small_one(tmp_path: Path) -> None:
    found = _stages(propose(_COMPARED, [_evidence("CT", *_USUAL)]).toml, tmp_path)
    assert list(found) == ["received lossy", "everything else"]
    waiting, fast, old = found["everything else"]
    assert (waiting.forms, fast.forms, fast.after) == (("received",), ("htj2k",), 0)
    # effort 7 saves less than 1 % of it, and takes ten times as long
    assert (old.forms, old.effort, old.after) == (("jpegxl",), 3, 180 * 86_400)


def test_modalities_that_differ_have_a_rule_and_those_alike_share_one(tmp_path: Path) -> None:
    small = ((18.0, 200.0), (17.9, 20.0), (17.8, 20.0), (17.7, 4.0), (17.6, 22.0), *_REST)
    evidence = [_evidence("CT", *_USUAL)] * 9 + [_evidence(name, *small) for name in ("US", "ES")]
    toml = propose(_COMPARED, evidence).toml
    found = _stages(toml, tmp_path)
    assert list(found) == ["received lossy", "ES, US", "everything else"]
    assert [stage.forms for stage in found["ES, US"]] == [("received",), ("htj2k",)]
    assert "# US: quick keeps 18.0 %, encodes 200 and decodes 200 MB/s a core;" in toml
    match = next(rule["match"] for rule in tomllib.loads(toml)["policy"] if rule["name"] == "ES, US")
    assert match == {"Modality": ["ES", "US"]}


def test_several_forms_are_listed_where_each_is_smallest_for_some(tmp_path: Path) -> None:
    film = ((41.0, 243.0), (40.8, 105.0), (40.4, 42.0), (40.9, 4.0), (35.7, 23.0), *_REST)
    evidence = [_evidence("MG", *film), _evidence("MG", *_USUAL)]
    old = _stages(propose(_COMPARED, evidence).toml, tmp_path)["everything else"][-1]
    assert (set(old.forms), old.keep, old.effort) == ({"jpeg2000", "jpegxl"}, "smallest", 3)


def test_what_was_wrong_or_is_not_storable_is_not_proposed() -> None:
    wrong = [_evidence("CT", *_USUAL)]
    found = list(wrong[0].found)
    found[2] = replace(found[2], outcome="wrong", disk=10)
    found[3] = replace(found[3], outcome="wrong", disk=10)
    toml = propose(_COMPARED, [*wrong, Evidence("CT", tuple(found))]).toml
    assert "jpegxl" not in toml.split("received lossy")[1].split("stages", 1)[1].split("stages", 1)[1]
    assert "PNG" not in toml


def test_a_slow_machine_gets_a_policy_too(tmp_path: Path) -> None:
    slow = tuple((disk, speed / 1000) for disk, speed in _USUAL)
    fast = _stages(propose(_COMPARED, [_evidence("CT", *slow)]).toml, tmp_path)["everything else"][1]
    assert fast.forms == ("htj2k",)


@pytest.mark.parametrize("name", ['X"\n[node]\nport = 1\n#', "*", "<8", "", "ct"])
def test_a_modality_that_is_none_is_in_no_rule(name: str, tmp_path: Path) -> None:
    evidence = [_evidence("CT", *_USUAL), _evidence(name, *_USUAL[:4], (1.0, 50.0), *_REST)]
    toml = propose(_COMPARED, evidence).toml
    assert "port" not in toml
    rules = tomllib.loads(toml)["policy"]
    assert [rule["name"] for rule in rules] == ["received lossy", "CT", "everything else"]
    assert len(_stages(toml, tmp_path)) == 3


# What is shown


@cache
def _advice(lossy: bool) -> Advice:
    """On a few small objects, measured once: that takes seconds."""
    if not lossy:
        found = _advice(True)
        lossless = [tuple(each for each in one.rows if each.verdict != "lossy") for one in found.tables]
        pairs = zip(found.tables, lossless, strict=True)
        return replace(found, tables=tuple(replace(one, rows=rows) for one, rows in pairs))
    objects = [image(Shape(rows=64, columns=64, seed=each), Modality="CT") for each in range(3)]
    objects += [image(Shape(rows=32, columns=32, bits_allocated=8, bits_stored=8, seed=9), Modality="US")]
    with TemporaryDirectory() as folder:
        return advise([folder_of(Path(folder), objects)], replace(Wanted(), lossy=lossy), told)


def test_both_charts_show_all_figures(tmp_path: Path) -> None:
    files = [tmp_path / "chart.svg", tmp_path / "chart.png"]
    draw(_advice(True), files)
    _shows_all_figures(_advice(True), files[0], lossy=True)
    with Image.open(files[1]) as picture:
        assert picture.width > 1500
    again = tmp_path / "again.svg"
    draw(_advice(True), [again])
    assert again.read_bytes() == files[0].read_bytes()


def test_a_chart_without_lossy_codecs_names_none(tmp_path: Path) -> None:
    draw(_advice(False), [tmp_path / "chart.svg"])
    _shows_all_figures(_advice(False), tmp_path / "chart.svg", lossy=False)


def _shows_all_figures(found: Advice, chart: Path, lossy: bool) -> None:
    root = ET.fromstring(chart.read_text())
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    for one in found.tables:
        assert any(text.startswith(f"{one.group.name}: ") for text in texts if text)
        for each in one.rows:
            if each.taken and each.candidate.name != "native":
                assert each.candidate.name in texts
                assert (f"{each.disk:.1f}" if each.disk < 100 else f"{each.disk:.0f}") in texts
    assert ("lossy" in texts) is lossy


def test_a_chart_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone/chart\.svg cannot be written: No such file"):
        draw(_advice(False), [tmp_path / "gone" / "chart.svg"])


def test_without_the_library_for_charts_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("scp.advise.advise.advise", lambda *_: pytest.fail("it measures"))
    done = CliRunner().invoke(app, ["advise", str(tmp_path), "--chart", str(tmp_path / "figures.svg")])
    assert "pip install '.[charts]'" in str(done.exception)


def test_the_best_are_those_that_none_beats() -> None:
    def made(name: str, disk: float, encode: float, form: str = "form", verdict: str = "lossless") -> Row:
        return Row(Candidate(name, form), 1, 1, verdict, "", disk=disk, encode=encode)

    rows = [made("a", 10, 5), made("b", 20, 50), made("c", 21, 40), made("d", 5, 90, form=""),
            made("e", 5, 90, verdict="wrong")]  # fmt: skip
    assert [each.candidate.name for each in best(rows)] == ["a", "b"]


# The command


def test_the_command_prints_tables_and_a_policy_that_can_be_used(tmp_path: Path) -> None:
    root = folder_of(tmp_path, [image(Shape(rows=64, columns=64, seed=each)) for each in range(2)])
    done = CliRunner().invoke(app, ["advise", str(root), "--link", "8"])
    assert done.exit_code == 0, done.output
    assert "OT: 2 of 2 objects" in done.output
    assert "s at 8 Mbit/s" in done.output
    assert "gzip 6 *" in done.output
    path = tmp_path / "zscp.toml"
    path.write_text(done.stdout[done.stdout.index("[[policy]]") :])
    assert load(path, {}).policy[-1].name == "everything else"


def test_json_is_all_that_is_on_standard_output(tmp_path: Path) -> None:
    root = folder_of(tmp_path, [image(Shape(rows=64, columns=64))])
    done = CliRunner().invoke(app, ["advise", str(root), "--json", "--by", "folder"])
    found = json.loads(done.stdout)
    assert found["groups"][0]["name"] == "in"
    assert {one["name"] for one in found["groups"][0]["codecs"] if one["verdict"] == "lossless"} >= OWN
    assert tomllib.loads(found["policy"])["policy"]


def test_unreadable_files_are_told_and_end_in_status_1(tmp_path: Path) -> None:
    root = folder_of(tmp_path, [image(Shape(rows=64, columns=64))])
    (root / "cut.dcm").write_bytes((root / "000.dcm").read_bytes()[:-100])
    (root / "notes.txt").write_text("none")
    done = CliRunner().invoke(app, ["advise", str(root)])
    assert done.exit_code == 1
    assert "cut.dcm" in done.output
    assert "1 no DICOM; 1 unreadable." in done.output
    assert "[[policy]]" in done.output


def test_pixels_that_cannot_be_decoded_are_told(tmp_path: Path) -> None:
    """Its header can be followed, so only loading it shows what it is."""
    stored = kept(phantom(Shape(rows=64, columns=64, noise=0)), Stage(forms=("rle",), wrap="none"))
    dataset = bytearray(stored.encoded.dataset)
    begins = dataset.index(b"\x02\0\0\0\x40\0\0\0")  # two segments, the first behind the header of 64 bytes
    dataset[begins : begins + 4] = b"\xff\xff\xff\xff"
    root = folder_of(tmp_path, [as_received(bytes(dataset), RLE), image(Shape(rows=64, columns=64))])
    found = advise([root], Wanted(), told)
    assert [one.path.name for one in found.failed] == ["000.dcm"]
    assert found.failed[0].reason
    assert found.tables[0].measured == 1


def test_nothing_to_compare_is_status_1(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    done = CliRunner().invoke(app, ["advise", str(tmp_path)])
    assert done.exit_code == 1
    assert "1 file; 0 measured; 1 no DICOM." in done.output


@pytest.mark.parametrize(
    "arguments", [["--by", "patient"], ["--chart", "figures.gif"], ["--sample", "0"], ["--link", "0"]]
)
def test_bad_usage_is_status_2(tmp_path: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["advise", str(tmp_path), *arguments])
    assert done.exit_code == 2
    assert CliRunner().invoke(app, ["advise", str(tmp_path / "gone")]).exit_code == 2


@pytest.mark.corpus
@pytest.mark.parametrize("folder", ["ct-ge", "ct-philips", "mr-siemens", "sr"])
def test_zstd_3_is_smaller_than_gzip_6_on_real_objects(folder: str) -> None:
    """Where headers are most of small objects (mr-small) it is not: docs/decisions/0059."""
    files = corpus(folder)
    samples = [load_sample(seen) for seen in look(files[:: len(files) // 4]) if seen.outcome == "sound"]
    compared = [each for each in candidates() if each.name in ("zstd 3", "gzip 6")]
    sizes = Counter[str]()
    for sample in samples:
        sizes.update({name: one.disk for name, one in measured(sample, compared).items()})
    assert sizes["zstd 3"] < sizes["gzip 6"]
