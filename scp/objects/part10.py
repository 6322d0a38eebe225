"""The stored form: a DICOM Part 10 file (PS3.10 7.1), or one inside a single zstd frame.

docs/format.md describes the same format. Whoever changes what is written here also changes that page, and
never changes what can be read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import zstandard

from scp.errors import DictionaryMissing, ObjectDamaged
from scp.model import Provenance
from scp.objects import file_meta
from scp.objects import provenance as private
from scp.objects.dictionaries import Dictionary
from scp.objects.file_meta import FileMeta
from scp.objects.frame_pieces import pieces_of_frame
from scp.objects.half_frames import half_frame
from scp.resources.bounds import bounds
from scp.resources.budget import taking
from scp.spool import IN_MEMORY, UNCOUNTED, Buffer, Spool, let_go, slices

T = TypeVar("T")

IMPLEMENTATION_CLASS_UID = "2.25.318130511866968614254428972589148430207"
IMPLEMENTATION_VERSION = "ZSCP_0_1"
# Says that (0002,0102) has the content that docs/format.md describes.
PRIVATE_CREATOR_UID = "2.25.111626470391460094811646254720805741782"

_PREAMBLE = bytes(128) + b"DICM"
_TRANSFER_SYNTAX = 0x0010
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_LONGEST_HEADER = 18  # RFC 8878 3.1.1.1, with the magic number
_LET_GO = 8 << 20
# A frame may decompress to so many times its own size or, if it is small, to limits.inflated_bytes: an object
# of 10 GB that comes compressed does not shrink to a tenth of that.
_RATIO = 10
_WITHOUT_BOUND = 1 << 62
# A thread keeps its contexts, and each keeps the memory for the window of its last frames: 128 MB at most, by
# libzstd's own limit. zscp's windows have 2 MB, with the highest levels 8 MB.
_USUAL_WINDOW = 8 << 20
# Bytes of the preamble and "DICM".
_PREFIX = 132


def _thorough(min_match: int) -> zstandard.ZstdCompressionParameters:
    """Parameters between zstd's levels 15 and 16, for headers in front of a codestream."""
    return zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_BTULTRA,
        window_log=20,
        chain_log=18,
        hash_log=17,
        search_log=4,
        min_match=min_match,
        target_length=16,
        write_checksum=True,
        write_content_size=True,
    )


# docs/decisions/0020: matches of three bytes pay in a small file. In a large codestream the search for them
# takes a fifth of the time and gains nothing.
_THOROUGH_SMALL, _THOROUGH_LARGE, _SMALL = _thorough(3), _thorough(4), 64 << 10
_USUAL_LEVEL = 3
_LEVEL_WITH_DICTIONARY = 9

# Making a context takes 0.5 ms, of the 1.3 ms for a small MR object: its tables are a few MB of fresh memory.
# So each thread keeps those that it needs for most objects.
_contexts = threading.local()
# A thread keeps so many contexts with a dictionary, of 0.2 MB for reading and 1 MB for compressing each.
_MOST_KEPT = 8

# Returns the dictionary that a frame's header names by its ID; raises ObjectDamaged.
Lookup = Callable[[int], Dictionary]


@dataclass(frozen=True, slots=True)
class Part10:
    """A Part 10 file taken apart. ``provenance`` is None in a file that zscp did not write."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    dataset: Buffer
    provenance: Provenance | None = None
    source_aet: str = ""


def head(file: Part10) -> bytes:
    """The part before the dataset: preamble and File Meta Information."""
    return _PREAMBLE + _meta(file)


def pack(file: Part10, spool: Spool | None = None) -> Buffer:
    """The file's bytes, without a frame; written to ``spool``, if given, which may hash them."""
    spool = spool or Spool()
    spool.write(head(file))
    for part in slices(file.dataset):
        spool.write(part)
    return spool.view()


def wrap(
    data: Buffer,
    level: int | None,
    spool: Spool | None = None,
    dictionary: Dictionary | None = None,
    dense_from: int = 0,
) -> Buffer:
    """``data`` in one zstd frame with its size and a checksum, as ``zstd -d`` expects it.

    ``level`` None is for headers in front of a codestream (docs/decisions/0020, and 0055 with a
    ``dictionary``). ``spool`` is as in :func:`pack`. From ``dense_from`` on, unless that is 0, zstd would
    find nothing: there ``data`` of up to 4 MB stays as it is at the usual level.
    """
    if dense_from and level == _USUAL_LEVEL and dictionary is None and len(data) <= IN_MEMORY:
        return half_frame(data, dense_from, _compressor(level, dense_from), spool or Spool())
    if dictionary is not None:
        compressor = _compressor_with(dictionary, level or _LEVEL_WITH_DICTIONARY)
    elif level is None or level == _USUAL_LEVEL:
        compressor = _compressor(level, len(data))
    else:
        with taking(_tables(level, len(data))):
            return _wrapped(data, _compressor(level, len(data)), spool or Spool())
    return _wrapped(data, compressor, spool or Spool())


