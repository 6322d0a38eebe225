"""HTML from templates: all that a template may use, and what every page has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from scp.web.page.gatekeeper import PageAsked
from scp.web.wording import number, percent, size, span

HERE = Path(__file__).parent
STATIC_FOLDER = HERE / "static"
_OVER_TIME = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A view in the navigation."""

    title: str
    path: str


@cache
def _environment() -> Environment:
    """One for all: it keeps the templates that it has compiled."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters = {
        "size": size,
        "span": span,
        "when": when,
        "begun": begun,
        "date": date,
        "count": count,
        "rate": rate,
    }
    made.filters |= filters
    made.globals |= {
        "static": {path.name: f"/static/{path.name}?{_digest(path)}" for path in STATIC_FOLDER.iterdir()},
        "number": number,
        "percent": percent,
    }
    return made


def compile_templates() -> None:
    """Compile all templates, which takes 0.2 s: else who opens a view first waits for its own."""
    for name in _environment().list_templates():
        _environment().get_template(name)


class Rendering:
    """Renders templates with the navigation of all views; ``node`` names the node."""

    def __init__(self, entries: Iterable[NavigationEntry], node: str) -> None:
        self._layout = {"navigation": list(entries), "node": node}

    def page(self, request: Request, template: str, code: int = 200, **values: Any) -> HTMLResponse:
        """A whole page, in the layout, with an HTTP status code."""
        asked: PageAsked = request.state.asked
        known = {"visitor": asked.visitor, "path": request.url.path, **self._layout}
        return HTMLResponse(self.part(template, **(known | values)), code)

    def part(self, template: str, **values: Any) -> str:
        """A part of a page, as it is sent to one that is open."""
        return _environment().get_template(template).render(**values)


def rendering_of(request: Request) -> Rendering:
    """The rendering of the application that a request came to."""
    found: Rendering = request.app.state.rendering
    return found


def when(seconds: float) -> str:
    """A moment in seconds since 1970, in the machine's own time zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def begun(seconds: float, by: str) -> str:
    """The hour, day or month of UTC that began so many seconds after 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_OVER_TIME[by])


def count(value: float) -> str:
    """A whole number with thin gaps between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def date(value: str) -> str:
    """A DICOM date, 20261129, as people read it; anything else as it is."""
    plain = len(value) == 8 and value.isascii() and value.isdecimal()
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if plain else value


def rate(value: float) -> str:
    """So many a second."""
    return f"{value:.1f}" if value < 100 else count(value)


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12]
