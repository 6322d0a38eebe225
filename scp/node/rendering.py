"""Frames rendered for DICOMweb: what ``web`` may not import itself."""

from __future__ import annotations

from collections.abc import Callable

from scp.archive.archive import Archive
from scp.model import Instance
from scp.viewing.rendered import Wish, rendered
from scp.web.dicomweb.desk import PictureWish, Render


def rendering(archive: Callable[[], Archive]) -> Render:
    """What renders a frame of the archive that is open."""

    def render(instance: Instance, frame: int, wish: PictureWish) -> bytes:
        asked = Wish(wish.kind, wish.width, wish.height, wish.window, wish.quality)
        return rendered(archive(), instance, frame, asked)

    return render
