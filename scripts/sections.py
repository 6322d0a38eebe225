"""Sections of a document that are written from what the program says, between two marks.

A section begins with ``<!-- generated: NAME -->`` and ends with ``<!-- end -->``. What stands outside of them
is prose, and stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_SECTION = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
Sections = Mapping[str, Callable[[], str]]


def main(document: Path, sections: Sections, command: str, arguments: Sequence[str]) -> int:
    """Write the sections of a document anew; with ``--check`` only compare. Gives the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if it is stale")
    options = parser.parse_args(arguments)
    before = document.read_text(encoding="utf-8")
    after = renewed(before, sections)
    if options.check:
        if before != after:
            sys.stderr.write(f"{document.name} is stale: run `{command}`\n")
        return int(before != after)
    document.write_text(after, encoding="utf-8")
    return 0


def renewed(text: str, sections: Sections) -> str:
    """The text with all its sections as they are now. Raises KeyError for a section that has no maker."""
    return _SECTION.sub(lambda found: found[1] + sections[found[2]]() + found[3], text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, with an empty line before and behind it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"
