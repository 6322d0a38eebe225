"""Another policy in the text of a configuration file: all else of it stays as it is."""

from __future__ import annotations

import tomllib
from io import StringIO

from scp.config.places import tables_in
from scp.config.saving import with_unix_ends
from scp.errors import ConfigurationError

_POLICY = "policy"


def with_policy(text: str, policy: str) -> str:
    """The text with the tables of ``policy`` in the place of its own; at the end if it has none.

    Comments before its own tables stay, those among them go with them. Raises ConfigurationError where the
    text is no TOML, or has its policy as one value, which no tables can replace.
    """
    text = with_unix_ends(text)
    try:
        has_policy = _POLICY in tomllib.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"the configuration file is not valid TOML: {error}") from error
    tables = tables_in(text)
    own = [at for at, (_, name) in enumerate(tables) if name == _POLICY]
    if has_policy and not own:
        raise ConfigurationError("the configuration file has its policy as one value; write it as [[policy]]")
    lines = StringIO(text).readlines()  # TOML knows no other ends of lines
    spans = [(tables[at][0] - 1, _end(lines, tables, at)) for at in own] or [(len(lines), len(lines))]
    first = spans[0][0]
    for begin, end in reversed(spans):
        del lines[begin:end]
    before, after = "".join(lines[:first]), "".join(lines[first:])
    gap = "" if not before or before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n"
    return f"{before}{gap}{policy.strip()}\n{after}"


def _end(lines: list[str], tables: list[tuple[int, str]], at: int) -> int:
    """Where a table ends: comments and blank lines before the next header, of another one, are that one's."""
    if at + 1 == len(tables):
        return len(lines)
    line, name = tables[at + 1]
    end = line - 1
    while name != _POLICY and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return end
