"""The peers of a node, as an admin looks at them: what each may do, what it did, and what waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scp.background.lookup import LookedUp
from scp.config.peers import Peer
from scp.config.ports import ports
from scp.config.settings import Settings
from scp.dimse.scu.echo import echo
from scp.errors import DestinationUnknown, DestinationUnreachable
from scp.index.index import SenderCount
from scp.index.queue import SendSum
from scp.metrics.contacts import Contact
from scp.web.reports import Echoed, KnownPeers, PeerContact, PeerRow

OTHERS = "all others"
_ECHO_SECONDS = 5.0


def peer_rows(
    settings: Settings,
    senders: Sequence[SenderCount],
    queue: Sequence[SendSum] = (),
    contacts: Sequence[Contact] = (),
) -> list[PeerRow]:
    """A row for each peer of the configuration, one for all others, and one for each other AE title seen.

    ``contacts`` are those of this node's processes.
    """
    found = _Found(settings, senders, queue, contacts)
    rows = [found.row(peer.aet, peer) for peer in settings.peer]
    rows.append(found.row(OTHERS, None))
    rows += [found.row(aet, None) for aet in found.left()]
    empty = settings.access.allow != "any" and rows[len(settings.peer)].contact is None
    return [row for row in rows if row.aet != OTHERS or not empty]


class _Found:
    """What is known by AE title."""

    def __init__(
        self,
        settings: Settings,
        senders: Sequence[SenderCount],
        queue: Sequence[SendSum],
        contacts: Sequence[Contact],
    ) -> None:
        self._settings = settings
        self._senders = {one.calling_aet: one for one in senders}
        self._contacts = {one.aet or OTHERS: one for one in contacts}
        self._queue: dict[str, tuple[SendSum, ...]] = {}
        for one in queue:
            self._queue[one.destination] = (*self._queue.get(one.destination, ()), one)

    def left(self) -> list[str]:
        """The AE titles that are no peers of the configuration."""
        configured = {OTHERS, *(peer.aet for peer in self._settings.peer)}
        return sorted({*self._senders, *self._contacts, *self._queue} - configured)

    def row(self, aet: str, peer: Peer | None) -> PeerRow:
        """What is known of one."""
        allowed = self._settings.access
        sender = self._senders.get(aet)
        may = peer.may if peer else allowed.may if allowed.allow == "any" else ()
        return PeerRow(
            aet,
            peer is not None,
            f"{peer.host}:{peer.port}" if peer else "",
            peer is not None and peer.tls,
            tuple(_ways(peer, self._settings)),
            tuple(str(network) for network in peer.addresses) if peer else (),
            tuple(may),
            None if peer is None or peer.destinations is None else peer.destinations,
            dict(peer.sees) if peer else {},
            sender.instances if sender else 0,
            sender.last if sender else None,
            _contact(self._contacts.get(aet)),
            self._queue.get(aet, ()),
        )


def _contact(of: Contact | None) -> PeerContact | None:
    if of is None:
        return None
    figures = (of.associations, of.requests, of.received, of.sent, of.refused)
    return PeerContact(of.address, _moment(of.last), *figures, _moment(of.refused_at), of.reason)


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _ways(peer: Peer | None, chosen: Settings) -> list[str]:
    """By which ports a peer may come."""
    if peer is None or not peer.certificate_name:
        return [port.speaks for port in ports(chosen)]
    if chosen.tls.asked_of_clients == "none":
        return []
    return [f"TLS as {peer.certificate_name}" for port in ports(chosen) if port.secure]


@dataclass(frozen=True, slots=True)
class PeersDesk:
    """The peers of a running node, for its page; any thread may call.

    ``senders`` gives who sent what is held, and ``queue`` what is to be sent, as they were looked up last.
    """

    settings: Callable[[], Settings]
    senders: Callable[[], LookedUp[list[SenderCount]]]
    queue: Callable[[], LookedUp[list[SendSum]]]
    contacts: Callable[[], Sequence[Contact]]

    def known(self) -> KnownPeers:
        """See :func:`peer_rows`."""
        senders, queue = self.senders(), self.queue()
        rows = peer_rows(self.settings(), senders.value or (), queue.value or (), self.contacts())
        looked = senders.value is not None and queue.value is not None
        return KnownPeers(tuple(rows), looked, senders.fault or queue.fault)

    def echo(self, aet: str, seconds: float = _ECHO_SECONDS) -> Echoed:
        """Send a C-ECHO to a peer of the configuration. Raises DestinationUnknown for another."""
        return try_echo(configured_peer(self.settings(), aet), self.settings(), seconds)


def configured_peer(settings: Settings, aet: str) -> Peer:
    """The peer of an AE title. Raises DestinationUnknown."""
    peer = settings.peer_named(aet)
    if peer is None:
        raise DestinationUnknown(f"{aet} is no [[peer]] of this node; add one with its address")
    return peer


def try_echo(peer: Peer, settings: Settings, seconds: float) -> Echoed:
    """Send one C-ECHO; to connect, to associate, and to answer may each take so many ``seconds``."""
    waits = dict.fromkeys(("connect_seconds", "acse_seconds", "dimse_seconds"), seconds)
    limits = settings.limits.model_copy(update=waits)
    begun, fault = time.monotonic(), ""
    try:
        echo(peer, settings.model_copy(update={"limits": limits}))
    except DestinationUnreachable as error:
        fault = str(error)
    return Echoed(peer.aet, f"{peer.host}:{peer.port}", not fault, fault, time.monotonic() - begun)
