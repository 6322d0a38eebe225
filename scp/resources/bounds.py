"""How much one object may be, and may take, before it is kept as received without being looked into.

What an object declares is compared with these before memory or time is spent on it (invariant 8).
"""

from __future__ import annotations

from dataclasses import dataclass

_GB = 10**9


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of ``[limits]``; each default is beyond every real object that is known to us.

    ``elements``, ``items`` and ``fragments`` are counted over a whole dataset, at all depths; ``depth`` is
    how many sequences may lie in one another. ``header_bytes`` is what an object may hold outside its pixel
    data for these to be encoded or decoded; other objects may hold more.
    ``inflated_bytes`` is the largest that a deflated dataset may become, or a stored file in zstd, which may
    always become ten times its own size; ``inflated_ratio`` how many times its own size a deflated dataset,
    beyond 256 MB. ``frame_bytes`` is one frame, and ``pixel_bytes`` all frames, as they are
    decoded; ``frame_ratio`` how many times its codestream a frame of over 256 MiB may be.
    ``codec_bytes`` is the memory of one codec process, ``codec_seconds`` what it may take to decode 64 MB of
    pixels, and less; to encode them it may take ten times that.
    """

    elements: int = 10_000_000
    items: int = 3_000_000
    fragments: int = 2_000_000
    depth: int = 64
    header_bytes: int = 256 * 10**6
    inflated_bytes: int = 5 * _GB
    inflated_ratio: int = 200
    frame_bytes: int = 1 * _GB
    pixel_bytes: int = 64 * _GB
    frame_ratio: int = 1000
    codec_bytes: int = 2 * _GB
    codec_seconds: float = 60.0


DEFAULTS = Bounds()

_used = DEFAULTS


def use(bounds: Bounds) -> None:
    """Let these hold from now on, in the whole process."""
    global _used  # noqa: PLW0603 - one for the process, set by who composes it
    _used = bounds


def bounds() -> Bounds:
    """Those that hold now."""
    return _used