def _tables(level: int, size: int) -> int:
    """Bytes that zstd takes to compress ``size`` bytes: 4 MB at level 9, up to 700 at level 22."""
    chosen = zstandard.ZstdCompressionParameters.from_level(level, source_size=size)
    return chosen.estimated_compression_context_size()


def _wrapped(data: Buffer, compressor: zstandard.ZstdCompressor, spool: Spool) -> Buffer:
    if len(data) <= IN_MEMORY:
        spool.write(compressor.compress(data))
        return spool.view()
    frame = compressor.compressobj(size=len(data))
    for part in slices(data):
        spool.write(frame.compress(part))
    spool.write(frame.flush())
    return spool.view()


def _compressor(level: int | None, size: int) -> zstandard.ZstdCompressor:
    """A compressor: the one that the thread keeps, if it is a usual one.

    The tables of high levels take 100 MB, those for large data 8 MB at level 3; they are not kept.
    """
    small = size <= _SMALL
    if level not in (None, _USUAL_LEVEL) or size > IN_MEMORY:
        if level is None:
            return zstandard.ZstdCompressor(compression_params=_THOROUGH_LARGE)
        return zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    name = f"level {level} {small}"
    found: zstandard.ZstdCompressor | None = getattr(_contexts, name, None)
    if found is None:
        found = (
            zstandard.ZstdCompressor(compression_params=_THOROUGH_SMALL if small else _THOROUGH_LARGE)
            if level is None
            else zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
        )
        setattr(_contexts, name, found)
    return found


def _compressor_with(dictionary: Dictionary, level: int) -> zstandard.ZstdCompressor:
    def make() -> zstandard.ZstdCompressor:
        prepared = dictionary.compressing(level)
        return zstandard.ZstdCompressor(
            level=level, dict_data=prepared, write_checksum=True, write_content_size=True
        )

    return _kept("compressors", (dictionary, level), make)


def _decompressor(
    dictionary: Dictionary | None, frame: zstandard.FrameParameters
) -> zstandard.ZstdDecompressor:
    """The decompressor that the thread keeps; a new one for a large frame, as it keeps a large window."""

    def make() -> zstandard.ZstdDecompressor:
        return zstandard.ZstdDecompressor(dict_data=dictionary.decompressing if dictionary else None)

    large = frame.window_size > _USUAL_WINDOW or frame.content_size > IN_MEMORY
    return make() if large else _kept("decompressors", dictionary, make)


def _kept(kind: str, of: Hashable, make: Callable[[], T]) -> T:
    """What the thread keeps for ``of``, made if missing; if there are too many, the oldest is dropped."""
    kept: dict[Hashable, T] = _contexts.__dict__.setdefault(kind, {})
    found = kept.get(of)
    if found is None:
        if len(kept) >= _MOST_KEPT:
            del kept[next(iter(kept))]
        found = kept[of] = make()
    return found


def dictionary_id(data: Buffer) -> int:
    """The ID of the dictionary that a stored object needs; 0 if it needs none. Raises ObjectDamaged."""
    return frame_of(data).dict_id if is_framed(data) else 0


def is_framed(data: Buffer) -> bool:
    """Whether a stored object's bytes are a zstd frame."""
    return bytes(data[:4]) == _ZSTD_MAGIC


def is_plain(begin: Buffer) -> bool:
    """Whether a file that begins with these 18 bytes may be a Part 10 file: its preamble is zeros."""
    return not any(begin)


def frame_of(data: Buffer) -> zstandard.FrameParameters:
    """What the header of a zstd frame says, of which ``data`` is the beginning. Raises ObjectDamaged."""
    try:
        return zstandard.get_frame_parameters(bytes(data[:_LONGEST_HEADER]))
    except zstandard.ZstdError as error:
        raise ObjectDamaged(f"its zstd frame does not begin as one: {error}") from None


