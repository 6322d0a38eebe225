"""The dictionaries of stored files that are read directly, by path."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from scp.errors import DictionaryMissing
from scp.objects.dictionaries import Dictionaries, Dictionary
from scp.objects.local import LocalStore
from scp.objects.names import DICTIONARIES

Lookup = Callable[[int], Dictionary]


def dictionaries_beside(path: Path, otherwise: Lookup | None = None) -> Lookup:
    """A lookup of dictionaries in the store that a file is in, of any archive, and then by ``otherwise``.

    The lookup raises DictionaryMissing.
    """

    def find(number: int) -> Dictionary:
        for folder in path.absolute().parents:
            if (folder / DICTIONARIES).is_dir():
                with suppress(DictionaryMissing):
                    return _beside(folder).by_id(number)
        if otherwise is None:
            raise DictionaryMissing(f"it needs the zstd dictionary {number}, and none lies beside it")
        return otherwise(number)

    return find


@lru_cache(maxsize=8)
def _beside(folder: Path) -> Dictionaries:
    return Dictionaries(LocalStore(folder))
