"""Where a node stores, and what bounds that: as far as metrics tell it."""

from __future__ import annotations

from dataclasses import dataclass

from scp.config.settings import Settings
from scp.resources.room import Room


@dataclass(frozen=True, slots=True)
class Disks:
    """The disk of each store by the store's name, ``storage.backlog`` and ``scrub.interval``."""

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
    rooms |= {tier.name: Room(tier.path, tier.reserve) for tier in settings.tiers}
    return Disks(storage.name, rooms, storage.backlog, settings.scrub.interval or 0)
