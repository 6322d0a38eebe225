"""Whether the entropy-coded data of a JPEG codestream holds all its samples, and nothing more.

libjpeg-turbo warns where data runs out or is left over, and makes up the rest; imagecodecs 2026.3.6 has no
way to see the warnings. What a lossless scan's samples take in bits is counted exactly. Of a DCT process the
coefficients are not at hand: there the decoder itself is asked, with more data than there is, which a
complete image does not look at, and with another end of it, which it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from scp.encoding.codecs.codec import bands
from scp.encoding.codecs.jpeg_structure import LOSSLESS, HuffmanTable, JpegScan, Structure, huffman_tables
from scp.encoding.pixels import Frame
from scp.errors import DamagedCodestream

Decode = Callable[[bytes], Frame]
Span = tuple[int, int]

# What is put behind the data: ones, as libjpeg makes up zeros where it ends, and those are common codes.
_MORE = b"\xfe" * 96
# Bytes at the end of an interval that are changed, in ways of which one at least is seen: a change may be too
# small, lie beyond black or white, or be no code at all, which libjpeg reads as zeros.
_TAIL = 4
_OTHERS = tuple(
    bytes.fromhex(each) for each in ("a53c965a", "00", "5ac36996", "c7", "1db4e28b", "38", "6e93d1f2")
)
_SEEN = 0x0A  # a category of 10 bits, or a coefficient of as many: nothing that would not change the picture
# Of ten scans most take one or two; a blank image takes all 14 for each, of 4000 x 5000 pixels 0.1 s each.
_MOST_DECODES = 40
_NO_CODE = 255  # bits: more than any difference has


def check_data(codestream: bytes, structure: Structure, samples: Frame, decode: Decode) -> None:
    """Raises DamagedCodestream where ``samples``, decoded, are not what the data holds from end to end.

    ``decode`` makes such samples of a codestream.
    """
    if structure.frame == LOSSLESS and _is_countable(structure):
        for scan in structure.scans:
            _check_count(codestream, structure, scan, samples)
        return
    _check_enough(codestream, structure, samples, decode)
    left = _MOST_DECODES
    for scan in structure.scans:
        left -= _check_nothing_left(codestream, structure, scan, samples, decode)
        if left <= 0:
            return


def _is_countable(structure: Structure) -> bool:
    return all(each.across == each.down == 1 for each in structure.components) and all(
        1 <= scan.first <= 7 and all(scan.tables.values()) for scan in structure.scans
    )


# -- lossless: counted --------------------------------------------------------------------------------


def _check_count(codestream: bytes, structure: Structure, scan: JpegScan, samples: Frame) -> None:
    """The bits of all differences (T.81 H.1.2) are those of the data, in each restart interval."""
    if scan.restart % structure.columns:
        raise DamagedCodestream("a restart interval of a lossless scan does not hold whole rows")  # H.1.1
    step = scan.restart // structure.columns or structure.rows
    bits = np.zeros(structure.rows, np.int64)
    for component in scan.components:
        plane = samples if samples.ndim == 2 else samples[:, :, structure.components.index(component)]
        costs = _costs(scan.tables[component.identifier])
        for rows in bands(structure.rows, structure.columns):
            above = min(rows.start, 1)  # a row before them, by which they are predicted
            part = plane[rows.start - above : rows.stop]
            differences = _differences(part, structure, scan, step, rows.start - above)[above:]
            bits[rows] += costs.take(differences).sum(axis=1, dtype=np.int64)
    needed = -(-np.add.reduceat(bits, np.arange(0, structure.rows, step)) // 8)
    for (begin, end), bytes_needed in zip(scan.intervals, needed.tolist(), strict=True):
        there = end - begin - codestream.count(b"\xff\x00", begin, end)
        if there != bytes_needed:
            raise DamagedCodestream(
                f"{there} bytes of entropy-coded data, where the decoded samples have {bytes_needed}"
            )


def _costs(table: dict[int, int]) -> NDArray[np.uint8]:
    """Bits of each difference modulo 2^16: its category's code, and the bits that follow it (table H.2)."""
    costs = np.full(1 << 16, _NO_CODE, np.uint8)
    for category, length in table.items():
        low, high = (1 << category) >> 1, 1 << category
        if category in range(1, 16):
            costs[low:high] = costs[(1 << 16) - high + 1 : (1 << 16) - low + 1] = length + category
        elif category in (0, 16):  # none, or 32768: without more bits
            costs[low] = length
    return costs


