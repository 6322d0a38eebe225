"""Each odd object in each form and each transfer syntax: it comes through exactly, or it is said why not.

What it is to be is read by others from what was received (:mod:`decoders`), never by zscp.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from decoders import attributes, is_known, pixels, raw_pixels, sent
from generated import (
    COMPRESSED_CASES,
    LOSSLESS_CASES,
    LOSSY_CASES,
    MISLEADING_CASES,
    NATIVE_CASES,
    UNTOUCHED,
    compressed_case,
    frames_of,
    many_items,
    native_case,
    untouched,
)
from objects import NATIVE, as_received, assert_restored, kept, restored, transcoded

from scp.archive.package import StoredForm
from scp.config.rules import Stage
from scp.encoding.codecs.table import CODECS
from scp.encoding.facts import survey
from scp.errors import CodecError
from scp.model import Received
from scp.objects import part10
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, FORMS, IMPLICIT, lookup

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("codecs_here")]

ENCODED = tuple(dict.fromkeys(codec.writes for codec in CODECS if codec.writes))
FORM = pytest.mark.parametrize("form", FORMS)


def assert_reasoned(found: StoredForm, form: str) -> None:
    """It is in the form that was asked for, or that form's attempt says why not."""
    if found.encoded.form != form:
        (attempt,) = [each for each in found.provenance.attempts if each.form == form]
        assert attempt.outcome in ("refused", "wrong", "larger")
        assert attempt.reason


@cache
def kept_as(name: str, syntax: str, form: str) -> StoredForm:
    """A native case, received in a transfer syntax, in the form or one that it falls back to.

    Made once for all that is asked of it here: encoding takes most of the time of these tests.
    """
    return kept(native_case(name, syntax), Stage(forms=(form,)))


@cache
def compressed_kept_as(name: str, form: str) -> StoredForm:
    """The same of an encapsulated case."""
    return kept(compressed_case(name), Stage(forms=(form,)))


@cache
def truth(name: str) -> np.ndarray:
    """The samples that an encapsulated case was made of."""
    return np.squeeze(np.stack(frames_of(LOSSLESS_CASES[name].shape)))


def assert_same(
    object_: Received,
    stream: bytes,
    syntax: str,
    decodable: bool = True,
    samples: np.ndarray | None = None,
) -> None:
    """Another transfer syntax, the same attributes and the same samples."""
    before, after = sent(object_), sent(object_, stream, syntax)
    recoded = lookup(syntax).encapsulated or lookup(object_.transfer_syntax).encapsulated
    assert attributes(after, not recoded) == attributes(before, not recoded)
    assert survey(as_received(stream, syntax)).readable
    if decodable:
        np.testing.assert_array_equal(pixels(after), pixels(before) if samples is None else samples)
    else:
        assert raw_pixels(after) == raw_pixels(before)


_NAMES, _FORMS = list(NATIVE_CASES), list(FORMS)


def tried(name: str, form: str) -> tuple[str, ...]:
    """Half of the transfer syntaxes that a case may come in, to be kept in a form.

    Each case comes in each of them, and each form gets each of them, but not each case in each form: how a
    header is written and how pixels are encoded are independent. ``make long`` tries all three together.
    """
    return NATIVE[(_NAMES.index(name) + _FORMS.index(form)) % 2 :: 2]


@FORM
@pytest.mark.parametrize("name", NATIVE_CASES)
def test_native_comes_back_to_the_byte(name: str, form: str) -> None:
    for syntax in tried(name, form):
        found = kept_as(name, syntax, form)
        assert_restored(native_case(name, syntax), found.data)
        assert_reasoned(found, form)


@pytest.mark.long
@FORM
def test_native_comes_back_from_each_transfer_syntax(form: str) -> None:
    for name in NATIVE_CASES:
        for syntax in NATIVE:
            found = kept_as(name, syntax, form)
            assert_restored(native_case(name, syntax), found.data)
            assert_reasoned(found, form)
            _goes_out_alike(name, syntax, form)


