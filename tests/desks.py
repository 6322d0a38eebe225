"""A page without a node behind it: a desk of made values, and a client that asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from admin_desks import MadeAdmin
from starlette.testclient import TestClient

from scp.archive.archive import Archive
from scp.audit.events import RESTRICTED_FUNCTION, AuditEvent
from scp.config.settings import Settings
from scp.config.users import hashed
from scp.errors import OutOfResources
from scp.metrics.counting import NodeFigures
from scp.node.page_objects import PageObjects
from scp.resources.room import Room
from scp.web.disks import Disks
from scp.web.exposition import MetricSources
from scp.web.health import Health
from scp.web.looks import Look
from scp.web.page import gatekeeper
from scp.web.page.app import page_app
from scp.web.page.desk import Desk
from scp.web.page.rates import Rates
from scp.web.server import Page

NODE, NAME = "0123456789ab", "archive1"
PASSWORDS = {"anna": "the password of anna", "victor": "victor's one"}
# Hashing takes 33 ms, and no test needs others.
_HASHES = {name: hashed(password) for name, password in PASSWORDS.items()}
PORT = 11180
BASE = f"http://127.0.0.1:{PORT}"


class Recorded:
    """An audit trail that keeps what it is told."""

    on = True

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        """See AuditTrail."""
        self.events.append(event)

    def handed_over(self, seconds: float) -> bool:
        return True

    def told(self) -> list[tuple[str, str, str]]:
        """Each event's type, who acted, and why it failed."""
        return [
            (one.type.text if one.type else "", one.participants[0].user_id, one.why) for one in self.events
        ]

    def alerts(self) -> list[tuple[str, str]]:
        """Who tried what they may not, and what."""
        alerts = [one for one in self.events if one.type is RESTRICTED_FUNCTION]
        return [(one.participants[0].user_id, one.subjects[0].details[-1][1].decode()) for one in alerts]


@dataclass
class MadePage:
    """A page whose parts a test may change: ``settings`` and ``look`` count from the next request on."""

    settings: Settings
    folder: Path
    archive: Archive | None = None
    look: Look = field(default_factory=Look)
    figures: NodeFigures = field(default_factory=NodeFigures)
    trail: Recorded = field(default_factory=Recorded)
    admin: MadeAdmin = field(default_factory=MadeAdmin)

    def __post_init__(self) -> None:
        for name in ("worker 1", "worker 2"):
            self.figures.reserve(name)
        health = Health(self.figures, lambda: self.look)
        sources = MetricSources(
            self.figures,
            health,
            lambda: self.look,
            lambda: Disks("hot", {"hot": Room(self.folder, 10**6)}, 10**9, 86_400.0),
            lambda: (1000, 2000),
            lambda: (3000, 4000),
            tuple,
            lambda: ("fingerprint", NODE, NAME),
            self.figures.began,
        )
        self.rates = Rates(self.figures)
        self.objects = PageObjects(self._opened, lambda: self.settings, self.trail)
        self.desk = Desk(
            lambda: self.settings,
            self._opened,
            sources,
            self.rates,
            self.trail,
            admin=self.admin.desk,
            objects=self.objects,
        )
        self.app = page_app(self.desk, probes())

    def _opened(self) -> Archive:
        if self.archive is None:
            raise OutOfResources("the index cannot be used: it is away")
        return self.archive

    def client(self, **choices: Any) -> TestClient:
        """A browser on the node's machine, that follows no redirect."""
        given = {"base_url": BASE, "client": ("127.0.0.1", 50_000), "follow_redirects": False, **choices}
        return TestClient(self.app, **given)

    def entered(self, name: str) -> TestClient:
        """A browser of a user who has logged in; it sends the token as the page's scripts do."""
        client = self.client()
        answer = client.post("/api/session", json={"name": name, "password": PASSWORDS[name]})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return client


def probes() -> dict[str, Page]:
    """Pages as the node has them for load balancers and Prometheus."""

    def page(name: str) -> Page:
        return lambda accept: (200, "text/plain", f"{name} {accept}".encode())

    return {path: page(path) for path in gatekeeper.PROBES}


def users(**roles: str) -> list[dict[str, str]]:
    """Tables of users: name=role."""
    return [{"name": name, "password": _HASHES[name], "role": role} for name, role in roles.items()]


def http_settings(**keys: Any) -> Settings:
    """Settings with these keys of [http]."""
    return Settings.model_validate({"http": {"port": PORT, **keys}})


def with_http(settings: Settings, **keys: Any) -> Settings:
    """As after a reload, with other keys of [http]."""
    return settings.model_copy(update={"http": settings.http.model_copy(update=keys)})
