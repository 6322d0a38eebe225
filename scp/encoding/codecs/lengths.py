"""The length of a codestream compared with what it declares, before memory or time is spent on it.

For each codec there is a shortest codestream of a frame: by it a JPEG of 646 bytes cannot be one of 65500 x
65500. JPEG 2000 and JPEG XL have none worth the name: 4096 x 5000 black pixels are 214 bytes of JPEG 2000.
There a frame of up to 256 MiB may be anything, and a larger one has to have a byte for each
``limits.frame_ratio`` of its own: no picture gets near that, and what is black everywhere is no picture of
256 MiB. So do all frames of an object together, from 1 GiB on: each may be small, and there may be millions.
"""

from __future__ import annotations

from scp.encoding.pixels import PixelFormat
from scp.errors import DamagedCodestream, PixelsBeyondBounds
from scp.resources.bounds import bounds

# All black, 8192 x 8192 of 16 bits is 134 MB, and in colour of 8 bits 201 MB.
_ANY_CONTENT = 256 << 20
_ANY_FRAMES = 1 << 30
# Noise grows by 17 % in JPEG-LS and by 60 % in JPEG of quality 100; profiles, Exif and padding take more.
_TIMES, _BESIDE = 4, 16 << 20
_DEFLATE_MOST = 1032  # of one byte (zlib's technical details)
_REPEATED, _PACKET = 128, 2  # PackBits: bytes that a packet of two makes (PS3.5 G.3.1)
_RLE_HEADER = 64
_LONGEST_RUN = 1 << 15  # samples of one bit of JPEG-LS (T.87 A.7.1.2: J[31])


def check_length(size: int, form: PixelFormat, least: int) -> None:
    """Raises where a codestream of ``size`` bytes is none of a frame of ``form``.

    DamagedCodestream where it has fewer than ``least``; PixelsBeyondBounds where the frame is beyond any
    picture that such a codestream may hold, or where the codestream is far longer than its frame.
    """
    described = f"{size} bytes for a frame of {form.rows} x {form.columns} x {form.samples}"
    if size < least:
        raise DamagedCodestream(f"{described}, which has {least} or more")
    ratio = bounds().frame_ratio
    if form.array_size > max(_ANY_CONTENT, size * ratio):
        raise PixelsBeyondBounds(f"{described} are less than one in limits.frame_ratio ({ratio})")
    if size > most_bytes(form):
        raise PixelsBeyondBounds(f"{described} are more than any encoder writes")


def check_lengths(total: int, form: PixelFormat) -> None:
    """Raises PixelsBeyondBounds where codestreams of ``total`` bytes are none of all frames of a ``form``."""
    ratio = bounds().frame_ratio
    if form.size > max(_ANY_FRAMES, total * ratio):
        raise PixelsBeyondBounds(
            f"{total} bytes for {form.frames} frames of {form.rows} x {form.columns} x {form.samples} "
            f"are less than one in limits.frame_ratio ({ratio})"
        )


def most_bytes(form: PixelFormat) -> int:
    """More bytes than any encoder writes for one frame."""
    return _TIMES * form.array_size + _BESIDE


def any_length(_form: PixelFormat) -> int:
    """For JPEG 2000 and JPEG XL, which have no shortest codestream."""
    return 0


def least_of_jpeg(form: PixelFormat) -> int:
    """A bit for each block of 8 x 8 samples of the first component, whose zeros are a code of their own at
    least (T.81 F.1.2, G.1.2); the others may have fewer samples.
    """
    return -(-form.rows // 8) * -(-form.columns // 8) // 8


def least_of_lossless_jpeg(form: PixelFormat) -> int:
    """A bit for each sample of the first component, whose difference has a code (T.81 H.1.2.2)."""
    return form.rows * form.columns // 8


def least_of_jpegls(form: PixelFormat) -> int:
    """A bit for each run, none of which is longer than a line (T.87 A.7.1)."""
    return form.rows * -(-form.columns // _LONGEST_RUN) // 8


def least_of_rle(form: PixelFormat) -> int:
    """Packets of two bytes that repeat one 128 times, in each of the byte planes (PS3.5 G.3)."""
    planes = form.samples * form.bits_allocated // 8
    return _RLE_HEADER + planes * least_of_plane(form.rows * form.columns)


def least_of_plane(pixels: int) -> int:
    """Bytes of a byte plane in RLE."""
    return -(-pixels // _REPEATED) * _PACKET


def least_of_deflated(form: PixelFormat) -> int:
    """What zlib's best ratio leaves of a native frame, or of half of it: pixels may share their chroma."""
    return form.frame_size // 2 // _DEFLATE_MOST
