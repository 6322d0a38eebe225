"""What processes died of, or failed at, how often: a file that all processes of an archive share.

An object that was being worked on when a process died is a *suspect*: an admin's ``kill -9``, or another
object beside it, may have been what ended the process. It is tried again alone. Where a process dies of it
once more, or it fails, it is *refused*. So one object ends two processes at most, and what was in its company
when it did is soon no suspect any more. Where an object could not be tried alone, four times are enough.
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

# What is done with an object, the most that is asked of it first. What is refused is that and all before it.
Act = Literal["encode", "decode", "survey", "read"]
ACTS: tuple[Act, ...] = get_args(Act)

_ALONE, _IN_COMPANY = 2, 4
# Of what was refused and has no row to be marked (yet), so many are remembered; each is 300 to 900 bytes, and
# what is larger than 1 MB is not read (scp.objects.files).
_MOST = 1000
LONGEST_REASON = 200  # characters


@dataclass(frozen=True, slots=True)
class Suspect:
    """An object, by its ``key`` and, where it is known, ``uid``: what it failed at last, how often, and why.

    ``times`` counts from the last refusal on. ``refused`` is what it is refused for, empty until it is, and
    ``library`` whose version that depends on.
    """

    key: str
    uid: str
    act: Act
    times: int = 0
    reason: str = ""
    refused: Act | Literal[""] = ""
    library: str = ""

    def failed(self, act: Act, reason: str, alone: bool, library: str) -> Suspect:
        """The same after one more time: refused, if that was once too often."""
        times, reason = self.times + 1, _plain(reason)
        if times < (_ALONE if alone else _IN_COMPANY):
            return replace(self, act=act, times=times, reason=reason)
        further = not self.refused or ACTS.index(act) > ACTS.index(self.refused)
        refused = act if further else self.refused
        return replace(self, act=act, times=0, reason=reason, refused=refused, library=library)


class Suspects:
    """The file below ``folder``. Threads and processes may share it; none of its writes is synced.

    It must outlive processes, not a power cut: what is lost then is tried once more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "suspects.json"
        self._stamp: object = None
        self._known: dict[str, Suspect] = {}

    def get(self, key: str) -> Suspect | None:
        """What is known of an object; 1 µs where nothing has changed."""
        self._look()
        return self._known.get(key)

    def all(self) -> list[Suspect]:
        """All of them."""
        self._look()
        return list(self._known.values())

    @contextmanager
    def changing(self) -> Iterator[Callable[[Suspect | None, str], None]]:
        """Change some, by what this gives: a suspect, or none, and its key."""
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
    """What cannot be read counts as nothing: then it is found out anew."""
    with suppress(ObjectDamaged, OSError, ValueError, TypeError, KeyError, RecursionError):
        found = [Suspect(**one) for one in json.loads(files.note(path))]
        return {one.key: one for one in found if _is_sound(one)}
    return {}


def _is_sound(one: Suspect) -> bool:
    texts = (one.key, one.uid, one.reason, one.library)
    known = one.act in ACTS and one.refused in ("", *ACTS)
    return known and isinstance(one.times, int) and all(isinstance(text, str) for text in texts)
