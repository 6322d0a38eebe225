"""QIDO-RS (PS3.18 10.6): studies, series and instances that match, as C-FIND matches them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from urllib.parse import quote

from starlette.responses import Response

from scp.audit import events, messages
from scp.audit.actors import this_process
from scp.index.watch import Watch
from scp.model import LEVELS, UNIQUE_KEYS, Facts
from scp.web.dicomweb.asked import Asked, Route, Serve
from scp.web.dicomweb.json_model import JsonDataset, of_texts, written
from scp.web.dicomweb.pieces import Pieces
from scp.web.dicomweb.search.matches import Match, Matches
from scp.web.dicomweb.search.parameters import Search, asked_for, search_of

# Whose query a search is: Study Root Query/Retrieve Information Model - FIND (PS3.18 10.6.1.2.1).
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_LEVELS = {"study": "STUDY", "series": "SERIES"}  # of what a path names
_JSON = "application/dicom+json"
_PARTS = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}


def _searching(level: str) -> Serve:
    async def serve(asked: Asked) -> Response:
        return await _search(asked, level)

    return serve


async def _search(asked: Asked, level: str) -> Response:
    query_string = asked.request.scope["query_string"]
    named = {_LEVELS[name]: uid for name, uid in asked.named.items()}
    search = search_of(level, named, query_string, asked.caller.seen)
    asked.event.add(query_level=level, keys=asked_for(search.query))
    _record(asked)
    settings = asked.desk.settings()
    watch = Watch(settings.query.seconds, asked.check)

    def begun() -> tuple[Matches, Generator[tuple[Match, ...], None, None], tuple[Match, ...]]:
        archive = asked.desk.archive()
        _notice(asked, search)
        matches = Matches(archive, search, settings.query.max_matches or None, watch)
        pages = matches.pages()
        return matches, pages, next(filter(None, pages), ())

    matches, pages, first = await asked.apart(begun)
    warnings = [*search.warnings, *filter(None, [matches.warning])]
    headers = {"Warning": ", ".join(f'299 {asked.base} "{told}"' for told in warnings)} if warnings else {}
    if not first:
        return Response(status_code=204, headers=headers)
    told = _told_by(asked.base, search, level)
    return Pieces(asked, _json(asked, first, pages, told), _JSON, headers)


def _notice(asked: Asked, search: Search) -> None:
    """As a C-FIND is noticed: earlier studies may be wanted soon."""
    keys = {key.keyword: key.value for key in search.query.keys if key.value}
    asked.desk.archive().notice_query(Facts(keys, "", 0, asked.caller.aet, asked.desk.settings().node.aet))


def _told_by(base: str, search: Search, level: str) -> Callable[[Match], Mapping[str, str]]:
    """What is told of a match: the fields, empty where there is no value, and where it is retrieved."""
    levels = LEVELS[1 : LEVELS.index(level) + 1]
    empty = dict.fromkeys(search.fields, "")

    def told(match: Match) -> Mapping[str, str]:
        uids = ((each, quote(match.get(UNIQUE_KEYS[each], ""), safe="")) for each in levels)
        path = "".join(f"/{_PARTS[each]}/{uid}" for each, uid in uids)
        found = {keyword: match[keyword] for keyword in search.fields if keyword in match}
        availability = match.get("InstanceAvailability", "ONLINE")
        return empty | found | {"RetrieveURL": base + path, "InstanceAvailability": availability}

    return told


def _json(
    asked: Asked,
    first: tuple[Match, ...],
    pages: Generator[tuple[Match, ...], None, None],
    told: Callable[[Match], Mapping[str, str]],
) -> Generator[bytes, None, None]:
    count = 0
    with closing(pages):
        opening = b"["
        for page in _all(first, pages):
            if page:
                yield opening + written(_models(page, told))
                opening, count = b",", count + len(page)
        asked.event.add(matches=count)
        yield b"]"


def _all(
    first: tuple[Match, ...], others: Iterable[tuple[Match, ...]]
) -> Generator[tuple[Match, ...], None, None]:
    yield first
    yield from others


def _models(page: Iterable[Match], told: Callable[[Match], Mapping[str, str]]) -> list[JsonDataset]:
    return [of_texts(told(match)) for match in page]


def _record(asked: Asked) -> None:
    """Tell the audit trail that somebody asked, with the query as it came (PS3.15 A.5.3.10)."""
    trail = asked.desk.trail
    if trail.on:
        who = asked.caller.participant(events.SOURCE)
        node = this_process(asked.desk.settings().node.aet, role=events.DESTINATION, name="zscp DICOMweb")
        url = asked.request.url
        trail.record(messages.queried(who, node, STUDY_ROOT_FIND, f"{url.path}?{url.query}".encode(), ""))


ROUTES = tuple(
    Route("GET", path, "find", "qido-rs", _searching(level))
    for path, level in (
        ("/studies", "STUDY"),
        ("/series", "SERIES"),
        ("/instances", "IMAGE"),
        ("/studies/{study}/series", "SERIES"),
        ("/studies/{study}/instances", "IMAGE"),
        ("/studies/{study}/series/{series}/instances", "IMAGE"),
    )
)
