"""One frame of a dataset, decoded by itself: for who looks at it, and not at the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pydicom.pixels.utils import expand_ybr422

from scp.encoding.cage.caged import Trust, of_one_object, restore_jpeg
from scp.encoding.codecs.codec import Codec, told_as
from scp.encoding.codecs.lengths import check_length
from scp.encoding.codecs.lossless.deflate import inflated_frame
from scp.encoding.codecs.precision import precision_of
from scp.encoding.codecs.table import decoder_of
from scp.encoding.dataset import PixelElement, SplitDataset
from scp.encoding.decoding import decoded_photometric, restored_header
from scp.encoding.described import described_frame, widened
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.fragments import frames_within
from scp.encoding.headers import Header
from scp.encoding.native_frames import holds_native_frames
from scp.encoding.pixels import Frame, PixelFormat, frame_of
from scp.errors import BeyondBitsStored, CannotDecode, CannotEncode, DamagedCodestream
from scp.model import Restoration
from scp.spool import Buffer
from scp.syntaxes import ENCAPSULATED_UNCOMPRESSED, TransferSyntax, lookup

# Float and Double Float Pixel Data (PS3.3 C.7.6.24, C.7.6.25), and the numbers in them.
FLOATS = {0x7FE00008: "<f4", 0x7FE00009: "<f8"}
_HALVED = ("YBR_FULL_422", "YBR_PARTIAL_422")  # two pixels share a Cb and a Cr


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One frame: ``samples`` of shape (rows, columns) or, of more than one sample, (rows, columns, samples).

    ``form`` describes them as they are now: by pixel, with the Photometric Interpretation that decoding left
    them. Floating point samples are ``<f4`` or ``<f8``, whatever ``form`` says. ``header`` is the dataset
    before its pixel data, as explicit VR little endian.
    """

    samples: Frame
    form: PixelFormat
    header: bytes


def decoded_frame(
    parts: SplitDataset, syntax: TransferSyntax, number: int, restoration: Restoration | None = None
) -> DecodedFrame:
    """The frame of a ``number`` from 0 on; no other frame is decoded.

    With a ``restoration`` its codestreams were made and proven here. Others may be anybody's, and have to be
    whole. Raises CannotDecode where there are no pixels, no such frame, or no decoder; DamagedCodestream,
    PixelsBeyondBounds, CodecProcessFailed.
    """
    pixel = parts.pixel
    if pixel is None:
        raise CannotDecode("it has no pixel data")
    header = bytes(parts.header)
    if restoration is not None and restoration.jpeg is not None:
        header = restored_header(header, restoration)
    try:
        form = Header(header, proven=restoration is not None).format
    except CannotEncode as error:
        raise CannotDecode(str(error)) from error
    if not 0 <= number < form.frames:
        raise CannotDecode(f"there is no frame {number + 1}: it has {form.frames}")
    if pixel.encapsulated:
        samples, form = _from_codestream(pixel.held(), form, syntax, number, restoration)
    else:
        samples, form = _native(pixel, form, number)
    return DecodedFrame(samples, replace(form, planar=0), header)


def _native(pixel: PixelElement, form: PixelFormat, number: int) -> tuple[Frame, PixelFormat]:
    value = pixel.held()
    if pixel.tag in FLOATS:
        kind = np.dtype(FLOATS[pixel.tag])
        size = form.rows * form.columns * kind.itemsize
        return np.frombuffer(_cut(value, size, number), kind).reshape(form.rows, form.columns), form
    if form.samples == 3 and form.photometric.endswith(("_422", "_420")):
        if form.photometric not in _HALVED or form.columns % 2:
            raise CannotDecode(f"native {form.photometric} of {form.columns} columns has no order of samples")
        size = 2 * form.rows * form.columns * form.bits_allocated // 8
        return _expanded(bytes(_cut(value, size, number)), form)
    if (number + 1) * form.frame_bits > 8 * len(value):
        raise CannotDecode(f"{len(value)} bytes of pixel data end before frame {number + 1}")
    return frame_of(value, number, form), form


def _cut(value: Buffer, size: int, number: int) -> Buffer:
    """The bytes of a frame of ``size`` bytes."""
    if (number + 1) * size > len(value):
        raise CannotDecode(f"{len(value)} bytes of pixel data end before frame {number + 1}")
    return memoryview(value)[number * size : (number + 1) * size]


def _expanded(frame: bytes, form: PixelFormat) -> tuple[Frame, PixelFormat]:
    """A native frame whose pixels share chroma, with all samples of each (PS3.3 C.7.6.3.1.2)."""
    whole = np.frombuffer(expand_ybr422(frame, form.bits_allocated), form.dtype)
    return whole.reshape(form.shape), replace(form, photometric=form.photometric.removesuffix("_422"))


def _from_codestream(
    value: Buffer, form: PixelFormat, syntax: TransferSyntax, number: int, restoration: Restoration | None
) -> tuple[Frame, PixelFormat]:
    codestream = frames_within(value, form.frames)[number].whole()
    return from_codestream(codestream, form, syntax, number, restoration)


def from_codestream(
    codestream: bytes, form: PixelFormat, syntax: TransferSyntax, number: int, restoration: Restoration | None
) -> tuple[Frame, PixelFormat]:
    """The samples in the codestream of the frame of a ``number`` from 0 on, and what describes them now.

    Raises as :func:`decoded_frame`.
    """
    codec, owner = decoder_of(syntax.uid), object()
    if codec is None and syntax.uid != ENCAPSULATED_UNCOMPRESSED:
        raise CannotDecode(f"{syntax.keyword} is not decoded here")
    if codec is None or holds_native_frames(syntax.uid, form):
        plain = codestream if codec is None else inflated_frame(codestream, form.frame_size + 1)
        shares = form.frame_size > len(plain)
        form = form if shares else replace(form, photometric=form.photometric.removesuffix("_422"))
        return _native(PixelElement(PIXEL_DATA, "OB", plain, encapsulated=False), form, 0)
    if restoration is not None and restoration.jpeg is not None:
        codestream = restore_jpeg(codestream, owner)
        syntax = lookup(restoration.jpeg.transfer_syntax)
        codec, restoration = decoder_of(syntax.uid) or codec, None
    try:
        samples, form = _decoded(codec, codestream, form, owner, strictly=restoration is None)
    except DamagedCodestream as error:
        raise error.of_frame(number + 1, form.frames) from error
    if form.samples == 3:
        form = replace(form, photometric=decoded_photometric(form.photometric, syntax))
    return samples, form


def _decoded(
    codec: Codec, codestream: bytes, form: PixelFormat, owner: object, strictly: bool
) -> tuple[Frame, PixelFormat]:
    """Samples, and the format that describes them: a codestream's precision may be beyond Bits Stored."""
    if strictly:
        check_length(len(codestream), form, codec.least(form))
    codec = of_one_object(codec, Trust.ANYBODYS if strictly else Trust.MADE_HERE, owner)
    with told_as(DamagedCodestream if strictly else CannotDecode, codec.library):
        try:
            return described_frame(codec, codestream, form, strictly), form
        except BeyondBitsStored:
            coded = precision_of(codestream)
            if coded is None:
                raise
            form = widened(form, coded.bits)
            return described_frame(codec, codestream, form, strictly), form
