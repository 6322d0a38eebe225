"""In which transfer syntax a configured peer would rather have objects, and what is proposed to it."""

from __future__ import annotations

from scp.config.settings import Peer
from scp.model import LossyRule, SyntaxPreference
from scp.syntaxes import LOSSY, TABLE, Content

# What a thin line gets when its peer states no preference: the smallest first,
# codecs of pixels before the others.
_BY_SIZE = sorted(TABLE, key=lambda row: (row.content is Content.NATIVE, row.size))
_SMALLEST_FIRST = tuple(row.uid for row in _BY_SIZE if row.size)


def preference_of(peer: Peer | None) -> SyntaxPreference:
    """What a configured peer would rather have; on a thin line, above all little of it."""
    if peer is None:
        return SyntaxPreference(even=True)
    thin = peer.link_mbps is not None
    rule = LossyRule(peer.quality, peer.max_error) if peer.lossy else None
    preferred = peer.prefer or (_SMALLEST_FIRST if thin else ())
    return SyntaxPreference(preferred, before_stored=thin, lossy=rule, even=True)


def proposed(preference: SyntaxPreference) -> tuple[str, ...]:
    """What to propose to a C-MOVE destination besides what is stored and what anybody takes."""
    if preference.lossy is None or not set(LOSSY).isdisjoint(preference.preferred):
        return preference.preferred
    return (*preference.preferred, *LOSSY)
