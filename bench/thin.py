"""A mammography study over a thin line: ``python -m bench.thin``. The study is made (bench/mammography.py).

A node keeps four views of 3300 × 4090 pixels in one form after the other. A client, on a simulated line of 5
Mbit/s with 40 ms for the way there and back, gets them as frames by DICOMweb, as a viewer does, and decodes
them: one after the other or, where their beginnings are smaller images, first all four at a quarter of the
size each way, by ranges of bytes, and then what is left of each. What is decoded last is compared with what
was stored. The line's time goes by its rate; only answering and decoding go by the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset

from bench import machine, mammography
from bench.dicomweb import Client, served
from bench.line import line_to
from bench.processes import BenchError

MBITS, ROUND_TRIP = 5.0, 0.040
RESULTS = Path(__file__).parent / "results"
_SMALLER = 2  # times halved: a quarter of the size each way, as four views side by side are first shown
# The first range that is asked for: with it comes where the resolutions end.
_FIRST = 65_536

Frame = np.ndarray[Any, np.dtype[np.uint16]]


@dataclass(frozen=True)
class Way:
    """One way to send frames: kept in ``form``, sent as ``media_type``, decoded at 1 / 2^n by ``decode``."""

    name: str
    form: str
    media_type: str
    decode: Callable[[bytes, int], Frame]
    progressive: bool = False


@dataclass(frozen=True)
class Seen:
    """Seconds from the first request until one view, then all, could be looked at; until all were whole.

    ``kilobytes`` are those of the frames.
    """

    way: str
    first: float
    all_views: float
    whole: float
    kilobytes: float


def _native(data: bytes, _halved: int) -> Frame:
    return np.frombuffer(data, "<u2")


def _htj2k(data: bytes, halved: int) -> Frame:
    return np.asarray(imagecodecs.htj2k_decode(data, skipres=halved))


WAYS = (
    Way("uncompressed", "native", "application/octet-stream", _native),
    Way("JPEG-LS", "jpegls", "image/jls", lambda data, _: np.asarray(imagecodecs.jpegls_decode(data))),
    Way("JPEG XL", "jpegxl", "image/jxl", lambda data, _: np.asarray(imagecodecs.jpegxl_decode(data))),
    Way("HTJ2K, whole", "htj2k", "image/jphc", _htj2k),
    Way("HTJ2K, progressive", "htj2k", "image/jphc", _htj2k, progressive=True),
    Way("HTJ2K RPCL, progressive", "htj2k-rpcl", "image/jphc", _htj2k, progressive=True),
)


def resolutions(header: str) -> list[int]:
    """How many bytes give each resolution, the smallest first, by the header Image-Resolutions."""
    return [int(one.partition(";")[0]) for one in header.split(",")]


class Viewer:
    """Looks at one view after the other, and notes when."""

    def __init__(self, client: Client, way: Way) -> None:
        self._client, self._way = client, way

    def look(self, paths: Sequence[str], truth: Sequence[Frame]) -> Seen:
        """Get and decode all. Raises BenchError where what was stored does not come back."""
        begun = time.monotonic()
        beginnings = [self._beginning(path) for path in paths[:1]] if self._way.progressive else []
        first = time.monotonic() - begun
        if self._way.progressive:
            beginnings += [self._beginning(path) for path in paths[1:]]
        all_views, size = time.monotonic() - begun, 0
        for at, (path, samples) in enumerate(zip(paths, truth, strict=True)):
            data = self._rest(path, beginnings[at] if beginnings else b"")
            if not np.array_equal(self._way.decode(data, 0).reshape(samples.shape), samples):
                raise BenchError(f"{self._way.name}: {path} came back otherwise")
            size += len(data)
            if not at and not beginnings:
                first = time.monotonic() - begun
        whole = time.monotonic() - begun
        return Seen(self._way.name, first, all_views if beginnings else whole, whole, size / 1e3)

    def _beginning(self, path: str) -> bytes:
        """So much of a frame as a smaller image needs, which is decoded."""
        data, headers = self._got(path, f"bytes=0-{_FIRST - 1}")
        enough = resolutions(headers["Image-Resolutions"])[-1 - _SMALLER]
        if enough > len(data):
            data += self._got(path, f"bytes={len(data)}-{enough - 1}")[0]
        self._way.decode(data[:enough], _SMALLER)
        return data

    def _rest(self, path: str, beginning: bytes) -> bytes:
        return beginning + self._got(path, f"bytes={len(beginning)}-" if beginning else "")[0]

    def _got(self, path: str, span: str) -> tuple[bytes, Any]:
        asked = {"Range": span} if span else {}
        return self._client.told("GET", path, Accept=self._way.media_type, **asked)


def measured(way: Way, views: Sequence[Dataset], folder: Path, mbits: float, round_trip: float) -> Seen:
    """One study of one form, over the line."""
    policy = [{"name": "all", "stages": [{"form": way.form, "wrap": "none"}]}]
    paths = [
        f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}"
        f"/instances/{one.SOPInstanceUID}/frames/1"
        for one in views
    ]
    truth = [np.frombuffer(one.PixelData, "<u2").reshape(one.Rows, one.Columns) for one in views]
    with served("zscp", folder, policy=policy) as (running, client):
        for one in views:
            client.ask("POST", "/studies", as_file(one), Content_Type="application/dicom")
        running.drain()
        port = client.port
        client.close()
        with line_to(port, round_trip / 2, mbits * 1e6) as near:
            return Viewer(client.by(near), way).look(paths, truth)


def as_file(one: Dataset) -> bytes:
    """A DICOM file."""
    written = BytesIO()
    one.save_as(written, enforce_file_format=True)
    return written.getvalue()


def table(found: Sequence[Seen]) -> str:
    """In Markdown."""
    lines = [
        "| frames | MB | first view, s | all four views, s | all of the study, s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.way} | {one.kilobytes / 1e3:.1f} | {one.first:.1f} | {one.all_views:.1f} | {one.whole:.1f} |"
        for one in found
    ]
    return "\n".join(lines)


def chart(found: Sequence[Seen], title: str) -> str:
    """Bars as SVG: until the whole study is there and, darker, until all views can be looked at."""
    from bench.chart import OTHER, OWN, written  # noqa: PLC0415 - it loads matplotlib

    def draw(axes: Any) -> None:
        names = [one.way for one in found]
        axes.barh(names, [one.whole for one in found], color=OTHER, label="all of the study")
        axes.barh(names, [one.all_views for one in found], color=OWN, height=0.5, label="all four views seen")
        for place, one in enumerate(found):
            axes.text(one.whole, place, f" {one.all_views:.0f} s, {one.whole:.0f} s", va="center")
        axes.set_title(title, loc="left", weight="bold")
        axes.set_xlim(0, max(one.whole for one in found) * 1.2)
        axes.set_xlabel("seconds")
        axes.invert_yaxis()
        axes.legend(loc="lower right", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)

    return written(draw, 0.45 * len(found) + 1.2)


def main(arguments: list[str]) -> int:
    """Measure, and print a table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.thin", description=__doc__.split("\n\n")[0])
    parser.add_argument("--bits", type=int, choices=(12, 13, 14), default=mammography.BITS)
    parser.add_argument("--mbits", type=float, default=MBITS)
    parser.add_argument("--round-trip", type=float, default=ROUND_TRIP, help="seconds there and back")
    parser.add_argument("--only", help="the beginning of the names of the ways that are measured")
    parser.add_argument("--write", action="store_true", help="write bench/results/thin.json and thin.svg")
    chosen = parser.parse_args(arguments)
    views = [one for _, one in mammography.study(chosen.bits)]
    found = []
    with tempfile.TemporaryDirectory(prefix="thin-") as place:
        for number, way in enumerate(each for each in WAYS if each.name.startswith(chosen.only or "")):
            folder = Path(place) / str(number)
            found.append(measured(way, views, folder, chosen.mbits, chosen.round_trip))
            print(found[-1], file=sys.stderr, flush=True)
    title = (
        f"Four mammograms of 3300 × 4090 pixels and {chosen.bits} bits, made, over {chosen.mbits:g} Mbit/s, "
        f"{1000 * chosen.round_trip:.0f} ms there and back"
    )
    print(f"{title}:\n\n{table(found)}")
    if chosen.write:
        told = {"title": title, "machine": machine.of_this_one(), "seen": [asdict(one) for one in found]}
        (RESULTS / "thin.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (RESULTS / "thin.svg").write_text(chart(found, title), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
