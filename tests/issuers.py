"""An OpenID Connect issuer on the loopback address, with keys of its own, and tokens that it signs."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from certificates import Identity
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

AUDIENCE = "zscp"
DESCRIPTION, KEYS = "/.well-known/openid-configuration", "/keys"
Answer = Callable[[BaseHTTPRequestHandler], None]


@cache
def private_key(kind: str, number: int = 0) -> Any:
    """A private key; keys are used again, as those of RSA take a tenth of a second."""
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else ed25519.Ed25519PrivateKey.generate()


_KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}


def jwk(kid: str, key: Any, algorithm: str, **more: Any) -> dict[str, Any]:
    """The public part of a key, as an issuer publishes it."""
    made = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "use": "sig", **more}


def answer(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> None:
    """Answer a request."""
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class MadeIssuer:
    """Serves its documents until it is stopped; ``answers`` may be changed, and ``asked`` has the paths.

    With a certificate it does so by HTTPS.
    """

    def __init__(self, identity: Identity | None = None) -> None:
        self.asked: list[str] = []
        self.keys: dict[str, tuple[Any, str]] = {}  # kid → private key, algorithm
        self.answers: dict[str, Answer] = {DESCRIPTION: self._describe, KEYS: self._publish}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                found = issuer.answers.get(self.path)
                if found is None:
                    answer(self, b"", 404)
                else:
                    found(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        if identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.certificate, identity.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if identity else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.add("first", "ES256")

    def add(self, kid: str, algorithm: str, number: int = 0) -> None:
        """Publish one more key."""
        self.keys[kid] = (private_key(_KINDS[algorithm], number), algorithm)

    def table(self, **keys: Any) -> dict[str, Any]:
        """[http.oidc], so that its tokens with the scope "dicom" may find and get."""
        grant = [{"claim": "scope", "values": ["dicom"]}]
        return {"issuer": self.url, "audience": [AUDIENCE], "grant": grant, **keys}

    def token(self, kid: str = "first", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token; None as a claim leaves it out."""
        key, algorithm = self.keys[kid]
        return jwt.encode(self.claims(**claims), key, algorithm, {"kid": kid, **(headers or {})})

    def claims(self, **changed: Any) -> dict[str, Any]:
        """What a token says."""
        now = int(time.time())
        made = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "anna",
            "iat": now,
            "exp": now + 300,
            "scope": "dicom",
        }
        return {name: value for name, value in (made | changed).items() if value is not None}

    def stop(self) -> None:
        """Be away: nobody listens any more."""
        self._server.shutdown()
        self._server.server_close()

    def _describe(self, handler: BaseHTTPRequestHandler) -> None:
        answer(handler, json.dumps({"issuer": self.url, "jwks_uri": self.url + KEYS}).encode())

    def _publish(self, handler: BaseHTTPRequestHandler) -> None:
        keys = [jwk(kid, key, algorithm) for kid, (key, algorithm) in self.keys.items()]
        answer(handler, json.dumps({"keys": keys}).encode())
