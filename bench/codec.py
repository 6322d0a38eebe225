"""What the codec alone does: HTJ2K encoding and decoding in a tight loop over the same frames, all cores.

The bound for a receiver that encodes and verifies before it answers; it neither receives, parses nor writes.
The frames lie in memory before the clock starts.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.pixels import pixel_array  # type: ignore[attr-defined]

from bench.objects import ObjectSet
from bench.processes import BenchError


def frames(sent: ObjectSet) -> list[np.ndarray]:
    return [pixel_array(pydicom.dcmread(path), raw=True) for path in sent.files()]


def seconds(pictures: list[np.ndarray]) -> float:
    """Encode, decode and compare each frame; imagecodecs releases the GIL, so threads are enough."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        begin = time.perf_counter()
        same = all(pool.map(_there_and_back, pictures))
        taken = time.perf_counter() - begin
    if not same:
        raise BenchError("HTJ2K did not give a frame back")
    return taken


def _there_and_back(frame: np.ndarray[Any, Any]) -> bool:
    code = imagecodecs.htj2k_encode(frame, reversible=True)
    return bool(np.array_equal(imagecodecs.htj2k_decode(code), frame))
