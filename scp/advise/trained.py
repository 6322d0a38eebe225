"""A zstd dictionary trained on an admin's objects: what their headers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from scp.errors import ObjectDamaged
from scp.spool import Buffer

_SIZE = 64 << 10  # the design's figures are of this size
_LEVEL = 3
# Fewer objects train a dictionary that knows them by heart and no others.
FEWEST = 16


@dataclass(frozen=True, slots=True)
class Trained:
    """One dictionary, for compressing and decompressing single zstd frames with it."""

    compressor: zstandard.ZstdCompressor
    decompressor: zstandard.ZstdDecompressor

    def wrap(self, data: Buffer) -> bytes:
        """As :func:`scp.objects.part10.wrap`."""
        return self.compressor.compress(data)

    def unwrap(self, data: Buffer) -> bytes:
        """As :func:`scp.objects.part10.unwrap`. Raises ObjectDamaged."""
        try:
            return self.decompressor.decompress(data)
        except zstandard.ZstdError as error:
            raise ObjectDamaged(f"its zstd frame does not decompress: {error}") from None


def train(headers: Sequence[bytes]) -> Trained | None:
    """A dictionary of these headers; None where they are too few, or have too little in common."""
    if len(headers) < FEWEST:
        return None
    try:
        data = zstandard.train_dictionary(_SIZE, list(headers))
    except zstandard.ZstdError:
        return None
    data.precompute_compress(level=_LEVEL)
    return Trained(
        zstandard.ZstdCompressor(level=_LEVEL, dict_data=data, write_checksum=True, write_content_size=True),
        zstandard.ZstdDecompressor(dict_data=data),
    )
