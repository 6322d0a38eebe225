"""Where a test of DICOMweb puts its objects: a study of its own in an archive that tests share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

_numbers = count(1)


@dataclass(frozen=True)
class Place:
    """A study with one series."""

    number: int

    @classmethod
    def fresh(cls) -> Place:
        """One that no other test has."""
        return cls(next(_numbers))

    def uid(self, instance: int) -> str:
        """Of an instance; those of series and study are what it begins with."""
        return f"1.{self.number}.3.{instance}"

    @property
    def study(self) -> str:
        """Its path."""
        return f"/studies/1.{self.number}"

    @property
    def series(self) -> str:
        """Its path."""
        return f"{self.study}/series/1.{self.number}.3"

    def at(self, instance: int) -> str:
        """The path of an instance."""
        return f"{self.series}/instances/{self.uid(instance)}"

    def of(self, what: str) -> str:
        """The path of the ``study``, the ``series``, or the first ``instance``."""
        return {"study": self.study, "series": self.series, "instance": self.at(1)}[what]
