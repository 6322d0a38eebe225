"""All views, in the order of the navigation: a new one is a module here, and a row of this table."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

from scp.web.page.rendering import NavigationEntry
from scp.web.page.views import health, now, objects, peers, policy, savings, traffic


@dataclass(frozen=True, slots=True)
class View:
    """A view: where it stands in the navigation, and its routes, of the page and of the API."""

    entry: NavigationEntry
    router: APIRouter


VIEWS = (
    View(NavigationEntry("Now", "/"), now.router),
    View(NavigationEntry("Savings", "/savings"), savings.router),
    View(NavigationEntry("Traffic", "/traffic"), traffic.router),
    View(NavigationEntry("Policy", "/policy"), policy.router),
    View(NavigationEntry("Objects", "/objects"), objects.router),
    View(NavigationEntry("Peers", "/peers"), peers.router),
    View(NavigationEntry("Health", "/health"), health.router),
)
