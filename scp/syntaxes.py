"""The transfer syntaxes of PS3.5 Annex A and PS3.6 Annex A, as one table: the only list of forms, too.

Everything that zscp knows about a transfer syntax is a column here. The code that decodes and encodes one is
in :mod:`scp.encoding.codecs`, and found by the transfer syntax that it writes (docs/decisions/0130).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Content(Enum):
    """What pixel data looks like inside a transfer syntax."""

    NATIVE = "native"  # samples as they are
    LOSSLESS = "lossless"  # a codestream that always reproduces the samples
    EITHER = "lossy or lossless"  # a codestream that may have lost something already
    VIDEO = "video"  # a stream over all frames; passed through untouched
    REFERENCED = "referenced"  # pixel data lies elsewhere (JPIP); passed through untouched


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One row: how the dataset is encoded, what its pixel data holds, and as what zscp stores it.

    ``form`` is the name by which a policy asks for it; empty: zscp stores it only as received. Figures are of
    CT, those of ``zscp advise``: an encoder makes ``encodes`` MB a second of one core, and what it sends has
    ``size`` percent of the native object; a ``size`` of 0 keeps it from peers on a thin line that state no
    preference. ``quick``: both ways it takes no longer than writing, reading and checking what comes of it.
    """

    uid: str
    keyword: str
    content: Content
    explicit_vr: bool = True
    little_endian: bool = True
    deflated: bool = False
    form: str = ""
    encodes: float = 0
    size: float = 0
    quick: bool = False

    @property
    def encapsulated(self) -> bool:
        """Pixel Data is a sequence of fragments (PS3.5 A.4)."""
        return self.uid not in _NOT_ENCAPSULATED


IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEGLS = "1.2.840.10008.1.2.4.80"
JPEG2000 = "1.2.840.10008.1.2.4.90"
JPEGXL = "1.2.840.10008.1.2.4.110"
JPEGXL_RECOMPRESSION = "1.2.840.10008.1.2.4.111"
HTJ2K = "1.2.840.10008.1.2.4.201"
HTJ2K_RPCL = "1.2.840.10008.1.2.4.202"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
# What these hold may have lost something; the lossy ways out (scp.encoding.codecs.lossy_table).
JPEGLS_NEAR = "1.2.840.10008.1.2.4.81"
JPEG2000_EITHER = "1.2.840.10008.1.2.4.91"
JPEGXL_EITHER = "1.2.840.10008.1.2.4.112"
HTJ2K_EITHER = "1.2.840.10008.1.2.4.203"
# In the order in which a peer's rule tries them, where its preference names none.
LOSSY = (JPEGLS_NEAR, JPEG2000_EITHER, HTJ2K_EITHER, JPEG_EXTENDED, JPEG_BASELINE, JPEGXL_EITHER)

_JPEG = "1.2.840.10008.1.2.4."
_NATIVE, _LOSSLESS, _EITHER = Content.NATIVE, Content.LOSSLESS, Content.EITHER
_VIDEO, _REFERENCED = Content.VIDEO, Content.REFERENCED

