"""Fragments that hold native frames: Encapsulated Uncompressed, and deflated frames of shared samples.

Their bytes go on as they are, whatever they mean: by plane or by pixel, with an overlay above the samples, or
with chroma that pixels share (docs/decisions/0094). Only their number has to be what the header describes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scp.encoding.codecs.lossless.deflate import inflated_frame
from scp.encoding.fragments import Fragments, Frames
from scp.encoding.pixels import PixelFormat
from scp.errors import CannotDecode, DamagedCodestream
from scp.resources.budget import taking
from scp.spool import UNCOUNTED, Buffer
from scp.syntaxes import DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED

# Samples of a group of pixels, its columns and rows (PS3.3 C.7.6.3.1.2): of 422, two Y, a Cb and a Cr for two
# pixels. The standard gives 420 no native order; its bytes keep the one they have.
_SHARED = {
    "YBR_FULL_422": (4, 2, 1),
    "YBR_PARTIAL_422": (4, 2, 1),
    "YBR_FULL_420": (6, 2, 2),
    "YBR_PARTIAL_420": (6, 2, 2),
}


@dataclass(frozen=True, slots=True)
class NativeFrames:
    """Native frames of ``size`` bytes each; ``shared``: pixels share samples, as the header says."""

    frames: Iterator[Buffer]
    size: int
    shared: bool


def holds_native_frames(transfer_syntax: str, form: PixelFormat) -> bool:
    """Whether the fragments are to be read by :func:`native_frames`, and not by a codec."""
    shared = form.samples == 3 and form.photometric in _SHARED
    return transfer_syntax == ENCAPSULATED_UNCOMPRESSED or (transfer_syntax == DEFLATED_FRAMES and shared)


def native_frames(transfer_syntax: str, frames: Frames, form: PixelFormat) -> NativeFrames:
    """The frames (PS3.5 A.4.11, A.4.13), padded to even or not.

    A frame under a name for shared samples may hold all samples of each pixel nevertheless. Which of the two
    it is shows in its size; all frames have to be alike. Raises CannotDecode for other sizes: at once, but
    for deflated frames after the first, which are inflated as they are gone through. DamagedCodestream names
    a deflated frame that is not whole.
    """
    deflated = transfer_syntax == DEFLATED_FRAMES
    if deflated:
        total = least = most = len(_inflated(1, frames[0], form))
    else:
        sizes = frames.sizes
        total, least, most = int(sizes.sum()), int(sizes.min()), int(sizes.max())
    for size, shared in described_sizes(form):
        if len(frames) == form.frames and {least, most} <= {size, size + size % 2}:
            return NativeFrames(_contents(frames, form, size, deflated), size, shared)
    _check_shape(form)
    raise CannotDecode(f"{total} bytes of pixel data where {form.frames} frames are described")


def _contents(frames: Frames, form: PixelFormat, size: int, deflated: bool) -> Iterator[Buffer]:
    for number, frame in enumerate(frames, 1):
        content = _inflated(number, frame, form) if deflated else frame.whole()
        if len(content) not in (size, size + size % 2):
            raise CannotDecode(f"a frame of {len(content)} bytes where {size} are described")
        yield content[:size]


def _inflated(number: int, frame: Fragments, form: PixelFormat) -> bytes:
    try:
        if form.frame_size <= UNCOUNTED:
            return inflated_frame(frame.whole(), form.frame_size + 1)
        with taking(2 * form.frame_size):  # zlib's own blocks, and what they are joined to
            return inflated_frame(frame.whole(), form.frame_size + 1)
    except DamagedCodestream as error:
        raise error.of_frame(number, form.frames) from error


def described_sizes(form: PixelFormat) -> Iterator[tuple[int, bool]]:
    """How many bytes a native frame may have, and whether pixels share samples in it then."""
    shared = _SHARED.get(form.photometric)
    if form.samples == 3 and shared is not None:
        samples, columns, rows = shared
        if form.columns % columns == 0 and form.rows % rows == 0:
            groups = form.columns // columns * (form.rows // rows)
            yield groups * samples * form.bits_allocated // 8, True
    yield form.frame_size, False


def _check_shape(form: PixelFormat) -> None:
    """Columns and Rows are multiples of what shares a sample (PS3.3 C.7.6.3). Raises CannotDecode."""
    _, columns, rows = _SHARED.get(form.photometric, (1, 1, 1))
    if form.columns % columns or form.rows % rows:
        raise CannotDecode(
            f"{form.photometric} of {form.rows} x {form.columns}: pixels that share samples are not complete"
        )
