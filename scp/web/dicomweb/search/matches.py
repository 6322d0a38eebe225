"""The matches of a search, page by page: between two of them nothing of the database is held."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from scp.archive.archive import Archive
from scp.index.pages import Page
from scp.index.watch import Watch
from scp.web.dicomweb.search.parameters import Search

# The first come soon; of later ones many at a time, as each page counts anew what matches.
_FIRST, _FOLLOWING = 100, 1000
Match = Mapping[str, str]

MORE = "There are {}additional results that can be requested"
PERHAPS_MORE = "There may be additional results that can be requested"


class SearchMatches:
    """Reads what a search asks for, at most ``most`` matches; None: all. The newest come first.

    ``warning`` says, once the first page was read, that matches are left out; it is empty where none are.
    """

    def __init__(self, archive: Archive, search: Search, most: int | None, watch: Watch) -> None:
        self._archive, self._search, self._watch = archive, search, watch
        limits = [one for one in (search.limit, most) if one is not None]
        self._limit = min(limits) if limits else None
        # Where a key asks for items of sequences, some of what the database finds does not match.
        self._narrowed = any(key.vr == "SQ" and key.value for key in search.query.keys)
        self.warning = ""

    def pages(self) -> Generator[tuple[Match, ...], None, None]:
        """The matches. Raises QueryError, OutOfResources, and what the watch raises."""
        skips, told, before, first = self._search.offset, 0, None, True
        while self._limit is None or told < self._limit:
            page = self._page(_FIRST if first else _FOLLOWING, before, 0 if self._narrowed else skips)
            found = [entry.attributes for entry in page.entries]
            if self._narrowed:
                found, skips = found[skips:], max(0, skips - len(found))
            else:
                skips = 0
            matches = tuple(found if self._limit is None else found[: self._limit - told])
            told += len(matches)
            if first:
                self.warning = self._left_out(page, len(found) - len(matches))
            yield matches
            if page.following is None:
                return
            before, first = page.following, False

    def _page(self, most: int, before: int | None, skip: int) -> Page:
        return self._archive.find_page(self._search.query, most, before, self._watch, skip)

    def _left_out(self, first: Page, over: int) -> str:
        """What is said of matches beyond the limit, by the first page and how many of it are not told."""
        if self._limit is None or (first.following is None and not over):
            return ""
        if self._narrowed:
            return PERHAPS_MORE
        beyond = self._search.offset + self._limit
        if first.count is not None:
            return MORE.format(f"{first.count - beyond} ") if first.count > beyond else ""
        return MORE.format("") if self._page(1, None, beyond).entries else ""
