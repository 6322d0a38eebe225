"""Bearer tokens of an OpenID Connect issuer, at DICOMweb's gate: which are taken, and what they may do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from desks import BASE
from dicomweb_desks import ROOT, MadeDicomWeb, bearer, bearer_of, dicomweb_settings, image, token
from issuers import DESCRIPTION, KEYS, MadeIssuer, answer, private_key

from scp.web.access import issuer_documents, issuer_keys
from scp.web.dicomweb import callers

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

PEER = {"aet": "HELD", "host": "10.0.0.1", "port": 104}
INVALID = 'Bearer realm="zscp", error="invalid_token"'
# Of the RSA key, which the issuer publishes: its text as somebody may take it for the secret of an HMAC.
PUBLIC = private_key("RSA").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[MadeIssuer]:
    """On a busy machine what takes milliseconds may take seconds."""
    monkeypatch.setattr(issuer_documents, "_SECONDS", 120.0)
    monkeypatch.setattr(issuer_keys, "_WAIT_SECONDS", 120.0)
    made = MadeIssuer()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def stored(made: MadeDicomWeb) -> None:
    """A CT and an MR of two studies."""
    made.store(image("1.2.1.1.1"), image("1.2.2.1.1", Modality="MR"))


@pytest.fixture
def known(web: MadeDicomWeb, stored: None, issuer: MadeIssuer) -> MadeDicomWeb:
    """DICOMweb that takes the issuer's tokens."""
    web.settings = settings(issuer)
    return web


def settings(issuer: MadeIssuer, *peers: dict[str, Any], **keys: Any) -> Any:
    return dicomweb_settings(peers, http={"oidc": issuer.table(**keys)})


def asked(web: MadeDicomWeb, secret: str, path: str = "/studies", **choices: Any) -> Any:
    return web.client("", **choices).get(path, headers=bearer_of(secret))


def refusals(web: MadeDicomWeb) -> list[str]:
    return [why for kind, _, why in web.trail.told() if kind == "Login"]


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_token_of_the_issuer_lets_in(known: MadeDicomWeb, issuer: MadeIssuer, algorithm: str) -> None:
    issuer.add("its", algorithm)
    assert asked(known, issuer.token("its")).status_code == 200
    assert issuer.asked == [DESCRIPTION, KEYS]
    asked(known, issuer.token("its"))
    assert issuer.asked == [DESCRIPTION, KEYS]  # its keys are held


def test_the_log_and_the_audit_trail_have_the_name_and_whose_it_is(
    known: MadeDicomWeb, issuer: MadeIssuer
) -> None:
    known.settings = settings(issuer, name="preferred_username")
    assert asked(known, issuer.token(preferred_username="miller")).status_code == 200
    (query,) = known.trail.events
    (who,) = (one for one in query.participants if one.requestor)
    assert (who.user_id, who.alternative) == ("miller", issuer.url)


def _unsigned(issuer: MadeIssuer) -> str:
    return jwt.encode(issuer.claims(), "", "none", {"kid": "first"})


def _with_public_key_as_secret(issuer: MadeIssuer) -> str:
    """PyJWT refuses to make such a token, so it is put together here."""
    issuer.add("rsa", "RS256")
    parts = [{"alg": "HS256", "typ": "JWT", "kid": "rsa"}, issuer.claims()]
    body = ".".join(_coded(json.dumps(part).encode()) for part in parts)
    return f"{body}.{_coded(hmac.new(PUBLIC, body.encode(), hashlib.sha256).digest())}"


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _changed(issuer: MadeIssuer) -> str:
    """Somebody else's claims over the signature."""
    header, _, signature = issuer.token().split(".")
    return f"{header}.{_coded(json.dumps(issuer.claims(sub='root')).encode())}.{signature}"


def _of_another_key(issuer: MadeIssuer) -> str:
    return jwt.encode(issuer.claims(), private_key("EC", 7), "ES256", {"kid": "first"})


def _of_another_algorithm(issuer: MadeIssuer) -> str:
    issuer.add("rsa", "RS256")
    return jwt.encode(issuer.claims(), private_key("RSA"), "RS512", {"kid": "rsa"})


def _key_of_another_type(issuer: MadeIssuer) -> str:
    """Its algorithm is one of those that are taken, but not for the key that it names."""
    return jwt.encode(issuer.claims(), private_key("RSA"), "RS256", {"kid": "first"})


def _with_header(header: str) -> str:
    return f"{_coded(header.encode())}.e30.AA"


