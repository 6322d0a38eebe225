"""The line of each key of a TOML text, for messages about what stands there."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scp.config.places import line_of, lines_of

pytestmark = pytest.mark.quick

CONF = Path(__file__).parents[2] / "conf" / "zscp.toml"
ODD = '''# a comment with [brackets] and "quotes"
title = """
[not.a.header] \\"""
a = 1"""  # behind
[a . "b c"]
x = 'C:\\'   # no escape
list = [ # comment ]
  1, [2, 3,],
  { form = "htj2k", match = { Modality = ["CT",
    "MR"] } }
]
empty = []
none = {}
when = 2026-11-29 12:00:00
dotted.key.here = "x = y # z"
[[policy]]
name = "one"
[[policy.stages]]
form = "received"
[[policy.stages]]
form = \'\'\'
a'b\'\'\'
[[policy]]
name = "two"
stages = [{ form = "zstd" },
          { form = "htj2k", after = "1d" }]
[policy.match]
Modality = "CT"
'''


def paths(value: Any, path: str = "") -> Iterator[str]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, one in value.items():
            yield from paths(one, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from paths(one, f"{path}[{number}]")


@pytest.mark.parametrize("text", [ODD, ODD.replace("\n", "\r\n"), CONF.read_text(encoding="utf-8"), ""])
def test_every_key_that_tomllib_finds_has_a_line(text: str) -> None:
    assert set(paths(tomllib.loads(text))) == set(lines_of(text))


@pytest.mark.parametrize(
    ("path", "begins"),
    [
        ("title", "title ="),
        ("a.b c", "[a ."),
        ("a.b c.list[1][0]", "  1, [2"),
        ("a.b c.list[2].match.Modality[1]", '    "MR"]'),
        ("a.b c.dotted.key.here", "dotted.key"),
        ("policy[0].name", 'name = "one"'),
        ("policy[0].stages[1].form", "form = '''"),
        ("policy[1].stages[1].after", "          { form"),
        ("policy[1].match.Modality", 'Modality = "CT"'),
    ],
)
def test_the_line_is_that_of_the_key(path: str, begins: str) -> None:
    line = ODD.split("\n")[lines_of(ODD)[path] - 1]
    assert line.startswith(begins)


def test_a_key_that_is_missing_is_looked_for_in_its_table() -> None:
    lines = lines_of(ODD)
    assert line_of("policy[1].stages[0].wrap", lines) == lines["policy[1].stages[0]"]
    assert line_of("policy.name", lines) == lines["policy[0].name"]
    assert line_of("a[0].b c", lines) == lines["a.b c"]
    assert line_of("nowhere.at.all", lines) == 0


KEYS = st.text("ab-_1", min_size=1, max_size=3) | st.text('."[]#=', min_size=1, max_size=3).map(repr)


@given(
    st.lists(st.tuples(KEYS, st.sampled_from(['"x"', "[1, { a = 2 }]", "{ b = [] }", "'''\n#'''", "1.5"])))
)
def test_any_text_that_tomllib_reads_can_be_followed(pairs: list[tuple[str, str]]) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in pairs)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(paths(found)) == set(lines_of(text))
