"""What a codec process costs a frame: the same frames by each codec in this process, and in a codec process.

    python -m bench.cage --frames 50

Microseconds a frame, the median of rounds that alternate, so that a busy machine slows both. The cost is what
the codec process adds: the way there and back, and a copy of the result.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from scp.encoding.cage.caged import Trust, of_one_object
from scp.encoding.codecs import native
from scp.encoding.codecs.codec import Codec
from scp.encoding.codecs.table import CODECS
from scp.encoding.pixels import Frame, PixelFormat

SIDES = (64, 512)
_ROUNDS = 5


def picture(side: int) -> tuple[Frame, PixelFormat]:
    """Waves of 12 bits with noise on them, about as CT compresses."""
    y, x = np.mgrid[:side, :side]
    noise = np.random.default_rng(1).normal(0, 12, (side, side))
    frame = (1500 + 1000 * np.sin(x / 40) * np.cos(y / 37) + noise).clip(0, 4095).astype("<u2")
    return frame, PixelFormat(side, side, 1, 16, 12, 11, False, "MONOCHROME2", 0, 1)


def microseconds(work: Callable[[], object], frames: int) -> float:
    begun = time.perf_counter()
    for _ in range(frames):
        work()
    return (time.perf_counter() - begun) / frames * 1e6


def compared(here: Codec, caged: Codec, side: int, frames: int) -> list[tuple[str, float, float]]:
    """What is done, and what a frame takes here and in a codec process."""
    frame, form = picture(side)
    code = here.encode(frame, form, 0)
    verbs: dict[str, Callable[[Codec], Callable[[], object]]] = {
        "encode": lambda codec: lambda: codec.encode(frame, form, 0),
        "decode": lambda codec: lambda: codec.decode(code, form),
        "decode, an object of others": lambda codec: (
            lambda: of_one_object(codec, Trust.ANYBODYS, object()).strictly(code, form)
        ),
    }
    found = []
    for name, verb in verbs.items():
        took: dict[str, list[float]] = {"here": [], "caged": []}
        for _ in range(_ROUNDS):
            took["here"].append(microseconds(verb(here), frames))
            took["caged"].append(microseconds(verb(caged), frames))
        found.append((name, statistics.median(took["here"]), statistics.median(took["caged"])))
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--codec", default="htj2k", choices=[one.name for one in CODECS if one.writes])
    asked = parser.parse_args()
    (here,) = (one for one in native.CODECS if one.name == asked.codec)
    (caged,) = (one for one in CODECS if one.name == asked.codec)
    print(f"| {asked.codec} | here, µs | caged, µs | cost, µs |\n| --- | --- | --- | --- |")
    for side in SIDES:
        for name, plain, apart in compared(here, caged, side, asked.frames):
            print(f"| {name}, {side} × {side} | {plain:.0f} | {apart:.0f} | {apart - plain:.0f} |")


if __name__ == "__main__":
    main()
