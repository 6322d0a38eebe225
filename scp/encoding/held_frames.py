"""Decoded frames that are held until they are sent or compared: they count in the memory budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scp.encoding.streams import gathered
from scp.resources.budget import Held, hold
from scp.spool import IN_MEMORY, UNCOUNTED, Buffer, slices


def at_once(pieces: Iterator[Buffer], size: int) -> Iterator[Buffer]:
    """All pieces, decoded when it returns; in a file where the memory budget has no room for them."""
    held = hold(size) if size > UNCOUNTED else None
    if held is None and size > UNCOUNTED:
        return slices(gathered(pieces))
    return _holding(list(pieces), held)


def _holding(pieces: Iterable[Buffer], held: Held | None) -> Iterator[Buffer]:
    """The pieces; what is ``held`` for them is free when they are gone through, or nobody has them."""
    yield from pieces
    del held


def waiting(frames: Iterable[Buffer]) -> Iterator[Buffer]:
    """Frames that wait for a peer to read them: a large one counts meanwhile, or lies in a file."""
    for frame in frames:
        held = hold(len(frame)) if len(frame) > IN_MEMORY else None
        if held is None and len(frame) > IN_MEMORY:
            frame = gathered([frame])  # noqa: PLW2901 - the one in memory is not to stay
        yield frame
        del frame, held  # before the next is decoded
