"""The smallest of several forms: what is tried, what is passed over and why; and nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from objects import Shape, assert_restored, corpus, kept, parts_of, phantom, received

from scp.archive.archive import Archive
from scp.archive.encode import keep
from scp.archive.form_choice import plan
from scp.archive.package import StoredForm
from scp.config.rules import PolicyRule, Stage
from scp.encoding.codecs import table
from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.lossless.jpeg2000 import JPEG2000_CODEC
from scp.encoding.codecs.lossless.jpegls import JPEGLS_CODEC
from scp.encoding.facts import survey
from scp.encoding.headers import Header
from scp.encoding.sample import sample_of
from scp.errors import CannotEncode
from scp.index.sql import SqlIndex
from scp.model import Received
from scp.objects import part10
from scp.objects.local import LocalStore
from scp.syntaxes import EXPLICIT, JPEGLS, lookup

pytestmark = pytest.mark.usefixtures("codecs_here")

LARGE = Shape(rows=320, columns=320, noise=0.01)
SMALL = Shape(rows=48, columns=48, noise=0.01)
FORMS = ("rle", "jpegls", "jpeg2000")


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes a codec in the table in some way."""

    def put(codec: Codec, **changes: object) -> None:
        rows = tuple(replace(row, **changes) if row.name == codec.name else row for row in table.CODECS)
        monkeypatch.setattr(table, "CODECS", rows)

    return put


