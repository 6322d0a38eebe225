"""The frames of one stored dataset, each by its number: as stored, native, encoded otherwise or with loss.

Where each frame lies is found once. After that a frame costs what is read of it, and nothing of the others.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from scp.encoding.cage.caged import restore_jpeg
from scp.encoding.codecs.lossless.deflate import inflated_frame
from scp.encoding.codecs.table import encoder_of
from scp.encoding.dataset import PixelElement, split
from scp.encoding.decoding import restored_header
from scp.encoding.elements import PIXEL_DATA
from scp.encoding.encapsulating import encoded_frame
from scp.encoding.fragments import Frames, frames_within
from scp.encoding.headers import Header
from scp.encoding.lossy_frames import frame_with_loss
from scp.encoding.native_frames import described_sizes, holds_native_frames
from scp.encoding.one_frame import FLOATS, from_codestream
from scp.encoding.padding import padding_of
from scp.encoding.pixels import Frame, PixelFormat, bits_of, frame_of, native_bytes
from scp.errors import CannotDecode, CannotEncode
from scp.loss import LossyRule
from scp.model import Restoration
from scp.spool import Buffer
from scp.syntaxes import (
    BIG_ENDIAN,
    DEFLATED,
    DEFLATED_FRAMES,
    EXPLICIT,
    IMPLICIT,
    JPEGXL_RECOMPRESSION,
    Content,
    lookup,
)

_NATIVE = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
_PADDING = 1  # byte


class FrameAccess:
    """The frames of a dataset stream, numbered from 0. Methods may be called by several threads."""

    def __init__(self, dataset: Buffer, transfer_syntax: str, restoration: Restoration | None) -> None:
        """``restoration`` is that of codestreams that were made and proven here.

        Raises UnreadableDataset; CannotDecode where there are no frames.
        """
        self.transfer_syntax = transfer_syntax
        self._syntax, self._restoration = lookup(transfer_syntax), restoration
        if self._syntax.content in (Content.VIDEO, Content.REFERENCED):
            raise CannotDecode(f"{self._syntax.keyword} has no frames that can be told apart")
        parts = split(dataset, self._syntax, proven=restoration is not None)
        if parts.pixel is None:
            raise CannotDecode("it has no pixel data")
        self._pixel: PixelElement = parts.pixel
        self._value = parts.pixel.held()
        header = bytes(parts.header)
        if restoration is not None and restoration.jpeg is not None:
            header = restored_header(header, restoration)
        try:
            described = Header(header, proven=restoration is not None)
            self.form = described.format if restoration is None else described.proven_format
            self._header = described.data
        except CannotEncode as error:
            raise CannotDecode(str(error)) from error

    @property
    def count(self) -> int:
        """How many frames there are, as the header says."""
        return self.form.frames

    @cached_property
    def _frames(self) -> Frames:
        return frames_within(self._value, self.form.frames)

    def get(self, number: int, transfer_syntax: str) -> Buffer:
        """A frame in a transfer syntax: as it is stored if that is its own, without loss in all others.

        A native one has exactly its samples, without padding; single bits begin in its first byte. Raises
        CannotDecode, CannotEncode, and what decoding raises.
        """
        if not 0 <= number < self.count:
            raise CannotDecode(f"there is no frame {number + 1}: it has {self.count}")
        if transfer_syntax in _NATIVE:
            return self._native(number)
        if transfer_syntax == self.transfer_syntax:
            return self._codestream(number)
        jpeg = self._restoration.jpeg if self._restoration is not None else None
        if jpeg is not None and transfer_syntax == jpeg.transfer_syntax:
            return restore_jpeg(self._codestream(number), object())
        return self._encoded(number, transfer_syntax)

    def _codestream(self, number: int) -> bytes:
        return self._frames[number].whole()

    # -- native ------------------------------------------------------------------------------------------

    def _native(self, number: int) -> Buffer:
        if not self._pixel.encapsulated:
            return self._cut(number)
        if holds_native_frames(self.transfer_syntax, self.form):
            return self._unwrapped(number)
        samples, form = from_codestream(
            self._codestream(number), self.form, self._syntax, number, self._restoration
        )
        own = self._restoration is not None and self._restoration.jpeg is None
        return native_bytes(samples, form, self._restoration.planar if self._restoration and own else 0)

    def _cut(self, number: int) -> Buffer:
        """Of native pixel data the bytes of one frame, whatever they mean."""
        value, form = self._value, self.form
        kind = FLOATS.get(self._pixel.tag)
        if kind is not None:
            return self._slice(number, form.rows * form.columns * np.dtype(kind).itemsize)
        if form.bits_allocated == 1 and form.frame_bits % 8:
            if (number + 1) * form.frame_bits > 8 * len(value):
                raise self._too_short(number)
            bits = bits_of(value, number * form.frame_bits, form.frame_bits)
            return native_bytes(bits, form, 0)
        for size, _ in described_sizes(form):
            if 0 <= len(value) - size * form.frames <= _PADDING:
                return self._slice(number, size)
        return self._slice(number, form.frame_size)

    def _slice(self, number: int, size: int) -> Buffer:
        if (number + 1) * size > len(self._value):
            raise self._too_short(number)
        return memoryview(self._value)[number * size : (number + 1) * size]

    def _too_short(self, number: int) -> CannotDecode:
        return CannotDecode(f"{len(self._value)} bytes of pixel data end before frame {number + 1}")

    def _unwrapped(self, number: int) -> Buffer:
        """A native frame that is in a fragment, deflated or not."""
        plain: bytes = self._codestream(number)
        if self.transfer_syntax == DEFLATED_FRAMES:
            plain = inflated_frame(plain, self.form.frame_size + 1)
        for size, _ in described_sizes(self.form):
            if len(plain) in (size, size + size % 2):
                return memoryview(plain)[:size]
        described = self.form.frame_size
        raise CannotDecode(f"frame {number + 1} has {len(plain)} bytes, {described} are described")

    # -- encoded -----------------------------------------------------------------------------------------

    def _encoded(self, number: int, transfer_syntax: str) -> bytes:
        codec = encoder_of(transfer_syntax)
        if codec is None or transfer_syntax == JPEGXL_RECOMPRESSION:
            raise CannotEncode(f"{lookup(transfer_syntax).keyword} is not encoded here")
        samples, form = self._samples(number)
        return encoded_frame(samples, form, codec)

    def with_loss(self, number: int, transfer_syntax: str, rule: LossyRule, sop_class_uid: str) -> bytes:
        """A frame coded with loss, as a peer's rule has it (invariant 4), in fewer bytes than are stored.

        Raises CannotEncode, and what decoding raises.
        """
        if not 0 <= number < self.count:
            raise CannotDecode(f"there is no frame {number + 1}: it has {self.count}")
        samples, form = self._samples(number)
        rest = padding_of(self._header, form)
        stream = frame_with_loss(samples, form, rest, transfer_syntax, rule, sop_class_uid)
        stored = len(self._codestream(number)) if self._pixel.encapsulated else form.frame_size
        if len(stream) >= stored:
            raise CannotEncode(f"{len(stream)} bytes, where {stored} are stored")
        return stream

    def _samples(self, number: int) -> tuple[Frame, PixelFormat]:
        """A frame, as an encoder takes it, and its format."""
        if self._pixel.tag != PIXEL_DATA:
            raise CannotEncode("floating point pixel data")
        form = replace(self.form, frames=1)
        if self._pixel.encapsulated and not holds_native_frames(self.transfer_syntax, form):
            samples, form = from_codestream(
                self._codestream(number), form, self._syntax, number, self._restoration
            )
            return samples, replace(form, planar=0)
        plain = self._native(number)
        if len(plain) != form.frame_size:
            raise CannotEncode(f"native {form.photometric} shares samples between pixels")
        return frame_of(plain, 0, form), form
