"""Which zstd dictionaries stored files need, and what is to be packed anew, as an index knows it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from scp.model import Instance

DICTIONARY_UNKNOWN = -1  # of a row: only the file says which zstd dictionary it needs


@dataclass(frozen=True, slots=True)
class DictionaryUse:
    """How many files need a dictionary, and their bytes."""

    instances: int
    stored_size: int


@dataclass(frozen=True, slots=True)
class NoticedDictionary:
    """The newest dictionary of a class when its instances were last planned again, in seconds since 1970."""

    id: int
    at: int


class Packing(Protocol):
    """The zstd dictionaries of stored files, by ID.

    Every method raises :class:`scp.errors.OutOfResources` as an index does.
    """

    def dictionary_uses(self) -> Mapping[int, DictionaryUse]:
        """What each dictionary is needed by, as far as is known: DICTIONARY_UNKNOWN has what is not known."""

    def needing(self, dictionaries: Collection[int], batch: int = 1000) -> Iterator[Instance]:
        """The instances whose file needs one of these dictionaries; others may write in between."""

    def note_dictionaries(self, found: Iterable[tuple[Instance, int]]) -> None:
        """Record which dictionary each file needs, if it is still that of its instance."""

    def noticed_dictionaries(self) -> Mapping[str, NoticedDictionary]:
        """Of each SOP class the dictionary that :meth:`plan_for_dictionary` last was called for."""

    def plan_for_dictionary(self, sop_class_uid: str, dictionary: int, now: float) -> int:
        """Plan the instances of a class again that were not packed with this dictionary, nor tried with it.

        Returns how many there are. Where this is interrupted, it is not noted, and done again.
        """
