"""A small part of an object's pixels, which tells which form suits all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from scp.encoding.codecs.table import codec_named
from scp.encoding.dataset import PixelElement, SplitDataset
from scp.encoding.decoding import native
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.encapsulating import encapsulated
from scp.encoding.headers import Header
from scp.encoding.pixels import frame_of, native_bytes, tail_of
from scp.errors import CodecError
from scp.syntaxes import EXPLICIT, Content, TransferSyntax, lookup

_FRAMES, _ROWS = 0x00280008, 0x00280010
_BANDS = 3
# An eighth of all rows chose no better and took twice the time; a square in the centre, 128 by 128, was
# wrong by up to 0.6 % where this is by up to 0.23 % (docs/decisions/0057).
_PART = 16
_LEAST_ROWS = 8  # of a band: codecs look at the rows above
# Of less there is no part that is both small and telling.
_LEAST_PIXELS = 1 << 16


def sample_of(parts: SplitDataset, syntax: TransferSyntax) -> SplitDataset | None:
    """One image of three bands of rows: from the top, the middle and the bottom, of three frames if there are.

    They are a sixteenth of all rows, or 24 rows; native, as explicit VR little endian. None for what has too
    few pixels, or none that an image codec may take: what came lossy, too (invariant 2).
    """
    if parts.pixel is None or syntax.content not in (Content.NATIVE, Content.LOSSLESS):
        return None
    try:
        header = Header(parts.header)
        form = header.format
        if form.rows * form.columns * form.frames < _LEAST_PIXELS:
            return None
        if parts.pixel.encapsulated:  # all frames, where each form that is not tried saves as much again
            return sample_of(native(parts, syntax), lookup(EXPLICIT))
        value = parts.pixel.held()
        tail_of(value, parts.pixel.tag, form)
        bands = [
            frame_of(value, frame, form)[row : row + rows]
            for frame, row, rows in _bands(form.frames, form.rows)
        ]
        image = np.concatenate(bands)
        pixels = native_bytes(image, replace(form, rows=len(image), frames=1), form.planar)
    except (CodecError, ValueError):
        return None
    edits: dict[int, bytes | None] = {
        _FRAMES: b"1 ",
        _ROWS: len(image).to_bytes(2, "little"),
        PIXEL_DATA: None,
    }
    pixel = PixelElement(PIXEL_DATA, parts.pixel.vr, pixels + b"\0" * (len(pixels) % 2), encapsulated=False)
    return SplitDataset(header.edited(edits), pixel)


def sizes_of(sample: SplitDataset, forms: Iterable[str], effort: int) -> dict[str, int]:
    """Bytes of a sample's codestream in those of ``forms`` that an image codec makes, and that can take it."""
    sizes = {}
    for form in forms:
        codec = codec_named(form)
        if codec is None:
            continue
        try:
            coded, _ = encapsulated(sample, codec, effort)
        except Exception:  # noqa: BLE001 - what is wrong with a form shows, and is told, when it is tried
            continue
        sizes[form] = len(coded.pixel.value) if coded.pixel is not None else 0
    return sizes


def _bands(frames: int, rows: int) -> list[tuple[int, int, int]]:
    """Frame, first row and number of rows of each band."""
    height = min(max(frames * rows // _PART // _BANDS, _LEAST_ROWS), rows)
    sixths = range(1, 2 * _BANDS, 2)  # the middles of three equal parts
    places = ((frames * at // 6, rows * at // 6 - height // 2) for at in sixths)
    return [(frame, min(max(row, 0), rows - height), height) for frame, row in places]
