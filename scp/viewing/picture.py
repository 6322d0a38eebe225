"""A picture of a stored image: one frame as a PNG, for people to recognize it by; not for diagnosis."""

from __future__ import annotations

from dataclasses import dataclass, field

from scp.archive.archive import Archive
from scp.archive.records import provenance_of
from scp.archive.refusal import by_failure
from scp.encoding.cage.caged import caged_compared
from scp.encoding.codecs.compared import COMPARED
from scp.encoding.dataset import split
from scp.encoding.one_frame import DecodedFrame, decoded_frame
from scp.encoding.pixels import PixelFormat
from scp.errors import CodecError, CodecProcessFailed, NoPicture, UnreadableDataset
from scp.model import Instance
from scp.objects.part10 import Part10
from scp.resources.budget import taking
from scp.spool import UNCOUNTED
from scp.syntaxes import Content, lookup
from scp.viewing.display import VoiWindow, display_of, usable
from scp.viewing.rendering import Chosen, Shades, Shown, shown

_PNG = next(caged_compared(codec) for codec in COMPARED if codec.name == "PNG")
LARGEST = 4096  # pixels on the longer side


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame, of ``frames``, as a ``png`` of ``width`` by ``height`` pixels.

    ``frame`` counts from 1. The object's own frame has ``columns`` by ``rows`` pixels. ``chosen`` says what
    chose the shades: the window that was ``given``, that of the ``object``, its VOI LUT (``table``),
    ``percentiles`` of its values, or ``all values`` of Bits Stored; ``colours`` need none. ``window`` is the
    one that was applied, if any was.
    """

    sop_instance_uid: str
    frame: int
    frames: int
    columns: int
    rows: int
    width: int
    height: int
    photometric: str
    chosen: Chosen
    window: VoiWindow | None
    png: bytes = field(repr=False)


def picture(
    archive: Archive, instance: Instance, frame: int = 1, most: int = 1024, window: VoiWindow | None = None
) -> Picture:
    """The frame of a number from 1 on, at most ``most`` pixels on its longer side.

    It is decoded in a codec process, within the limits of those, and no other frame is. Raises NoPicture,
    with the reason, for what has no pixels, or none that can be shown; ObjectMissing, ObjectDamaged,
    ObjectUnavailable (ObjectRefused where it is not decoded any more), OutOfResources.
    """
    found, seen = frame_shown(archive, instance, frame, (most, most), window)
    form = found.form
    height, width = seen.shades.shape[:2]
    return Picture(
        instance.sop_instance_uid,
        frame,
        form.frames,
        form.columns,
        form.rows,
        width,
        height,
        form.photometric,
        seen.chosen,
        seen.window,
        png_of(seen.shades),
    )


def frame_shown(
    archive: Archive, instance: Instance, frame: int, within: tuple[int, int], window: VoiWindow | None
) -> tuple[DecodedFrame, Shown]:
    """A frame decoded, and as it is shown ``within`` so many columns and rows. Raises as :func:`picture`."""
    if window is not None and usable(window) is None:
        raise NoPicture(
            f"a window of width {window.width:g} shows nothing; {window.function} takes 1 or more"
        )
    found = _decoded(archive, instance, frame - 1)
    form = found.form
    # The longer side, where the frame as a whole is to fit.
    share = min(within[0] / form.columns, within[1] / form.rows)
    most = min(max(round(share * max(form.columns, form.rows)), 1), LARGEST)
    size = form.array_size
    with taking(2 * size if size > UNCOUNTED else 0):
        return found, shown(found, display_of(found.header, frame - 1), most, window)


def _decoded(archive: Archive, instance: Instance, number: int) -> DecodedFrame:
    instance = archive.elsewhere.brought(instance)
    with archive.trials.of(instance, "decode"):
        instance, file = archive.reader.read(instance)
        try:
            return _frame(file, number)
        except CodecProcessFailed as error:
            archive.trials.refuse(instance, by_failure("decode", error))
            raise NoPicture(str(error)) from error
        except (CodecError, UnreadableDataset) as error:
            raise NoPicture(str(error)) from error


def _frame(file: Part10, number: int) -> DecodedFrame:
    syntax, known = lookup(file.transfer_syntax), provenance_of(file)
    if syntax.content is Content.REFERENCED:
        raise NoPicture(f"its pixels are not in it: {syntax.keyword} names a place where they are")
    parts = split(file.dataset, syntax, proven=known.restoration is not None)
    return decoded_frame(parts, syntax, number, known.restoration)


def png_of(shades: Shades) -> bytes:
    """Grey levels or colours as a PNG file."""
    rows, columns = shades.shape[:2]
    samples, kind = (3, "RGB") if shades.ndim == 3 else (1, "MONOCHROME2")
    return _PNG.encode(shades, PixelFormat(rows, columns, samples, 8, 8, 7, False, kind, 0, 1))
