"""Invariants 2 and 3: what is kept was proven, and what cannot be kept in one form is kept in another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from objects import Shape, as_received, assert_restored, corpus, kept, phantom, received

from scp.archive.encode import keep
from scp.archive.package import Packer, StoredForm
from scp.config.rules import DEFAULT_POLICY, PolicyRule, Stage
from scp.encoding.codecs import table
from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.lossless.jpegls import JPEGLS_CODEC
from scp.encoding.facts import survey
from scp.errors import CannotDecode, CannotEncode
from scp.objects import part10
from scp.policy.rules import choose
from scp.syntaxes import EXPLICIT, IMPLICIT, JPEGLS

pytestmark = pytest.mark.usefixtures("codecs_here")

IMAGE = Shape(rows=48, columns=48, noise=0.01)


@pytest.fixture
def double(monkeypatch) -> Callable[..., None]:
    """Puts a codec that is changed in some way where JPEG-LS is in the table."""

    def put(**changes: object) -> None:
        codec: Codec = replace(JPEGLS_CODEC, **changes)
        rows = tuple(codec if row.name == JPEGLS_CODEC.name else row for row in table.CODECS)
        monkeypatch.setattr(table, "CODECS", rows)

    return put


def outcomes(found: StoredForm) -> dict[str, tuple[str, str]]:
    return {attempt.form: (attempt.outcome, attempt.reason) for attempt in found.provenance.attempts}


def raising(error: Exception) -> Callable[..., None]:
    def function(*_: object) -> None:
        raise error

    return function


def one_pixel_off(*arguments) -> np.ndarray:
    frame = JPEGLS_CODEC.decode(*arguments).copy()
    frame[0, 0] ^= 1
    return frame


def encodes_another(frame, form, effort) -> bytes:
    other = frame.copy()
    other[-1, -1] ^= 1
    return JPEGLS_CODEC.encode(other, form, effort)


def with_comments(codestream: bytes) -> bytes:
    """A sound JPEG-LS codestream of a megabyte more."""
    comment = b"\xff\xfe\xff\xff" + bytes(0xFFFF - 2)
    return codestream[:2] + comment * 16 + codestream[2:]


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({"decode": one_pixel_off}, "wrong", "not what was received"),
        ({"encode": encodes_another}, "wrong", "not what was received"),
        (
            {"decode": lambda _stream, form: np.zeros(form.shape, form.dtype)},
            "wrong",
            "not what was received",
        ),
        ({"decode": raising(CannotDecode("no such marker"))}, "wrong", "no such marker"),
        ({"decode": raising(RuntimeError("a library's own"))}, "wrong", "a library's own"),
        ({"decode": lambda _stream, form: np.zeros((1, 1), form.dtype)}, "wrong", "a frame of 2 bytes"),
        ({"encode": raising(CannotEncode("too odd"))}, "refused", "too odd"),
        ({"encode": raising(MemoryError("no more"))}, "no room", "not enough memory: no more"),
        ({"encode": raising(RuntimeError("a library's own"))}, "refused", "a library's own"),
        ({"encode": lambda *_: b""}, "wrong", ""),
        ({"encode": lambda *_: b"garbage"}, "wrong", ""),
        ({"refuses": lambda _form: "not today"}, "refused", "not today"),
        ({"refuses": raising(KeyError("its own fault"))}, "wrong", "KeyError"),
        ({"photometric": raising(AttributeError("its own fault"))}, "wrong", "AttributeError"),
        ({"encode": lambda *given: with_comments(JPEGLS_CODEC.encode(*given))}, "larger", "received"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_what_a_codec_gets_wrong_is_never_kept(double, changes: dict, outcome: str, reason: str) -> None:
    double(**changes)
    object_ = phantom(IMAGE)
    found = kept(object_, Stage(forms=("jpegls", "rle"), wrap="none"))
    assert found.encoded.form == "rle"
    assert outcomes(found)["jpegls"][0] == outcome
    assert reason in outcomes(found)["jpegls"][1]
    assert outcomes(found)["rle"][0] == "kept"
    assert_restored(object_, found.data)
    remembered = {attempt.form: attempt.outcome for attempt in part10.unpack(found.data).provenance.attempts}
    assert remembered == {"jpegls": outcome, "rle": "kept"}
    assert outcomes(kept(object_, Stage(forms=("jpegls",))))["zstd"][0] == "kept"


def test_a_history_that_cannot_be_written_down_costs_no_form(double, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file was proven before: no C-STORE fails for what is told of it."""
    double(encode=raising(CannotEncode("too odd")))
    monkeypatch.setattr(Packer, "pack_again", raising(MemoryError("no more")))
    object_ = phantom(IMAGE)
    found = kept(object_, Stage(forms=("jpegls", "rle"), wrap="none"))
    assert found.encoded.form == "rle"
    assert_restored(object_, found.data)


