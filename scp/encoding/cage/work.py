"""The jobs of a codec process, by name. Only codec processes import this.

It brings in imagecodecs and through it all native codecs, at once: later, nothing can be opened any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

import numpy as np

from scp.encoding.codecs.codec import Encode as EncodeWithEffort
from scp.encoding.codecs.compared import BROTLI, COMPARED, Compared
from scp.encoding.codecs.lossless.jpegxl import recompress_whole_jpeg, restore_jpeg
from scp.encoding.codecs.native import CODECS, LOSSY_CODECS
from scp.encoding.pixels import Frame, PixelFormat
from scp.spool import Buffer

Encode = Callable[[Frame, PixelFormat, float], bytes]
Read = Callable[[bytes, PixelFormat], Frame | bytes]


def _with_effort(encode: EncodeWithEffort) -> Encode:
    return lambda frame, form, effort: encode(frame, form, int(effort))


def _without_setting(codec: Compared) -> Encode:
    return lambda frame, form, _: codec.encode(frame, form)


ENCODES: dict[str, Encode] = {}
READS: dict[str, Read] = {}
for _row in CODECS:
    if _row.encode is not None:
        ENCODES[f"{_row.name}.encode"] = _with_effort(_row.encode)
    READS[f"{_row.name}.decode"], READS[f"{_row.name}.strictly"] = _row.decode, _row.strictly
for _lossy in LOSSY_CODECS:
    ENCODES[f"lossy {_lossy.name}.encode"] = _lossy.encode
    READS[f"lossy {_lossy.name}.decode"] = _lossy.decode
for _other in COMPARED:
    ENCODES[f"compared {_other.name}.encode"] = _without_setting(_other)
    READS[f"compared {_other.name}.decode"] = _other.decode
READS[f"{BROTLI.name}.encode"] = lambda data, _: BROTLI.encode(data)
READS[f"{BROTLI.name}.decode"] = lambda data, _: BROTLI.decode(data)
READS["jpeg.recompress"] = recompress_whole_jpeg
READS["jpeg.restore"] = lambda data, _: restore_jpeg(data)


def done(job: str, given: Buffer | Frame, form: PixelFormat, setting: float) -> bytes | Frame:
    """What comes of a job; a frame that is given is of ``form``."""
    if (encode := ENCODES.get(job)) is not None:
        return encode(np.frombuffer(given, form.dtype).reshape(form.shape), form, setting)
    return READS[job](bytes(given), form)


def libraries() -> dict[str, str]:
    """Name and version of the library of each codec."""
    named = [(row.name, row.library()) for row in CODECS]
    return dict(named + [(f"lossy {row.name}", row.library()) for row in LOSSY_CODECS])


@cache
def warm_up() -> None:
    """Use each job once, where there is one thread: what a library loads or sets up then is there.

    Once in a process, and in those that are forked from it: it takes 0.1 s.
    """
    for form in _FORMS:
        frame = np.zeros(form.shape, form.dtype)
        for name, encode in ENCODES.items():
            with suppress(Exception):  # it does not take frames of this form
                coded = encode(
                    frame, form, 1 if name.startswith("lossy JPEG-LS") else 90 * name.startswith("lossy")
                )
                for read in _readers_of(name):
                    read(coded, form)
    for read in READS.values():
        for damaged in (b"", b"\xff\xd8\xff", b"\xff\x4f\xff\x51"):
            with suppress(Exception):
                read(damaged, _FORMS[0])


def _readers_of(encoder: str) -> Iterator[Read]:
    name = encoder.removesuffix(".encode")
    for reader in ("decode", "strictly"):
        if (read := READS.get(f"{name}.{reader}")) is not None:
            yield read


_FORMS = (
    PixelFormat(8, 8, 1, 8, 8, 7, False, "MONOCHROME2", 0, 1),
    PixelFormat(8, 8, 1, 16, 12, 11, False, "MONOCHROME2", 0, 1),
    PixelFormat(8, 8, 3, 8, 8, 7, False, "RGB", 0, 1),
)
