"""JPEG 2000 (OpenJPEG) and High-Throughput JPEG 2000 (OpenJPH), irreversible."""

from __future__ import annotations

import math
from dataclasses import replace

import imagecodecs

from scp.encoding.codecs.codec import version_of
from scp.encoding.codecs.lossless.jpeg2000 import HTJ2K_EITHER_CODEC, JPEG2000_CODEC
from scp.encoding.codecs.lossy_codec import LossyCodec, error_of, refuse_picture
from scp.encoding.pixels import Frame, PixelFormat
from scp.syntaxes import HTJ2K_EITHER, JPEG2000_EITHER


def _refuses(form: PixelFormat) -> str:
    return refuse_picture(form, bits=(8, 16), signed=True)


def _photometric(form: PixelFormat) -> str:
    """PS3.5 8.2.4: the irreversible transform of RGB is YBR_ICT; other colour is coded as it stands."""
    return "YBR_ICT" if form.photometric == "RGB" else form.photometric


def _described_jpeg2000(form: PixelFormat) -> PixelFormat:
    return replace(form, photometric=_photometric(form), high_bit=form.bits_stored - 1)


def _described_htj2k(form: PixelFormat) -> PixelFormat:
    """imagecodecs codes whole samples, and what is lossy may need them: 4095 came back as 4125."""
    bits = form.bits_allocated
    return replace(form, photometric=_photometric(form), bits_stored=bits, high_bit=bits - 1)


def _encode_jpeg2000(frame: Frame, form: PixelFormat, quality: float) -> bytes:
    peak = (1 << form.bits_stored) - 1
    return bytes(
        imagecodecs.jpeg2k_encode(
            frame,
            20 * math.log10(peak / error_of(quality)),  # type: ignore[arg-type]  # dB, and no whole ones
            codecformat="j2k",
            reversible=False,
            mct=form.photometric == "RGB",
            bitspersample=form.bits_stored,
            numthreads=1,
        )
    )


def _encode_htj2k(frame: Frame, form: PixelFormat, quality: float) -> bytes:
    # A uniform quantiser of step s errs by s / sqrt(12); the step counts in parts of the samples' range.
    step = math.sqrt(12) * error_of(quality) / (1 << form.bits_allocated)
    colour = form.samples > 1
    return bytes(
        imagecodecs.htj2k_encode(
            frame,
            level=step,
            reversible=False,
            rgb=form.photometric == "RGB" if colour else None,
            planar=False if colour else None,
        )
    )


LOSSY_JPEG2000 = LossyCodec(
    name="JPEG 2000",
    library=version_of("jpeg2k"),
    writes=JPEG2000_EITHER,
    method="ISO_15444_1",
    bounded=False,
    refuses=_refuses,
    described=_described_jpeg2000,
    encode=_encode_jpeg2000,
    decode=JPEG2000_CODEC.decode,
)

LOSSY_HTJ2K = LossyCodec(
    name="HTJ2K",
    library=version_of("htj2k"),
    writes=HTJ2K_EITHER,
    method="ISO_15444_15",
    bounded=False,
    refuses=_refuses,
    described=_described_htj2k,
    encode=_encode_htj2k,
    decode=HTJ2K_EITHER_CODEC.decode,
)
