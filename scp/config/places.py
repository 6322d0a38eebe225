"""On which line of a TOML text each key stands: tomllib gives values alone, and an admin looks for lines.

tomllib has read the text before, so that it is valid; the scanner only follows it.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable

_BLANKS = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
# Texts of several lines come first: their quotes begin with those of an empty text.
_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'", re.DOTALL
)
_PLAIN = re.compile(r"[^,\]}#\n]*")  # a number, a date, true or false
_FIRST_OF_A_LIST = re.compile(r"^(\w+)\[0\]")
_Part = Callable[[int], None]


def lines_of(text: str) -> dict[str, int]:
    """The line, from 1, of each key by its path, such as ``policy[0].stages[1].form``; of headers, too.

    ``text`` must be one that tomllib reads.
    """
    return _Scanner(text).scanned()


def tables_in(text: str) -> list[tuple[int, str]]:
    """The line, from 1, of each table's header in their order, and the first word of its name.

    ``text`` must be one that tomllib reads.
    """
    scanner = _Scanner(text)
    scanner.scanned()
    return scanner.tables


def line_of(path: str, lines: dict[str, int]) -> int:
    """The line of a key, or that of the table that it should stand in; 0 where there is neither.

    A path may leave out that a table is the first of a list of one, and the other way round.
    """
    shorter = {_FIRST_OF_A_LIST.sub(r"\1", known): line for known, line in reversed(lines.items())}
    while path:
        found = lines.get(path) or shorter.get(_FIRST_OF_A_LIST.sub(r"\1", path))
        if found:
            return found
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return 0


class _Scanner:
    """Goes through a text once; ``_at`` is the offset of the next character."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._lines: dict[str, int] = {}
        self.tables: list[tuple[int, str]] = []  # of the headers: the line, and the first word
        self._lists: dict[str, int] = {}  # how many tables each [[list]] has so far

    def scanned(self) -> dict[str, int]:
        table = ""
        self._skip()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip()
        return self._lines

    def _header(self) -> str:
        """The path of a table that begins here."""
        begun, of_list = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if of_list else 1
        steps, path = self._keys(), ""
        self.tables.append((self._line(begun), steps[0]))
        self._at += 2 if of_list else 1
        for number, step in enumerate(steps):
            path = _below(path, step)
            if of_list and number == len(steps) - 1:
                self._lists[path] = self._lists.get(path, 0) + 1
                self._note(path, begun)
            if path in self._lists:
                path = f"{path}[{self._lists[path] - 1}]"
            self._note(path, begun)
        return path

    def _pair(self, table: str) -> None:
        begun, path = self._at, table
        for step in self._keys():
            path = _below(path, step)
            self._note(path, begun)
        self._at += 1  # the sign
        self._skip()
        self._value(path)

    def _keys(self) -> list[str]:
        """A key, dotted or not, and the blanks around it."""
        steps = []
        while True:
            self._skip()
            found = _KEY.match(self._text, self._at)
            if found is None:  # no key that TOML allows: tomllib would have said so
                raise ValueError(f"no key at offset {self._at}")
            self._at = found.end()
            steps.append(_plain(found[0]))
            self._skip()
            if not self._text.startswith(".", self._at):
                return steps
            self._at += 1

    def _value(self, path: str) -> None:
        first = self._text[self._at]
        if first == "{":
            self._parts("}", lambda _: self._pair(path))
        elif first == "[":
            self._parts("]", lambda number: self._item(f"{path}[{number}]"))
        else:
            found = (_TEXT if first in "\"'" else _PLAIN).match(self._text, self._at)
            self._at = found.end() if found else self._at + 1

    def _item(self, path: str) -> None:
        self._note(path, self._at)
        self._value(path)

    def _parts(self, end: str, part: _Part) -> None:
        """What stands between brackets, with commas between."""
        self._at += 1
        self._skip()
        number = 0
        while not self._text.startswith(end, self._at):
            part(number)
            number += 1
            self._skip()
            if self._text.startswith(",", self._at):
                self._at += 1
                self._skip()
        self._at += 1

    def _skip(self) -> None:
        if found := _BLANKS.match(self._text, self._at):
            self._at = found.end()

    def _note(self, path: str, at: int) -> None:
        self._lines.setdefault(path, self._line(at))

    def _line(self, at: int) -> int:
        return bisect_right(self._ends, at - 1) + 1


def _below(path: str, step: str) -> str:
    return f"{path}.{step}" if path else step


def _plain(key: str) -> str:
    """A key without its quotes."""
    return next(iter(tomllib.loads(f"{key} = 0"))) if key[0] in "\"'" else key
