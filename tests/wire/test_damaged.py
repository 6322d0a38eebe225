"""Objects whose codestream came cut off or damaged: kept, given back as they came, and never otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from damaged import CASES

from .conftest import NodeProcess, RunningNode, Starter
from .peers import EXPLICIT, IMPLICIT, JPEGLS, STUDY_GET, Sent, identifier, of_file

DAMAGED = ("jpeg-baseline-cut", "jpeg-lossless-cut", "htj2k-cut", "htj2k-crashes-openjph")
WHOLE = ("jpeg-lossless-whole", "htj2k-whole")
# At once, later, and by all that could take such an object.
_POLICY = [
    {
        "name": "all",
        "stages": [
            {"form": ["jpegls", "jpegxl-recompression", "jpeg2000"], "keep": "smallest", "dictionary": True},
            {"form": "jpegls", "after": "0s"},
        ],
    }
]


def _case(name: str) -> Sent:
    return of_file(CASES / f"{name}.dcm")


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> RunningNode:
    running = start_shared(
        policy=[{"name": "all", "stages": [{"form": "jpegls"}]}], query={"hierarchy": "lenient"}
    )
    running.keep(*map(_case, (*DAMAGED, *WHOLE)))
    return running


def _get(node: RunningNode, sent: Sent, *syntaxes: str) -> tuple[int, str, list[Sent]]:
    wanted = identifier("IMAGE", SOPInstanceUID=sent.instance)
    with node.scu((STUDY_GET, [IMPLICIT]), (sent.sop_class, list(syntaxes)), roles=[sent.sop_class]) as scu:
        done = scu.get(STUDY_GET, wanted)
    return done.final.status, done.final.comment, done.objects


@pytest.mark.parametrize("name", DAMAGED)
def test_it_goes_out_as_it_came_and_not_otherwise(node: RunningNode, name: str) -> None:
    sent = _case(name)
    assert _get(node, sent, sent.syntax) == (0, "", [sent])
    for syntax in (EXPLICIT, IMPLICIT, JPEGLS):
        status, comment, objects = _get(node, sent, syntax)
        assert (status, objects) == (0xA702, [])
        assert comment
    node.answers_echo()


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_goes_out_in_any(node: RunningNode, name: str) -> None:
    sent = _case(name)
    for syntax in (EXPLICIT, IMPLICIT, JPEGLS):
        status, _, objects = _get(node, sent, syntax)
        assert (status, len(objects)) == (0, 1)
    assert node.held(sent).form == "jpegls"


@pytest.fixture
def held(process: Callable[..., NodeProcess]) -> NodeProcess:
    found = process(policy=_POLICY)
    found.here("import", *(CASES / f"{name}.dcm" for name in (*DAMAGED, *WHOLE)))
    return found


def test_nothing_replaces_it_and_all_say_why(held: NodeProcess) -> None:
    before = {name: _form(held, name) for name in DAMAGED}
    assert json.loads(held.here("recompress", "--now", "--json"))["encoded"] == 0
    for name in DAMAGED:
        found = json.loads(held.here("explain", _case(name).instance, "--no-costs", "--json"))
        assert "cut off or damaged" in found["undecodable"]
        asked = [one for one in found["attempts"] if one["form"] in ("jpegls", "jpeg2000")]
        assert all(one["outcome"] == "refused" for one in asked)
        assert _form(held, name) == before[name]
        assert before[name] in ("received", "zstd")
        shown = " ".join(held.here("explain", _case(name).instance, "--no-costs").split())
        assert "not decoded" in shown
    for name in WHOLE:
        assert (
            json.loads(held.here("explain", _case(name).instance, "--no-costs", "--json"))["undecodable"]
            == ""
        )


def test_verify_deep_says_what_it_is(held: NodeProcess) -> None:
    """The archive has not damaged it: the exit status is 0, but it is told apart from what is sound."""
    told = json.loads(held.here("verify", "--deep", "--json"))
    assert (told["sound"], told["damaged"]) == (len(DAMAGED) + len(WHOLE), 0)
    named = {one["sop_instance_uid"]: one["reason"] for one in told["undecodable"]}
    assert set(named) == {_case(name).instance for name in DAMAGED}
    assert all("cut off or damaged" in reason for reason in named.values())
    shown = held.here("verify", "--deep")
    assert "6 sound (4 kept as received, as not decodable), 0 damaged" in shown
    assert shown.count("not decoded: ") == len(DAMAGED)
    assert json.loads(held.here("verify", "--json"))["undecodable"] == []


def _form(node: NodeProcess, name: str) -> str:
    found = json.loads(node.here("explain", _case(name).instance, "--no-costs", "--json"))
    return str(found["provenance"]["form"])
