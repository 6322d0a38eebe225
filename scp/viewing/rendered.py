"""A frame as a browser shows it: JPEG or PNG, scaled down to fit; for a look, not for diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scp.archive.archive import Archive
from scp.encoding.codecs.lossy_table import lossy_encoder_of
from scp.encoding.pixels import PixelFormat
from scp.errors import NoPicture
from scp.model import Instance
from scp.syntaxes import JPEG_BASELINE
from scp.viewing.display import VoiWindow, WindowFunction
from scp.viewing.picture import LARGEST, frame_shown, png_of
from scp.viewing.rendering import Shades

Kind = Literal["png", "jpeg"]


@dataclass(frozen=True, slots=True)
class Wish:
    """How a frame is to be shown: at most ``width`` by ``height`` pixels, never larger than it is.

    ``window`` is center, width and function, in units after the modality LUT; None: as the object says.
    ``quality`` is from 1 to 100, of JPEG only.
    """

    kind: Kind = "jpeg"
    width: int = LARGEST
    height: int = LARGEST
    window: tuple[float, float, WindowFunction] | None = None
    quality: int = 90


def rendered(archive: Archive, instance: Instance, frame: int, wish: Wish) -> bytes:
    """The frame of a number from 1 on, as a file of an image. Raises as `picture` of scp.viewing.picture."""
    window = None if wish.window is None else VoiWindow(*wish.window)
    seen = frame_shown(archive, instance, frame, (wish.width, wish.height), window)[1]
    return png_of(seen.shades) if wish.kind == "png" else _jpeg(seen.shades, wish.quality)


def _jpeg(shades: Shades, quality: int) -> bytes:
    codec = lossy_encoder_of(JPEG_BASELINE)
    if codec is None:
        raise NoPicture("no JPEG is encoded here")
    rows, columns = shades.shape[:2]
    samples, kind = (3, "RGB") if shades.ndim == 3 else (1, "MONOCHROME2")
    form = PixelFormat(rows, columns, samples, 8, 8, 7, False, kind, 0, 1)
    return codec.encode(shades, form, quality)
