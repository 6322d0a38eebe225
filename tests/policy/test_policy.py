"""Which rule applies to an object."""

from __future__ import annotations

import pytest
from objects import Shape, corpus, phantom, received

from scp.config.rules import DEFAULT_POLICY, PolicyRule, Stage
from scp.encoding.facts import survey
from scp.model import Facts
from scp.policy.rules import choose, matches
from scp.policy.wording import policy_in_words
from scp.syntaxes import EXPLICIT, JPEG_BASELINE, JPEG_EXTENDED, JPEGLS

pytestmark = pytest.mark.quick

FACTS = Facts(
    attributes={
        "Modality": "MG",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.22",
        "BitsStored": "12",
        "ImageType": "ORIGINAL\\PRIMARY\\AXIAL",
        "PixelSpacing": "0.5\\0.75",
        "StationName": "",
        "InstitutionName": "St. [Mary]",
        "SliceThickness": "1.50",
        "WindowWidth": "wide",
    },
    transfer_syntax=JPEGLS,
    size=5_000_000,
    calling_aet="MAMMO1",
    called_aet="ZSCP",
)


def rule(match: dict[str, object], name: str = "rule") -> PolicyRule:
    return PolicyRule(name=name, match=match, stages=(Stage(forms=("received",)),))


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"Modality": "MG"},
        {"Modality": "M?"},
        {"Modality": "[LM]G"},
        {"Modality": ["CT", "MG"]},
        {"Modality": ("CT", "M*")},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.22"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.*"},
        {"SOPClassUID": "EnhancedSRStorage"},
        {"SOPClassUID": ["*SRStorage", "KeyObjectSelection*"]},
        {"ImageType": "AXIAL"},
        {"ImageType": "PRIM*"},
        {"ImageType": ["LOCALIZER", "ORIGINAL"]},
        {"PixelSpacing": ">0.7"},
        {"BitsStored": "<=12"},
        {"BitsStored": ">=12"},
        {"BitsStored": "<13"},
        {"BitsStored": ">11"},
        {"BitsStored": "12"},
        {"BitsStored": ["<=8", "12"]},
        {"SliceThickness": ">= 1.5"},
        {"StationName": ""},
        {"calling_aet": "MAMMO*"},
        {"called_aet": "ZSCP"},
        {"transfer_syntax": "JPEGLSLossless"},
        {"transfer_syntax": JPEGLS},
        {"transfer_syntax": "JPEG*"},
        {"size": ">=5MB"},
        {"size": "<= 5000000"},
        {"size": [">1GB", "<1GiB"]},
        {"Modality": "MG", "calling_aet": "MAMMO*", "size": ">1KB"},
    ],
    ids=str,
)
def test_it_matches(match: dict[str, object]) -> None:
    assert matches(rule(match), FACTS)


@pytest.mark.parametrize(
    "match",
    [
        {"Modality": "CT"},
        {"Modality": "M"},
        {"Modality": "mg"},
        {"Modality": ["CT", "MR"]},
        {"SOPClassUID": "CTImageStorage"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88"},
        {"ImageType": "ORIGINAL*AXIAL"},
        {"ImageType": "DERIVED"},
        {"PixelSpacing": ">0.75"},
        {"BitsStored": "<12"},
        {"BitsStored": ">12"},
        {"BitsStored": "<=8"},
        {"WindowWidth": ">0"},
        {"StationName": ">=0"},
        {"StationName": "CT1"},
        {"PatientName": "Someone"},
        {"PatientName": "?*"},
        {"NumberOfFrames": "<=1"},
        {"NumberOfFrames": ">1"},
        {"calling_aet": "CT*"},
        {"called_aet": "MAMMO1"},
        {"transfer_syntax": "JPEG2000*"},
        {"transfer_syntax": EXPLICIT},
        {"size": ">5MB"},
        {"size": "<5MB"},
        {"Modality": "MG", "calling_aet": "CT*"},
        {"Modality": "CT", "calling_aet": "MAMMO*"},
    ],
    ids=str,
)
def test_it_does_not_match(match: dict[str, object]) -> None:
    assert not matches(rule(match), FACTS)


def test_a_star_matches_even_what_is_not_there() -> None:
    """An absent attribute is as an empty one, as in PS3.4's universal matching."""
    assert matches(rule({"PatientName": "*"}), FACTS)
    assert matches(rule({"PatientName": ""}), FACTS)


def test_brackets_of_a_value_are_globs() -> None:
    assert matches(rule({"InstitutionName": "St. [[]Mary]"}), FACTS)
    assert not matches(rule({"InstitutionName": "St. [Mary]"}), FACTS)


def test_the_first_that_matches_wins() -> None:
    rules = [rule({"Modality": "CT"}, "a"), rule({"Modality": "MG"}, "b"), rule({}, "c")]
    assert choose(rules, FACTS).name == "b"
    assert choose(reversed(rules), FACTS).name == "c"
    assert choose(rules[:1], FACTS) is None
    assert choose([], FACTS) is None


def test_facts_of_a_received_object_are_matched() -> None:
    """The pure function above, on what the parts before it make of an object."""
    facts = survey(phantom(Shape(frames=3, bits_stored=12)))
    for match in (
        {"Modality": "OT", "NumberOfFrames": ">1", "BitsStored": "<=12"},
        {"SOPClassUID": "SecondaryCaptureImageStorage"},
        {"PatientName": "Phantom^Ünïcode"},
        {"calling_aet": "MODALITY", "transfer_syntax": "ExplicitVRLittleEndian", "size": "<10KB"},
    ):
        assert matches(rule(match), facts), match
    assert "PixelData" not in facts.attributes


def test_the_default_policy_is_said_in_words_and_no_other() -> None:
    assert "30 days" in " ".join(policy_in_words(DEFAULT_POLICY))
    assert policy_in_words(DEFAULT_POLICY[1:]) == ()


@pytest.mark.corpus
def test_the_default_policy_has_a_rule_for_everything() -> None:
    for path in corpus("sr")[:2] + corpus("wg04")[:7]:
        object_ = received(path)
        facts = survey(object_)
        chosen = choose(DEFAULT_POLICY, facts)
        native = path.stem.endswith("UNC") or path.parent.name == "sr"
        lossy_jpeg = facts.transfer_syntax in {JPEG_BASELINE, JPEG_EXTENDED}
        compressed = "JPEG" if lossy_jpeg else "already compressed"
        assert chosen.name == ("everything else" if native else compressed)
