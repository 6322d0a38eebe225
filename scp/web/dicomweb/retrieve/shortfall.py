"""What cannot be retrieved of many instances, and how a client is told (PS3.18 10.4.3.2: 206 and Warning)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TypeVar

from scp.errors import ZscpError, message_of
from scp.model import Instance

Made = TypeVar("Made")

# So many failures are remembered, and told to the next who asks before the body begins.
_MOST = 10_000
# How long the first is looked for that can be sent: a bucket that does not answer takes as long for each one
# (half of limits.dimse_seconds), and the connection would be closed after 15 minutes without a word.
_FIRST_SECONDS = 30.0
_NAMED = 5  # instances, in a header
_LONGEST = 200  # characters of a reason


class FailedLately:
    """Stored files that could not be sent when somebody asked for them. For several threads."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, None] = OrderedDict()
        self._changes = threading.Lock()

    def add(self, instance: Instance) -> None:
        """Note that a file failed."""
        with self._changes:
            self._keys[instance.key] = None
            while len(self._keys) > _MOST:
                self._keys.popitem(last=False)

    def discard(self, instance: Instance) -> None:
        """Forget a file: it was sent, or can be."""
        with self._changes:
            self._keys.pop(instance.key, None)

    def has(self, instance: Instance) -> bool:
        """Whether this file failed."""
        return instance.key in self._keys


failed_lately = FailedLately()


class Shortfall:
    """Instances that are left out of an answer, by key, with the reasons.

    ``check`` is called before each attempt, and raises where nobody waits for the answer any more: that is no
    fault of an instance.
    """

    def __init__(self, check: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._check, self._clock = check, clock
        self.keys: dict[str, ZscpError] = {}
        self._uids: list[str] = []

    def look(self, pages: Iterable[Iterable[Instance]], attempt: Callable[[Instance], object]) -> None:
        """Try, before an answer begins, those that are likely to fail: each other one would take its time."""
        for page in pages:
            for one in page:
                suspect = one.fault or one.refused or failed_lately.has(one)
                if suspect and one.key not in self.keys:
                    self.tried(one, attempt)

    def tried(self, instance: Instance, attempt: Callable[[Instance], Made]) -> Made | None:
        """What is made of an instance; None where that fails: then it is left out."""
        self._check()
        try:
            made = attempt(instance)
        except ZscpError as error:
            self.add(instance, error)
            return None
        failed_lately.discard(instance)  # each that is on this list costs the next who asks an attempt
        return made

    def first(
        self, pages: Iterable[Iterable[Instance]], attempt: Callable[[Instance], Made]
    ) -> tuple[Instance, Made]:
        """The first instance of which something is made, and that.

        Raises what keeps all of them, or those that could be tried in time: where a store is away, each takes
        the time of a request to it.
        """
        until = self._clock() + _FIRST_SECONDS
        for one in chain.from_iterable(pages):
            if one.key in self.keys:
                continue
            if (made := self.tried(one, attempt)) is not None:
                return one, made
            if self._clock() >= until:
                break
        raise self.error

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, instance: Instance, error: ZscpError) -> None:
        """Leave an instance out."""
        self.keys[instance.key] = error
        if len(self._uids) < _NAMED:
            self._uids.append(instance.sop_instance_uid)

    @property
    def error(self) -> ZscpError:
        """Why the first was left out."""
        return next(iter(self.keys.values()))

    def headers(self, base: str, count: int) -> dict[str, str]:
        """The Warning header of an answer without them, of ``count`` in all; none where all are there."""
        if not self.keys:
            return {}
        named = ", ".join(self._uids) + (", …" if len(self) > len(self._uids) else "")
        told = f"{len(self)} of {count} instances are left out ({named}); the first: {message_of(self.error)}"
        return {"Warning": f'299 {base} "{_plain(told)[: _LONGEST + 100]}"'}


def _plain(text: str) -> str:
    """Text that a quoted string of a header may hold."""
    return text.replace("…", "...").encode("ascii", "replace").decode().translate(_UNFIT)


_UNFIT = {**dict.fromkeys(range(32), " "), ord('"'): "'", ord("\\"): "/", 127: " "}
