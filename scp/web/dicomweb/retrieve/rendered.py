"""Rendered frames and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4): pictures that any browser shows."""

from __future__ import annotations

import math
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from scp.errors import NoPicture, ObjectDamaged, ObjectMissing, QueryError
from scp.model import Instance
from scp.web.dicomweb.accept import accepted_by
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.desk import PictureWish
from scp.web.dicomweb.faults import Refused
from scp.web.dicomweb.retrieve.conditions import headers_of, same, tag_of, unchanged
from scp.web.dicomweb.retrieve.frames import numbers_of
from scp.web.dicomweb.retrieve.named import Named
from scp.web.dicomweb.retrieve.told import looks

_KINDS: dict[str, Literal["png", "jpeg"]] = {"image/jpeg": "jpeg", "image/png": "png"}
_FUNCTIONS: dict[str, Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]] = {
    "linear": "LINEAR",
    "linear-exact": "LINEAR_EXACT",
    "sigmoid": "SIGMOID",
}
ANSWERS = tuple(_KINDS)
_LARGEST, _THUMBNAIL, _QUALITY = 4096, 128, 90
_FURTHEST = 1e12  # of a window
# Of a study or series so many instances are tried, from the middle on, until one has a picture.
_TRIED = 5


async def serve(asked: Asked) -> Response:
    """Answer a request for a rendered frame: the first one where none is named."""
    return await _serve(asked, _LARGEST)


async def serve_thumbnail(asked: Asked) -> Response:
    """Answer a request for a thumbnail: of a study or series that of an instance in the middle."""
    return await _serve(asked, _THUMBNAIL)


async def _serve(asked: Asked, most: int) -> Response:
    media_type = _media_type(asked)
    wish = wish_of(asked.request, _KINDS[media_type], most)
    frames = numbers_of(asked.named.get("frames", "1"))
    if len(frames) > 1:
        raise Refused(400, "One frame is rendered at a time.")
    candidates = await asked.apart(lambda: _candidates(asked))
    tag = tag_of((*same(candidates), str(wish), str(frames)))
    if (answer := unchanged(asked.request.headers, tag)) is not None:
        return answer
    instance, picture = await asked.apart(lambda: _rendered(asked, candidates, frames[0], wish))
    looks.note(asked, instance)
    return Response(picture, media_type=media_type, headers=headers_of(tag))


def _candidates(asked: Asked) -> list[Instance]:
    named = Named(asked)
    if "instance" in asked.named:
        return [named.first]
    return named.middle(_TRIED)


def _rendered(
    asked: Asked, candidates: list[Instance], frame: int, wish: PictureWish
) -> tuple[Instance, bytes]:
    """The first that has a picture. Raises what the first one does where none has."""
    fault: Exception | None = None
    for one in candidates:
        try:
            return one, asked.desk.render(one, frame, wish)
        except (NoPicture, ObjectDamaged, ObjectMissing) as error:
            fault = fault or error
    raise fault or NoPicture("nothing that it has can be shown")


def _media_type(asked: Asked) -> str:
    """Raises Refused (406)."""
    for one in accepted_by(asked.request):
        for each in _KINDS:
            if one.covers(each) and (not one.multipart or one.media_type == "*/*"):
                return each
    raise Refused(406, f"It is rendered as {' or '.join(_KINDS)}.")


def wish_of(request: Request, kind: Literal["png", "jpeg"], most: int) -> PictureWish:
    """What the query parameters ask for (PS3.18 8.3.5). Raises QueryError."""
    given = request.query_params
    width, height = _viewport(given.get("viewport", ""), most)
    quality = _numbers(given.get("quality") or str(_QUALITY), "quality", 1)[0]
    if not 1 <= quality <= 100 or quality != int(quality):
        raise QueryError("quality: a whole number from 1 to 100")
    return PictureWish(kind, width, height, _window(given.get("window", "")), int(quality))


def _viewport(text: str, most: int) -> tuple[int, int]:
    if not text:
        return most, most
    if text.count(",") > 1 and text.rstrip(",").count(",") > 1:
        raise QueryError("viewport: width,height; parts of an image are not rendered")
    sizes = _numbers(text.rstrip(","), "viewport", 2)
    if not all(1 <= one <= 65_536 and one == int(one) for one in sizes):
        raise QueryError("viewport: width and height are whole numbers from 1 on")
    return min(int(sizes[0]), _LARGEST), min(int(sizes[1]), _LARGEST)


def _window(text: str) -> tuple[float, float, Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]] | None:
    if not text:
        return None
    *numbers, function = text.split(",") if text.count(",") == 2 else [*text.split(","), "linear"]
    if function.strip().lower() not in _FUNCTIONS:
        raise QueryError(f"window: the function is one of {', '.join(_FUNCTIONS)}")
    center, width = _numbers(",".join(numbers), "window", 2)
    known = _FUNCTIONS[function.strip().lower()]
    if width <= 0 or (known == "LINEAR" and width < 1):  # PS3.3 C.11.2.1.2.1
        raise QueryError("window: the width is 1 or more, of linear-exact and sigmoid more than 0")
    return center, width, known


def _numbers(text: str, name: str, count: int) -> list[float]:
    try:
        found = [float(one) for one in text.split(",", count)]
    except ValueError:
        found = []
    if len(found) != count or not all(math.isfinite(one) and abs(one) <= _FURTHEST for one in found):
        raise QueryError(f"{name}: {count} number{'s' * (count > 1)}, with a comma between them")
    return found
