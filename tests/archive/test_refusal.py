"""What is not done with an object any more: its file says it, and a peer hears why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scp.archive.deliver import Trial, outgoing
from scp.archive.refusal import Refusal, attempt_at, is_outdated, library_of, within
from scp.dimse.status import comment_of
from scp.errors import NoLosslessWay
from scp.model import Instance, Provenance, SyntaxPreference
from scp.objects.part10 import Part10
from scp.objects.suspects import ACTS, Act
from scp.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT, JPEGLS

pytestmark = pytest.mark.quick

NOW = datetime(2026, 11, 28, tzinfo=UTC)
KNOWN = Provenance(JPEGLS, "0" * 64, 4, NOW, "A", "B", "rule", "received")


@pytest.mark.parametrize("act", ACTS)
def test_a_file_says_what_is_not_done_and_so_does_an_index_that_is_made_from_it(act: Act) -> None:
    """What could not be surveyed was written down as decoded with zscp: of no version that there is."""
    attempt = attempt_at("htj2k", act, "processes died while they worked on it")
    found = within(replace(KNOWN, attempts=(attempt,)))
    assert found == Refusal(act, "processes died while they worked on it", library_of(act))
    assert not is_outdated(found)


def test_of_several_the_one_that_forbids_most_counts() -> None:
    attempts = tuple(attempt_at("htj2k", act, f"at {act}") for act in ("encode", "survey", "decode"))
    found = within(replace(KNOWN, attempts=attempts))
    assert found is not None
    assert (found.act, found.reason) == ("survey", "at survey")


def test_the_reason_comes_first_and_fits_the_error_comment() -> None:
    names = ("1.2", "1.2.3.4.5", "1.2.3", "1.2.3.4", "1.2.3/1.dcm", "received")
    instance = Instance(*names, JPEGLS, 4, "", JPEGLS, 4, KNOWN.sha256, NOW, "A", "rule")
    file = Part10("1.2", "1.2.3.4.5", JPEGLS, b"\0\0\0\0", KNOWN)
    refusal = Refusal("decode", "the codec's process died of signal 11", library_of("decode"))
    trial = Trial(refusal, lambda _: None)
    with pytest.raises(NoLosslessWay) as raised:
        outgoing(instance, file, [EXPLICIT, IMPLICIT, BIG_ENDIAN], SyntaxPreference(), trial)
    told = str(raised.value)
    assert told.startswith(refusal.reason)
    assert told.count(refusal.reason) == 1  # not once for each transfer syntax
    assert "ExplicitVRLittleEndian" in told
    assert told.endswith("kept as JPEGLSLossless")
    assert refusal.reason in comment_of(told)


def test_no_key_stands_before_the_reason_in_an_error_comment() -> None:
    key = "1.2.840.113619.2.55.3.604688119.971.1448549000.467/1.2.840.113619.2.55.3_0123456789abcdef.dcm"
    assert comment_of(f"{key} is not what was written; restore it").startswith("is not what was written")
    assert comment_of(f"{key}: its disk does not give it back").startswith("its disk")
    assert comment_of("no/key") == "no/key"
