"""Who may use the page: each test here fails without the thing that it is about."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from desks import BASE, PASSWORDS, MadePage, http_settings, users, with_http
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from scp.config.http import HttpSettings
from scp.web.access import machine
from scp.web.access.machine import is_of_this_account
from scp.web.access.passwords import Passwords, RefusedLogin
from scp.web.access.sessions import Sessions
from scp.web.page import gatekeeper
from scp.web.page.login import _local

pytestmark = pytest.mark.quick

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def page(tmp_path: Path) -> MadePage:
    """With a viewer and an admin."""
    made = MadePage(http_settings(user=users(anna="admin", victor="viewer")), tmp_path)
    router = made.app._app  # type: ignore[attr-defined]  # the application behind the gatekeeper
    router.add_api_route("/act", lambda: {"acted": True}, methods=["POST", "PUT", "PATCH", "DELETE"])
    router.add_api_route("/api/act", lambda: {"acted": True}, methods=["POST"])
    return made


@pytest.fixture
def open_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], TestClient]:
    """Without users, asked for by the node's own account, or by another."""

    def client(near: bool) -> TestClient:
        monkeypatch.setattr(gatekeeper, "is_of_this_account", lambda *_: near)
        return MadePage(http_settings(), tmp_path).client()

    return client


def log_in(client: TestClient, name: str = "anna", password: str = "", **fields: str) -> Any:
    sent = {"name": name, "password": password or PASSWORDS.get(name, ""), **fields}
    return client.post("/login", data=sent, headers=FORM)


# -- logging in ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/health", "/now/rates", "/act", "/nowhere"])
def test_a_stranger_is_led_to_the_login(page: MadePage, path: str) -> None:
    answer = page.client().get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")
    assert page.client().get(path, headers={"HX-Request": "true"}).headers["hx-redirect"] == "/login"


@pytest.mark.parametrize("path", ["/api/now", "/api/health", "/api/openapi.json", "/api/session", "/api/x"])
def test_a_program_without_a_session_is_told_to_log_in(page: MadePage, path: str) -> None:
    answer = page.client().get(path)
    assert answer.status_code == 401
    assert "/api/session" in answer.json()["detail"] or "this address" in answer.json()["detail"]


def test_who_logs_in_comes_to_where_they_wanted(page: MadePage) -> None:
    client = page.client()
    assert client.get("/a?b=c&d=e").headers["location"] == "/login?next=/a%3Fb%3Dc%26d%3De"
    answer = log_in(client, next="/health")
    assert (answer.status_code, answer.headers["location"]) == (303, "/health")
    assert "anna (admin)" in client.get("/").text
    assert client.get("/login").status_code == 303


@pytest.mark.parametrize("there", ["//evil.example", "https://evil.example", "/\\evil.example", "", "x"])
def test_no_login_leads_elsewhere(page: MadePage, there: str) -> None:
    assert log_in(page.client(), next=there).headers["location"] == "/"
    assert _local("/a?b=c") == "/a?b=c"


def test_a_wrong_password_and_a_wrong_name_are_told_alike(page: MadePage) -> None:
    wrong, unknown = log_in(page.client(), "anna", "wrong"), log_in(page.client(), "nobody", "wrong")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace("anna", "") == unknown.text.replace("nobody", "")
    assert "set-cookie" not in wrong.headers


def test_the_cookie_is_for_this_site_alone(page: MadePage) -> None:
    cookie = log_in(page.client()).headers["set-cookie"].lower()
    assert cookie.startswith("zscp-11180=")
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie


def test_under_tls_the_cookie_never_goes_in_the_clear(page: MadePage) -> None:
    page.settings = with_http(page.settings, tls=True)
    cookie = log_in(page.client(base_url=BASE.replace("http", "https"))).headers["set-cookie"]
    assert cookie.startswith("__Host-zscp-11180=")
    assert "Secure" in cookie


def test_a_login_makes_a_new_session_each_time(page: MadePage) -> None:
    keys = {log_in(page.client()).headers["set-cookie"].partition(";")[0] for _ in range(3)}
    assert len(keys) == 3
    answer = log_in(page.client(cookies={"zscp-11180": "chosen by another"}))
    assert "chosen by another" not in answer.headers["set-cookie"]
    assert page.client(cookies={"zscp-11180": "chosen by another"}).get("/").status_code == 303


def test_who_leaves_is_out(page: MadePage) -> None:
    client = page.entered("victor")
    before = dict(client.cookies)
    assert client.post("/logout").status_code == 303
    assert page.client(cookies=before).get("/").status_code == 303
    program = page.entered("victor")
    assert program.delete("/api/session").status_code == 204
    assert program.get("/api/now").status_code == 401


