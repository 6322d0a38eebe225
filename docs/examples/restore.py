"""Restore what zscp received from one of its stored files, without zscp (docs/format.md).

python restore.py STORED [OUT] checks the digest, and writes the dataset as it came over the network.
"""

import hashlib
import io
import json
import struct
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import zstandard
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset

ROOT = "1.2.840.10008.1.2"
EXPLICIT, IMPLICIT = (True, "<"), (False, "<")  # VR written?, byte order
ENCODINGS = {ROOT: IMPLICIT, f"{ROOT}.2": (True, ">")}
DEFLATED, DEFLATED_FRAMES = f"{ROOT}.1.99", f"{ROOT}.8.1"
ITEM, ITEM_END, ITEMS_END, PIXELS, UNDEFINED = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x7FE00010, 0xFFFFFFFF
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
SHORT = set(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
WORDS = {b"US": 2, b"SS": 2, b"OW": 2, b"AT": 2, b"UL": 4, b"SL": 4, b"FL": 4, b"OF": 4, b"OL": 4}
WORDS |= {b"FD": 8, b"OD": 8, b"SV": 8, b"UV": 8, b"OV": 8}


def read(data, at, encoding=EXPLICIT):
    """Tag, VR, position of the value, and length, of the element at a position."""
    explicit, order = encoding
    group, number = struct.unpack_from(order + "HH", data, at)
    vr = data[at + 4 : at + 6] if explicit and group != 0xFFFE else b""
    if vr in LONG or (vr and vr not in SHORT and has_long_length(data, at, order)):
        return group << 16 | number, vr, at + 12, struct.unpack_from(order + "L", data, at + 8)[0]
    length = struct.unpack_from(order + ("H" if vr else "L"), data, at + (6 if vr else 4))[0]
    return group << 16 | number, vr, at + 8, length


def has_long_length(data, at, order):
    """Whether the length of an element of an unknown VR has 32 bits, as it should."""
    after = at + 12 + struct.unpack_from(order + "L", data, at + 8)[0] if at + 12 <= len(data) else 0
    next_vr = data[after + 4 : after + 6]
    begins = data[after : after + 2] in (b"\xfe\xff", b"\xff\xfe") or (
        next_vr.isalpha() and next_vr.isupper()
    )
    return data[at + 6 : at + 8] == bytes(2) and (after == len(data) or begins)


def written(tag, vr, length, encoding):
    """Tag, VR and length of an element in an encoding."""
    explicit, order = encoding
    start = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not explicit or tag >> 16 == 0xFFFE:
        return start + struct.pack(order + "L", length)
    return start + struct.pack(
        order + ("2sH" if vr in SHORT else "2sHL"), *([vr] if vr in SHORT else [vr, 0]), length
    )


def behind(data, value, length, vr, encoding):
    """Where the next element begins. A delimiter ends an undefined length; within UN, VRs are implicit."""
    if length != UNDEFINED:
        return value + length
    encoding, at = IMPLICIT if vr == b"UN" else encoding, value
    while True:
        tag, vr, value, length = read(data, at, encoding)
        if tag in (ITEM_END, ITEMS_END):
            return value
        at = behind(data, value, length, vr, encoding)


def converted(data, at, end, target, bits=0):
    """Elements of explicit VR little endian in another encoding, up to the end or a delimiter."""
    out, group, counted = [], -1, None
    while at < end:
        tag, vr, value, length = read(data, at)
        if tag in (ITEM_END, ITEMS_END):
            break
        if tag >> 16 != group:
            group, counted = tag >> 16, None
        if tag == 0x00280100:
            bits = int.from_bytes(data[value : value + length], "little")
        following = behind(data, value, length, vr, EXPLICIT)
        content = data[value:following]
        if vr == b"SQ" or tag == ITEM:
            content = converted(data, value, following, target, bits)
            if length == UNDEFINED:
                content += written(ITEMS_END if vr else ITEM_END, b"", 0, target)
        elif target[1] == ">" and length != UNDEFINED:
            size = bits // 8 if tag == PIXELS and vr in (b"OB", b"OW") and bits > 8 else WORDS.get(vr, 1)
            whole = len(content) // size
            swapped = np.frombuffer(content, f"u{size}", whole).byteswap().tobytes()
            content = swapped + content[whole * size :]
        out.append(written(tag, vr, length if length == UNDEFINED else len(content), target) + content)
        if counted is not None:  # a group length counts what follows it, in this encoding
            size = struct.unpack(target[1] + "L", out[counted][-4:])[0] + len(out[-1])
            out[counted] = out[counted][:-4] + struct.pack(target[1] + "L", size)
        if tag & 0xFFFF == 0 and tag != ITEM:
            counted = len(out) - 1
            out[-1] = out[-1][:-4] + bytes(4)
        at = following
    return b"".join(out)


def decoded(stream, syntax, shape, kind):
    """One frame's codestream as samples."""
    if syntax in (f"{ROOT}.4.201", f"{ROOT}.4.202"):
        return imagecodecs.htj2k_decode(stream, planar=False if len(shape) > 2 else None)
    if syntax == f"{ROOT}.4.70":
        colour = "RGB" if len(shape) > 2 else None  # samples as they are: no transform
        return imagecodecs.jpeg8_decode(stream, colorspace=colour, outcolorspace=colour)
    if syntax == f"{ROOT}.5":  # one plane a sample
        planes = np.frombuffer(imagecodecs.dicomrle_decode(stream, kind), kind)
        return np.moveaxis(planes.reshape(*shape[2:], *shape[:2]), 0, -1) if len(shape) > 2 else planes
    read_one = {
        "80": imagecodecs.jpegls_decode,
        "90": imagecodecs.jpeg2k_decode,
        "110": imagecodecs.jpegxl_decode,
    }
    return read_one[syntax.rpartition(".")[2]](stream)


def frames(dataset, syntax, planar):
    """Native frames of a stored image, as they lay in the received pixel data."""
    several, signed = dataset.SamplesPerPixel > 1, dataset.PixelRepresentation == 1
    shape = (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)[: 3 if several else 2]
    kind = np.dtype(f"<{'i' if signed else 'u'}{dataset.BitsAllocated // 8}")
    count, bits = int(dataset.get("NumberOfFrames") or 1), dataset.get("BitsStored") or dataset.BitsAllocated
    for stream in generate_frames(dataset.PixelData, number_of_frames=count):
        if syntax == DEFLATED_FRAMES:
            samples = np.frombuffer(zlib.decompressobj(-15).decompress(stream), kind).reshape(shape)
        else:
            samples = np.asarray(decoded(stream, syntax, shape, kind)).reshape(shape)
        if syntax not in (DEFLATED_FRAMES, f"{ROOT}.5"):  # these keep all bits as they were
            samples = samples.astype("i8") & (1 << bits) - 1  # else there is nothing up there but a sign
            if signed:
                samples -= (samples >> bits - 1) << bits
        yield (np.moveaxis(samples, -1, 0) if planar and several else samples).astype(kind).tobytes()


def single_bits(dataset, planar):
    """Native frames of single bits, the lowest first, without a gap between the frames."""
    samples = dataset.SamplesPerPixel
    shape = (dataset.Rows, dataset.Columns, samples)
    count = int(dataset.get("NumberOfFrames") or 1)
    bits = []
    for stream in generate_frames(dataset.PixelData, number_of_frames=count):
        packed = np.frombuffer(zlib.decompressobj(-15).decompress(stream), "u1")
        frame = np.unpackbits(packed, bitorder="little")[: np.prod(shape)].reshape(shape)
        bits.append((np.moveaxis(frame, -1, 0) if planar else frame).reshape(-1))
    yield np.packbits(np.concatenate(bits), bitorder="little").tobytes()


def item(content):
    """An item of encapsulated pixel data."""
    return written(ITEM, b"", len(content), EXPLICIT) + content


def jpegs(dataset, layout):
    """The items that JPEG codestreams lay in before they were recompressed."""
    count = int(dataset.get("NumberOfFrames") or 1)
    items, offsets = b"", []
    for number, stream in enumerate(generate_frames(dataset.PixelData, number_of_frames=count)):
        jpeg = bytes(imagecodecs.jpegxl_decode_jpeg(stream))
        offsets.append(len(items))
        for size in layout["sizes"][number] if "sizes" in layout else [len(jpeg)]:
            items, jpeg = items + item(jpeg[:size]), jpeg[size:]
    table = bytes.fromhex(layout["table"]) if "table" in layout else struct.pack(f"<{count}L", *offsets)
    return item(table) + items


def unframed(stored, path):
    """The file in a zstd frame; a dictionary that it needs lies beside the objects, twice."""
    number, found = zstandard.get_frame_parameters(stored).dict_id, None
    if number:
        name = f"dictionaries/*/*-{number}-*.zdict*"
        files = (file for folder in Path(path).absolute().parents for file in folder.glob(name))
        content = next(filter(None, map(sound, files)), None)
        if content is None:
            sys.exit(f"{path} needs the zstd dictionary {number}, and no sound file of it is there")
        found = zstandard.ZstdCompressionDict(content)
    return zstandard.ZstdDecompressor(dict_data=found).decompress(stored)


def sound(dictionary):
    """A dictionary, if it has the digest that its name ends with."""
    content = dictionary.read_bytes()
    digest = dictionary.name.partition(".")[0].rpartition("-")[2]
    return content if hashlib.sha256(content).hexdigest().startswith(digest) else None


def restored(stored, path="."):
    """A stored file's bytes: the dataset stream that was received, and what the file remembers of it."""
    if stored[:4] == b"\x28\xb5\x2f\xfd":
        stored = unframed(stored, path)
    begin = 144 + struct.unpack_from("<L", stored, 140)[0]  # whatever group the dataset begins with
    meta, data = pydicom.dcmread(io.BytesIO(stored[:begin])).file_meta, stored[begin:]
    memory, syntax = json.loads(meta[0x00020102].value), meta.TransferSyntaxUID
    if syntax == memory["syntax"]:
        return data, memory
    if syntax == DEFLATED:
        data = zlib.decompressobj(-15).decompress(data)
    if restore := memory.get("restore"):
        at, image = 0, b""  # what describes the pixels; pydicom need not follow all the rest
        while (element := read(data, at))[0] != PIXELS:
            start, at = at, behind(data, element[2], element[3], element[1], EXPLICIT)
            image += data[start:at] if element[0] >> 16 == 0x0028 else b""
        end = behind(data, element[2], element[3], element[1], EXPLICIT)
        header, trailer = data[:at], data[end:]
        file = read_dataset(io.BytesIO(image + data[at:end]), is_implicit_VR=False, is_little_endian=True)
        suffix = header[len(header) - restore.get("suffix", 0) :]
        header = header[: restore.get("prefix", 0)] + bytes.fromhex(restore.get("middle", "")) + suffix
        vr = restore["vr"].encode()
        if "jpeg" in restore:
            start, end = written(PIXELS, vr, UNDEFINED, EXPLICIT), written(ITEMS_END, b"", 0, EXPLICIT)
            return header + start + jpegs(file, restore["jpeg"]) + end + trailer, memory
        planar = restore.get("planar")
        pixels = single_bits(file, planar) if file.BitsAllocated == 1 else frames(file, syntax, planar)
        value = b"".join(pixels) + bytes.fromhex(restore.get("tail", ""))
        data = header + written(PIXELS, vr, len(value), EXPLICIT) + value + trailer
    if memory.get("native") or memory["syntax"] not in ENCODINGS:
        return data, memory
    return converted(data, 0, len(data), ENCODINGS[memory["syntax"]]), memory


def main(stored, out=""):
    """Restore a file; the exit status."""
    dataset, memory = restored(Path(stored).read_bytes(), stored)
    digest = hashlib.sha256(dataset).hexdigest()
    verdict = {memory.get("native"): "same pixels", memory["sha256"]: "as received"}.get(digest, "DAMAGED")
    sys.stdout.write(f"{verdict}: {len(dataset)} bytes, {memory['form']}, received as {memory['syntax']}\n")
    if out:
        Path(out).write_bytes(dataset)
    return int(verdict == "DAMAGED")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
