"""A small part of an object's pixels: it shows which form suits the whole."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
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
    """Three bands of rows as one image: of the top, the middle and the bottom, of three frames if there are.

    They are a sixteenth of all rows, or 24 rows. Of small frames it is three whole ones: those code
    differently in one piece. Native, as explicit VR little endian; None for what has too few pixels, or none
    that an image codec may take: what came lossy, too (invariant 2).
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
        bands = _bands(form.frames, form.rows, whole=form.rows * form.columns < _LEAST_PIXELS)
        images = [frame_of(value, frame, form)[rows] for frame, rows in bands]
        if len(images[0]) < form.rows:
            images = [np.concatenate(images)]
        rows = len(images[0])
        pixels = b"".join(native_bytes(image, replace(form, rows=rows), form.planar) for image in images)
    except (CodecError, ValueError):
        return None
    edits: dict[int, bytes | None] = {
        _FRAMES: f"{len(images)} ".encode(),
        _ROWS: rows.to_bytes(2, "little"),
        PIXEL_DATA: None,  # for its group's length
    }
    pixel = PixelElement(PIXEL_DATA, parts.pixel.vr, pixels + b"\0" * (len(pixels) % 2), encapsulated=False)
    return SplitDataset(header.edited(edits), pixel)


def sizes_of(sample: SplitDataset, forms: Iterable[str], effort: int) -> dict[str, int]:
    """Bytes of a sample's codestream in those of ``forms`` that are an image codec's, and take it."""
    sizes = {}
    for form in forms:
        codec = codec_named(form)
        if codec is None:
            continue
        with suppress(Exception):  # what is wrong with a form shows, and is told, when it is tried
            coded = encapsulated(sample, codec, effort)[0].pixel
            sizes[form] = len(coded.value) if coded is not None else 0
    return sizes


def _bands(frames: int, rows: int, whole: bool) -> list[tuple[int, slice]]:
    """Frame and rows of each band."""
    height = rows if whole else min(max(frames * rows // _PART // _BANDS, _LEAST_ROWS), rows)
    middles = ((frames * at // 6, rows * at // 6) for at in range(1, 2 * _BANDS, 2))  # of three equal parts
    starts = ((frame, min(max(row - height // 2, 0), rows - height)) for frame, row in middles)
    return [(frame, slice(start, start + height)) for frame, start in starts]
