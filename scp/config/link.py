"""What depends on several keys of the configuration: one pure function, once each key is right by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from scp.config.peers import Peer
from scp.config.rules import PolicyRule, Stage
from scp.config.settings import Settings
from scp.config.tls import check_identity
from scp.config.values import nearest
from scp.syntaxes import JPEGLS_NEAR, LOSSY

# The path of a key, and what is wrong with it.
Fault = tuple[str, str]
_UNKNOWN = 'names "{}", which is no [[peer]]; add one with its address'
_AnyStage = TypeVar("_AnyStage", bound=Stage)


def link(settings: Settings) -> tuple[Settings, list[Fault]]:
    """The settings with the policy linked to the stores, and all that does not fit together.

    The first store is where objects are without a name of a store: in the policy its name becomes None.
    """
    faults = [
        *_tls(settings),
        *_users(settings),
        *_http(settings),
        *_lines(settings),
        *_tokens(settings),
        *_stores(settings),
        *_peers(settings),
        *_policy(settings),
        *_sent_to(settings),
    ]
    rules = tuple(_without_first(rule, settings.storage.name) for rule in settings.policy)
    return settings.model_copy(update={"policy": rules}), faults


def _tls(settings: Settings) -> Iterator[Fault]:
    try:
        check_identity(settings.tls.certificate, settings.tls.key)
    except ValueError as error:
        yield "tls.key", str(error)
    tls, node = settings.tls, settings.node
    if tls.port is not None and not tls.certificate:
        yield "tls.port", "needs tls.certificate and tls.key; set them, or leave this out"
    if tls.port and tls.port == node.port:
        yield (
            "tls.port",
            "is node.port; leave this out to have TLS alone there, or give another, such as 2762",
        )
    if tls.clients in ("required", "optional") and not tls.ca:
        yield "tls.clients", f'"{tls.clients}" needs tls.ca, to know whose certificate to believe'
    if settings.audit.secure and not (settings.audit.ca or settings.tls.ca):
        yield "audit.to", "syslog+tls needs audit.ca or tls.ca, to know whose certificate to believe"


def _users(settings: Settings) -> Iterator[Fault]:
    if settings.access.users == "required" and not settings.user:
        yield "access.users", '"required" lets nobody in without a [[user]]; add one, or write "ignored"'


def _http(settings: Settings) -> Iterator[Fault]:
    http = settings.http
    if http.tls and not settings.tls.certificate:
        yield "http.tls", "needs tls.certificate and tls.key; set them, or leave this out"
    if http.user and http.page_fault:
        yield "http.user", f"{http.page_fault}: passwords would cross the network as they are"
    elif http.page == "on" and http.page_fault:
        yield "http.page", http.page_fault
    if http.page == "on" and not http.port:
        yield "http.port", 'is 0, and http.page is "on"; give a port, such as 11180'


def _tokens(settings: Settings) -> Iterator[Fault]:
    http = settings.http
    if http.token and http.page_fault:
        yield "http.token", f"{http.page_fault}: tokens would cross the network as they are"
    for number, token in enumerate(http.token):
        if token.peer is not None and settings.peer_named(token.peer) is None:
            yield f"http.token[{number}].peer", _UNKNOWN.format(token.peer)
    if http.oidc.issuer and http.page_fault:
        yield "http.oidc.issuer", f"{http.page_fault}: tokens would cross the network as they are"
    yield from ((f"http.oidc.{key}", what) for key, what in http.oidc.faults())
    for number, grant in enumerate(http.oidc.grant):
        if grant.peer is not None and settings.peer_named(grant.peer) is None:
            yield f"http.oidc.grant[{number}].peer", _UNKNOWN.format(grant.peer)


def _lines(settings: Settings) -> Iterator[Fault]:
    for number, aet in enumerate(settings.dicomweb.lines):
        peer = settings.peer_named(aet)
        if peer is None:
            yield f"dicomweb.lines[{number}]", _UNKNOWN.format(aet)
        elif not peer.addresses:
            yield (
                f"dicomweb.lines[{number}]",
                f"names {aet}, which has no addresses; add them to its [[peer]]",
            )


def _stores(settings: Settings) -> Iterator[Fault]:
    first = settings.storage
    yield from ((f"storage.{key}", what) for key, what in first.faults())
    for number, tier in enumerate(settings.tiers, 1):
        yield from ((f"storage[{number}].{key}", what) for key, what in tier.faults())
        if tier.name == first.name:
            yield f"storage[{number}].name", f'the first store is called "{first.name}"; give it another'
        if not tier.in_bucket and tier.folder(first.path).absolute() == first.path.absolute():
            yield f"storage[{number}].url", "is the folder of the first store; give it another"
        for other in (first, *settings.tiers[: number - 1]):
            if tier.overlaps(other):
                yield (
                    f"storage[{number}].url",
                    f'is within the bucket of store "{other.name}"; give it another prefix',
                )


def _peers(settings: Settings) -> Iterator[Fault]:
    for number, peer in enumerate(settings.peer):
        yield from ((f"peer[{number}].{key}", what) for key, what in _lossy(peer))
        yield from _destinations(settings, number, peer)
        if peer.certificate_name and not settings.tls.ca:
            yield f"peer[{number}].certificate_name", "needs tls.ca, to know whose certificate to believe"
        if peer.tls and not settings.tls.ca:
            yield f"peer[{number}].tls", "needs tls.ca, to know whose certificate to believe"


def _destinations(settings: Settings, number: int, peer: Peer) -> Iterator[Fault]:
    for aet in peer.destinations or ():
        if settings.peer_named(aet) is None:
            yield f"peer[{number}].destinations", _UNKNOWN.format(aet)


def _lossy(peer: Peer) -> Iterator[Fault]:
    """A rule for lossy copies says how good they are, or how wrong; without one there is nothing to say."""
    if not peer.lossy:
        for key in ("quality", "max_error"):
            if getattr(peer, key) is not None:
                yield key, "is part of a lossy rule; write lossy = true beside it, or leave it out"
    elif peer.max_error is None and peer.quality is None:
        yield "max_error", "lossy = true needs this (in sample values), or a quality from 1 to 100"
    elif peer.max_error is None and set(LOSSY).intersection(peer.prefer) == {JPEGLS_NEAR}:
        yield "max_error", "JPEGLSNearLossless, the one lossy syntax in prefer, needs this; it has no quality"


def _policy(settings: Settings) -> Iterator[Fault]:
    names = tuple(store or settings.storage.name for store in settings.folders)
    for number, rule in enumerate(settings.policy):
        for place, stage in _placed(rule):
            if stage.store and stage.store not in names:
                remedy = nearest(stage.store, names)
                yield f"policy[{number}].{place}.store", f'"{stage.store}" is no [[storage]]; {remedy}'


def _placed(rule: PolicyRule) -> Iterator[tuple[str, Stage]]:
    """Each stage, and where it stands in the file."""
    yield from ((f"stages[{place}]", stage) for place, stage in enumerate(rule.stages))
    if rule.on_access is not None:
        yield "on_access", rule.on_access


def _sent_to(settings: Settings) -> Iterator[Fault]:
    known = {peer.aet for peer in settings.peer}
    asked = [(f"forward[{number}].to", rule.destinations) for number, rule in enumerate(settings.forward)]
    asked += [(f"prefetch[{number}].to", rule.destinations) for number, rule in enumerate(settings.prefetch)]
    for key, destinations in asked:
        for aet in destinations:
            if aet not in known:
                yield key, _UNKNOWN.format(aet)


def _without_first(rule: PolicyRule, first: str) -> PolicyRule:
    stages = tuple(_unless_first(stage, first) for stage in rule.stages)
    promotion = rule.on_access and _unless_first(rule.on_access, first)
    return rule.model_copy(update={"stages": stages, "on_access": promotion})


def _unless_first(stage: _AnyStage, first: str) -> _AnyStage:
    return stage.model_copy(update={"store": None}) if stage.store == first else stage