@pytest.mark.parametrize("name", NATIVE_CASES)
def test_native_in_every_native_transfer_syntax(name: str) -> None:
    """From each that it may have come in, and from each form that it may be kept in."""
    for syntax in NATIVE:
        object_ = native_case(name, syntax)
        for target, out in _outs(name, syntax).items():
            assert_same(object_, out, target, NATIVE_CASES[name].decodable)
        for form in FORMS:
            if syntax in tried(name, form):
                _goes_out_alike(name, syntax, form)


@cache
def _outs(name: str, syntax: str) -> dict[str, bytes]:
    """A native case in every native transfer syntax."""
    object_ = native_case(name, syntax)
    return {target: transcoded(object_.dataset, syntax, target, None) for target in NATIVE}


def _goes_out_alike(name: str, syntax: str, form: str) -> None:
    """What is made of the stored form, where that form takes the case, is what is made of what came."""
    found = kept_as(name, syntax, form)
    if found.encoded.form != form or syntax == DEFLATED:
        return
    stored = part10.unpack(found.data)
    for target, out in _outs(name, syntax).items():
        again = transcoded(stored.dataset, stored.transfer_syntax, target, stored.provenance.restoration)
        assert again == out, (form, target)


@pytest.mark.parametrize("target", ENCODED)
@pytest.mark.parametrize("name", NATIVE_CASES)
def test_native_encoded_on_the_way_out(name: str, target: str) -> None:
    assert is_known(target), "a new transfer syntax wants an independent decoder"
    for syntax in (IMPLICIT, BIG_ENDIAN):
        object_ = native_case(name, syntax)
        try:
            out = transcoded(object_.dataset, syntax, target, None)
        except CodecError as error:
            assert str(error)  # noqa: PT017 - some may, and say why
            continue
        assert_same(object_, out, target)


@FORM
@pytest.mark.parametrize("name", LOSSLESS_CASES)
def test_received_lossless_keeps_attributes_and_samples(name: str, form: str) -> None:
    object_ = compressed_case(name)
    found = compressed_kept_as(name, form)
    assert_reasoned(found, form)
    file = part10.unpack(found.data)
    if file.transfer_syntax == object_.transfer_syntax:
        assert file.dataset == object_.dataset
    elif is_known(file.transfer_syntax):
        assert_same(object_, bytes(file.dataset), file.transfer_syntax, samples=truth(name))
    for target in (EXPLICIT, BIG_ENDIAN, DEFLATED):
        out = transcoded(file.dataset, file.transfer_syntax, target, file.provenance.restoration)
        assert_same(object_, out, target, samples=truth(name))


@pytest.mark.parametrize("target", [*NATIVE, *ENCODED])
@pytest.mark.parametrize("name", LOSSLESS_CASES)
def test_received_lossless_in_every_transfer_syntax(name: str, target: str) -> None:
    object_ = compressed_case(name)
    try:
        out = transcoded(object_.dataset, object_.transfer_syntax, target, None)
    except CodecError as error:
        assert lookup(target).encapsulated, "it can be decoded"
        assert str(error)  # noqa: PT017 - some may, and say why
        return
    if target == object_.transfer_syntax:
        assert out == object_.dataset
        return
    assert_same(object_, out, target, samples=truth(name))


@FORM
@pytest.mark.parametrize("name", LOSSY_CASES)
def test_received_lossy_keeps_its_codestream(name: str, form: str) -> None:
    object_ = compressed_case(name)
    found = compressed_kept_as(name, form)
    assert restored(part10.unpack(found.data)) == object_.dataset


