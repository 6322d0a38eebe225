"""Media types of frames and bulk data, with the transfer syntaxes of each (PS3.18 8.7.3)."""

from __future__ import annotations

from collections.abc import Mapping

from scp.syntaxes import (
    HTJ2K,
    HTJ2K_EITHER,
    HTJ2K_RPCL,
    JPEG2000,
    JPEG2000_EITHER,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEGLS,
    JPEGLS_NEAR,
    JPEGXL,
    JPEGXL_EITHER,
    JPEGXL_RECOMPRESSION,
    RLE,
)

OCTETS = "application/octet-stream"
_JPEG = "1.2.840.10008.1.2.4."

# Tables 8.7.3-4 and 8.7.3-5: the default transfer syntax of each media type is the first.
COMPRESSED: Mapping[str, tuple[str, ...]] = {
    "image/jpeg": (JPEG_LOSSLESS_SV1, JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS),
    "image/dicom-rle": (RLE,),
    "image/jls": (JPEGLS, JPEGLS_NEAR),
    "image/jp2": (JPEG2000, JPEG2000_EITHER),
    "image/jpx": (_JPEG + "92", _JPEG + "93"),
    "image/jphc": (HTJ2K, HTJ2K_RPCL, HTJ2K_EITHER),
    "image/jxl": (JPEGXL, JPEGXL_RECOMPRESSION, JPEGXL_EITHER),
}
VIDEO: Mapping[str, tuple[str, ...]] = {
    "video/mpeg": tuple(f"{_JPEG}{end}" for end in ("100", "100.1", "101", "101.1")),
    "video/mp4": tuple(
        f"{_JPEG}{end}"
        for end in ("102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1")
    ),
    "video/h265": tuple(f"{_JPEG}{end}" for end in ("107", "108")),
}
