"""A reload that takes away what let somebody in ends what they are sent, and what they send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest
from desks import users
from dicomweb_desks import ROOT, MadeDicomWeb, bearer, bearer_of, dicomweb_settings, image, token
from issuers import MadeIssuer
from places import Place
from stow import CONTENT_TYPE, body, file_of
from structlog.testing import capture_logs

from scp.web.access.sessions import cookie_name

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

PEER = {"aet": "HELD", "host": "10.0.0.1", "port": 104}
MAY = ["find", "get", "store"]


@pytest.fixture
def here(web: MadeDicomWeb) -> Place:
    """A study of four instances."""
    found = Place.fresh()
    web.store(*(image(found.uid(number)) for number in range(1, 5)))
    return found


def asked(
    web: MadeDicomWeb,
    request: str,
    headers: Mapping[str, str],
    came: Callable[[int], None],
    bodies: tuple[bytes, ...] = (b"",),
) -> list[Any]:
    """What is sent; ``came`` is called with the number of messages that have come or gone before each."""
    method, path = request.split(" ")
    sent: list[Any] = []
    left = list(bodies)

    async def receive() -> Any:
        if not left:
            await anyio.sleep_forever()
        came(len(bodies) - len(left))
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)
        came(len(sent))

    given = {"host": "127.0.0.1:11180", **headers}
    scope = {
        "type": "http", "method": method, "path": ROOT + path, "raw_path": f"{ROOT}{path}".encode(),
        "query_string": b"", "headers": [(k.lower().encode(), v.encode()) for k, v in given.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 11180), "scheme": "http",
    }  # fmt: skip
    anyio.run(web.app, scope, receive, send)
    return sent


def _ended(sent: list[Any]) -> bool:
    """Whether an answer has come to its end; a server breaks off a connection whose answer has not."""
    return not sent[-1].get("more_body", False)


def retrieved(web: MadeDicomWeb, here: Place, headers: Mapping[str, str], then: Any) -> list[Any]:
    """A study, of which ``then`` are the settings once its first piece has been sent."""

    def came(count: int) -> None:
        if count == 2:
            web.settings = then

    return asked(web, f"GET {here.study}", headers, came)


def of_tokens(*peers: dict[str, Any], **keys: Any) -> Any:
    return dicomweb_settings(peers, http={"token": [token("held", may=MAY, **keys)]})


def test_an_answer_goes_on_while_what_lets_in_stands(web: MadeDicomWeb, here: Place) -> None:
    web.settings = of_tokens()
    other = dicomweb_settings(http={"token": [token("viewer"), token("held", may=MAY)]})
    assert _ended(retrieved(web, here, bearer("held"), other))


@pytest.mark.parametrize(
    ("before", "then"),
    [(of_tokens(), dicomweb_settings()), (of_tokens(), dicomweb_settings(http={"token": []})),
     (of_tokens(), dicomweb_settings(http={"token": [token("held", may=["find"])]})),
     (of_tokens(PEER, peer="HELD"), of_tokens(PEER | {"may": ["echo"]}, peer="HELD")),
     (of_tokens(PEER, peer="HELD"), of_tokens(PEER | {"sees": {"Modality": ["MR"]}}, peer="HELD"))],
    ids=["another token", "no token", "may less", "its peer may less", "its peer sees less"],
)  # fmt: skip
def test_an_answer_ends_when_its_token_is_taken_away(
    web: MadeDicomWeb, here: Place, before: Any, then: Any
) -> None:
    web.settings = before
    with capture_logs() as lines:
        sent = retrieved(web, here, bearer("held"), then)
    assert (sent[0]["status"], _ended(sent)) == (200, False)
    (line,) = (one for one in lines if one.get("caller") == "held")
    assert "was taken out of the configuration" in line["reason"]


def test_an_answer_ends_when_the_issuer_of_its_token_is_taken_away(web: MadeDicomWeb, here: Place) -> None:
    issuer = MadeIssuer()
    web.settings = dicomweb_settings(http={"oidc": issuer.table()})
    try:
        stays = dicomweb_settings(http={"oidc": issuer.table(), "token": [token("viewer")]})
        assert _ended(retrieved(web, here, bearer_of(issuer.token()), stays))
        assert not _ended(retrieved(web, here, bearer_of(issuer.token()), dicomweb_settings()))
    finally:
        issuer.stop()


def test_an_answer_ends_when_its_user_is_taken_away(web: MadeDicomWeb, here: Place) -> None:
    web.settings = dicomweb_settings(http={"user": users(anna="admin", victor="viewer")})
    user = web.settings.http.user_named("victor")
    assert user is not None
    key, _ = web.sessions.begin(user)
    cookie = {"Cookie": f"{cookie_name(web.settings.http)}={key}"}
    only_anna = dicomweb_settings(http={"user": users(anna="admin")})
    assert not _ended(retrieved(web, here, cookie, only_anna))


def test_what_is_sent_after_a_token_was_taken_away_is_not_stored(web: MadeDicomWeb) -> None:
    place = Place.fresh()
    # Half a megabyte of a body is read at a time.
    large = {"Rows": 600, "Columns": 600, "PixelData": bytes(2 * 600 * 600)}
    first, second = (file_of(image(place.uid(number), **large)) for number in (1, 2))
    whole = body([first, second])
    cut = whole.index(second)
    web.settings = of_tokens()

    def came(count: int) -> None:
        if count == 1:
            web.settings = dicomweb_settings()

    headers = {**bearer("held"), "Content-Type": CONTENT_TYPE}
    with capture_logs() as lines:
        asked(web, "POST /studies", headers, came, (whole[:cut], whole[cut:]))
    assert [len(web.archive.named(place.uid(number))) for number in (1, 2)] == [1, 0]
    assert any("was taken out of the configuration" in str(one.get("reason")) for one in lines)