# -- sessions -----------------------------------------------------------------------------------------------


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def sessions_of(*, idle: int = 600, session: int = 3600) -> tuple[Sessions, Clock, list[HttpSettings]]:
    clock, http = Clock(), [http_settings(user=users(anna="admin", victor="viewer")).http]
    http[0] = http[0].model_copy(update={"idle": idle, "session": session})
    return Sessions(lambda: http[0], clock), clock, http


def test_an_idle_session_ends() -> None:
    sessions, clock, http = sessions_of()
    key, _ = sessions.begin(http[0].user[0])
    for _ in range(3):
        clock.now += 500
        assert sessions.visitor(key) is not None
    clock.now += 601
    assert sessions.visitor(key) is None
    clock.now -= 601
    assert sessions.visitor(key) is None  # and stays so


def test_a_session_ends_however_much_it_is_used() -> None:
    sessions, clock, http = sessions_of()
    key, _ = sessions.begin(http[0].user[0])
    for _ in range(7):
        clock.now += 500
        assert sessions.visitor(key) is not None
    clock.now += 500
    assert sessions.visitor(key) is None


def test_an_open_page_does_not_keep_its_session() -> None:
    sessions, clock, http = sessions_of()
    key, _ = sessions.begin(http[0].user[0])
    clock.now += 400
    assert sessions.visitor(key, uses=False) is not None
    clock.now += 400
    assert sessions.visitor(key, uses=False) is None


def test_a_session_ends_with_its_user_or_the_password() -> None:
    sessions, _, http = sessions_of()
    anna, victor = http[0].user
    key, _ = sessions.begin(victor)
    http[0] = http[0].model_copy(update={"user": (anna, victor.model_copy(update={"role": "admin"}))})
    found = sessions.visitor(key)
    assert found is not None
    assert found.role == "admin"  # at once, as the configuration has it
    http[0] = http[0].model_copy(
        update={"user": (anna, victor.model_copy(update={"password": anna.password}))}
    )
    assert sessions.visitor(key) is None
    key, _ = sessions.begin(anna)
    http[0] = http[0].model_copy(update={"user": (victor,)})
    assert sessions.visitor(key) is None


def test_sessions_are_bounded() -> None:
    sessions, _, http = sessions_of()
    first, _ = sessions.begin(http[0].user[1])
    of_anna = [sessions.begin(http[0].user[0])[0] for _ in range(40)]
    assert [sessions.visitor(key) is not None for key in of_anna] == [False] * 24 + [True] * 16
    assert sessions.visitor(first) is not None


# -- guessing -----------------------------------------------------------------------------------------------


def test_after_five_wrong_passwords_an_address_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    http, clock = http_settings(user=users(anna="admin", victor="viewer")).http, Clock()
    passwords = Passwords(lambda: http, clock)
    for _ in range(5):
        assert passwords.check("anna", "wrong", "10.0.0.1") == RefusedLogin(
            "the name or the password is wrong"
        )
    refused = passwords.check("anna", PASSWORDS["anna"], "10.0.0.1")
    assert isinstance(refused, RefusedLogin)
    assert 0 < refused.wait <= 300
    assert passwords.check("anna", PASSWORDS["anna"], "10.0.0.2") == http.user[0]
    assert passwords.check("victor", PASSWORDS["victor"], "10.0.0.1") == http.user[1]
    clock.now += refused.wait + 1
    assert passwords.check("anna", PASSWORDS["anna"], "10.0.0.1") == http.user[0]


def test_many_names_from_one_network_wait_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scp.web.access.passwords.is_of", lambda *_: False)
    passwords = Passwords(lambda: http_settings(user=users(anna="admin")).http, Clock())
    for number in range(20):
        assert passwords.check(f"name {number}", "x", f"2001:db8::{number:x}") == RefusedLogin(
            "the name or the password is wrong"
        )
    refused = passwords.check("another", "x", "2001:db8::ffff")
    assert isinstance(refused, RefusedLogin)
    assert refused.wait > 0


def test_the_page_tells_how_long_to_wait(page: MadePage) -> None:
    client = page.client()
    for _ in range(5):
        log_in(client, "anna", "wrong")
    answer = log_in(client)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 300
    assert "try again in" in answer.text
    assert (
        client.post("/api/session", json={"name": "anna", "password": PASSWORDS["anna"]}).status_code == 429
    )


def test_an_unknown_name_takes_as_long_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(
        "scp.web.access.passwords.is_of",
        lambda known, _: bool(checked.append(known)),  # type: ignore[func-returns-value]
    )
    passwords = Passwords(lambda: http_settings(user=users(anna="admin")).http)
    passwords.check("anna", "x", "10.0.0.1")
    passwords.check("nobody", "x", "10.0.0.1")
    assert len(checked) == 2
    assert checked[1].startswith("$argon2id$v=19$m=19456,t=2,p=1$")


