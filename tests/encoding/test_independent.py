"""What zscp wrote, opened by others: each stored file, out of its zstd frame, by the tools for its form."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from decoders import is_known, pixels, sent, tool
from generated import compressed_case, native_case
from objects import corpus, kept, received
from wire.peers import as_file, of_file

from scp.config.rules import Stage
from scp.encoding.codecs.table import CODECS
from scp.model import Received
from scp.syntaxes import (
    EXPLICIT,
    HTJ2K,
    HTJ2K_RPCL,
    IMPLICIT,
    JPEG2000,
    JPEG_LOSSLESS_SV1,
    JPEGLS,
    JPEGXL,
    RLE,
)

pytestmark = [pytest.mark.peer, pytest.mark.usefixtures("codecs_here")]

FORM = pytest.mark.parametrize("form", [codec.name for codec in CODECS if codec.writes])
NAMES = ("u8", "u8-of-5", "u16-of-12", "u16", "s16", "frames", "odd", "rgb-planes", "palette", "many-items")
# Newer than Debian 12's dciodvfy, which takes them for uncompressed.
_LATER = (HTJ2K, HTJ2K_RPCL, JPEGXL, "1.2.840.10008.1.2.8.1")
# Debian 12's GDCM reads no HTJ2K and no JPEG XL.
_GDCM = (JPEG2000, JPEGLS, JPEG_LOSSLESS_SV1, RLE)


def opened(object_: Received, form: str, folder: Path) -> Path:
    """The stored file of a form, as ``zstd -d`` gives it."""
    found = kept(object_, Stage(forms=(form,)))
    if found.encoded.form != form:
        pytest.skip(f"{form} does not take it: {found.provenance.attempts[0].reason}")
    stored, plain = folder / "stored.dcm.zst", folder / "stored.dcm"
    if found.wrapped:
        stored.write_bytes(found.data)
        subprocess.run([tool("zstd"), "-d", "-q", stored, "-o", plain], check=True)
    else:
        plain.write_bytes(found.data)
    return plain


def assert_others_see(path: Path, samples: np.ndarray, folder: Path) -> None:
    """By the decoder of :mod:`decoders` and, where it knows the transfer syntax, by GDCM."""
    file = of_file(path)
    assert is_known(file.syntax)
    np.testing.assert_array_equal(pixels(file), samples)
    fewer_bits = file.dataset.BitsAllocated == 8 > file.dataset.BitsStored  # an assertion of GDCM's fails
    if file.syntax in _GDCM and not fewer_bits:
        raw = folder / "gdcm.dcm"
        done = subprocess.run(
            [tool("gdcmconv"), "--raw", path, raw], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        theirs = of_file(raw)
        assert theirs.syntax in (EXPLICIT, IMPLICIT)
        np.testing.assert_array_equal(pixels(theirs), samples)


@FORM
@pytest.mark.parametrize("name", NAMES)
def test_others_decode_what_was_stored(name: str, form: str, tmp_path: Path) -> None:
    object_ = native_case(name, IMPLICIT)
    assert_others_see(opened(object_, form, tmp_path), pixels(sent(object_)), tmp_path)


@pytest.mark.corpus
@FORM
@pytest.mark.parametrize("name", ["CT1", "CT2", "MR1", "NM1", "US1", "XA1"])
def test_others_decode_real_images(name: str, form: str, tmp_path: Path) -> None:
    (path,) = [each for each in corpus("wg04") if each.name == f"{name}_UNC.dcm"]
    object_ = received(path)
    assert_others_see(opened(object_, form, tmp_path), pixels(sent(object_)), tmp_path)


CHECKED = ("u8", "u16-of-12", "rgb-planes", "palette", "icon", "stale-offsets", "group-lengths", "private")
CHECKED += ("sequences", "oversized", "trailing-padding", "character-sets", "single-bits", "frames")


# -- no new error ------------------------------------------------------------------------------------------


def _says(name: str, *arguments: object) -> list[str]:
    done = subprocess.run([tool(name), *map(str, arguments)], capture_output=True, check=False)
    return done.stderr.decode(errors="replace").splitlines()


def complaints(path: Path) -> set[str]:
    """What dcmdump and dciodvfy find wrong, without what depends on lengths and positions."""
    found = [line for line in _says("dcmdump", "-q", path) if line.startswith(("E:", "F:"))]
    if of_file(path).syntax not in _LATER:
        found += [line for line in _says("dciodvfy", path) if line.startswith("Error")]
    return {re.sub(r"0x[0-9a-f]+|\d+", "N", line) for line in found}


@FORM
@pytest.mark.parametrize("name", CHECKED)
def test_no_new_error_in_what_was_native(name: str, form: str, tmp_path: Path) -> None:
    object_ = native_case(name, EXPLICIT)
    before = complaints(as_file(sent(object_), tmp_path / "received.dcm"))
    assert complaints(opened(object_, form, tmp_path)) - before == set()


@FORM
@pytest.mark.parametrize("name", ["ls-fragments", "j2k-extended-table", "j2k-rct", "ls-icon", "rle"])
def test_no_new_error_in_what_was_compressed(name: str, form: str, tmp_path: Path) -> None:
    object_ = compressed_case(name)
    before = complaints(as_file(sent(object_), tmp_path / "received.dcm"))
    assert complaints(opened(object_, form, tmp_path)) - before == set()


@pytest.mark.corpus
@FORM
@pytest.mark.parametrize("name", ["CT1", "US1"])
def test_no_new_error_in_real_images(name: str, form: str, tmp_path: Path) -> None:
    for kind in ("UNC", "JLSL", "RLE"):
        for path in corpus("wg04"):
            if path.name == f"{name}_{kind}.dcm":
                object_ = received(path)
                plain = opened(object_, form, tmp_path)
                assert complaints(plain) - complaints(path) == set()
                plain.unlink()
