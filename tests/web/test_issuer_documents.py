"""What an issuer publishes: which keys are taken, and what a slow or hostile one can do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import Issuer as Authority
from cryptography.hazmat.primitives.asymmetric import rsa
from issuers import DESCRIPTION, KEYS, MadeIssuer, answer, jwk, private_key
from jwt.algorithms import RSAAlgorithm

from scp.config.oidc import OidcSettings
from scp.web.access import issuer_documents, issuer_keys
from scp.web.access.issuer_documents import fetched, keys_of
from scp.web.access.issuer_keys import (
    IssuerAway,
    IssuerFault,
    IssuerKey,
    IssuerKeys,
    KeysAwaited,
    TokenRefused,
)

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine what takes milliseconds may take seconds."""
    monkeypatch.setattr(issuer_documents, "_SECONDS", 120.0)
    monkeypatch.setattr(issuer_keys, "_WAIT_SECONDS", 120.0)


@pytest.fixture
def issuer() -> Iterator[MadeIssuer]:
    made = MadeIssuer()
    yield made
    made.stop()


def settings(issuer: MadeIssuer) -> OidcSettings:
    return OidcSettings.model_validate(issuer.table())


def _endless(handler: Any) -> None:
    """A gigabyte, of which nobody takes so much."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 30))
    handler.end_headers()
    with suppress(OSError):
        for _ in range(1 << 14):
            handler.wfile.write(b" " * (1 << 16))


def _dripping(handler: Any) -> None:
    """A header, byte by byte: each comes in time, and all of it never."""
    with suppress(OSError):
        while True:
            handler.wfile.write(b"H")
            time.sleep(0.05)


def _redirecting(handler: Any) -> None:
    answer(handler, b"", 302, {"Location": KEYS})


def _bomb(handler: Any) -> None:
    """What claims to be compressed is taken as it is."""
    answer(handler, b"\x1f\x8b" + bytes(100), 200, {"Content-Encoding": "gzip"})


def _json(body: str) -> Any:
    return lambda handler: answer(handler, body.encode())


HOSTILE = {
    "a gigabyte": (KEYS, _endless, "more than 256 KB"),
    "a redirect": (KEYS, _redirecting, "status 302"),
    "a redirect at once": (DESCRIPTION, _redirecting, "status 302"),
    "no such document": (DESCRIPTION, lambda handler: answer(handler, b"", 404), "status 404"),
    "no JSON": (DESCRIPTION, _json("<html>"), "what is no JSON"),
    "JSON that nests deep": (KEYS, _json("[" * 100_000), "what is no JSON"),
    "a number of many digits": (KEYS, _json("9" * 10_000), "what is no JSON"),
    "a list": (KEYS, _json("[]"), "no object"),
    "compressed": (KEYS, _bomb, "what is no JSON"),
    "another issuer": (DESCRIPTION, _json('{"issuer": "https://other.example"}'), "describes another one"),
    "no keys": (KEYS, _json('{"keys": []}'), "no key that can be used"),
    "no list of keys": (KEYS, _json('{"keys": {"a": 1}}'), "no key that can be used"),
    "no HTTP": (KEYS, lambda handler: handler.wfile.write(b"\0" * 100), "cannot be asked"),
    "a header without end": (KEYS, lambda handler: handler.wfile.write(b"H: " * 100_000), "cannot be asked"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "does", "told"), HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_used_is_told(issuer: MadeIssuer, path: str, does: Any, told: str) -> None:
    issuer.answers[path] = does
    with pytest.raises(IssuerFault, match=told):
        fetched(settings(issuer))


@pytest.mark.parametrize(
    "where", ["http://keys.example/", "file:///etc/passwd", "", 7, "https://[", "ftp://127.0.0.1/"]
)
def test_keys_come_from_an_address_that_nobody_in_between_reads(issuer: MadeIssuer, where: Any) -> None:
    issuer.answers[DESCRIPTION] = _json(json.dumps({"issuer": issuer.url, "jwks_uri": where}))
    with pytest.raises(IssuerFault, match="no address by HTTPS"):
        fetched(settings(issuer))
    assert issuer.asked == [DESCRIPTION]


def test_who_drips_is_given_up(issuer: MadeIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_documents, "_SECONDS", 0.5)
    issuer.answers[KEYS] = _dripping
    with pytest.raises(IssuerFault, match="did not answer within"):
        fetched(settings(issuer))


def test_the_certificate_of_an_issuer_is_checked(tmp_path: Path) -> None:
    made, other = Authority(tmp_path), Authority(tmp_path, "other", 2)
    identity = made.signed("issuer", ("127.0.0.1",))
    issuer = MadeIssuer(identity)
    try:
        right = OidcSettings.model_validate(issuer.table(ca=made.ca))
        assert [one.kid for one in fetched(right)] == ["first"]
        for wrong in (issuer.table(ca=other.ca), issuer.table()):
            with pytest.raises(IssuerFault, match=r"(?i)certificate"):
                fetched(OidcSettings.model_validate(wrong))
        named = issuer.url.replace("127.0.0.1", "localhost")
        with pytest.raises(IssuerFault, match=r"(?i)certificate"):  # it is of the address
            fetched(right.model_copy(update={"issuer": named}))
    finally:
        issuer.stop()


# ---- Sets of keys ----


def _kids(*keys: Any) -> list[tuple[str, list[str]]]:
    return [(one.kid, sorted(one.algorithms)) for one in keys_of({"keys": list(keys)})]


def test_a_key_is_for_what_its_type_is_for() -> None:
    of_rsa = ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"]
    assert _kids(jwk("a", private_key("RSA"), "RS256")) == [("a", of_rsa)]
    assert _kids(jwk("a", private_key("RSA"), "RS256", alg="PS256")) == [("a", ["PS256"])]
    assert _kids(jwk("a", private_key("EC"), "ES256")) == [("a", ["ES256"])]
    assert _kids(jwk("a", private_key("OKP"), "EdDSA")) == [("a", ["EdDSA"])]


def test_keys_that_cannot_be_used_are_passed_over() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    good = jwk("good", private_key("EC"), "ES256")
    found = _kids(
        jwk("weak", weak, "RS256"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
        jwk("for encryption", private_key("RSA"), "RS256", use="enc"),
        jwk("mixed up", private_key("RSA"), "RS256", alg="ES256"),
        {**good, "kid": "not on the curve", "x": good["y"]},
        {**good, "kid": "no number", "x": 7},
        {"kty": "EC", "crv": ["P-256"]},
        "a key", None, 7, {},
        good,
    )  # fmt: skip
    assert found == [("good", ["ES256"])]


def test_a_private_key_that_somebody_published_is_used_as_a_public_one() -> None:
    private = RSAAlgorithm.to_jwk(private_key("RSA"), as_dict=True)
    (found,) = keys_of({"keys": [private]})
    assert isinstance(found.key, rsa.RSAPublicKey)


# ---- How long they are held ----


class Timed:
    """Keys by a clock of the test's own; ``away``: the issuer does not answer."""

    def __init__(self) -> None:
        self.now, self.away, self.asked = 0.0, False, 0
        self.kids = ["a"]
        self.keys = IssuerKeys(self._fetch, lambda: self.now)
        self.oidc = OidcSettings(issuer="https://login.example")

    def _fetch(self, _: OidcSettings) -> tuple[IssuerKey, ...]:
        self.asked += 1
        if self.away:
            raise IssuerFault("away")
        return tuple(IssuerKey(kid, frozenset(("ES256",)), kid) for kid in self.kids)

    def key(self, kid: str, oidc: OidcSettings | None = None) -> str:
        """As a request does: what is awaited is waited for once."""
        for _ in range(2):
            try:
                return str(self.keys.key(oidc or self.oidc, kid, "ES256").key)
            except KeysAwaited as awaited:
                awaited.wait()
            except TokenRefused:
                return "refused"
            except IssuerAway as error:
                return str(error)
        return "awaited"

    def settle(self) -> None:
        """Wait until nothing is read any more."""
        while self.keys._under_way is not None:
            self.keys._under_way.wait(1)


