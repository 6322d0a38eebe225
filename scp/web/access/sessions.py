"""Who has logged in, kept in the memory of this process: its end ends all sessions.

A session is known by 256 random bits, of which only a digest is kept. It lasts as long as its user stands in
the configuration with the same password.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from scp.config.http import HttpSettings, HttpUser, Role

_BYTES = 32
_MOST, _MOST_OF_ONE = 256, 16  # beyond that, the one that was used the longest time ago ends


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: ``name`` is empty for whoever works on the machine itself, where there are no users.

    ``csrf`` must come with each request that changes something; it is empty without a session.
    """

    name: str
    role: Role
    csrf: str = ""


@dataclass(slots=True)
class _Session:
    user: HttpUser
    csrf: str
    began: float
    used: float


def cookie_name(http: HttpSettings) -> str:
    """Of the session's cookie: browsers share cookies between the ports of a host.

    "__Host-" binds it to HTTPS and to this host (RFC 6265bis 4.1.3.2).
    """
    return f"{'__Host-' if http.tls else ''}zscp-{http.port}"


class Sessions:
    """The sessions of one process; any thread may call."""

    def __init__(self, http: Callable[[], HttpSettings], clock: Callable[[], float] = time.monotonic) -> None:
        self._http, self._clock = http, clock
        self._lock = threading.Lock()
        self._held: dict[bytes, _Session] = {}  # the one that was used the longest time ago first

    def begin(self, user: HttpUser) -> tuple[str, Visitor]:
        """A new session: what its cookie has, and the visitor."""
        now = self._clock()
        key, session = secrets.token_urlsafe(_BYTES), _Session(user, secrets.token_urlsafe(_BYTES), now, now)
        with self._lock:
            own = [digest for digest, one in self._held.items() if one.user.name == user.name]
            for digest in own[: max(0, len(own) + 1 - _MOST_OF_ONE)]:
                del self._held[digest]
            while len(self._held) >= _MOST:
                del self._held[next(iter(self._held))]
            self._held[_digest(key)] = session
        return key, Visitor(user.name, user.role, session.csrf)

    def visitor(self, key: str, uses: bool = True) -> Visitor | None:
        """Whose session this is, by the configuration of now; None where it has ended.

        What goes on by itself, as a stream of events does, does not count as a use.
        """
        http, now, digest = self._http(), self._clock(), _digest(key)
        with self._lock:
            session = self._held.get(digest)
            if session is None:
                return None
            user = http.user_named(session.user.name)
            old = now - session.used > http.idle or now - session.began > http.session
            if old or user is None or user.password != session.user.password:
                del self._held[digest]
                return None
            if uses:
                session.used = now
                self._held[digest] = self._held.pop(digest)
            return Visitor(user.name, user.role, session.csrf)

    def end(self, key: str) -> None:
        """End a session."""
        with self._lock:
            self._held.pop(_digest(key), None)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "replace")).digest()