REFUSED = {
    "another issuer": (lambda its: its.token(iss="https://evil.example"), "of another issuer"),
    "another audience": (lambda its: its.token(aud="mail"), "not for this archive"),
    "no audience": (lambda its: its.token(aud=None), "lacks one of exp, iss, aud"),
    "no issuer": (lambda its: its.token(iss=None), "lacks one of"),
    "no end": (lambda its: its.token(exp=None), "lacks one of"),
    "an end beyond numbers": (lambda its: its.token(exp=float("inf")), "not valid"),
    "expired": (lambda its: its.token(exp=int(time.time()) - 60), "has expired"),
    "not yet valid": (lambda its: its.token(nbf=int(time.time()) + 120), "not valid yet"),
    "made in the future": (lambda its: its.token(iat=int(time.time()) + 120), "not valid yet"),
    "nobody": (lambda its: its.token(sub=None), "names nobody"),
    "a name of two lines": (lambda its: its.token(sub="anna\nroot"), "names nobody"),
    "bound to a key": (lambda its: its.token(cnf={"jkt": "x"}), "bound to a key"),
    "a token of a logout": (lambda its: its.token(headers={"typ": "logout+jwt"}), "no token for access"),
    "a critical extension": (lambda its: its.token(headers={"crit": ["x"], "x": 1}), "no JSON web token"),
    "unsigned": (_unsigned, "algorithm is none of"),
    "an HMAC by the public key": (_with_public_key_as_secret, "algorithm is none of"),
    "an algorithm that is not taken": (_of_another_algorithm, "algorithm is none of"),
    "a key for another algorithm": (_key_of_another_type, "key is none of the issuer's"),
    "claims that were changed": (_changed, "signature is wrong"),
    "a key of somebody else": (_of_another_key, "signature is wrong"),
    "an unknown key": (lambda its: its.token(headers={"kid": "its own"}), "key is none of the issuer's"),
    "huge": (lambda its: its.token(groups="x" * 16_384), "more than 16384 characters"),
    "nonsense": (lambda _: "a.b.c", "no JSON web token"),
    "a header that nests deep": (lambda _: _with_header("[" * 9000), "no JSON web token"),
    "a header that is no object": (lambda _: _with_header("[]"), "no JSON web token"),
    "a list of algorithms": (lambda _: _with_header('{"alg": ["ES256"]}'), "algorithm is none of"),
    "no token of three parts": (lambda _: "a.b", "not known"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "told"), REFUSED.values(), ids=REFUSED)
def test_a_token_that_is_not_right_is_refused(
    known: MadeDicomWeb, issuer: MadeIssuer, make: Any, told: str
) -> None:
    sent = make(issuer)
    found = asked(known, sent)
    assert (found.status_code, found.headers["www-authenticate"]) == (401, INVALID)
    assert told in found.text
    (why,) = refusals(known)
    assert told in why
    parts = [part for part in sent.split(".") if len(part) > 3]
    assert not [part for part in parts if part in found.text or part in why]


def test_clocks_may_differ_by_the_leeway(known: MadeDicomWeb, issuer: MadeIssuer) -> None:
    late = issuer.token(exp=int(time.time()) - 15)
    assert asked(known, late).status_code == 200
    known.settings = settings(issuer, leeway="0s")
    assert asked(known, late).status_code == 401


def test_only_its_own_algorithms_are_taken(known: MadeDicomWeb, issuer: MadeIssuer) -> None:
    known.settings = settings(issuer, algorithms=["EdDSA"])
    assert asked(known, issuer.token()).status_code == 401


def test_without_an_issuer_no_such_token_is_taken(known: MadeDicomWeb, issuer: MadeIssuer) -> None:
    known.settings = dicomweb_settings()
    assert asked(known, issuer.token()).status_code == 401
    assert issuer.asked == []


# ---- What they may do ----


def test_a_token_that_is_granted_nothing_may_do_nothing(known: MadeDicomWeb, issuer: MadeIssuer) -> None:
    found = asked(known, issuer.token(scope="openid mail"))
    assert (found.status_code, found.headers["www-authenticate"]) == (
        403,
        'Bearer realm="zscp", error="insufficient_scope"',
    )
    assert "anna may not find by DICOMweb: see what [[http.oidc.grant]] asks of a token" in found.text
    assert known.trail.told()[0][:2] == ("Use of Restricted Function", "anna")


@pytest.mark.parametrize(
    ("claim", "claims", "status"),
    [("scope", {"scope": "openid dicom"}, 200), ("scope", {"scope": ["dicom"]}, 200),
     ("scope", {"scope": "dicoms"}, 403), ("scope", {"scope": None}, 403),
     ("groups", {"groups": ["staff", "dicom"]}, 200), ("groups", {"groups": "staff dicom"}, 403),
     (["realm_access", "roles"], {"realm_access": {"roles": ["dicom"]}}, 200),
     (["realm_access", "roles"], {"realm_access": "dicom"}, 403),
     ("https://example.org/roles", {"https://example.org/roles": ["dicom"]}, 200)],
)  # fmt: skip
def test_a_claim_says_what_a_token_may(
    known: MadeDicomWeb, issuer: MadeIssuer, claim: Any, claims: dict[str, Any], status: int
) -> None:
    known.settings = settings(issuer, grant=[{"claim": claim, "values": ["dicom"]}])
    assert asked(known, issuer.token(**{"scope": "none", **claims})).status_code == status


