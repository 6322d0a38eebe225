"""The default configuration keeps objects small by itself, and stock tools open what it keeps."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from objects import corpus
from waiting import until

from scp.archive.archive import Archive
from scp.background.progress import Silent
from scp.config.settings import Settings
from scp.lifecycle.forecast import forecast
from scp.lifecycle.fsck import fsck
from scp.lifecycle.stages import Stages
from scp.objects import part10
from scp.spool import sha256

from .conftest import RunningNode, Starter
from .peers import JPEG_BASELINE, SECONDARY_CAPTURE, Sent, dcmtk, dcmtk_command, image, of_file

pytestmark = [pytest.mark.slow, pytest.mark.peer]

MONTH = timedelta(days=31)
# What is kept once the objects are old, at most, in % of what was received.
MOST = {"ct-ge": 19.0, "ct-philips": 19.0, "mr-siemens": 40.0, "mr-small": 21.0, "sr": 8.0}


def grows_old(archive: Archive) -> None:
    """A month goes by, and the node has an idle hour after it."""
    rows = [(one, replace(one, received_at=one.received_at - MONTH, planned="")) for one in archive.all()]
    archive.index.change_many(rows)
    works(archive)


def works(archive: Archive) -> None:
    """Carry out what is due, and what comes of a dictionary that all processes know by then."""
    clock = [0.0]
    with ThreadPoolExecutor(2) as pool:
        stages = Stages(archive, "idle", pool, steady=lambda: clock[0])
        for _ in range(2):
            while stages.plan() | bool(stages.round().tried):
                pass
            clock[0] += 100.0


def opened_by_stock_tools(archive: Archive, root: Path, folder: Path) -> int:
    """Unpack each stored file by ``zstd`` and read it by ``dcmdump``; how many of them need a dictionary."""
    if shutil.which("zstd") is None:
        pytest.skip("there is no zstd command: scripts/install-tools.sh installs it")
    found: list[Path] = []
    needing = 0
    names = {one.id: root / one.key for one in archive.dictionaries.entries()}
    for number, one in enumerate(archive.all()):
        path = root / one.key
        number_of = part10.dictionary_id(path.read_bytes()[:18])
        assert number_of == one.dictionary
        if not path.name.endswith(".zst"):
            found.append(path)
            continue
        found.append(folder / f"{number}.dcm")
        named = ["-D", names[number_of]] if number_of else []
        needing += bool(number_of)
        subprocess.run(["zstd", "-q", "-d", *named, path, "-o", found[-1]], check=True)
    for start in range(0, len(found), 100):
        dcmtk("dcmdump", "-q", "+P", "SOPInstanceUID", *found[start : start + 100], seconds=300)
    return needing


def comes_back(node: RunningNode, sent: dict[str, Sent]) -> None:
    """Each object as it came, to the byte: DCMTK sends some files in another transfer syntax, or shorter."""
    for one in sent.values():
        (held,) = node.archive.named(one.instance)
        back = b"".join(node.archive.fetch(held, [held.received_transfer_syntax]).chunks)
        assert sha256(back) == held.received_sha256, one.instance


def test_objects_of_one_class_shrink_by_themselves(start: Starter, tmp_path: Path) -> None:
    """Trained at 64 objects; those before get it later. After a month the form is the smallest of three."""
    node = start(shipped=True, lifecycle={"workers": 0})
    made = [image(instance=f"1.2.3.{n}", seed=n, InstanceNumber=n, **_described(n)) for n in range(90)]
    jpeg = photograph()
    sent = {one.instance: one for one in (*made, jpeg)}
    node.keep(*sent.values())
    until(lambda: not node.archive.count_pending().instances, "all is encoded")
    until(node.archive.dictionaries.entries, "a dictionary is trained")
    fresh = {one.dictionary for one in node.archive.all()}
    assert 0 in fresh
    before = sum(one.stored_size for one in node.archive.all())
    works(node.archive)
    newest = node.archive.dictionaries.entries()[-1].id
    assert {one.dictionary for one in node.archive.all() if one.form == "htj2k"} == {newest}
    assert node.held(jpeg).form == "received"
    packed = sum(one.stored_size for one in node.archive.all())
    assert packed < 0.7 * before
    comes_back(node, sent)
    grows_old(node.archive)
    assert node.held(jpeg).form == "jpegxl-recompression"
    forms = {"htj2k", "jpegxl", "jpeg2000", "jpegls"}
    assert {node.held(one).form for one in made} <= forms
    assert sum(one.stored_size for one in node.archive.all()) <= packed
    comes_back(node, sent)
    assert list(fsck(node.archive, Silent())) == []
    dcmtk_command("dcmdump")  # or it is skipped
    assert opened_by_stock_tools(node.archive, node.root / "objects", tmp_path) == 90


def photograph() -> Sent:
    """A grey picture that came as JPEG."""
    ramp = np.add.outer(np.arange(256), np.arange(256)) // 2
    noise = np.random.default_rng(1).integers(0, 9, (256, 256))
    jpeg = imagecodecs.jpeg8_encode((ramp + noise).clip(0, 255).astype("u1"), 90)
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": None}
    header = image(instance="1.2.3.500", sop_class=SECONDARY_CAPTURE, rows=256, **bits)
    items = [struct.pack("<HHL", 0xFFFE, 0xE000, 0)]
    items.append(struct.pack("<HHL", 0xFFFE, 0xE000, len(jpeg) + len(jpeg) % 2) + jpeg + bytes(len(jpeg) % 2))
    pixels = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + b"".join(items)
    pixels += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return Sent(header.sop_class, header.instance, JPEG_BASELINE, header.data + pixels)


def _described(number: int) -> dict[str, object]:
    """Attributes as a modality writes them: long, the same in each object, but for one."""
    told = {"StudyDescription": "head, without contrast" * 2, "SeriesDescription": "head, as planned" * 3}
    told |= {"ManufacturerModelName": "M" * 60, "InstitutionName": "I" * 60, "InstitutionAddress": "A" * 400}
    told |= {"ImageComments": " ".join(f"parameter {n} is {n * n}" for n in range(100))}
    return {**told, "AcquisitionNumber": number}


@pytest.mark.long  # 700 objects, stored, trained, packed anew, and encoded a second time
@pytest.mark.corpus
def test_the_corpus_sent_by_dcmtk_is_kept_as_small_as_promised(
    start: Starter, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    node = start(shipped=True, lifecycle={"workers": 0})
    folders = {name: corpus(name) for name in MOST}
    folder_of: dict[str, str] = {}
    sent: dict[str, Sent] = {}
    for name, files in folders.items():
        found = [of_file(path) for path in files]
        sent |= {one.instance: one for one in found}
        folder_of |= {one.instance: name for one in found}
        host, port = node.address
        dcmtk("dcmsend", "-aec", "ZSCP", "+sd", host, port, files[0].parent, seconds=400)
        until(lambda: not node.archive.count_pending().instances, "all is encoded", 300.0)
    shares = {"new": kept(node.archive, folder_of)}
    works(node.archive)
    shares["packed anew"] = kept(node.archive, folder_of)
    grows_old(node.archive)
    shares["old"] = kept(node.archive, folder_of)
    print(shares)  # noqa: T201 - the figures of the documents
    for when, figures in shares.items():
        record_property(when, figures)
    comes_back(node, sent)
    assert opened_by_stock_tools(node.archive, node.root / "objects", tmp_path) > 600
    assert forecast(node.archive, Settings().lifecycle, time.time(), 1.0, Silent()).groups == ()
    assert {name: share for name, share in shares["old"].items() if share > MOST[name]} == {}


def kept(archive: Archive, folder_of: dict[str, str]) -> dict[str, float]:
    """What is kept of each folder, in % of what was received."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in archive.all():
        figures = sums[folder_of[one.sop_instance_uid]]
        figures[0] += one.stored_size
        figures[1] += one.received_size
    return {name: round(100 * stored / received, 1) for name, (stored, received) in sums.items()}