TABLE: tuple[TransferSyntax, ...] = (
    TransferSyntax(EXPLICIT, "ExplicitVRLittleEndian", _NATIVE, form="native", size=100, quick=True),
    TransferSyntax(IMPLICIT, "ImplicitVRLittleEndian", _NATIVE, explicit_vr=False, size=100, quick=True),
    TransferSyntax(BIG_ENDIAN, "ExplicitVRBigEndian", _NATIVE, little_endian=False, quick=True),
    TransferSyntax(
        DEFLATED, "DeflatedExplicitVRLittleEndian", _NATIVE, deflated=True, form="deflate", size=40
    ),
    TransferSyntax(ENCAPSULATED_UNCOMPRESSED, "EncapsulatedUncompressedExplicitVRLittleEndian", _LOSSLESS),
    TransferSyntax(HTJ2K, "HTJ2KLossless", _LOSSLESS, form="htj2k", encodes=155, size=22, quick=True),
    TransferSyntax(HTJ2K_RPCL, "HTJ2KLosslessRPCL", _LOSSLESS, form="htj2k-rpcl", encodes=125, quick=True),
    TransferSyntax(JPEGXL, "JPEGXLLossless", _LOSSLESS, form="jpegxl", encodes=27, size=18),
    TransferSyntax(JPEGLS, "JPEGLSLossless", _LOSSLESS, form="jpegls", encodes=81, size=21),
    TransferSyntax(JPEG2000, "JPEG2000Lossless", _LOSSLESS, form="jpeg2000", encodes=24, size=20),
    TransferSyntax(JPEG_LOSSLESS_SV1, "JPEGLosslessSV1", _LOSSLESS, form="jpeg-lossless", encodes=50),
    TransferSyntax(JPEG_LOSSLESS, "JPEGLossless", _LOSSLESS),
    TransferSyntax(_JPEG + "92", "JPEG2000MCLossless", _LOSSLESS),
    TransferSyntax(RLE, "RLELossless", _LOSSLESS, form="rle", encodes=98, size=55, quick=True),
    TransferSyntax(
        DEFLATED_FRAMES, "DeflatedImageFrameCompression", _LOSSLESS, form="deflated-frames", encodes=12
    ),
    TransferSyntax(_JPEG + "203", "HTJ2K", _EITHER),
    TransferSyntax(_JPEG + "112", "JPEGXL", _EITHER),
    TransferSyntax(JPEGXL_RECOMPRESSION, "JPEGXLJPEGRecompression", _EITHER, form="jpegxl-recompression"),
    TransferSyntax(_JPEG + "91", "JPEG2000", _EITHER),
    TransferSyntax(_JPEG + "93", "JPEG2000MC", _EITHER),
    TransferSyntax(_JPEG + "81", "JPEGLSNearLossless", _EITHER),
    TransferSyntax(JPEG_EXTENDED, "JPEGExtended12Bit", _EITHER),
    TransferSyntax(JPEG_BASELINE, "JPEGBaseline8Bit", _EITHER),
    TransferSyntax(_JPEG + "100", "MPEG2MPML", _VIDEO),
    TransferSyntax(_JPEG + "100.1", "MPEG2MPMLF", _VIDEO),
    TransferSyntax(_JPEG + "101", "MPEG2MPHL", _VIDEO),
    TransferSyntax(_JPEG + "101.1", "MPEG2MPHLF", _VIDEO),
    TransferSyntax(_JPEG + "102", "MPEG4HP41", _VIDEO),
    TransferSyntax(_JPEG + "102.1", "MPEG4HP41F", _VIDEO),
    TransferSyntax(_JPEG + "103", "MPEG4HP41BD", _VIDEO),
    TransferSyntax(_JPEG + "103.1", "MPEG4HP41BDF", _VIDEO),
    TransferSyntax(_JPEG + "104", "MPEG4HP422D", _VIDEO),
    TransferSyntax(_JPEG + "104.1", "MPEG4HP422DF", _VIDEO),
    TransferSyntax(_JPEG + "105", "MPEG4HP423D", _VIDEO),
    TransferSyntax(_JPEG + "105.1", "MPEG4HP423DF", _VIDEO),
    TransferSyntax(_JPEG + "106", "MPEG4HP42STEREO", _VIDEO),
    TransferSyntax(_JPEG + "106.1", "MPEG4HP42STEREOF", _VIDEO),
    TransferSyntax(_JPEG + "107", "HEVCMP51", _VIDEO),
    TransferSyntax(_JPEG + "108", "HEVCM10P51", _VIDEO),
    TransferSyntax(_JPEG + "94", "JPIPReferenced", _REFERENCED),
    TransferSyntax(_JPEG + "95", "JPIPReferencedDeflate", _REFERENCED, deflated=True),
    TransferSyntax(_JPEG + "204", "JPIPHTJ2KReferenced", _REFERENCED),
    TransferSyntax(_JPEG + "205", "JPIPHTJ2KReferencedDeflate", _REFERENCED, deflated=True),
)
_NOT_ENCAPSULATED = {row.uid for row in TABLE if row.content in (_NATIVE, _REFERENCED)}
# What came in these has lost something, whatever its header says: DCT rounds, and so do codecs of video.
ALWAYS_LOSSY = tuple(
    row.uid
    for row in TABLE
    if row.content is _VIDEO or row.uid in (JPEG_BASELINE, JPEG_EXTENDED, JPEGXL_RECOMPRESSION)
)
BY_UID: dict[str, TransferSyntax] = {row.uid: row for row in TABLE}
BY_KEYWORD: dict[str, TransferSyntax] = {row.keyword: row for row in TABLE}
BY_FORM: dict[str, TransferSyntax] = {row.form: row for row in TABLE if row.form}
AS_RECEIVED = ("received", "zstd")  # they keep the transfer syntax that was received
FORMS = ("received", *BY_FORM, "zstd")
# The transfer syntax that a stage with lossy = true makes of a form.
LOSSY_FORMS: dict[str, str] = {
    "jpegls": JPEGLS_NEAR,
    "jpeg2000": JPEG2000_EITHER,
    "htj2k": HTJ2K_EITHER,
    "jpegxl": JPEGXL_EITHER,
}


def lookup(uid: str) -> TransferSyntax:
    """The row of ``uid``.

    One that the table does not hold (a private one) counts as explicit VR little endian with pixel
    data that nothing here can read: such an object is kept and served as it was received.
    """
    return BY_UID.get(uid) or TransferSyntax(uid, uid, Content.REFERENCED)
