"""The keys of [http]: when a page may be served, and who may use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from certificates import Issuer
from desks import users

from scp.audit.changes import changed_keys, is_of_security
from scp.config.dicomweb import TAKEN, DicomWebSettings
from scp.config.fingerprint import fingerprint
from scp.config.http import HttpSettings, digest_of
from scp.config.link import link
from scp.config.load import warnings
from scp.config.networks import is_loopback
from scp.config.settings import Settings
from scp.node.node import reloaded
from scp.web.page.views.table import VIEWS

pytestmark = pytest.mark.quick


def faults(http: dict[str, Any], **tables: Any) -> dict[str, str]:
    return dict(link(Settings.model_validate({"http": http, **tables}))[1])


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.5", False), ("archive.example.org", False)],
)  # fmt: skip
def test_which_addresses_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    assert (HttpSettings(host=host).page_fault == "") is expected


def test_a_page_elsewhere_takes_users_and_tls(tmp_path: Path) -> None:
    there = {"host": "10.0.0.5", "port": 11180, "page": "on"}
    told = faults(there)["http.page"]
    assert "[[http.user]] and http.tls" in told
    assert 'http.host = "127.0.0.1"' in told
    anna = users(anna="admin")
    assert "passwords would cross the network" in faults({**there, "user": anna})["http.user"]
    assert "http.tls" in faults({**there, "user": anna, "page": "auto"})["http.user"]
    assert "needs tls.certificate" in faults({**there, "user": anna, "tls": True})["http.tls"]
    identity = Issuer(tmp_path).signed("archive")
    tls = {"certificate": identity.certificate, "key": identity.key}
    assert faults({**there, "user": anna, "tls": True}, tls=tls) == {}
    assert faults({**there, "tls": True}, tls=tls).keys() == {"http.page"}


def test_a_token_crosses_a_network_by_tls_alone_and_is_held_to_a_peer_that_there_is(tmp_path: Path) -> None:
    token = {"name": "viewer", "digest": digest_of("a token"), "peer": "CT1"}
    there = {"host": "10.0.0.5", "port": 11180, "token": [token]}
    found = faults(there)
    assert "tokens would cross the network" in found["http.token"]
    assert 'names "CT1", which is no [[peer]]' in found["http.token[0].peer"]
    identity = Issuer(tmp_path).signed("archive")
    tls = {"certificate": identity.certificate, "key": identity.key}
    peer = {"aet": "CT1", "host": "10.0.0.6", "port": 104}
    assert faults({**there, "tls": True}, tls=tls, peer=[peer]) == {}


@pytest.mark.parametrize(
    ("keys", "told"),
    [({"path": "dicom-web"}, "is no path"), ({"path": "/dicom-web/"}, "is no path"),
     ({"path": "/"}, "is no path"), ({"path": "/a/../b"}, "is no path"),
     ({"path": "/api/x"}, "is taken by the page"), ({"origins": ["viewer.example"]}, "is no origin"),
     ({"origins": ["https://viewer.example/"]}, "is no origin"), ({"origins": ["*"]}, "is no origin"),
     ({"requests": 0}, "greater than or equal to 1")],
)  # fmt: skip
def test_what_cannot_be_used_of_dicomweb(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DicomWebSettings.model_validate(keys)


def test_no_view_of_the_page_is_below_a_path_that_dicomweb_may_have() -> None:
    entries = {view.entry.path.strip("/").partition("/")[0] for view in VIEWS} - {""}
    assert entries <= TAKEN


def test_metrics_elsewhere_need_no_users() -> None:
    """As containers have it: there is no page then."""
    assert faults({"host": "0.0.0.0", "port": 11180}) == {}


def test_a_page_needs_a_port() -> None:
    assert faults({"page": "on"}).keys() == {"http.port"}


@pytest.mark.parametrize(
    ("keys", "told"),
    [({"idle": "30s"}, "at least"), ({"session": "0s"}, "at least"), ({"idle": 30}, "is not a duration"),
     ({"user": [{"name": "anna", "password": "plain"}]}, "no argon2 hash"),
     ({"user": [{**users(anna="admin")[0], "role": "root"}]}, "viewer"),
     ({"user": users(anna="admin") * 2}, "keep one of them"),
     ({"token": [{"name": "viewer", "digest": "a token"}]}, "String should match pattern"),
     ({"token": [{"name": "viewer", "digest": digest_of("x"), "may": ["move"]}]}, "no service of DICOMweb")],
)  # fmt: skip
def test_what_cannot_be_used(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HttpSettings.model_validate(keys)


def test_a_reload_takes_users_and_names_and_keeps_the_address() -> None:
    before = Settings.model_validate({"http": {"port": 11180}})
    asked = {"port": 80, "host": "0.0.0.0", "tls": True, "page": "off", "names": ["x"]}
    after = Settings.model_validate({"http": {**asked, "user": users(anna="admin")}})
    found = reloaded(before, after).http
    assert (found.port, found.host, found.tls, found.page) == (11180, "127.0.0.1", False, "auto")
    assert found.names == ("x",)
    assert [user.name for user in found.user] == ["anna"]


def test_a_change_of_users_is_one_of_security_and_tells_no_password() -> None:
    before, after = (
        Settings.model_validate({"http": {"user": users(anna=role)}}) for role in ("viewer", "admin")
    )
    keys = changed_keys(before, after)
    assert keys == ["http.user[anna].role"]
    assert is_of_security(keys)
    assert fingerprint(before) != fingerprint(after)
    other = [{**users(anna="viewer")[0], "password": users(victor="viewer")[0]["password"]}]
    assert fingerprint(Settings.model_validate({"http": {"user": other}})) == fingerprint(before)


@pytest.mark.parametrize(
    ("keys", "url"),
    [({}, "http://127.0.0.1:11180/"), ({"host": "0.0.0.0"}, "http://127.0.0.1:11180/"),
     ({"tls": True, "names": ("archive.example.org",)}, "https://archive.example.org:11180/")],
)  # fmt: skip
def test_where_the_page_is(keys: dict[str, Any], url: str) -> None:
    assert HttpSettings(port=11180, **keys).url == url


@pytest.mark.parametrize("page", ["conf/zscp.toml", "docs/dicomweb.md", "docs/configuration.md"])
def test_no_example_has_the_digest_of_a_token_that_anybody_guesses(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    words = ("", "test", "token", "secret", "password", "viewer", "changeme", "admin", "zscp")
    assert not [word for word in words if digest_of(word) in text]


# ---- OpenID Connect ----

OIDC: dict[str, Any] = {
    "issuer": "https://login.example.org/realms/x",
    "audience": "zscp",
    "grant": [{"values": "dicom"}],
}


@pytest.mark.parametrize(
    ("keys", "told"),
    [({"issuer": "http://login.example.org"}, "is no issuer"),
     ({"issuer": "login.example.org"}, "is no issuer"),
     ({"issuer": "https://a:b@login.example.org"}, "is no issuer"),
     ({"issuer": "https://x/?tenant=1"}, "is no issuer"), ({"algorithms": ["none"]}, "RS256"),
     ({"algorithms": ["HS256"]}, "RS256"), ({"algorithms": []}, "at least 1"),
     ({"leeway": "1h"}, 'at most "5m"'), ({"ca": "/nowhere.pem"}, "cannot be read"),
     ({"name": ""}, "at least 1"), ({"grant": [{"values": []}]}, "at least 1"),
     ({"grant": [{"claim": [], "values": "x"}]}, "at least 1"),
     ({"grant": [{"values": "x", "may": ["echo"]}]}, "no service of DICOMweb"),
     ({"grant": {"values": "x"}}, "two brackets"), ({"grant": [{"values": "x", "value": "y"}]}, "Extra")],
)  # fmt: skip
def test_what_cannot_be_used_of_an_issuer(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HttpSettings.model_validate({"oidc": OIDC | keys})


def test_an_issuer_is_on_this_machine_or_asked_by_https() -> None:
    for url in ("http://127.0.0.1:8080/realms/x", "http://localhost:8080", "http://[::1]/", "https://x"):
        assert HttpSettings.model_validate({"oidc": OIDC | {"issuer": url}}).oidc.issuer == url


@pytest.mark.parametrize(
    ("keys", "key", "told"),
    [({"audience": []}, "http.oidc.audience", "so that others are refused"),
     ({"grant": []}, "http.oidc.grant", "[[http.oidc.grant]]"),
     ({"grant": [{"values": "x", "may": ["store"]}]}, "http.oidc.grant[0].may", "needs a peer"),
     ({"grant": [{"values": "x", "peer": "CT1"}]}, "http.oidc.grant[0].peer", 'names "CT1"')],
)  # fmt: skip
def test_what_an_issuer_lacks(keys: dict[str, Any], key: str, told: str) -> None:
    assert told in faults({"oidc": OIDC | keys})[key]


def test_tokens_of_an_issuer_cross_a_network_by_tls_alone(tmp_path: Path) -> None:
    there = {"host": "10.0.0.5", "port": 11180, "oidc": OIDC}
    assert "tokens would cross the network" in faults(there)["http.oidc.issuer"]
    identity = Issuer(tmp_path).signed("archive")
    tls = {"certificate": identity.certificate, "key": identity.key}
    assert faults({**there, "tls": True}, tls=tls) == {}


def test_what_has_no_effect_of_an_issuer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    without = Settings.model_validate({"http": {"oidc": OIDC | {"issuer": ""}}})
    assert warnings(without) == ["http.oidc.issuer: without one, audience and grant have no effect"]
    asked = Settings.model_validate({"http": {"oidc": OIDC}})
    assert warnings(asked) == []
    monkeypatch.setattr("scp.config.oidc.find_spec", lambda name: None)
    (told,) = warnings(asked)
    assert "PyJWT, httpx2: not installed; install the extra oidc" in told


def test_a_change_of_an_issuer_is_one_of_security() -> None:
    before, after = (
        Settings.model_validate({"http": {"oidc": OIDC | {"grant": [{"values": one}]}}}) for one in "ab"
    )
    keys = changed_keys(before, after)
    assert keys == ["http.oidc.grant[0].values"]
    assert is_of_security(keys)
    assert reloaded(before, after).http.oidc == after.http.oidc
