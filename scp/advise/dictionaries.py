"""The zstd dictionaries that the archive would make, trained on objects that are not measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from scp.advise.candidates import Candidate
from scp.advise.sampling import SampledObject
from scp.advise.stored_as import file_of
from scp.archive.trainer import FEWEST, material_of, trained
from scp.objects.dictionaries import Dictionary, dictionary_of

# A dictionary is for headers: it is tried where they are this part of the objects' bytes, or more.
_HEADERS = 0.05

# A dictionary is for what one candidate makes of one SOP class.
_Use = tuple[str, str]


class TrainedDictionaries:
    """The trained dictionaries, by candidate and SOP class."""

    def __init__(self, trained_for: Mapping[_Use, Dictionary]) -> None:
        self._trained_for = trained_for

    def of(self, sample: SampledObject, candidate: Candidate) -> Dictionary | None:
        """The dictionary for what a candidate makes of an object; None where there is none."""
        return self._trained_for.get(_use(sample, candidate))


NO_DICTIONARIES = TrainedDictionaries({})


def dictionaries_from(samples: Iterable[SampledObject], compared: Sequence[Candidate]) -> TrainedDictionaries:
    """Dictionaries trained on these objects, for the candidates that use one, where headers matter."""
    wanting = [candidate for candidate in compared if candidate.dictionary]
    beginnings: dict[_Use, list[bytes]] = defaultdict(list)
    headers = size = 0
    for sample in samples:
        headers, size = headers + sample.header_bytes, size + sample.raw
        for candidate in wanting:
            # Each library has its own exceptions. Where one is raised, there is nothing to learn from.
            with suppress(Exception):
                material = material_of(file_of(sample, candidate))
                beginnings[_use(sample, candidate)].append(material.beginning)
    if headers < _HEADERS * size:
        return NO_DICTIONARIES
    contents = {use: trained(learned) for use, learned in beginnings.items() if len(learned) >= FEWEST}
    return TrainedDictionaries({use: dictionary_of(content) for use, content in contents.items() if content})


def _use(sample: SampledObject, candidate: Candidate) -> _Use:
    return candidate.name, sample.uids[0]
