"""Objects that processes may have died of, or failed with, in a file that all processes of an archive share.

An object that a process was working on when it died is a *suspect*: an admin's ``kill -9``, or another object
at the same time, may have ended the process instead. The suspect is tried again alone. If a process dies
again, or the act fails, the object is *refused*. So one object ends two processes at most, and other objects
of that moment are soon no suspects any more. An object that could not be tried alone is refused after four
times.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from scp.errors import ObjectDamaged
from scp.objects import files
from scp.objects.folders import locked

# What is done with an object, the most demanding act first. A refusal covers its act and all before it.
Act = Literal["encode", "decode", "survey", "read"]
ACTS: tuple[Act, ...] = get_args(Act)

_ALONE, _IN_COMPANY = 2, 4
# So many refused objects that have no row to be marked (yet) are kept; each takes 300 to 900 bytes. A file of
# more than 1 MB is not read (scp.objects.files).
_MOST = 1000
LONGEST_REASON = 200  # characters


@dataclass(frozen=True, slots=True)
class Suspect:
    """An object, by its ``key`` and, if known, ``uid``: which ``act`` failed last, how often, and why.

    ``times`` counts from the last refusal on. ``refused`` is the act that is refused, empty if none is, and
    ``library`` the library and version that this depends on.
    """

    key: str
    uid: str
    act: Act
    times: int = 0
    reason: str = ""
    refused: Act | Literal[""] = ""
    library: str = ""

    def failed(self, act: Act, reason: str, alone: bool, library: str) -> Suspect:
        """The suspect after one more failure: refused, if there were too many."""
        times, reason = self.times + 1, _plain(reason)
        if times < (_ALONE if alone else _IN_COMPANY):
            return replace(self, act=act, times=times, reason=reason)
        further = not self.refused or ACTS.index(act) > ACTS.index(self.refused)
        refused = act if further else self.refused
        return replace(self, act=act, times=0, reason=reason, refused=refused, library=library)


class Suspects:
    """The file below ``folder``. Threads and processes may share it; none of its writes is synced.

    It must survive processes, not a power cut: objects whose entries are lost then are tried once more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "suspects.json"
        self._stamp: object = None
        self._known: dict[str, Suspect] = {}

    def get(self, key: str) -> Suspect | None:
        """What is known of an object; takes 1 µs if the file has not changed."""
        self._look()
        return self._known.get(key)

    def all(self) -> list[Suspect]:
        """All of them."""
        self._look()
        return list(self._known.values())

    @contextmanager
    def changing(self) -> Iterator[Callable[[Suspect | None, str], None]]:
        """Change entries, by the function that this yields: it takes a suspect, or None, and its key."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder):
            self._look(anew=True)
            changed = dict(self._known)

            def put(one: Suspect | None, key: str) -> None:
                changed.pop(key, None)
                if one is not None:
                    changed[key] = one

            yield put
            if changed != self._known:
                self._write(dict(list(changed.items())[-_MOST:]))

    def _write(self, known: dict[str, Suspect]) -> None:
        unfinished = self._path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps([asdict(one) for one in known.values()]), encoding="utf-8")
        unfinished.replace(self._path)
        self._look(anew=True)

    def _look(self, anew: bool = False) -> None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - 1 µs, where Path.stat takes 3
        except OSError:
            self._known, self._stamp = {}, None
            return
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if anew or stamp != self._stamp:
            self._known, self._stamp = _read(self._path), stamp


def _plain(reason: str) -> str:
    return "".join(c if " " <= c <= "~" else " " for c in reason[:LONGEST_REASON])


def _read(path: Path) -> dict[str, Suspect]:
    """The entries of the file; none if it cannot be read: then the suspects are found again."""
    with suppress(ObjectDamaged, OSError, ValueError, TypeError, KeyError, RecursionError):
        found = [Suspect(**one) for one in json.loads(files.note(path))]
        return {one.key: one for one in found if _is_sound(one)}
    return {}


def _is_sound(one: Suspect) -> bool:
    texts = (one.key, one.uid, one.reason, one.library)
    known = one.act in ACTS and one.refused in ("", *ACTS)
    return known and isinstance(one.times, int) and all(isinstance(text, str) for text in texts)
