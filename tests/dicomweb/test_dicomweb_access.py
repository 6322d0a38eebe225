"""Who may use DICOMweb: tokens, users of the page, the node's account; CORS; how many requests at a time."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager

import anyio
import pytest
from desks import users
from dicomweb_desks import SECRETS, MadeDicomWeb, bearer, bearer_of, dicomweb_settings, image, token
from starlette.testclient import TestClient

from scp.config.http import digest_of, new_token
from scp.errors import OutOfResources
from scp.web.access.sessions import cookie_name
from scp.web.dicomweb import callers, places
from scp.web.dicomweb.callers import Caller

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

PEER = {"aet": "HELD", "host": "10.0.0.1", "port": 104}


@pytest.fixture(scope="module")
def stored(made: MadeDicomWeb) -> None:
    """One image."""
    made.store(image("1.2.1.1.1"))


@pytest.fixture
def filled(web: MadeDicomWeb, stored: None) -> MadeDicomWeb:
    """DICOMweb on these objects."""
    return web


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, 'Bearer realm="zscp"'),
        ({"Authorization": "Bearer wrong"}, 'Bearer realm="zscp", error="invalid_token"'),
        ({"Authorization": "Bearer "}, 'Bearer realm="zscp", error="invalid_token"'),
        ({"Authorization": f"Basic {SECRETS['viewer']}"}, 'Bearer realm="zscp", error="invalid_token"'),
        (bearer_of(digest_of(SECRETS["viewer"])), 'Bearer realm="zscp", error="invalid_token"'),
    ],
)
def test_who_is_not_known_is_told_how_to_be(
    filled: MadeDicomWeb, headers: dict[str, str], challenge: str
) -> None:
    answer = filled.client("").get("/studies", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, challenge)
    assert SECRETS["viewer"] not in answer.text


def test_a_token_may_do_what_it_is_for(filled: MadeDicomWeb) -> None:
    filled.settings = dicomweb_settings(http={"token": [token("writer", may=["store"])]})
    answer = filled.client("writer").get("/studies")
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"] == 'Bearer realm="zscp", error="insufficient_scope"'
    assert answer.text.startswith("writer may not find by DICOMweb: see `may` of the [[http.token]]")
    (event,) = filled.trail.events
    assert (event.type.text if event.type else "", event.participants[0].user_id) == (
        "Use of Restricted Function",
        "writer",
    )


def test_a_token_may_do_no_more_than_its_peer(filled: MadeDicomWeb) -> None:
    held = {"token": [token("held", peer="HELD")]}
    filled.settings = dicomweb_settings([PEER | {"may": ["store", "get"]}], http=held)
    assert filled.client("held").get("/studies").status_code == 403
    filled.settings = dicomweb_settings([PEER | {"may": ["find"]}], http=held)
    assert filled.client("held").get("/studies").status_code == 200


def test_a_token_comes_from_where_its_peer_may(filled: MadeDicomWeb) -> None:
    peer = PEER | {"addresses": ["10.1.0.0/16"]}
    filled.settings = dicomweb_settings([peer], http={"token": [token("held", peer="HELD")]})
    assert filled.client("held", client=("10.1.2.3", 50_000)).get("/studies").status_code == 200
    answer = filled.client("held", client=("10.2.2.3", 50_000)).get("/studies")
    assert (answer.status_code, "none of the `addresses`" in answer.text) == (403, True)
    told = "held came from 10.2.2.3, none of the `addresses` of its [[peer]]"
    assert filled.trail.alerts() == [("HELD", told)]  # whose token it is that was perhaps stolen


def test_a_token_that_is_taken_away_is_not_known_any_more(filled: MadeDicomWeb) -> None:
    client = filled.client()
    assert client.get("/studies").status_code == 200
    filled.settings = dicomweb_settings(http={"token": []})
    assert client.get("/studies").status_code == 401


def _entered(web: MadeDicomWeb, name: str) -> TestClient:
    web.settings = dicomweb_settings(http={"user": users(anna="admin", victor="viewer")})
    user = web.settings.http.user_named(name)
    assert user is not None
    key, _ = web.sessions.begin(user)
    client = web.client("")
    client.cookies.set(cookie_name(web.settings.http), key)
    return client


@pytest.mark.parametrize("name", ["anna", "victor"])
def test_users_of_the_page_may_search(filled: MadeDicomWeb, name: str) -> None:
    assert _entered(filled, name).get("/studies").status_code == 200


@pytest.mark.parametrize("elsewhere", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_session_is_not_for_pages_of_others(filled: MadeDicomWeb, elsewhere: dict[str, str]) -> None:
    assert _entered(filled, "anna").get("/studies", headers=elsewhere).status_code == 401


def test_a_session_needs_its_csrf_token_to_change_something_and_a_token_needs_none() -> None:
    user = Caller("anna", "user", "10.0.0.1", frozenset(("store",)), csrf="secret")
    assert [user.has_sent(one) for one in ("secret", "other", "")] == [True, False, False]
    assert Caller("writer", "token", "10.0.0.1", frozenset(("store",))).has_sent("")


def test_a_user_who_sends_no_csrf_token_is_recorded(filled: MadeDicomWeb) -> None:
    client = _entered(filled, "anna")
    filled.trail.events.clear()
    assert client.post("/studies", content=b"", headers={"X-CSRF-Token": "x"}).status_code == 403
    assert filled.trail.alerts() == [("anna", "the session's CSRF token is missing or wrong")]


def test_without_users_it_is_for_the_account_of_the_node(
    filled: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "is_of_this_account", lambda *_: True)
    assert filled.client("").get("/studies").status_code == 200
    assert filled.client("").get("/studies", headers={"Origin": "https://evil.example"}).status_code == 401
    assert filled.client("").get("/studies", headers={"X-Forwarded-For": "10.0.0.9"}).status_code == 401
    filled.settings = dicomweb_settings(http={"user": users(anna="admin")})
    assert filled.client("").get("/studies").status_code == 401


def test_no_page_elsewhere_reads_answers_unless_it_is_named(filled: MadeDicomWeb) -> None:
    viewer = {"Origin": "https://viewer.example"}
    answer = filled.client().get("/studies", headers=viewer)
    assert "access-control-allow-origin" not in answer.headers
    filled.settings = dicomweb_settings(origins=["https://viewer.example"])
    answer = filled.client().get("/studies", headers=viewer)
    assert answer.headers["access-control-allow-origin"] == "https://viewer.example"
    assert "access-control-allow-credentials" not in answer.headers
    answer = filled.client().get("/studies", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_a_browser_asks_before_it_sends_a_token(filled: MadeDicomWeb) -> None:
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    filled.settings = dicomweb_settings(origins=["https://viewer.example"])
    answer = filled.client("").options("/studies", headers=asks | {"Origin": "https://viewer.example"})
    assert answer.status_code == 200
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    answer = filled.client("").options("/studies", headers=asks | {"Origin": "https://evil.example"})
    assert answer.status_code == 400


def test_a_name_that_is_not_the_nodes_is_refused(filled: MadeDicomWeb) -> None:
    assert filled.client().get("/studies", headers={"Host": "evil.example"}).status_code == 421


def test_one_who_asks_leaves_half_of_the_places_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WAIT_SECONDS", 0.05)

    async def ask() -> list[tuple[str, str]]:
        free, refused = places.RequestPlaces(), list[tuple[str, str]]()

        async def hold(who: str, ends: anyio.Event) -> None:
            try:
                async with free.one(who, 4):
                    await ends.wait()
            except OutOfResources as error:
                refused.append((who, error.limit))

        async with anyio.create_task_group() as group:
            ends = anyio.Event()
            for who in ("a", "a", "a", "b", "b", "c"):
                group.start_soon(hold, who, ends)
                await anyio.sleep(0)
            while len(refused) < 2:
                await anyio.sleep(0.01)
            await anyio.sleep(0.1)  # who has a place may take longer than others wait for one
            ends.set()
        async with free.one("c", 4):
            return refused

    assert sorted(anyio.run(ask)) == [("a", "dicomweb.requests"), ("c", "dicomweb.requests")]


def test_a_token_has_the_places_of_one_whatever_its_address(
    filled: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    place = places.RequestPlaces.one

    def noting(free: places.RequestPlaces, who: Hashable, most: int) -> AbstractAsyncContextManager[None]:
        seen.append(who)
        return place(free, who, most)

    monkeypatch.setattr(places.RequestPlaces, "one", noting)
    for address in ("10.0.0.7", "10.0.0.8", "10.0.0.7"):
        assert filled.client(client=(address, 50_000)).get("/studies").status_code == 200
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_who_waits_gets_the_place_that_becomes_free() -> None:
    async def ask() -> list[str]:
        free, told = places.RequestPlaces(), list[str]()

        async def wait() -> None:
            async with free.one("b", 1):
                told.append("b")

        async with anyio.create_task_group() as group, free.one("a", 1):
            group.start_soon(wait)
            await anyio.sleep(0.05)
            told.append("a")
        return told

    assert anyio.run(ask) == ["a", "b"]


def test_more_requests_than_may_be_are_told_to_come_again(
    filled: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WAIT_SECONDS", -1.0)
    monkeypatch.setattr(places.RequestPlaces, "_at_once", lambda *_: False)
    answer = filled.client().get("/studies")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_all_else_is_of_the_page(filled: MadeDicomWeb) -> None:
    client = TestClient(filled.app, base_url="http://127.0.0.1:11180", headers=bearer("viewer"))
    assert client.get("/").text == "the page"
    assert client.get("/dicom-webs/studies").text == "the page"
    assert client.get("/dicom-web/studies").status_code == 200
    filled.settings = dicomweb_settings(path="")
    assert client.get("/dicom-web/studies").text == "the page"
    filled.settings = dicomweb_settings(path="/pacs/rs")
    assert client.get("/pacs/rs/studies").status_code == 200


def test_a_token_is_long_and_known_by_its_digest() -> None:
    made = new_token()
    assert len(made) >= 43
    assert made != new_token()
    assert len(digest_of(made)) == 64


def test_capabilities_name_each_resource_and_what_it_answers(filled: MadeDicomWeb) -> None:
    answer = filled.client().options("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.sun.wadl+xml")
    assert 'id="SearchForStudySeriesInstances"' in answer.text
    assert 'base="http://127.0.0.1:11180/dicom-web"' in answer.text
    told = filled.client().options("/studies", headers={"Accept": "application/json"}).json()
    (root,) = told["application"]["resources"]
    (studies,) = (one for one in root["resource"] if one["@path"] == "studies")
    assert studies["method"][0]["@name"] == "GET"


@pytest.mark.parametrize("may", [["get"], ["store"]])
def test_capabilities_are_told_to_whoever_is_known(filled: MadeDicomWeb, may: list[str]) -> None:
    filled.settings = dicomweb_settings(http={"token": [token("writer", may=may)]})
    assert filled.client("writer").options("/studies").status_code == 200
    assert filled.client("").options("/studies").status_code == 401