def test_the_first_grant_counts(known: MadeDicomWeb, issuer: MadeIssuer) -> None:
    grants = [{"values": "less", "may": ["get"]}, {"values": ["less", "more"], "may": ["find"]}]
    known.settings = settings(issuer, grant=grants)
    assert asked(known, issuer.token(scope="more less")).status_code == 403
    assert asked(known, issuer.token(scope="more")).status_code == 200


def test_a_token_sees_what_the_peer_of_its_grant_sees(known: MadeDicomWeb, issuer: MadeIssuer) -> None:
    peer = PEER | {"sees": {"Modality": ["MR"]}, "addresses": ["10.1.0.0/16"], "may": ["find"]}
    grant = [{"values": "dicom", "peer": "HELD", "may": ["find", "get"]}]
    known.settings = settings(issuer, peer, grant=grant)
    near: dict[str, Any] = {"client": ("10.1.2.3", 50_000)}
    found = asked(known, issuer.token(), **near).json()
    assert [one["0020000D"]["Value"] for one in found] == [["1.2.2"]]
    assert asked(known, issuer.token(), "/studies/1.2.2", **near).status_code == 403  # its peer may not
    assert asked(known, issuer.token(), client=("10.2.2.3", 50_000)).status_code == 403


# ---- The issuer's keys ----


def test_a_new_key_is_read_when_a_token_names_it(
    known: MadeDicomWeb, issuer: MadeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(known, issuer.token()).status_code == 200
    issuer.add("second", "ES256", 1)
    monkeypatch.setattr(issuer_keys, "_PAUSE_SECONDS", 0.0)
    assert asked(known, issuer.token("second")).status_code == 200
    assert issuer.asked == [DESCRIPTION, KEYS] * 2


def test_unknown_keys_make_the_issuer_be_asked_now_and_then_alone(
    known: MadeDicomWeb, issuer: MadeIssuer
) -> None:
    for number in range(5):
        assert asked(known, issuer.token(headers={"kid": str(number)})).status_code == 401
    assert issuer.asked == [DESCRIPTION, KEYS]


def test_while_the_issuer_is_away_its_keys_go_on(
    known: MadeDicomWeb, issuer: MadeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "_PAUSE_SECONDS", 0.0)
    assert asked(known, issuer.token()).status_code == 200
    issuer.stop()
    assert asked(known, issuer.token()).status_code == 200
    assert asked(known, issuer.token(headers={"kid": "new"})).status_code in (401, 503)
    assert asked(known, issuer.token()).status_code == 200


def test_without_its_keys_a_token_is_told_to_come_again(known: MadeDicomWeb, issuer: MadeIssuer) -> None:
    issuer.stop()
    found = asked(known, issuer.token())
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    assert issuer.url not in found.text  # who asks may be anybody
    assert "the issuer cannot be asked" in refusals(known)[0]


def test_a_slow_issuer_holds_up_nobody_else(
    known: MadeDicomWeb, issuer: MadeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, came = threading.Event(), threading.Event()

    def slow(handler: Any) -> None:
        came.set()
        ends.wait(60)
        answer(handler, b"{}")

    issuer.answers[DESCRIPTION] = slow
    known.settings = dicomweb_settings(http={"oidc": issuer.table(), "token": [token("viewer")]})
    secret = issuer.token()

    async def ask() -> tuple[int, list[int]]:
        """One event loop, as a server has."""
        statuses: list[int] = []
        transport = httpx2.ASGITransport(app=known.app)
        async with httpx2.AsyncClient(transport=transport, base_url=f"{BASE}{ROOT}") as client:

            async def waiting() -> None:
                answer = await client.get("/studies", headers=bearer_of(secret))
                statuses.append(answer.status_code)

            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(waiting)
                await anyio.to_thread.run_sync(came.wait, 60)
                other = await client.get("/studies", headers=bearer("viewer"))
                assert statuses == []
                ends.set()
        return other.status_code, statuses

    assert anyio.run(ask) == (200, [503] * 6)
    assert issuer.asked == [DESCRIPTION]


def test_without_its_packages_tokens_cannot_be_checked(
    known: MadeDicomWeb, issuer: MadeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scp.config.oidc.find_spec", lambda name: None)
    assert asked(known, issuer.token()).status_code == 503
    assert "install the extra oidc" in refusals(known)[0]
    assert callers.Callers(lambda: known.settings, known.sessions)._tokens is None
