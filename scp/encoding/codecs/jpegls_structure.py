"""The parameters of a JPEG-LS codestream: LSE segments, and what its scans say (ITU-T T.87 C.2).

CharLS checks them as well; but it takes a size from an LSE segment that the frame header does not have, and a
mapping table is nothing that DICOM knows of.
"""

from __future__ import annotations

import struct

from scp.encoding.codecs.jpeg_structure import JpegScan, Structure
from scp.errors import CannotDecode, DamagedCodestream

_PRESETS, _MAPPING, _SIZE = 1, (2, 3), 4  # what an LSE segment holds (C.2.4.1)
_PRESET_BYTES = 11
_MOST_PRECISION, _LEAST_RESET, _LARGEST_NEAR = 16, 3, 255
_INTERLEAVED = range(3)  # by component, line or sample (C.2.3)


def check_parameters(structure: Structure) -> None:
    """Raises DamagedCodestream for values that T.87 does not allow, CannotDecode for other kinds."""
    if not 2 <= structure.precision <= _MOST_PRECISION:
        raise DamagedCodestream(f"JPEG-LS of {structure.precision} bits")
    if any(each.across != 1 or each.down != 1 for each in structure.components):
        raise CannotDecode("the codestream's components are subsampled")
    largest = (1 << structure.precision) - 1
    presets = [_preset(each) for each in structure.presets]
    maxima = [maximum for maximum, *_ in presets if maximum] or [largest]
    if max(maxima) > largest:
        raise DamagedCodestream("MAXVAL is more than the precision has")
    for scan in structure.scans:
        _check_scan(scan, min(maxima))
    for maximum, *thresholds, reset in presets:
        given = [each for each in thresholds if each]
        if given != sorted(given) or max(given, default=0) > (maximum or largest):
            raise DamagedCodestream("the thresholds of LSE are not in their order")
        if reset and not _LEAST_RESET <= reset <= max(255, maximum or largest):
            raise DamagedCodestream(f"RESET is {reset}")
    seen = [each.identifier for scan in structure.scans for each in scan.components]
    if len(set(seen)) < len(seen):
        raise DamagedCodestream("a component is in two scans")


def _preset(content: bytes) -> tuple[int, ...]:
    """MAXVAL, T1, T2, T3 and RESET; 0 means the default (C.2.4.1.1)."""
    kind = content[0] if content else 0
    if kind == _SIZE:
        raise CannotDecode("the codestream has its size in an LSE segment")
    if kind in _MAPPING:
        raise CannotDecode("the codestream's samples are indices into a mapping table")
    if kind != _PRESETS or len(content) != _PRESET_BYTES:
        raise DamagedCodestream(f"an LSE segment of kind {kind} with {len(content)} bytes")
    return struct.unpack(">5H", content[1:])


def _check_scan(scan: JpegScan, maximum: int) -> None:
    near, interleaved = scan.first, scan.last
    if near > min(_LARGEST_NEAR, maximum // 2) or interleaved not in _INTERLEAVED:
        raise DamagedCodestream(f"a scan of JPEG-LS with NEAR {near} and ILV {interleaved}")
    if interleaved == 0 and len(scan.components) > 1:
        raise DamagedCodestream("a scan of several components that are not interleaved")
