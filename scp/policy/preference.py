"""The transfer syntaxes that a configured peer prefers, and those that are proposed to it."""

from __future__ import annotations

from scp.config.peers import Peer
from scp.loss import LossyRule
from scp.model import SyntaxPreference
from scp.syntaxes import LOSSY, TABLE, Content

# What a thin line gets when its peer states no preference: the smallest first,
# codecs of pixels before the others.
_BY_SIZE = sorted(TABLE, key=lambda row: (row.content is Content.NATIVE, row.size))
_SMALLEST_FIRST = tuple(row.uid for row in _BY_SIZE if row.size)


def preference_of(peer: Peer | None) -> SyntaxPreference:
    """A configured peer's preference; on a thin line, above all for little data."""
    if peer is None:
        return SyntaxPreference(even=True)
    thin = peer.link_mbps is not None
    rule = LossyRule(peer.quality, peer.max_error) if peer.lossy else None
    preferred = peer.prefer or (_SMALLEST_FIRST if thin else ())
    return SyntaxPreference(preferred, before_stored=thin, lossy=rule, even=True)


def proposed(preference: SyntaxPreference) -> tuple[str, ...]:
    """What to propose to a C-MOVE destination besides the stored transfer syntax and those that all take."""
    if preference.lossy is None or not set(LOSSY).isdisjoint(preference.preferred):
        return preference.preferred
    return (*preference.preferred, *LOSSY)