def _differences(
    plane: Frame, structure: Structure, scan: JpegScan, step: int, begin: int
) -> NDArray[np.integer]:
    """To what is predicted (table H.1), modulo 2^16; ``step`` rows have each a first one (H.1.2.1).

    ``begin`` is the number of the first row that is there.
    """
    # The predictors that halve need the sign.
    wide = np.int32 if scan.first > 4 else np.uint16
    values: NDArray[np.signedinteger | np.unsignedinteger] = np.right_shift(plane.astype(wide), scan.low)
    predicted = np.zeros_like(values)
    left, above, corner = values[1:, :-1], values[:-1, 1:], values[:-1, :-1]
    match scan.first:
        case 1:
            predicted[1:, 1:] = left
        case 2:
            predicted[1:, 1:] = above
        case 3:
            predicted[1:, 1:] = corner
        case 4:
            predicted[1:, 1:] = left + above - corner
        case 5:
            predicted[1:, 1:] = left + ((above - corner) >> 1)
        case 6:
            predicted[1:, 1:] = above + ((left - corner) >> 1)
        case _:
            predicted[1:, 1:] = (left + above) >> 1
    predicted[1:, 0] = values[:-1, 0]
    first = -begin % step
    predicted[first::step, 1:] = values[first::step, :-1]
    predicted[first::step, 0] = 1 << structure.precision - scan.low - 1
    return (values - predicted).astype(np.uint16, copy=False)


# -- DCT: seen by decoding ----------------------------------------------------------------------------


def _check_enough(codestream: bytes, structure: Structure, samples: Frame, decode: Decode) -> None:
    """Data that follows is not looked at: all there was came before it. Nor are codes that no table has."""
    changes = [(end, end, _MORE) for scan in structure.scans for _, end in scan.intervals]
    for begin, end in structure.huffman:
        content = b"".join(map(_completed, huffman_tables(codestream[begin:end])))
        changes.append((begin - 2, end, (len(content) + 2).to_bytes(2, "big") + content))
    if not np.array_equal(decode(_changed(codestream, sorted(changes))), samples):
        raise DamagedCodestream(
            "the entropy-coded data ends before the image does, or holds codes without a symbol"
        )


def _completed(table: HuffmanTable) -> bytes:
    """A Huffman table with its unused codes in use, for a symbol that is seen, behind those that it has.

    libjpeg takes no code of ones alone (T.81 C), and 256 symbols at most.
    """
    counts, room = list(table.counts), 256 - len(table.symbols)
    longest = max((length for length, count in enumerate(counts, 1) if count), default=1)
    free = (1 << longest) - sum(count << longest - length for length, count in enumerate(counts[:longest], 1))
    for length, unused in ((longest, free - 1), *((each, 1) for each in range(longest + 1, 17))):
        more = min(unused, room, 255 - counts[length - 1])
        counts[length - 1] += more
        room -= more
    added = sum(counts) - len(table.symbols)
    return bytes((table.where, *counts)) + table.symbols + bytes((_SEEN,)) * added


def _check_nothing_left(
    codestream: bytes, structure: Structure, scan: JpegScan, samples: Frame, decode: Decode
) -> int:
    """Where the last bytes of an interval are others, so are its pixels: they belong to it.

    Unless no data at all would change them, as in a blank image whose tables have no other codes. How many
    times the image was decoded for it.
    """
    seen, times = np.zeros(len(scan.intervals), bool), 0
    for size in (_TAIL, len(codestream)):
        tails, before = [_tail(codestream, span, size) for span in scan.intervals], seen
        for other in _OTHERS:
            others = [(begin, end, (other * (end - begin))[: end - begin]) for begin, end in tails]
            times += 1
            seen = seen | _seen(decode(_changed(codestream, others)) != samples, structure, scan)
            if seen.all():
                break
        if size > _TAIL and (seen != before).any():
            raise DamagedCodestream("entropy-coded data is left over after the image")
        if seen.all():
            break
    return times


def _tail(codestream: bytes, span: Span, size: int) -> Span:
    begin, end = span
    at = max(begin, end - size)
    return (at - (at > begin and codestream[at - 1] == 0xFF), end)  # FF 00 is one byte of data


def _seen(changed: NDArray[np.bool_], structure: Structure, scan: JpegScan) -> NDArray[np.bool_]:
    """Whether a pixel changed in each restart interval of a scan."""
    if len(scan.intervals) == 1:
        return np.array([changed.any()])
    (rows, columns), (down, across) = structure.grid(scan.components), structure.unit(scan.components)
    pixels = changed if changed.ndim == 2 else changed.any(axis=2)
    covered = np.zeros((rows * down, columns * across), bool)
    covered[: structure.rows, : structure.columns] = pixels
    units = covered.reshape(rows, down, columns, across).any(axis=(1, 3)).reshape(-1)
    return np.logical_or.reduceat(units, np.arange(0, rows * columns, scan.restart))


def _changed(codestream: bytes, changes: Iterable[tuple[int, int, bytes]]) -> bytes:
    """The codestream with other bytes from one place to another; in their order."""

    def pieces() -> Iterator[bytes]:
        at = 0
        for begin, end, other in changes:
            yield codestream[at:begin]
            yield other
            at = end
        yield codestream[at:]

    return b"".join(pieces())
