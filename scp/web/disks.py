"""Where a node stores, and what bounds that: as far as metrics tell it."""

from __future__ import annotations

from dataclasses import dataclass

from scp.config.settings import Settings
from scp.resources.room import Room


@dataclass(frozen=True, slots=True)
class Disks:
    """The disk of each folder by its store's name (of a bucket as first store: of its spool), and bounds.

    ``backlog`` is ``storage.backlog`` in bytes, ``scrub_interval`` is ``scrub.interval`` in seconds.
    """

    first: str
    rooms: dict[str, Room]
    backlog: int
    scrub_interval: float

    @property
    def room(self) -> Room:
        """Of the first store, where objects come in."""
        return self.rooms[self.first]


def disks_of(settings: Settings) -> Disks:
    """Those that the configuration names."""
    storage = settings.storage
    rooms = {storage.name: Room(storage.path, storage.reserve)}
    rooms |= {
        tier.name: Room(tier.folder(storage.path), tier.reserve)
        for tier in settings.tiers
        if not tier.in_bucket
    }
    return Disks(storage.name, rooms, storage.backlog, settings.scrub.interval or 0)
