"""Asks the running node's own HTTP port for what its page shows."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from scp.config.settings import Settings
from scp.errors import ConfigurationError, NotAuthorized, OutOfResources

_SECONDS = 30.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - who listens on any address is asked on loopback


class NodePage:
    """The API of the node that runs with these settings. Raises ConfigurationError where there is no port."""

    def __init__(self, settings: Settings) -> None:
        if not settings.http.port:
            raise ConfigurationError(
                "http.port is 0, so that the node answers nobody; set it, such as to 11180"
            )
        self._settings, self._cookie = settings, ""

    def log_in(self, name: str, password: str) -> None:
        """Begin a session. Raises NotAuthorized, OutOfResources."""
        _, cookie = self._asked("POST", "/api/session", {"name": name, "password": password})
        self._cookie = cookie.partition(";")[0]

    def get(self, path: str) -> Any:
        """What an operation of the API says. Raises NotAuthorized, OutOfResources."""
        return self._asked("GET", path)[0]

    def _asked(self, method: str, path: str, given: Any = None) -> tuple[Any, str]:
        connection = self._connection()
        headers = {"Accept": "application/json"} | ({"Cookie": self._cookie} if self._cookie else {})
        body = None
        if given is not None:
            headers["Content-Type"], body = "application/json", json.dumps(given)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise OutOfResources(
                f"no node answers at {self._settings.http.url} ({error}); is it running?"
            ) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise _refusal(answer.status, text)
        return json.loads(text), answer.headers.get("Set-Cookie", "")

    def _connection(self) -> http.client.HTTPConnection:
        chosen = self._settings.http
        host = _ANY.get(chosen.host, chosen.host)
        if not chosen.tls:
            return http.client.HTTPConnection(host, chosen.port, timeout=_SECONDS)
        # Nobody but the node has this certificate's key: whatever its name, and whoever signed it.
        context = ssl.create_default_context(cafile=str(self._settings.tls.certificate))
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return http.client.HTTPSConnection(host, chosen.port, timeout=_SECONDS, context=context)


def _refusal(status: int, text: bytes) -> Exception:
    if status == 404:
        return ConfigurationError("the node serves no page, and so no API; its log says why (no page)")
    try:
        told = str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        told = text.decode(errors="replace").strip() or f"the node answers with status {status}"
    return NotAuthorized(told) if status in (401, 403, 429) else OutOfResources(told)