# -- roles and tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_an_admin_changes_something(page: MadePage, method: str) -> None:
    assert page.entered("anna").request(method, "/act").json() == {"acted": True}
    answer = page.entered("victor").request(method, "/act")
    assert answer.status_code == 403
    assert "admin" in answer.text
    assert page.client().request(method, "/act").status_code == 303


def test_a_change_needs_the_token_of_the_session(page: MadePage) -> None:
    client, other = page.entered("anna"), page.entered("anna")
    token = client.headers.pop("X-CSRF-Token")
    assert client.post("/act").status_code == 403
    assert client.post("/api/act").status_code == 403
    assert client.delete("/api/session").status_code == 403
    assert client.post("/logout").status_code == 403
    for wrong in ("", "x", other.headers["X-CSRF-Token"], "é"):
        assert client.post("/act", data={"csrf": wrong}, headers=FORM).status_code == 403
    assert client.post("/act", data={"csrf": token, "more": "1"}, headers=FORM).json() == {"acted": True}
    assert client.post("/act", headers={"X-CSRF-Token": token}).json() == {"acted": True}
    assert client.get("/act?csrf=" + token).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://127.0.0.1:11181"}],
)  # fmt: skip
def test_another_sites_page_changes_nothing_and_logs_nobody_in(
    page: MadePage, headers: dict[str, str]
) -> None:
    assert page.entered("anna").post("/act", headers=headers).status_code == 403
    credential = {"name": "anna", "password": PASSWORDS["anna"]}
    assert page.client().post("/api/session", json=credential, headers=headers).status_code == 403
    own = {"Origin": BASE, "Sec-Fetch-Site": "same-origin"}
    assert page.entered("anna").post("/act", headers=own).status_code == 200


@pytest.mark.parametrize("path", gatekeeper.PROBES)
def test_what_a_probe_does_not_take_is_no_fault_of_the_node(page: MadePage, path: str) -> None:
    answer = page.client().post(path, content=b"abc")
    assert (answer.status_code, answer.text) == (405, "Method Not Allowed\n")


def test_a_long_request_is_not_read(page: MadePage) -> None:
    answer = page.entered("anna").post("/act", content=b"x" * (1 << 20) + b"y")
    assert answer.status_code == 413


# -- without users ------------------------------------------------------------------------------------------


def test_without_users_the_nodes_account_may_look(open_page: Callable[[bool], TestClient]) -> None:
    client = open_page(True)
    assert client.get("/").status_code == 200
    assert client.get("/api/session").json() == {"name": "", "role": "viewer", "csrf": ""}
    for proxy in ({"Via": "1.1 proxy"}, {"Forwarded": "for=10.0.0.9"}, {"X-Forwarded-For": "10.0.0.9"}):
        assert client.get("/", headers=proxy).status_code == 403  # who asks is whoever reaches the proxy
    assert client.post("/act").status_code == 403
    assert client.get("/login").headers["location"] == "/"
    assert log_in(client, "anna", "x").status_code == 401