def test_keys_are_read_again_when_they_are_old() -> None:
    timed = Timed()
    assert timed.key("a") == "a"
    timed.now = 599
    assert (timed.key("a"), timed.asked) == ("a", 1)
    timed.now, timed.kids = 601, ["b"]
    assert timed.key("a") == "a"  # nobody waits for an issuer yet
    timed.settle()
    assert (timed.key("a"), timed.asked) == ("refused", 2)
    timed.now, timed.kids = 5000, ["c"]
    assert timed.key("b") == "refused"  # who comes after an hour waits


def test_an_unknown_key_is_looked_for_once_in_ten_seconds() -> None:
    timed = Timed()
    assert [timed.key(kid) for kid in ("a", "x", "y")] == ["a", "refused", "refused"]
    assert timed.asked == 1
    timed.now, timed.kids = 10.5, ["a", "y"]
    assert (timed.key("y"), timed.asked) == ("y", 2)


def test_keys_count_for_a_day_while_the_issuer_is_away() -> None:
    timed = Timed()
    assert timed.key("a") == "a"
    timed.away = True
    for hours in (1, 5, 23):
        timed.now = hours * 3600.0
        assert timed.key("a") == "a"
    timed.now = 24 * 3600.0
    assert timed.key("a") == "away"
    timed.now, timed.away = timed.now + 11, False
    assert timed.key("a") == "a"


def test_keys_of_one_issuer_are_not_those_of_another() -> None:
    timed = Timed()
    assert timed.key("a") == "a"
    other = OidcSettings(issuer="https://other.example")
    timed.kids = ["o"]
    assert (timed.key("a", other), timed.key("o", other)) == ("refused", "o")


def test_a_token_without_an_id_of_a_key_is_of_the_only_one() -> None:
    timed = Timed()
    assert timed.key("") == "a"
    timed.now, timed.kids = 11, ["a", "b"]
    timed.key("x")  # read again
    assert timed.key("") == "refused"


def test_a_bug_in_reading_keys_ends_no_more_than_that_try() -> None:
    timed = Timed()
    timed.kids = None  # type: ignore[assignment]
    assert "a fault of zscp" in timed.key("a")
    timed.now, timed.kids = 11, ["a"]
    assert timed.key("a") == "a"
