"""Small objects of one SOP class that are much alike, and a dictionary for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import zstandard
from objects import SECONDARY_CAPTURE, Shape, element, joined, parts_of, phantom

from scp.archive.archive import Archive
from scp.model import Received
from scp.syntaxes import EXPLICIT, lookup

KIND = SECONDARY_CAPTURE
_WORDS = np.random.default_rng(1).integers(0, 256, (400, 24), dtype="u1")


def small(number: int, syntax: str = EXPLICIT, content: int | None = None, rows: int = 16) -> Received:
    """An object of few pixels, whose header is much like that of others and compresses badly by itself."""
    made = phantom(Shape(rows=rows, columns=rows, noise=0.05, seed=number), EXPLICIT)
    order = np.random.default_rng(number if content is None else content).permutation(200)
    private = element(0x00090010, "LO", b"ZSCP") + element(0x00091001, "OB", _WORDS[order].tobytes())
    at = bytes(made.dataset).index(b"\x10\x00\x10\x00PN")
    dataset = bytes(made.dataset[:at]) + private + bytes(made.dataset[at:])
    one = replace(made, dataset=dataset, sha256="")
    if syntax == EXPLICIT:
        return one
    converted = joined(parts_of(one), lookup(syntax))
    return replace(one, dataset=converted, transfer_syntax=syntax, sha256="")


def dictionary(seed: int = 0) -> bytes:
    """What zstd trains from such objects."""
    beginnings: list[bytes | bytearray | memoryview] = [
        bytes(small(1000 * seed + n).dataset) for n in range(12)
    ]
    trained = zstandard.train_dictionary(16 << 10, beginnings, k=1000, d=8, f=20, accel=1, split_point=1.0)
    return trained.as_bytes()


def file_of(archive: Archive, one: Received) -> bytes:
    (held,) = archive.named(one.sop_instance_uid)
    return bytes(archive.store.get(held.key))


def restored(archive: Archive, one: Received) -> bytes:
    (held,) = archive.named(one.sop_instance_uid)
    outgoing = archive.fetch(held, [one.transfer_syntax])
    return b"".join(map(bytes, outgoing.chunks))
