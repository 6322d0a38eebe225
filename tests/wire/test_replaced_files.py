"""Stored files that somebody replaced while a node serves: one object fails, with a clear status."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from replaced_files import REPLACED

from .aging import FAST, OBJECTS, policy
from .conftest import NodeProcess, Starter
from .peers import EXPLICIT, MR_IMAGE, STUDY_GET, Scu, identifier, image

NAMES = ("a bomb that lies", "deep JSON", "zeros of 1 TB", "a FIFO", "a folder", "a link to a device")


@pytest.mark.parametrize("name", NAMES)
def test_a_retrieve_gives_all_others(start: Starter, name: str) -> None:
    node = start(policy=[{"name": "all", "stages": [{"form": "zstd"}]}])
    node.keep(*OBJECTS[:4])
    REPLACED[name](node.path(OBJECTS[1]))
    began = time.monotonic()
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
    assert done.final.status == 0xB000
    assert done.final.comment
    assert {one.instance for one in done.objects} == {OBJECTS[each].instance for each in (0, 2, 3)}
    assert time.monotonic() - began < 30
    node.answers_echo()
    node.keep(OBJECTS[1])  # who sends it again mends it
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        assert scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3")).final.status == 0


# Tries to write to a file until it would have to wait, as somebody reads it, and then cuts it off.
_CUTS_OFF = """
import os, sys, time
until = time.monotonic() + 60
while time.monotonic() < until:
    try:
        os.close(os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK))
    except BlockingIOError:
        print("begins", flush=True)
        os.truncate(sys.argv[1], 0)
        sys.exit(0)
    time.sleep(0.002)
sys.exit(3)
"""


def test_a_file_that_is_cut_off_while_it_is_sent_ends_no_worker(process: Callable[..., NodeProcess]) -> None:
    """An admin copies another file over one that a peer retrieves: ``cp`` cuts it off first."""
    node = process(policy=[{"name": "all", "stages": [{"form": "received", "wrap": "none"}]}])
    node.start()
    large = image(rows=4096)
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert scu.store(large).status == 0
    (path,) = (node.root / "objects").glob("*/*/*/*.dcm")
    wanted = identifier("STUDY", StudyInstanceUID="1.2.3")
    with Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as scu:
        cutting = forked.Python([sys.executable, "-c", _CUTS_OFF, str(path)])
        while cutting.poll() is None:  # until it meets a retrieve, which then gives all of it
            done = scu.get(STUDY_GET, wanted)
            if done.final.status:
                break
            assert done.objects == [large]
        assert cutting.wait(60) == 0
        assert path.stat().st_size == 0
        assert scu.get(STUDY_GET, wanted).final.status == 0xA702
    assert node.kill(15) == 0


def test_all_commands_go_on(process: Callable[..., NodeProcess]) -> None:
    node = process(policy=policy(FAST), lifecycle={"workers": 0}, scrub={"interval": "0s"})
    node.start()
    with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
        assert [scu.store(one).status for one in OBJECTS[:3]] == [0] * 3
    assert node.kill(15) == 0
    paths = sorted((node.root / "objects").glob("*/*/*/*"))
    paths[0].unlink()
    os.mkfifo(paths[0])
    told = json.loads(node.here("verify", "--deep", "--json", status=1))
    assert (told["sound"], told["damaged"]) == (2, 1)
    node.here("reindex", status=1)
    node.here("export", Path(node.root) / "out", status=1)
    assert len(list((node.root / "out").rglob("*.dcm"))) == 2
