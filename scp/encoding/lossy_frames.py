"""Frames coded with loss by a rule, each decoded again and found within it (invariant 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scp.encoding.codecs.codec import told_as
from scp.encoding.codecs.lossy_codec import LossyCodec, quality_of
from scp.encoding.codecs.lossy_table import lossy_encoder_of
from scp.encoding.deviation import Deviation, errors_of
from scp.encoding.padding import Padding
from scp.encoding.pixels import Frame, PixelFormat, frame_of, native_bytes, unused_bits_are_empty
from scp.encoding.pool import in_order
from scp.errors import CannotEncode
from scp.loss import LossyRule
from scp.spool import Buffer
from scp.syntaxes import lookup

# How much smaller than the bound the root mean square error has to be, tried in turn: among 200 000 samples
# of noise the worst is off by 4 to 5 times that.
_SHARES = (2, 3, 4.5, 7, 10, 15, 23)
# What a ratio is searched among, the finest first: each step makes the error a third larger.
_QUALITIES = tuple(quality_of(0.2 * 1.33**step) for step in range(24))
_BOUNDS = range(1, 256)
# Their samples are measures or labels: not what anybody looks at, and nothing that may be about right.
NO_PICTURES = {
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose",
}


def refuses_rule(codec: LossyCodec, form: PixelFormat, rule: LossyRule) -> str:
    """Why a codec cannot follow a rule for such pixels; empty where it can."""
    if codec.bounded and rule.max_error is None and rule.ratio is None:
        return "it has no quality, and the rule names no max_error"
    converted = form.photometric == "YBR_FULL" != codec.described(form).photometric
    if converted and rule.max_error is not None:  # a decoder makes RGB of it
        return "no bound can be told through its colour conversion"
    return ""


def _settings(codec: LossyCodec, rule: LossyRule) -> tuple[float, ...]:
    """What to give the codec, the smallest result first."""
    if codec.bounded and rule.max_error is not None:
        return (rule.max_error,)
    if rule.quality is not None or rule.max_error is None:
        return (rule.quality or 0,)
    return tuple(quality_of(rule.max_error / share) for share in _SHARES)


@dataclass(frozen=True, slots=True)
class CopyFrames:
    """The frames of an object, coded one by one."""

    codec: LossyCodec
    form: PixelFormat
    rule: LossyRule
    padding: Padding
    deviation: Deviation | None

    def encoded(self, value: Buffer) -> Iterator[bytes]:
        """Their codestreams, in order. Raises CannotEncode."""
        form = self.form
        with told_as(CannotEncode, self.codec.library):
            yield from in_order(
                lambda each: self._one(frame_of(value, each, form)),
                range(form.frames),
                form.frames,
                form.array_size,
            )

    def _one(self, frame: Frame) -> bytes:
        if not unused_bits_are_empty(frame, self.form):
            raise CannotEncode("bits above Bits Stored are in use")
        for stream in self._tries(frame):
            back = self.codec.decode(stream, self.codec.described(self.form))
            if self._holds(frame, back):
                self.padding.look(frame, back)
                if self.deviation is not None:
                    self.deviation.add(frame, back)
                return stream
        beyond = f"keeps every sample within {self.rule.max_error}"
        if self.rule.max_error is None:
            raise CannotEncode("its codestream holds more bits than it may")
        if self.rule.ratio is not None:
            raise CannotEncode(f"nothing of ratio {self.rule.ratio:g} {beyond}")
        raise CannotEncode(f"no quality {beyond}")

    def _tries(self, frame: Frame) -> Iterator[bytes]:
        """Codestreams of a frame, the smallest first. Raises CannotEncode where none has the ratio."""
        if self.rule.ratio is not None:
            yield self._of_ratio(frame, self.rule.ratio)
            return
        for setting in _settings(self.codec, self.rule):
            yield self.codec.encode(frame, self.form, setting)

    def _of_ratio(self, frame: Frame, ratio: float) -> bytes:
        """The finest codestream that is so many times smaller than the native frame."""
        scale: Sequence[float] = _BOUNDS if self.codec.bounded else _QUALITIES
        found, first, last = b"", 0, len(scale)
        while first < last:
            middle = (first + last) // 2
            stream = self.codec.encode(frame, self.form, scale[middle])
            if len(stream) * ratio <= self.form.frame_size:
                found, last = stream, middle
            else:
                first = middle + 1
        if not found:
            raise CannotEncode(f"nothing reaches ratio {ratio:g}")
        return found

    def _holds(self, frame: Frame, back: Frame) -> bool:
        """Whether a codestream gives an image of the described kind, within the bound."""
        if not unused_bits_are_empty(back, self.codec.described(self.form)):
            return False
        most = self.rule.max_error
        return most is None or int(errors_of(frame, back).max()) <= most


def frame_with_loss(
    frame: Frame, form: PixelFormat, padding: Padding, target: str, rule: LossyRule, sop_class_uid: str
) -> bytes:
    """One frame in the transfer syntax ``target``, for those who have the header of the object itself.

    So that has to describe what comes of the frame. Raises CannotEncode, with the reason, where it would not.
    """
    codec = lossy_encoder_of(target)
    if codec is None:
        raise CannotEncode(f"{lookup(target).keyword} is not encoded here")
    if not may_lose(sop_class_uid):
        raise CannotEncode(f"{NO_PICTURES[sop_class_uid]} is not coded with loss")
    if reason := codec.refuses(form) or refuses_rule(codec, form, rule):
        raise CannotEncode(reason)
    form = replace(form, frames=1, planar=0)
    (stream,) = CopyFrames(codec, form, rule, Padding(), None).encoded(native_bytes(frame, form, 0))
    back = codec.decode(stream, codec.described(form))
    if not unused_bits_are_empty(back, form):
        raise CannotEncode("its samples would need more bits than are stored")
    if padding.low is not None:
        was, is_now = (
            np.greater_equal(each, padding.low) & np.less_equal(each, padding.high) for each in (frame, back)
        )
        if not np.array_equal(was, is_now):
            raise CannotEncode("its padding values would mix with image values")
    return stream


def may_lose(sop_class_uid: str) -> bool:
    """Whether objects of a class are coded with loss where a rule asks for it."""
    return sop_class_uid not in NO_PICTURES
