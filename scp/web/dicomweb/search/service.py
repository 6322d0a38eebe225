"""QIDO-RS (PS3.18 10.6): studies, series and instances that match, as C-FIND matches them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from scp.audit import events, messages
from scp.audit.actors import this_process
from scp.index.watch import Watch
from scp.model import LEVELS, UNIQUE_KEYS, Facts
from scp.web.dicomweb.accept import accepted_by
from scp.web.dicomweb.asked import Asked, Route, Serve
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.json_model import JsonDataset, of_texts, written
from scp.web.dicomweb.multipart import Multipart
from scp.web.dicomweb.pieces import Pieces
from scp.web.dicomweb.search.matches import Match, SearchMatches
from scp.web.dicomweb.search.parameters import PARAMETERS, Search, asked_for, search_of
from scp.web.dicomweb.xml_model import MEDIA_TYPE as XML
from scp.web.dicomweb.xml_model import native_model

# Whose query a search is: Study Root Query/Retrieve Information Model - FIND (PS3.18 10.6.1.2.1).
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_LEVELS = {"study": "STUDY", "series": "SERIES"}  # of what a path names
_JSON, _PLAIN_JSON = "application/dicom+json", "application/json"
_PARTS = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}


def _searching(level: str) -> Serve:
    async def serve(asked: Asked) -> Response:
        return await _search(asked, level)

    return serve


@dataclass(frozen=True, slots=True)
class _SearchBegun:
    """A search, and the first of its matches that there are."""

    search: Search
    matches: SearchMatches
    first: tuple[Match, ...]
    others: Generator[tuple[Match, ...], None, None]


async def _search(asked: Asked, level: str) -> Response:
    media_type = _media_type(asked.request)
    begun = await asked.apart(partial(_begin, asked, level))
    warnings = [*begun.search.warnings, *filter(None, [begun.matches.warning])]
    headers = {"Warning": ", ".join(f'299 {asked.base} "{told}"' for told in warnings)} if warnings else {}
    if not begun.first:
        return Response(status_code=204, headers=headers)
    datasets = _datasets(asked, begun, _told_by(asked.base, begun.search, level))
    if media_type != XML:
        return Pieces(asked, _json(datasets), media_type, headers)
    parts = Multipart(XML)
    return Pieces(asked, _xml(parts, datasets), parts.content_type, headers)


def _begin(asked: Asked, level: str) -> _SearchBegun:
    """Look for the first matches. Raises QueryError, Refused, OutOfResources."""
    named = {_LEVELS[name]: uid for name, uid in asked.named.items()}
    search = search_of(level, named, asked.request.scope["query_string"], asked.caller.seen)
    asked.event.add(query_level=level, keys=asked_for(search.query))
    _record(asked)
    settings, archive = asked.desk.settings(), asked.desk.archive()
    given = {key.keyword: key.value for key in search.query.keys if key.value}
    archive.notice_query(Facts(given, "", 0, asked.caller.aet, settings.node.aet))
    watch = Watch(settings.query.seconds, asked.check)
    matches = SearchMatches(archive, search, settings.query.max_matches or None, watch)
    pages = matches.pages()
    return _SearchBegun(search, matches, next(filter(None, pages), ()), pages)


def _media_type(request: Request) -> str:
    """What the client likes best of what there is (PS3.18 8.7.3.2). Raises Refused (406)."""
    for one in accepted_by(request):
        if one.multipart and one.covers(XML):
            return XML
        if not one.multipart and (one.covers(_JSON) or one.covers(_PLAIN_JSON)):
            return _JSON if one.covers(_JSON) else _PLAIN_JSON
    raise Refused(406, f'Matches are told as {_JSON}, {_PLAIN_JSON}, or multipart/related; type="{XML}".')


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


Page = list[JsonDataset]


def _datasets(
    asked: Asked, begun: _SearchBegun, told: Callable[[Match], Mapping[str, str]]
) -> Generator[Page, None, None]:
    """All pages of matches, in the DICOM JSON Model."""
    count = 0
    with closing(begun.others):
        for page in chain([begun.first], begun.others):
            count += len(page)
            yield [of_texts(told(match)) for match in page]
    asked.event.add(matches=count)


def _json(pages: Generator[Page, None, None]) -> Generator[bytes, None, None]:
    with closing(pages):
        opening = b"["
        for page in filter(None, pages):
            yield opening + written(page)
            opening = b","
        yield b"]"


def _xml(parts: Multipart, pages: Generator[Page, None, None]) -> Generator[bytes, None, None]:
    with closing(pages):
        for page in pages:
            yield b"".join(parts.head({"Content-Type": XML}) + native_model(dataset) for dataset in page)
        yield parts.end()


def _record(asked: Asked) -> None:
    """Tell the audit trail that somebody asked, with the query as it came (PS3.15 A.5.3.10)."""
    trail = asked.desk.trail
    if trail.on:
        who = asked.caller.participant(events.SOURCE)
        node = this_process(asked.desk.settings().node.aet, role=events.DESTINATION, name="zscp DICOMweb")
        url = asked.request.url
        trail.record(messages.queried(who, node, STUDY_ROOT_FIND, f"{url.path}?{url.query}".encode(), ""))


_ANSWERS = (_JSON, _PLAIN_JSON, f'multipart/related; type="{XML}"')
ROUTES = tuple(
    Route("GET", path, "find", "qido-rs", _searching(level), name, _ANSWERS, PARAMETERS, (200, 204))
    for path, level, name in (
        ("/studies", "STUDY", "SearchForStudies"),
        ("/series", "SERIES", "SearchForSeries"),
        ("/instances", "IMAGE", "SearchForInstances"),
        ("/studies/{study}/series", "SERIES", "SearchForStudySeries"),
        ("/studies/{study}/instances", "IMAGE", "SearchForStudyInstances"),
        ("/studies/{study}/series/{series}/instances", "IMAGE", "SearchForStudySeriesInstances"),
    )
)