ENCODERS = tuple(codec.name for codec in table.CODECS if codec.writes)


@pytest.mark.parametrize("lie", ["decode", "encode"])
@pytest.mark.parametrize("name", ENCODERS)
def test_no_row_of_the_table_is_believed(monkeypatch, name: str, lie: str) -> None:
    """One pixel off, on the way in or back: never on disk, and the object is kept in the next form."""
    sound = next(codec for codec in table.CODECS if codec.name == name)

    def wrong(frame: np.ndarray) -> np.ndarray:
        other = frame.copy()
        other[-1, -1] ^= 1
        return other

    lying = {
        "decode": replace(sound, decode=lambda *given: wrong(sound.decode(*given))),
        "encode": replace(sound, encode=lambda frame, *more: sound.encode(wrong(frame), *more)),
    }[lie]
    rows = tuple(lying if codec is sound else codec for codec in table.CODECS)
    monkeypatch.setattr(table, "CODECS", rows)
    following = "jpegls" if name != "jpegls" else "rle"
    object_ = phantom(IMAGE)
    found = kept(object_, Stage(forms=(name, following)))
    assert outcomes(found)[name] == ("wrong", "when decoded, it is not what was received")
    assert found.encoded.form == following
    assert_restored(object_, found.data)


def test_a_sound_double_is_kept(double) -> None:
    """Or the tests above would pass for a table that nobody reads."""
    double(library=lambda: "double")
    found = kept(phantom(IMAGE), Stage(forms=("jpegls", "rle")))
    assert (found.encoded.form, found.provenance.codec) == ("jpegls", "double")


def test_the_first_that_holds_is_kept_and_later_ones_are_not_tried() -> None:
    found = kept(phantom(IMAGE), Stage(forms=("rle", "jpegls")))
    assert found.encoded.form == "rle"
    assert set(outcomes(found)) == {"rle"}


def test_the_smallest_is_kept() -> None:
    stage = Stage(forms=("rle", "native", "jpegls", "htj2k", "zstd"), keep="smallest", wrap="none")
    found = kept(phantom(IMAGE), stage)
    sizes = {attempt.form: attempt.size for attempt in found.provenance.attempts}
    smallest = min(sizes, key=sizes.get)
    assert found.encoded.form == smallest != "rle"
    # Its own attempts were written into it after it was chosen.
    assert 0 <= len(found.data) - sizes[smallest] < 500
    told = outcomes(found)
    assert told.pop(smallest)[0] == "kept"
    assert {outcome for outcome, _ in told.values()} == {"beaten"}


def test_noise_is_larger_and_stays_as_received() -> None:
    object_ = phantom(Shape(rows=64, columns=64, bits_allocated=8, bits_stored=8, noise=1.0))
    header = 64 * 64
    noise = as_received(object_.dataset[-header:], "1.2.3.4")  # no header that would compress
    found = kept(noise, Stage(forms=("jpegls", "zstd")))
    assert found.encoded.form == "received"
    assert outcomes(found)["zstd"][0] == "larger"
    assert part10.unpack(found.data).dataset == noise.dataset


