"""Negative samples under JPEG XL: two's complement, as JPEG-LS has it (PS3.5 8.2.15, docs/decisions/0072)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from decoders import pixels, sent
from objects import Shape, kept, phantom, transcoded

from scp.config.rules import Stage
from scp.objects import part10
from scp.syntaxes import EXPLICIT, JPEGXL

NEGATIVE = Shape(rows=200, columns=200, bits_stored=16, signed=True, noise=0.001)


def stage(effort: int | None = None) -> Stage:
    return Stage(forms=("jpegxl",), wrap="none", effort=effort)


@pytest.mark.peer
def test_djxl_sees_the_words_that_were_received() -> None:
    object_ = phantom(NEGATIVE)
    plain = pixels(sent(object_))
    assert plain.min() < 0 < plain.max()
    found = part10.unpack(kept(object_, stage()).data)
    assert found.transfer_syntax == JPEGXL
    theirs = pixels(sent(replace(object_, dataset=bytes(found.dataset), transfer_syntax=JPEGXL)))
    np.testing.assert_array_equal(theirs, plain)
    restoration = found.provenance.restoration
    assert transcoded(bytes(found.dataset), JPEGXL, EXPLICIT, restoration) == bytes(object_.dataset)


def test_a_word_shorter_than_its_place_is_not_taken() -> None:
    """A reader that does not extend its sign would show 4095 where there is -1."""
    found = kept(phantom(replace(NEGATIVE, bits_stored=12)), stage())
    assert found.provenance.attempts[0].reason == (
        "JPEG XL encodes negative samples only where Bits Stored is Bits Allocated"
    )


def test_they_are_stored_with_effort_7_and_sent_with_3() -> None:
    object_ = phantom(NEGATIVE)
    stored = {
        effort: bytes(part10.unpack(kept(object_, stage(effort)).data).dataset) for effort in (None, 3, 7)
    }
    assert stored[None] == stored[7]
    assert len(stored[7]) < len(stored[3])
    assert transcoded(object_.dataset, EXPLICIT, JPEGXL, None) == stored[3]
