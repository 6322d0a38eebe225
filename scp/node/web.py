"""The process that answers HTTP: metrics, liveness, readiness, and the page. No peer waits for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from socket import socket
from typing import Protocol

import structlog

from scp.archive.archive import Archive
from scp.archive.forwarding import Forwarding
from scp.audit.trail import trail_of
from scp.background.loop import Every, Loops, Task
from scp.config.credentials import credentials_of
from scp.config.fingerprint import fingerprint
from scp.config.saving import ConfigurationFile
from scp.config.settings import Settings, TlsSettings
from scp.dimse.negotiation.contexts import check_stored
from scp.dimse.negotiation.listener import bound
from scp.dimse.status import of_kept, status_of
from scp.errors import ConfigurationError, OutOfResources, ZscpError
from scp.lifecycle.guard import Guard
from scp.lifecycle.recovery import recover
from scp.metrics import counting
from scp.metrics.counting import NodeFigures
from scp.node.build import open_archive
from scp.node.itself import itself, own_folder
from scp.node.node import PATIENCE_SECONDS, reloaded
from scp.node.page_admin import Origin, PageAdmin
from scp.node.page_savings import PlanLooks
from scp.node.tasks import Bells
from scp.resources import bounds, pressure
from scp.resources.in_use import used_by_all
from scp.web.disks import disks_of
from scp.web.exposition import Exposition, MetricSources
from scp.web.health import Health
from scp.web.looks import ArchiveLooks
from scp.web.server import Page, PageServer

NAME = "web"
# What the page is made with (the extra zscp[web]).
_NEEDED = ("fastapi", "httptools", "jinja2", "uvicorn")
# Peers come first where the processor is short: before jobs and looks, not before who waits for a view. With
# this for views, too, they took a third of a second beside 16 associations that stored.
_NICE = 5
_JSON = "application/json"


def http_socket(settings: Settings) -> socket | None:
    """The bound socket for HTTP; None where there is to be none. Raises ConfigurationError."""
    http = settings.http
    if not http.port:
        return None
    if http.page == "on" and (lack := page_lack(settings)):
        raise ConfigurationError(f'http.page is "on", and there is no page: {lack}')
    try:
        return bound(http.host, http.port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {http.host}:{http.port} for HTTP: {error.strerror}; "
            "set http.host and http.port to an address that is free, or http.port to 0 for no HTTP"
        ) from error


def page_lack(settings: Settings) -> str:
    """Why the node serves no page, with the remedy; empty where it does."""
    http = settings.http
    if http.page == "off":
        return 'http.page is "off"'
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        return f"{', '.join(missing)}: not installed; install the extra web (docs/configuration.md)"
    return http.page_fault


def _nothing() -> None:
    """Without a page there are no jobs."""


def _memory() -> tuple[int, int]:
    node = pressure.pressure()
    return node.measure(), node.limit


class HttpServer(Protocol):
    """What answers on the socket."""

    def start(self) -> None:
        """Serve, in a thread."""

    def stop(self) -> None:
        """Stop serving."""


class WebProcess:
    """Answers HTTP; ``end`` is called when the index has to be opened again.

    ``origin`` says how the node was started, for who changes its configuration; ``bells`` wake the process
    that encodes what is stored here, and sends it to peers. Without them it is encoded before the answer.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it shares with the other processes of the node
        self,
        settings: Settings,
        reread: Callable[[], Settings | None],
        listening: socket,
        figures: NodeFigures,
        end: Callable[[], None],
        origin: Origin | None = None,
        bells: Bells | None = None,
    ) -> None:
        self._settings, self._reread, self._figures = settings, reread, figures
        self._end, self._encoder = end, bells.encoder if bells is not None else None
        self._forwarding = Forwarding(settings, bells.forwarder if bells is not None else None)
        counting.know_peers(peer.aet for peer in settings.peer)
        self._origin = origin or Origin(ConfigurationFile(None, {}), 0)
        self._admin: PageAdmin | None = None
        self._guard: Guard | None = None
        self._looks = ArchiveLooks(self._opened, self._watch, lambda: disks_of(self._settings).room)
        shortage = pressure.pressure().shortage
        self._health = Health(figures, lambda: self._looks.latest, shortage=shortage)
        me = itself(own_folder(settings))
        self._source = MetricSources(
            figures,
            self._health,
            lambda: self._looks.latest,
            lambda: disks_of(self._settings),
            used_by_all,
            _memory,
            lambda: credentials_of(self._settings.tls).certificates,
            lambda: (fingerprint(self._settings), me.id, me.name),
            figures.began,
        )
        self._exposition = Exposition(self._source)
        self._trail = trail_of(settings)
        tasks: list[Task] = [self._looks]
        self._renew: Callable[[TlsSettings], None] | None = None
        self._stop_jobs: Callable[[], None] = _nothing
        self._server = self._page_server(listening, tasks) or PageServer(listening, self._pages())
        self._loops = Loops(tasks)

    def _page_server(self, listening: socket, tasks: list[Task]) -> HttpServer | None:
        """What serves the page, too; None where there is to be none. Its samples are one more task."""
        if lack := page_lack(self._settings):
            structlog.get_logger("zscp").info("no page", reason=lack)
            return None
        # Only the process that serves it imports it: 20 MB.
        from scp.node.page_objects import PageObjects  # noqa: PLC0415
        from scp.node.rendering import rendering  # noqa: PLC0415
        from scp.web.access.sessions import Sessions  # noqa: PLC0415
        from scp.web.dicomweb.app import DicomWebBefore  # noqa: PLC0415
        from scp.web.dicomweb.desk import DicomWebDesk, StoreRules  # noqa: PLC0415
        from scp.web.page.app import page_app  # noqa: PLC0415
        from scp.web.page.desk import Desk  # noqa: PLC0415
        from scp.web.page.rates import SAMPLE_SECONDS, Rates  # noqa: PLC0415
        from scp.web.page.serving import PageService  # noqa: PLC0415

        rates = Rates(self._figures)
        tasks.append(Every("sampling rates", SAMPLE_SECONDS, rates.sample))
        self._admin = admin = PageAdmin(
            self._origin, lambda: self._settings, self._looks.archive, self._figures, self._trail
        )
        objects = PageObjects(self._looks.archive, lambda: self._settings, self._trail)
        plans = PlanLooks(lambda: self._settings)
        tasks += [*admin.tasks, *objects.running.tasks, plans]
        self._stop_jobs = objects.running.stop
        desk = Desk(
            lambda: self._settings,
            self._looks.archive,
            self._source,
            rates,
            self._trail,
            admin=admin.desk,
            objects=objects,
            plan=plans.latest,
        )
        tls = self._settings.tls if self._settings.http.tls else None
        sessions = Sessions(lambda: self._settings.http)
        page = page_app(desk, self._pages(), sessions)
        services = DicomWebDesk(
            lambda: self._settings,
            self._looks.archive,
            self._trail,
            rendering(self._looks.archive),
            StoreRules(check_stored, status_of, of_kept),
        )
        served = PageService(listening, DicomWebBefore(page, services, sessions), tls, self._end)
        self._renew = served.renew
        return served

    def _pages(self) -> dict[str, Page]:
        def live(_: str) -> tuple[int, str, bytes]:
            status, body = self._health.live()
            return status, _JSON, body

        def ready(_: str) -> tuple[int, str, bytes]:
            status, body = self._health.ready()
            return status, _JSON, body

        return {
            "/metrics": lambda accept: (200, *self._exposition.text(accept)),
            "/live": live,
            "/ready": ready,
        }

    def _opened(self) -> Archive:
        archive = open_archive(self._settings, self._encoder, self._forwarding, repairs=True)
        try:
            recover(archive)  # what was stored here by DICOMweb before this process died
        except ZscpError:  # the next look tries it again
            archive.close()
            raise
        archive.trials.wait_at_most(PATIENCE_SECONDS)
        if archive.pairing is not None:
            self._guard = Guard(archive.pairing, self._end)
        return archive

    def _watch(self, _: Archive) -> None:
        if self._guard is not None:
            self._guard.watch()

    def start(self) -> None:
        """See :class:`scp.node.supervisor.Role`."""
        self._trail.start()
        self._server.start()
        if self._renew is not None:
            os.nice(_NICE)  # of this thread, and of those that it starts (Linux)
        self._loops.start()

    def reload(self) -> None:
        """See :class:`scp.node.supervisor.Role`."""
        settings = self._reread()
        if settings is not None:
            self._settings = reloaded(self._settings, settings)
            pressure.use(self._settings.limits.node_memory)
            bounds.use(self._settings.limits.bounds)
            counting.know_peers(peer.aet for peer in settings.peer)
            self._forwarding.use(self._settings)
            with suppress(OutOfResources):  # it is opened later, with these settings
                self._looks.archive().use_policy(settings.policy)
            self._loops.reconfigured()
            counting.current().reloaded()
            self._renew_certificate()

    def _renew_certificate(self) -> None:
        """Use the certificate of the files as they are now; one that cannot be used changes nothing."""
        if self._renew is not None:
            try:
                self._renew(self._settings.tls)
            except OSError as error:
                structlog.get_logger("zscp").error("certificate of the page not reloaded", reason=str(error))

    def turns(self) -> bool:
        """See :class:`scp.node.supervisor.Role`."""
        return True

    def stop(self) -> None:
        """Answer until all others have ended, so that what finishes is still counted and seen."""
        if self._admin is not None:
            self._admin.stop()
        self._stop_jobs()
        with suppress(OutOfResources):  # it was never open
            self._looks.archive().stopping()
        until = time.monotonic() + self._settings.limits.stop_seconds
        while time.monotonic() < until and self._figures.own.stopping and self._others_run():
            time.sleep(0.05)
        self._server.stop()
        self._loops.stop()
        self._trail.close()

    def _others_run(self) -> bool:
        return any(one.alive for name, one in self._figures.processes().items() if name != NAME)