@pytest.mark.parametrize("target", [*NATIVE, *ENCODED])
@pytest.mark.parametrize("name", LOSSY_CASES)
def test_received_lossy_goes_out_decoded(name: str, target: str) -> None:
    object_ = compressed_case(name)
    try:
        out = transcoded(object_.dataset, object_.transfer_syntax, target, None)
    except CodecError as error:
        assert lookup(target).encapsulated, "it can be decoded"
        assert str(error)  # noqa: PT017 - some may, and say why
        return
    before, after = sent(object_), sent(object_, out, target)
    assert attributes(after, encoding_too=False) == attributes(before, encoding_too=False)
    if "jpeg" not in name:  # of those, decoders make RGB, each by its own rounding
        difference = np.abs(pixels(after).astype(int) - pixels(before).astype(int))
        assert difference.max() <= 1


@FORM
@pytest.mark.parametrize("name", MISLEADING_CASES)
def test_what_its_header_does_not_describe_stays_as_it_came(name: str, form: str) -> None:
    """Decoded by its header, something that was received would be lost, and the proof would not see it."""
    object_ = compressed_case(name)
    found = compressed_kept_as(name, form)
    file = part10.unpack(found.data)
    assert (file.transfer_syntax, bytes(file.dataset)) == (object_.transfer_syntax, object_.dataset)
    assert_reasoned(found, form)


@pytest.mark.parametrize("target", [*NATIVE, *ENCODED])
@pytest.mark.parametrize("name", MISLEADING_CASES)
def test_what_its_header_does_not_describe_goes_out_as_it_came_or_not(name: str, target: str) -> None:
    object_ = compressed_case(name)
    if target == object_.transfer_syntax:
        assert transcoded(object_.dataset, target, target, None) == object_.dataset
        return
    with pytest.raises(CodecError, match=r"\w"):
        transcoded(object_.dataset, object_.transfer_syntax, target, None)


@FORM
@pytest.mark.parametrize("syntax", UNTOUCHED)
def test_untouched(syntax: str, form: str) -> None:
    object_ = untouched(syntax)
    found = kept(object_, Stage(forms=(form,)))
    file = part10.unpack(found.data)
    assert (file.transfer_syntax, bytes(file.dataset)) == (syntax, object_.dataset)
    assert_reasoned(found, form)
    for target in (*NATIVE, *ENCODED):
        with pytest.raises(CodecError, match=r"\w"):
            transcoded(object_.dataset, syntax, target, None)


def test_every_case_is_another_object() -> None:
    names = [*NATIVE_CASES, *COMPRESSED_CASES, *UNTOUCHED]
    assert len(names) == len(set(names))


def test_forms_are_taken() -> None:
    """Each by many of the cases, or falling back would be all that is tested."""
    names = [*NATIVE_CASES, *LOSSLESS_CASES]
    for form in FORMS:
        if form == "jpegxl-recompression":
            continue  # of what came as JPEG alone
        stored = [kept_as(name, tried(name, form)[0], form) for name in NATIVE_CASES]
        stored += [compressed_kept_as(name, form) for name in LOSSLESS_CASES]
        taken = [name for name, found in zip(names, stored, strict=True) if found.encoded.form == form]
        assert len(taken) > len(names) // 3, (form, taken)


@pytest.mark.parametrize("syntax", NATIVE)
def test_every_native_case_is_readable(syntax: str) -> None:
    """Or all would fall back, and nothing above would be tried."""
    unreadable = [name for name in NATIVE_CASES if not survey(native_case(name, syntax)).readable]
    assert unreadable == []


@pytest.mark.parametrize("form", ["native", "zstd", "htj2k"])
def test_thousands_of_items(form: str) -> None:
    """Per-frame functional groups, in the two encodings between which all of them are converted."""
    case = replace(NATIVE_CASES["many-items"], extra=lambda encoding: many_items(encoding, 5_000))
    for syntax in (IMPLICIT, BIG_ENDIAN):
        object_ = case.received("thousands", syntax)
        found = kept(object_, Stage(forms=(form,)))
        assert_restored(object_, found.data)
        assert_reasoned(found, form)