def unwrap(data: Buffer, lookup: Lookup | None = None, is_file: bool = False, whole: bool = False) -> Buffer:
    """The Part 10 file within a stored object's bytes. Raises ObjectDamaged, DictionaryMissing.

    It is unpacked in steps of 2 MB at most, and to no more than ``limits.inflated_bytes``, or ten times its
    size if that is more. There is no limit if the bytes are ``whole`` by the digest of what was written
    (invariant 7). With ``is_file`` data that does not begin as a Part 10 file is rejected after one step.
    """
    if not is_framed(data):
        return data
    frame = frame_of(data)
    most = _WITHOUT_BOUND if whole else max(bounds().inflated_bytes, _RATIO * len(data))
    if frame.content_size != zstandard.CONTENTSIZE_UNKNOWN and frame.content_size > most:
        raise ObjectDamaged(f"its zstd frame declares {frame.content_size} bytes, {most} are the most")
    decompressor = _decompressor(dictionary_of(frame, lookup), frame)
    if 0 < frame.content_size <= UNCOUNTED:
        return _at_once(data, decompressor, is_file)
    reader, spool, read = decompressor.decompressobj(), Spool(), 0
    try:
        for part in pieces_of_frame(data):
            unpacked = reader.decompress(part)
            if is_file and not spool.size and len(unpacked) >= _PREFIX:
                _check_prefix(unpacked)
            spool.write(unpacked)
            if spool.size > most:
                raise ObjectDamaged(f"its zstd frame holds more than {most} bytes")
            if (read := read + len(part)) >= _LET_GO:
                let_go(data)
                read = 0
        let_go(data)
    except zstandard.ZstdError as error:
        raise ObjectDamaged(f"its zstd frame does not decompress: {error}") from None
    if not reader.eof or reader.unused_data:
        raise ObjectDamaged("it is not exactly one zstd frame")
    return spool.view()


def _at_once(data: Buffer, decompressor: zstandard.ZstdDecompressor, is_file: bool) -> bytes:
    """A small frame, unpacked into as many bytes as it declares: in steps, it is copied twice more."""
    try:
        unpacked = decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ObjectDamaged(f"it is not one zstd frame that decompresses: {error}") from None
    if is_file:
        _check_prefix(unpacked)
    return unpacked


def dictionary_of(frame: zstandard.FrameParameters, lookup: Lookup | None) -> Dictionary | None:
    """The dictionary that a frame needs; None if it needs none. Raises ObjectDamaged, DictionaryMissing."""
    if frame.dict_id and lookup is None:
        raise DictionaryMissing(f"it needs the zstd dictionary {frame.dict_id}, and there are none here")
    return lookup(frame.dict_id) if frame.dict_id and lookup else None


def _check_prefix(file: Buffer) -> None:
    if bytes(file[_PREFIX - 4 : _PREFIX]) != b"DICM":
        raise ObjectDamaged("it is not a DICOM Part 10 file")


def unpack(data: Buffer, lookup: Lookup | None = None, whole: bool = False) -> Part10:
    """A stored object's bytes, with or without a frame, taken apart. Raises ObjectDamaged, DictionaryMissing.

    Memory is bounded whatever the file holds: large data is in a file, or in the map of one.

    ``lookup`` finds dictionaries; without it frames that need one are not read. ``whole`` is as in
    :func:`unwrap`.
    """
    return taken_apart(unwrap(data, lookup, is_file=True, whole=whole))


def taken_apart(data: Buffer) -> Part10:
    """A Part 10 file, or the beginning of one with all of its File Meta Information. Raises ObjectDamaged."""
    file = memoryview(data)
    _check_prefix(file)
    meta = file_meta.read(file, len(_PREAMBLE))
    if _TRANSFER_SYNTAX not in meta.values:
        raise ObjectDamaged("its File Meta Information names no transfer syntax")
    return Part10(
        sop_class_uid=meta.text(0x0002),
        sop_instance_uid=meta.text(0x0003),
        transfer_syntax=meta.text(_TRANSFER_SYNTAX),
        dataset=file[meta.end :],
        provenance=_provenance(meta),
        source_aet=meta.text(0x0016),
    )


def _provenance(meta: FileMeta) -> Provenance | None:
    """The provenance, if zscp wrote the file: zscp always writes (0002,0000), so it must be ``counted``."""
    if not meta.counted or meta.text(0x0100) != PRIVATE_CREATOR_UID:
        return None
    return private.decoded(meta.values.get(0x0102, b""))


def _meta(file: Part10) -> bytes:
    elements = [
        (0x0001, b"OB", b"\0\1"),
        (0x0002, b"UI", file.sop_class_uid.encode("latin-1", "replace")),
        (0x0003, b"UI", file.sop_instance_uid.encode("latin-1", "replace")),
        (_TRANSFER_SYNTAX, b"UI", file.transfer_syntax.encode()),
        (0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
        (0x0013, b"SH", IMPLEMENTATION_VERSION.encode()),
    ]
    if file.source_aet:
        elements.append((0x0016, b"AE", file.source_aet.encode("ascii", "replace")))
    if file.provenance is not None:
        elements.append((0x0100, b"UI", PRIVATE_CREATOR_UID.encode()))
        elements.append((0x0102, b"OB", private.encoded(file.provenance)))
    return file_meta.written(elements)