def test_without_users_nobody_else_may(open_page: Callable[[bool], TestClient]) -> None:
    client = open_page(False)
    for path in ("/", "/api/now", "/health", "/now/stream"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert "[[http.user]]" in answer.text


@pytest.fixture(params=["asked", "listed"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is asked for the one connection, or where it does not say, its tables are read."""
    other = "_listed" if request.param == "asked" else "_asked"
    monkeypatch.setattr(machine, other, lambda *_: {"_listed": [], "_asked": None}[other])


@contextmanager
def connected(family: int, host: str, by: int, address: str) -> Iterator[tuple[socket.socket, Any, Any]]:
    """A connection to ``host`` from a socket that connects to ``address``: that, and both ends."""
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        listening.listen()
        with socket.socket(by) as own:
            own.connect((address, listening.getsockname()[1]))
            accepted, _ = listening.accept()
            with accepted:
                yield own, accepted.getpeername()[:2], accepted.getsockname()[:2]


_V4, _V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    "ends",
    [
        (_V4, "127.0.0.1", _V4, "127.0.0.1"),
        (_V6, "::1", _V6, "::1"),
        (_V4, "127.0.0.1", _V6, "::ffff:127.0.0.1"),
    ],
)
@pytest.mark.usefixtures("way")
def test_whose_process_is_at_the_other_end(ends: Any) -> None:
    with connected(*ends) as (own, client, server):
        assert is_of_this_account(client, server)
        assert not is_of_this_account((client[0], 1), server)
        assert not is_of_this_account(server, (client[0], 1))  # somebody listens there
        own.close()  # what nobody has any more is the root account's, as the kernel says
        assert not is_of_this_account(client, server)


def test_elsewhere_is_not_this_machine() -> None:
    assert not is_of_this_account(("10.0.0.1", 5), ("10.0.0.2", 6))
    assert not is_of_this_account(("testclient", 5), ("10.0.0.2", 6))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a socket to another account")
@pytest.mark.usefixtures("way")
def test_another_account_is_not_this_one() -> None:
    with connected(_V4, "127.0.0.1", _V4, "127.0.0.1") as (own, client, server):
        os.fchown(own.fileno(), 65_534, 65_534)
        assert not is_of_this_account(client, server)


# -- headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "a b", "[::1", "archive:99999999"]
)
def test_a_name_that_points_here_is_refused(page: MadePage, host: str) -> None:
    answer = page.entered("anna").get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "http.names" in answer.text


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost:8080", "[::1]:11180", "10.0.0.5", "Archive.Example.Org:1", socket.gethostname()],
)
def test_addresses_and_known_names_are_answered(page: MadePage, host: str) -> None:
    page.settings = with_http(page.settings, names=("archive.example.org",))
    assert page.entered("anna").get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/login", "/api/now", "/nowhere", "/static/page.css"])
def test_every_answer_says_what_browsers_may_do(page: MadePage, path: str) -> None:
    for client in (page.client(), page.entered("anna")):
        headers = client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers


def test_nothing_is_kept_by_caches_but_files(page: MadePage) -> None:
    client = page.entered("anna")
    assert client.get("/").headers["cache-control"] == "no-store"
    assert "immutable" in client.get("/static/page.css").headers["cache-control"]
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404


@pytest.mark.parametrize("path", gatekeeper.PROBES)
def test_probes_need_no_login_and_no_known_name(page: MadePage, path: str) -> None:
    answer = page.client().get(path, headers={"Host": "prometheus.example", "Accept": "a/b"})
    assert (answer.status_code, answer.text) == (200, f"{path} a/b")
    assert page.client().head(path, headers={"Host": "x.example"}).status_code == 200


# -- the audit trail ----------------------------------------------------------------------------------------


def test_who_comes_and_goes_is_recorded(page: MadePage) -> None:
    client = page.entered("victor")
    client.post("/act")
    client.post("/logout")
    log_in(page.client(), "anna", "wrong")
    log_in(page.client(), "my password", "wrong")
    assert page.trail.told() == [
        ("Login", "victor", ""),
        ("Use of Restricted Function", "victor", ""),
        ("Logout", "victor", ""),
        ("Login", "anna", "the name or the password is wrong"),
        ("Login", "unknown user", "the name or the password is wrong"),
    ]
    assert "my password" not in repr(page.trail.events)
    assert {one.participants[0].address for one in page.trail.events} == {"127.0.0.1"}


def test_failures_that_repeat_fill_no_trail(page: MadePage) -> None:
    for _ in range(5):
        log_in(page.client(), "anna", "wrong")
    assert len(page.trail.events) == 1


@pytest.mark.parametrize("path", ["/login", "/policy/try"])
def test_a_form_of_too_many_fields_is_refused_as_one_that_is_too_long(page: MadePage, path: str) -> None:
    sent = "&".join(f"a{number}=1" for number in range(1001))
    answer = page.client(raise_server_exceptions=False).post(path, content=sent, headers=FORM)
    assert (answer.status_code, answer.text) == (413, "The request is too long.\n")
    assert answer.headers["x-content-type-options"] == "nosniff"


# -- after a reload -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "sent"),
    [({"names": ("archive",)}, "123"), ({"user": ()}, "1"),
     ({"user": http_settings(user=users(anna="viewer")).http.user}, "1")],
    ids=["of something else", "no users", "another role"],
)  # fmt: skip
def test_what_is_being_sent_ends_when_its_user_is_taken_away(
    page: MadePage, keys: dict[str, Any], sent: str
) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "1"
        page.settings = with_http(page.settings, **keys)
        yield "2"
        yield "3"

    router = page.app._app  # type: ignore[attr-defined]
    router.add_api_route("/long", lambda: StreamingResponse(pieces()), methods=["GET"])
    client = page.entered("anna")
    assert client.get("/long").text == sent


def test_a_wrong_token_of_a_session_is_recorded(page: MadePage) -> None:
    client = page.entered("anna")
    page.trail.events.clear()
    client.headers["X-CSRF-Token"] = "x"
    assert client.post("/api/act").status_code == 403
    assert page.trail.alerts() == [("anna", "the session's CSRF token is missing or wrong")]
