"""A drawing of rectangles, lines and text: one description, written as SVG and as PNG.

Both come from the same shapes, so they cannot show different things. Lengths are pixels of the SVG, y
points down; text stands on its ``y``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw, ImageFont

Anchor = Literal["start", "middle", "end"]

_PAGE = "#ffffff"  # viewers with a dark page would hide the text
_SIZE = 13
_FINE = 2  # pixels of the PNG for one of the SVG


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A filled one."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class Line:
    """From one point to another, one pixel wide."""

    x: float
    y: float
    to_x: float
    to_y: float
    colour: str = "#222222"


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text that starts, is centred or ends at ``x``."""

    x: float
    y: float
    text: str
    anchor: Anchor = "start"
    bold: bool = False
    colour: str = "#000000"
    size: int = _SIZE


Shape = Rectangle | Line | Text


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes on a white page; later ones lie on earlier ones."""

    width: int
    height: int
    shapes: Sequence[Shape]


def svg(drawing: Drawing) -> str:
    """The drawing as an SVG document."""
    width, height = drawing.width, drawing.height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="{_SIZE}" style="background:{_PAGE}">'
    )
    return "\n".join([head, *map(_element, drawing.shapes), "</svg>"]) + "\n"


def _element(shape: Shape) -> str:
    match shape:
        case Rectangle():
            size = f'width="{shape.width:.1f}" height="{shape.height:.1f}"'
            return f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" {size} fill="{shape.colour}"/>'
        case Line():
            path = f"M{shape.x:.1f} {shape.y:.1f}L{shape.to_x:.1f} {shape.to_y:.1f}"
            return f'<path d="{path}" stroke="{shape.colour}"/>'
    look = f'text-anchor="{shape.anchor}" fill="{shape.colour}"'
    look += ' font-weight="bold"' if shape.bold else ""
    look += f' font-size="{shape.size}"' if shape.size != _SIZE else ""
    return f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" {look}>{escape(shape.text)}</text>'


def png(drawing: Drawing) -> bytes:
    """The drawing as a PNG file, twice as fine as the SVG's own size."""
    image = Image.new("RGB", (drawing.width * _FINE, drawing.height * _FINE), _PAGE)
    pen = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        _draw(pen, shape)
    out = BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _draw(pen: ImageDraw.ImageDraw, shape: Shape) -> None:
    at = (shape.x * _FINE, shape.y * _FINE)
    match shape:
        case Rectangle():
            end = ((shape.x + shape.width) * _FINE - 1, (shape.y + shape.height) * _FINE - 1)
            if shape.width > 0 and shape.height > 0:
                pen.rectangle((at, (max(end[0], at[0]), max(end[1], at[1]))), fill=shape.colour)
        case Line():
            pen.line((at, (shape.to_x * _FINE, shape.to_y * _FINE)), fill=shape.colour, width=_FINE)
        case Text():
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
            font = ImageFont.load_default(shape.size * _FINE)  # comes with Pillow: the same everywhere
            stroke = 0.6 if shape.bold else 0
            pen.text(
                at, shape.text, shape.colour, font, anchor, stroke_width=stroke, stroke_fill=shape.colour
            )
