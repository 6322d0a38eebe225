"""Whether a name and a password are a user's: one at a time, and few tries in a while."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from scp.config.http import HttpSettings, HttpUser
from scp.config.networks import origin
from scp.config.users import hashed, is_of

# Failures within so many seconds: of one name from one address, and of all names from it. A hash takes 33 ms.
_SECONDS, _MOST_OF_ONE, _MOST_OF_ADDRESS = 300.0, 5, 20
_MOST_KNOWN = 2048
# How long one waits for others whose passwords are being checked.
_WAIT_SECONDS = 2.0
_LONGEST_PASSWORD = 1024


@dataclass(frozen=True, slots=True)
class RefusedLogin:
    """A login that is refused: ``why`` in words; ``wait`` where too many failed, in seconds."""

    why: str
    wait: float = 0.0


class Passwords:
    """Checks logins; any thread may call."""

    def __init__(self, http: Callable[[], HttpSettings], clock: Callable[[], float] = time.monotonic) -> None:
        self._http, self._clock = http, clock
        self._one = threading.Lock()
        self._lock = threading.Lock()
        self._failures: dict[tuple[str, ...], deque[float]] = {}
        self._nobody = ""

    def check(self, name: str, password: str, address: str) -> HttpUser | RefusedLogin:
        """The user, or why not: a wrong name takes as long as a wrong password, and is told the same."""
        keys = ((_origin(address),), (_origin(address), name[:64]))
        if (wait := max(self._wait(keys[0], _MOST_OF_ADDRESS), self._wait(keys[1], _MOST_OF_ONE))) > 0:
            return RefusedLogin("too many logins have failed", wait)
        if not self._one.acquire(timeout=_WAIT_SECONDS):
            return RefusedLogin("too many logins at a time", 1.0)
        try:
            user = self._http().user_named(name)
            self._nobody = self._nobody or hashed("nobody's")
            secret = password[:_LONGEST_PASSWORD].encode("utf-8", "replace")
            right = is_of(user.password if user is not None else self._nobody, secret)
        finally:
            self._one.release()
        if user is not None and right:
            self._forget(keys[1])
            return user
        for key in keys:
            self._note(key)
        return RefusedLogin("the name or the password is wrong")

    def _wait(self, key: tuple[str, ...], most: int) -> float:
        with self._lock:
            failed = self._failures.get(key, deque())
            while failed and self._clock() - failed[0] > _SECONDS:
                failed.popleft()
            return failed[-most] + _SECONDS - self._clock() if len(failed) >= most else 0.0

    def _note(self, key: tuple[str, ...]) -> None:
        with self._lock:
            failed = self._failures.pop(key, deque(maxlen=_MOST_OF_ADDRESS))
            failed.append(self._clock())
            while len(self._failures) >= _MOST_KNOWN:
                del self._failures[next(iter(self._failures))]
            self._failures[key] = failed

    def _forget(self, key: tuple[str, ...]) -> None:
        with self._lock:
            self._failures.pop(key, None)


def _origin(address: str) -> str:
    """What counts as one address: see :func:`scp.config.networks.origin`."""
    try:
        return origin(address)
    except ValueError:
        return address
