"""What peers are told of objects that a stage made lossy, and of such as came so: DCMTK, QIDO, commitment."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from lossy_stages import NEAR, SAME, picture, rules
from objects import bundled_file

from scp.config.http import digest_of, new_token

from .conftest import NodeProcess
from .peers import JPEG_BASELINE, Scu, Sent, dcmtk, free_port, image, of_file, until, written
from .test_commitment import Modality, named

pytestmark = [pytest.mark.slow, pytest.mark.peer]

WAYS = pytest.mark.parametrize("stage", [NEAR, SAME], ids=["new UID", "same UID"])


class _Site:
    """A node with a lossy stage that is due a second after an object came, by hand only."""

    def __init__(self, process: Callable[..., NodeProcess], stage: dict[str, Any], **tables: Any) -> None:
        self.http, self.token = free_port(), new_token()
        tokens = [{"name": "viewer", "digest": digest_of(self.token), "may": ["find", "get"]}]
        http = {"port": self.http, "page": "on", "token": tokens}
        lossy = rules({**stage, "after": "1s"})
        self.node = process(policy=lossy, http=http, lifecycle={"workers": 0}, **tables)
        self.node.start()

    def store(self, *objects: Sent) -> None:
        contexts = list({(one.sop_class, one.syntax) for one in objects})
        with Scu(self.node.address, [(uid, [syntax]) for uid, syntax in contexts]) as scu:
            assert [scu.store(one).status for one in objects] == [0] * len(objects)
        self.node.encodes_all()

    def make_lossy(self, sent: Sent) -> str:
        """The SOP Instance UID of the copy."""
        done = json.loads(self.node.here("recompress", "--now", "--json"))
        assert (done["lossy"], done["left"]) == (1, 0), done
        (entry,) = json.loads(self.node.here("trash", "list", "--json"))
        assert entry["sop_instance_uid"] == sent.instance
        return str(entry["lossy_copy"])

    def found(self, folder: Path, **keys: str) -> dict[str, str]:
        """By C-FIND at image level: SOP Instance UID → Lossy Image Compression."""
        asked = {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "", "LossyImageCompression": "", **keys}
        options = [option for key, value in asked.items() for option in ("-k", f"{key}={value}")]
        folder.mkdir()
        dcmtk("findscu", "-S", "-X", "-od", folder, "-aec", "ZSCP", *options, *self.node.address)
        return dict(_told(path) for path in folder.glob("*.dcm"))

    def searched(self, query: str = "") -> dict[str, str]:
        """The same by QIDO-RS."""
        url = f"http://127.0.0.1:{self.http}/dicom-web/instances?includefield=LossyImageCompression{query}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"})

        def answered() -> list[bytes]:
            with suppress(URLError), urllib.request.urlopen(request, timeout=30) as answer:
                return [answer.read()]
            return []  # its process does not listen yet

        (told,) = until(answered, "QIDO-RS answers")
        rows = json.loads(told or b"[]")
        return {row["00080018"]["Value"][0]: next(iter(row["00282110"].get("Value", [])), "") for row in rows}


def _told(path: Path) -> tuple[str, str]:
    """As DCMTK reads an answer."""
    shown = dcmtk("dcmdump", "-Un", "+P", "0008,0018", "+P", "0028,2110", path).stdout
    values = [re.search(r"\[(.*?)\]", line) for line in shown.splitlines()]
    uid, lossy = ((one[1].strip("\0 ") if one else "") for one in values)
    return uid, lossy


def test_queries_say_what_lost_something(process: Callable[..., NodeProcess], tmp_path: Path) -> None:
    """By its header, by how it came, or by a stage; nothing is said of what does not say it."""
    here, sent = _Site(process, NEAR), picture()
    as_jpeg = of_file(bundled_file("SC_rgb_jpeg_dcmtk.dcm"))
    header = as_jpeg.dataset
    del header.LossyImageCompression
    as_jpeg = replace(as_jpeg, data=written(header, as_jpeg.syntax))
    others = {
        "1.2.3.1": image(instance="1.2.3.1", LossyImageCompression="01"),
        "1.2.3.2": image(instance="1.2.3.2", LossyImageCompression="00"),
        "1.2.3.3": image(instance="1.2.3.3"),
    }
    here.store(sent, as_jpeg, *others.values())
    expected = {"1.2.3.1": "01", "1.2.3.2": "00", "1.2.3.3": "", as_jpeg.instance: "01"}
    assert as_jpeg.syntax == JPEG_BASELINE
    assert here.found(tmp_path / "before") == {**expected, sent.instance: ""}
    copy = here.make_lossy(sent)
    expected[copy] = "01"
    assert here.found(tmp_path / "after") == expected
    assert here.searched() == expected
    lossy = {uid: said for uid, said in expected.items() if said == "01"}
    assert here.found(tmp_path / "lossy", LossyImageCompression="01") == lossy
    assert here.searched("&LossyImageCompression=01") == lossy
    assert set(here.searched("&LossyImageCompression=00")) == {"1.2.3.2"}


@WAYS
def test_storage_commitment_of_what_was_made_lossy(
    process: Callable[..., NodeProcess], stage: dict[str, Any]
) -> None:
    """The original is not held any more; a copy under a UID of its own is an object as any other."""
    here, sent = _Site(process, stage), picture()
    here.store(sent)
    copy = here.make_lossy(sent)
    modality = Modality()
    try:
        association = modality.associate(here.node)
        asked = dict.fromkeys([*named(sent), (sent.sop_class, copy)])
        assert modality.ask(association, asked) == 0
        report = modality.report()
    finally:
        modality.close()
    if copy == sent.instance:
        assert (report.committed, report.failed) == ([], {sent.instance: 0x0110})
    else:
        assert (report.committed, report.failed) == ([(sent.sop_class, copy)], {sent.instance: 0x0112})


def test_what_was_committed_is_not_made_lossy(process: Callable[..., NodeProcess]) -> None:
    here, sent = _Site(process, NEAR), picture()
    here.store(sent)
    modality = Modality()
    try:
        association = modality.associate(here.node)
        assert modality.ask(association, named(sent)) == 0
        assert modality.report().committed == named(sent)
    finally:
        modality.close()
    done = json.loads(here.node.here("recompress", "--now", "--json"))
    assert (done["lossy"], done["cannot"]) == (0, 1)
    assert "a storage commitment was answered for it" in here.node.here("explain", sent.instance)


def test_the_trash_leaves_originals_unless_they_are_asked_for(process: Callable[..., NodeProcess]) -> None:
    here = _Site(process, NEAR)
    sent, other = picture(1), picture(2, StudyInstanceUID="1.2.826.0.1.8")
    run = here.node.here
    here.store(sent, other, image(instance="1.2.3.3"))
    run("recompress", "--now")
    run("delete", "1.2.3.3", "--reason", "test", "--yes")

    def left() -> set[str]:
        return {one["sop_instance_uid"] for one in json.loads(run("trash", "list", "--json"))}

    originals = {sent.instance, other.instance}
    assert left() == {*originals, "1.2.3.3"}
    told = run("trash", "purge", "--now")
    assert "1 object removed from the trash" in told
    assert "2 originals of lossy copies left until their time" in told
    assert left() == originals
    assert "1 object removed" in run("trash", "purge", "1.2.826.0.1.8", "--now")
    assert left() == {sent.instance}
    run("trash", "purge", "1.2.826.0.1.8", "--now", status=1)
    assert "0 objects removed" in run("trash", "purge", sent.instance)
    (entry,) = json.loads(run("trash", "list", "--json"))
    copy = entry["lossy_copy"]
    run("hold", "add", copy, "--level", "image", "--reason", "court")
    assert "0 objects removed" in run("trash", "purge", "--now", "--originals")
    run("trash", "restore", sent.instance, status=1)
    assert left() == {sent.instance}
    run("hold", "remove", copy)
    told = run("delete", copy, "--reason", "to be erased", "--yes", "--now")
    assert "1 original of lossy copies still in the trash" in told
    assert "1 object removed" in run("trash", "purge", "--now", "--originals")
    assert left() == set()
