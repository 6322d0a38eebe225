"""The keys of an issuer of tokens: held in memory, and read again when they are old, or lack one.

Nobody reads them in the event loop, nor in the few threads in which requests are admitted: a thread of their
own does, one at a time. So an issuer that is slow, or away, holds up nobody whose key is here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from scp.config.oidc import OidcSettings

# Ages of keys: from the first on they are read again while they are used, from the second on requests wait
# for that, and from the third on they count no more. An issuer withdraws a key that was stolen at once.
_FRESH_SECONDS, _OLD_SECONDS, _LONGEST_SECONDS = 600.0, 3600.0, 86_400.0
# After each try: whoever sends unknown ids of keys makes zscp ask no more often.
_PAUSE_SECONDS = 10.0
_WAIT_SECONDS = 12.0


class TokenRefused(Exception):
    """A token that is not taken, and why: in words of zscp, which quote nothing of it."""


class IssuerAway(Exception):
    """There are no keys of the issuer to check a token by, and why."""


class IssuerFault(Exception):
    """What an issuer answered cannot be used, or it did not answer."""


class KeysAwaited(Exception):
    """The issuer's keys are being read: :meth:`wait`, and try again."""

    def __init__(self, done: threading.Event) -> None:
        super().__init__("the issuer's keys are being read")
        self._done = done

    def wait(self) -> None:
        """Wait until they have been read, or too long."""
        self._done.wait(_WAIT_SECONDS)


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key of the cryptography library, its id (empty for none), and what algorithms it is for."""

    kid: str
    algorithms: frozenset[str]
    key: Any


# Reads the keys of an issuer. Raises IssuerFault.
Fetch = Callable[[OidcSettings], tuple[IssuerKey, ...]]


@dataclass(frozen=True, slots=True)
class _HeldKeys:
    """Keys of an issuer that was asked with a ``ca``, and when they were read."""

    of: tuple[str, str]
    keys: tuple[IssuerKey, ...]
    since: float


class IssuerKeys:
    """Finds keys; any thread may call."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._held: _HeldKeys | None = None
        self._under_way: threading.Event | None = None
        self._tried: tuple[tuple[str, str], float, str] | None = None  # whose keys, when, what went wrong

    def key(self, oidc: OidcSettings, kid: str, algorithm: str) -> IssuerKey:
        """The issuer's key of this id; without one, the only key for the algorithm.

        Raises KeysAwaited where they are read just now, TokenRefused where the issuer has no such key, and
        IssuerAway where its keys are not known.
        """
        with self._lock:
            held, age = self._known(oidc)
            found = [one for one in held if algorithm in one.algorithms and kid in ("", one.kid)]
            if len(found) == 1 and age < _FRESH_SECONDS:
                return found[0]
            done = self._renewing(oidc)
            if done is not None and (len(found) != 1 or age >= _OLD_SECONDS):
                raise KeysAwaited(done)
            if len(found) == 1:
                return found[0]
            if not held:
                raise IssuerAway(self._tried[2] if self._tried else "they were never read")
            raise TokenRefused("its key is none of the issuer's, or not told from others of it")

    def _known(self, oidc: OidcSettings) -> tuple[tuple[IssuerKey, ...], float]:
        """The keys of this issuer that count, and their age."""
        held = self._held
        if held is None or held.of != _of(oidc) or (age := self._clock() - held.since) >= _LONGEST_SECONDS:
            return (), 0.0
        return held.keys, age

    def _renewing(self, oidc: OidcSettings) -> threading.Event | None:
        """What is set when the keys have been read; None where that was tried a moment ago."""
        if self._under_way is None:
            tried = self._tried
            if tried is not None and tried[0] == _of(oidc) and self._clock() - tried[1] < _PAUSE_SECONDS:
                return None
            done = threading.Event()
            threading.Thread(target=self._renew, args=(oidc, done), name="issuer keys", daemon=True).start()
            self._under_way = done
        return self._under_way

    def _renew(self, oidc: OidcSettings, done: threading.Event) -> None:
        keys: tuple[IssuerKey, ...] = ()
        fault = ""
        try:
            keys = self._fetch(oidc)
        except IssuerFault as error:
            fault = str(error)
        except Exception as error:  # noqa: BLE001 - a bug: it is logged, and keys that are held go on
            fault = "a fault of zscp, which its log has"
            structlog.get_logger("zscp").error("keys not read", issuer=oidc.issuer, exc_info=error)
        with self._lock:
            now = self._clock()
            if keys:
                self._held = _HeldKeys(_of(oidc), keys, now)
            self._tried, self._under_way = (_of(oidc), now, fault), None
        if fault:
            remedy = "see http.oidc; keys that were read before count for a day"
            structlog.get_logger("zscp").warning(
                "keys not read", issuer=oidc.issuer, reason=fault, remedy=remedy
            )
        done.set()  # whoever waits finds it in the log


def _of(oidc: OidcSettings) -> tuple[str, str]:
    return oidc.issuer, oidc.ca