def test_unreadable_is_kept_as_it_is() -> None:
    object_ = as_received(phantom(IMAGE).dataset[:-9], EXPLICIT)
    for forms in (("htj2k",), ("native",), ("received",), ("deflate",)):
        found = kept(object_, Stage(forms=forms))
        file = part10.unpack(found.data)
        assert file.dataset == object_.dataset
        assert not file.provenance.readable
        assert "claims" in file.provenance.fault


@pytest.mark.parametrize("dataset", [b"", b"\0", b"garbage that is no dataset", bytes(1000), b"\xff" * 1000])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, JPEGLS, "1.2.840.10008.1.2.1.99", "1.2.3", ""])
def test_anything_at_all_is_kept(dataset: bytes, syntax: str) -> None:
    object_ = as_received(dataset, syntax)
    found = kept(object_, Stage(forms=("htj2k", "jpegls"), keep="smallest"))
    assert part10.unpack(found.data).dataset == dataset


@pytest.mark.parametrize("wrap", ["auto", "none", "zstd", None])
@pytest.mark.parametrize("form", ["received", "native", "zstd", "deflate", "htj2k"])
def test_wrap(form: str, wrap: str | None) -> None:
    found = kept(phantom(IMAGE, IMPLICIT), Stage(forms=(form,), wrap=wrap))
    assert found.encoded.form == form
    expected = {"received": wrap in ("auto", "zstd"), "native": wrap in ("auto", "zstd"), "zstd": True}
    if wrap in ("none", "zstd"):
        expected |= {"deflate": wrap == "zstd", "htj2k": wrap == "zstd"}
    if form in expected:
        assert found.wrapped is expected[form]
    assert (found.data[:4] == b"\x28\xb5\x2f\xfd") is found.wrapped


def test_auto_wraps_only_where_it_saves() -> None:
    big = phantom(Shape(rows=256, columns=256, noise=0.3))
    small = phantom(Shape(rows=32, columns=32, noise=0.01))
    assert not kept(big, Stage(forms=("htj2k",))).wrapped
    found = kept(small, Stage(forms=("jpegls",)))
    assert found.wrapped
    assert len(found.data) < 0.99 * len(part10.unwrap(found.data))


def test_level_and_effort_are_heeded() -> None:
    object_ = phantom(Shape(rows=128, columns=128, noise=0.01))
    fast, thorough = (kept(object_, Stage(forms=("zstd",), level=level)) for level in (1, 19))
    assert len(thorough.data) < len(fast.data)
    easy, hard = (kept(object_, Stage(forms=("jpegxl",), effort=effort)) for effort in (1, 7))
    assert len(hard.data) < len(easy.data)
    assert hard.provenance.codec.endswith("effort 7")


def test_without_a_rule_it_is_kept_as_received() -> None:
    object_ = phantom(IMAGE)
    found = keep(object_, survey(object_), None)
    assert (found.encoded.form, found.provenance.rule, found.wrapped) == ("received", "", False)


def test_one_taken_at_once_leaves_no_history_in_the_file() -> None:
    found = kept(phantom(IMAGE), Stage(forms=("htj2k",)))
    assert outcomes(found) == {"htj2k": ("kept", "")}
    assert part10.unpack(found.data).provenance.attempts == ()


def kept_by_default(path: Path) -> tuple[int, int, StoredForm]:
    object_ = received(path)
    facts = survey(object_)
    found = keep(object_, facts, choose(DEFAULT_POLICY, facts))
    return len(object_.dataset), len(found.data), found


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("folder", "at_most"), [("ct-ge", 0.24), ("ct-philips", 0.24), ("mr-siemens", 0.44), ("mr-small", 0.41)]
)
def test_what_the_default_policy_saves(folder: str, at_most: float) -> None:
    sizes = [kept_by_default(path)[:2] for path in corpus(folder)]
    was, is_ = map(sum, zip(*sizes, strict=True))
    assert is_ / was <= at_most


def test_the_default_policy_leaves_what_came_compressed() -> None:
    stream = phantom(IMAGE)
    rule = choose(DEFAULT_POLICY, survey(as_received(stream.dataset, JPEGLS)))
    assert isinstance(rule, PolicyRule)
    assert rule.on_receive.forms == ("received",)