class Clock:
    """Seconds that pass only when something takes them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, codec: Codec, seconds: float) -> Callable[..., bytes]:
        def encode(*arguments: object) -> bytes:
            self.now += seconds
            return codec.encode(*arguments)

        return encode


def smallest(*forms: str, **options: object) -> Stage:
    return Stage.model_validate({"form": list(forms or FORMS), "keep": "smallest", **options})


def outcomes(found: StoredForm) -> dict[str, str]:
    return {one.form: one.outcome for one in found.provenance.attempts}


def reason(found: StoredForm, form: str) -> str:
    return next(one.reason for one in found.provenance.attempts if one.form == form)


def timed(object_: Received, stage: Stage, clock: Clock) -> StoredForm:
    return keep(object_, survey(object_), PolicyRule(name="test", stages=(stage,)), clock=clock)


# -- budget ----------------------------------------------------------------------------------------------


def test_when_the_time_is_used_up_no_further_form_is_begun(double) -> None:
    clock, object_ = Clock(), phantom(SMALL)
    double(JPEGLS_CODEC, encode=clock.taking(JPEGLS_CODEC, 1.0))
    megabytes = len(object_.dataset) / 1e6
    stage = smallest("jpegls", "jpeg2000", "rle", budget_ms=999 / megabytes)
    found = timed(object_, stage, clock)
    assert outcomes(found) == {"jpegls": "kept", "jpeg2000": "skipped", "rle": "skipped"}
    assert reason(found, "rle") == "budget_ms used up"
    assert part10.unpack(found.data).provenance.attempts[1].outcome == "skipped"
    assert_restored(object_, found.data)
    enough = timed(object_, smallest("jpegls", "jpeg2000", "rle", budget_ms=1001 / megabytes), clock)
    assert "skipped" not in outcomes(enough).values()


def test_the_budget_is_for_a_megabyte_of_what_was_received(double) -> None:
    clock = Clock()
    double(JPEGLS_CODEC, encode=clock.taking(JPEGLS_CODEC, 1.0))
    stage = smallest("jpegls", "rle", budget_ms=10_000, shortcut=False)
    for shape, outcome in ((SMALL, "skipped"), (LARGE, "beaten")):
        clock.now = 0.0
        size = len(phantom(shape).dataset) / 1e6
        assert (size < 0.1) is (outcome == "skipped")
        assert outcomes(timed(phantom(shape), stage, clock))["rle"] == outcome


def test_a_form_that_does_is_looked_for_beyond_the_budget(double) -> None:
    clock = Clock()

    def refuses(*_: object) -> bytes:
        clock.now += 1e6
        raise CannotEncode("too odd")

    double(JPEGLS_CODEC, encode=refuses)
    found = timed(phantom(SMALL), smallest("jpegls", "rle", "jpeg2000", budget_ms=1), clock)
    assert outcomes(found) == {"jpegls": "refused", "rle": "kept", "jpeg2000": "skipped"}


# -- a sample --------------------------------------------------------------------------------------------


def test_a_sample_rules_out_what_is_larger() -> None:
    object_ = phantom(LARGE)
    in_full = kept(object_, smallest(shortcut=False))
    found = kept(object_, smallest())
    assert "skipped" not in outcomes(in_full).values()
    assert found.encoded.form == in_full.encoded.form
    assert outcomes(found)["rle"] == "skipped"
    assert reason(found, "rle").endswith("% larger in a sample")
    assert_restored(object_, found.data)


def test_what_a_sample_rules_out_is_tried_where_nothing_else_holds(double) -> None:
    def wrong(*arguments: object) -> np.ndarray:
        frame = JPEGLS_CODEC.decode(*arguments).copy()
        frame[0, 0] ^= 1
        return frame

    double(JPEGLS_CODEC, decode=wrong)
    object_ = phantom(LARGE)
    assert plan(smallest("jpegls", "rle"), parts_of(object_), EXPLICIT).forms == ("jpegls",)
    found = kept(object_, smallest("jpegls", "rle"))
    assert outcomes(found) == {"jpegls": "wrong", "rle": "kept"}
    assert_restored(object_, found.data)


@pytest.mark.parametrize("fault", [CannotEncode("not this one"), RuntimeError("a library's own")])
def test_what_fails_in_a_sample_is_tried_and_told(double, fault: Exception) -> None:
    def fails(*_: object) -> bytes:
        raise fault

    double(JPEGLS_CODEC, encode=fails)
    found = kept(phantom(LARGE), smallest("jpegls", "rle", "zstd"))
    assert {form for form, outcome in outcomes(found).items() if outcome in ("kept", "beaten")} == {
        "rle",
        "zstd",
    }
    assert outcomes(found)["jpegls"] == "refused"
    assert str(fault) in reason(found, "jpegls")


def test_forms_that_are_alike_in_a_sample_are_all_tried(double) -> None:
    """Within 2 %: here one codec under two names."""
    double(
        JPEG2000_CODEC, encode=JPEGLS_CODEC.encode, decode=JPEGLS_CODEC.decode, refuses=JPEGLS_CODEC.refuses
    )
    chosen = plan(smallest("rle", "jpeg2000", "jpegls"), parts_of(phantom(LARGE)), EXPLICIT)
    assert chosen.forms == ("jpeg2000", "jpegls")
    assert [one.form for one in chosen.passed] == ["rle"]


@pytest.mark.parametrize(
    ("shape", "rows", "frames"),
    [
        (Shape(rows=320, columns=320), 24, 1),
        (Shape(rows=1024, columns=256), 63, 1),
        (Shape(rows=320, columns=320, frames=12), 240, 1),
        (Shape(rows=320, columns=320, frames=60), 320, 3),
        (Shape(rows=64, columns=64, frames=20), 64, 3),
        (Shape(rows=64, columns=64), 0, 0),
        (Shape(rows=64, columns=64, frames=15), 0, 0),
        (Shape(rows=3, columns=30000), 3, 3),
        (
            Shape(
                rows=256, columns=256, samples=3, planar=1, photometric="RGB", bits_allocated=8, bits_stored=8
            ),
            24,
            1,
        ),
    ],
    ids=str,
)
def test_what_a_sample_is(shape: Shape, rows: int, frames: int) -> None:
    sample = sample_of(parts_of(phantom(shape)), lookup(EXPLICIT))
    if not rows:
        assert sample is None
        return
    form = Header(sample.header).format
    # A header that describes no number of frames describes one.
    assert (form.rows, form.columns, form.samples) == (rows, shape.columns, shape.samples)
    assert len(sample.pixel.value) == form.frame_size * frames
    assert form.frames == (frames if shape.frames > 1 else 1)


def test_a_sample_holds_the_pixels_of_all_parts() -> None:
    shape = replace(LARGE, frames=12, noise=0)
    sample = sample_of(parts_of(phantom(shape)), lookup(EXPLICIT))
    values = np.frombuffer(sample.pixel.value, "<u2").reshape(240, 320)
    plain = np.frombuffer(parts_of(phantom(shape)).pixel.value, "<u2").reshape(12, 320, 320)
    assert np.array_equal(values, np.concatenate([plain[2][13:93], plain[6][120:200], plain[10][226:306]]))


def test_what_came_compressed_has_the_same_sample() -> None:
    object_ = phantom(LARGE)
    compressed = part10.unpack(kept(object_, Stage(forms=("jpegls",), wrap="none")).data)
    again = replace(object_, dataset=compressed.dataset, transfer_syntax=JPEGLS, sha256="")
    samples = [sample_of(parts_of(one), lookup(one.transfer_syntax)) for one in (object_, again)]
    assert samples[0].pixel.value == samples[1].pixel.value


def test_what_a_sample_cannot_be_taken_of_is_tried_in_full() -> None:
    object_ = phantom(LARGE)
    for parts, syntax in (
        (None, EXPLICIT),
        (parts_of(object_), "1.2.840.10008.1.2.4.91"),  # it may be lossy
        (replace(parts_of(object_), pixel=None), EXPLICIT),
        (replace(parts_of(object_), pixel=replace(parts_of(object_).pixel, tag=0x7FE00008)), EXPLICIT),
    ):
        assert plan(smallest(), parts, syntax).forms == FORMS


# -- what is small ---------------------------------------------------------------------------------------


def test_what_a_process_saw_before_changes_no_form(tmp_path) -> None:
    """Of small images all forms are tried, each time: earlier objects of a series decide nothing."""
    rule = PolicyRule(name="test", stages=(smallest(),))
    store = LocalStore(tmp_path / "objects")
    archive = Archive(store, SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), (rule,))
    for seed in range(5):
        told = archive.ingest(phantom(replace(SMALL, seed=seed))).attempts
        assert "skipped" not in {one.outcome for one in told}
    archive.close()


# -- what it costs ---------------------------------------------------------------------------------------


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("folder", "each"), [("ct-ge", 2), ("ct-philips", 2), ("mr-siemens", 3), ("wg04", 3)]
)
def test_it_costs_less_than_one_percent(folder: str, each: int) -> None:
    """On real objects, some of each folder."""
    forms = {"form": ["jpegxl", "jpeg2000", "jpegls"], "effort": 3, "keep": "smallest"}
    sizes = {}
    for shortcut in (False, True):
        rule = PolicyRule(name="test", stages=(Stage.model_validate(forms | {"shortcut": shortcut}),))
        objects = [received(path) for path in corpus(folder)[::each]]
        sizes[shortcut] = sum(len(keep(one, survey(one), rule).data) for one in objects)
    assert sizes[True] < 1.01 * sizes[False]
