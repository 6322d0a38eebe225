"""Odd and real objects over the wire: stored under each form, retrieved in each lossless transfer syntax."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from decoders import attributes, pixels, sent
from generated import (
    LOSSLESS_CASES,
    LOSSY_CASES,
    MISLEADING_CASES,
    NATIVE_CASES,
    UNTOUCHED,
    compressed_case,
    frames_of,
    native_case,
    untouched,
)
from objects import NATIVE, corpus, joined, received, transcoded

from scp.encoding.codecs.table import CODECS
from scp.encoding.dataset import split
from scp.encoding.decoding import native
from scp.encoding.facts import survey
from scp.errors import CodecError
from scp.model import Received
from scp.syntaxes import EXPLICIT, FORMS, IMPLICIT, lookup

from .conftest import RunningNode, Starter
from .peers import STUDY_GET, Retrieved, Sent, identifier

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("codecs_here")]

TARGETS = tuple(dict.fromkeys((*NATIVE, *(codec.writes for codec in CODECS if codec.writes))))
STUDY = "1.2.826.0.1.62"  # of all that is generated
FORM = pytest.mark.parametrize("form", FORMS)
WHICH = pytest.mark.parametrize("which", ["some", pytest.param("each", marks=pytest.mark.long)])
# One of a kind: each is decoded by others in some twelve transfer syntaxes, as often as there are forms.
NATIVE_NAMES = ("u8", "s16", "rgb-planes", "ybr-full-422", "palette", "odd", "frames", "single-bits-frames")
NATIVE_NAMES += ("float", "double", "overlay-above", "trailing-rubbish", "icon", "private", "stale-offsets")
LOSSLESS_NAMES = (
    "ls-fragments-empty-table",
    "j2k-extended-table",
    "j2k-rct",
    "ls-icon",
    "rle-rgb-called-planes",
)


def targets_of(form: str, which: str) -> tuple[str, ...]:
    """A third of the transfer syntaxes, another third for the next form; in ``make long`` each for each form.

    Each with each form is tried without a network, too (tests/encoding/test_matrix.py).
    """
    return TARGETS if which == "each" else TARGETS[FORMS.index(form) % 3 :: 3]


@cache
def generated() -> dict[str, Received]:
    found = {
        name: native_case(name, NATIVE[number % len(NATIVE)]) for number, name in enumerate(NATIVE_NAMES)
    }
    others = (*LOSSLESS_NAMES, *LOSSY_CASES, *MISLEADING_CASES)
    found |= {name: compressed_case(name) for name in others}
    return found | {syntax: untouched(syntax) for syntax in UNTOUCHED}


@cache
def samples(name: str) -> np.ndarray:
    """What an object holds, by what it was made of or by other decoders."""
    if name in LOSSLESS_CASES:
        return np.squeeze(np.stack(frames_of(LOSSLESS_CASES[name].shape)))
    return pixels(sent(generated()[name]))


@cache
def way_out(name: str, target: str) -> bytes | None:
    """What the received stream becomes in a transfer syntax, which tests/encoding/test_matrix.py proves."""
    object_ = generated()[name]
    try:
        return transcoded(object_.dataset, object_.transfer_syntax, target, None)
    except CodecError:
        return None


def of(object_: Received) -> Sent:
    return sent(object_)


def get(node: RunningNode, sop_classes: set[str], target: str, studies: list[str]) -> Retrieved:
    """All that there is of these studies, which only one transfer syntax may carry."""
    contexts = [(sop_class, [target]) for sop_class in sorted(sop_classes)]
    with node.scu((STUDY_GET, [EXPLICIT]), *contexts, roles=sop_classes) as scu:
        return scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID=studies))


def failed(done: Retrieved) -> set[str]:
    listed = done.final.identifier.FailedSOPInstanceUIDList if done.final.identifier else []
    return {listed} if isinstance(listed, str) else set(listed)


@WHICH
@FORM
def test_generated(start: Starter, form: str, which: str) -> None:
    node = start(policy=[{"name": "all", "stages": [{"form": form}]}])
    objects = generated()
    node.keep(*map(of, objects.values()))
    by_instance = {object_.sop_instance_uid: name for name, object_ in objects.items()}
    for target in targets_of(form, which):
        done = get(node, {of(each).sop_class for each in objects.values()}, target, [STUDY])
        arrived = {by_instance[one.instance]: one for one in done.objects}
        assert {by_instance[uid] for uid in failed(done)} == set(objects) - set(arrived), done.final
        assert done.final.status == (0xB000 if len(arrived) < len(objects) else 0)
        for name, object_ in objects.items():
            if name not in arrived:
                assert target != object_.transfer_syntax
                assert way_out(name, target) is None, f"{name} kept as {form} does not go out in {target}"
            else:
                assert_arrived(name, object_, arrived[name], form)


def assert_arrived(name: str, object_: Received, one: Sent, form: str) -> None:
    """The received stream, or a stream that was proven, or the same by other decoders."""
    if one.syntax == object_.transfer_syntax and (
        not lookup(one.syntax).deflated and (name in NATIVE_CASES or form in ("received", "zstd"))
    ):
        assert one.data == object_.dataset
        return
    if one.data in (object_.dataset, way_out(name, one.syntax)):
        return
    assert name not in MISLEADING_CASES
    assert name not in UNTOUCHED
    assert name not in LOSSY_CASES or form == "jpegxl-recompression"
    native_both = not (lookup(one.syntax).encapsulated or lookup(object_.transfer_syntax).encapsulated)
    assert attributes(one, native_both) == attributes(of(object_), native_both)
    np.testing.assert_array_equal(pixels(one), samples(name))


def real_objects(form: str) -> list[Path]:
    """Of WG04, where each image is there in up to eight forms; all but the largest, spread over the forms."""
    files = [path for path in corpus("wg04") if path.stat().st_size < 600_000]
    return files[FORMS.index(form) :: len(FORMS)]


@pytest.mark.corpus
@WHICH
@FORM
def test_real(start: Starter, form: str, which: str) -> None:
    objects = {(object_ := received(path)).sop_instance_uid: object_ for path in real_objects(form)}
    held = {uid: plain(object_.dataset, object_.transfer_syntax) for uid, object_ in objects.items()}
    node = start(policy=[{"name": "all", "stages": [{"form": form}]}])
    node.keep(*map(of, objects.values()))
    classes = {each.sop_class_uid for each in objects.values()}
    studies = sorted({survey(each).attributes["StudyInstanceUID"] for each in objects.values()})
    for target in targets_of(form, which):
        done = get(node, classes, target, studies)
        arrived = {one.instance: one for one in done.objects}
        assert failed(done) == set(objects) - set(arrived)
        for uid, object_ in objects.items():
            if uid in arrived:
                assert plain(arrived[uid].data, target) == held[uid]
            else:
                assert target not in (*NATIVE, object_.transfer_syntax)
                with pytest.raises(CodecError):
                    transcoded(object_.dataset, object_.transfer_syntax, target, None)


def plain(stream: bytes, syntax: str) -> bytes:
    """Decoded, in implicit VR, which does not say what a VR was."""
    row = lookup(syntax)
    return joined(native(split(stream, row), row), lookup(IMPLICIT))
