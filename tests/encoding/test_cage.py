"""Codec processes: what happens to a frame that kills, hangs or lies, and to what is beside it."""

from __future__ import annotations

import ast
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from objects import Shape, parts_of, phantom
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames

from scp.encoding.cage import caged, confinement, messages
from scp.encoding.cage.messages import CodecAnswer, CodecRequest, Garbage, LibraryError, NoRoom
from scp.encoding.cage.pool import Pool, Use, pool
from scp.encoding.cage.process import CodecProcess, Nursery, ProcessGone, Watching
from scp.encoding.codecs import native
from scp.encoding.codecs.table import CODECS, codec_named
from scp.encoding.dataset import SplitDataset
from scp.encoding.decoding import decoding
from scp.encoding.encapsulating import encapsulated
from scp.encoding.pixels import PixelFormat
from scp.errors import (
    BeyondBitsStored,
    CannotDecode,
    CannotEncode,
    CodecProcessFailed,
    DamagedCodestream,
    OutOfResources,
    PixelsBeyondBounds,
)
from scp.resources import bounds
from scp.syntaxes import lookup

_CASES = Path(__file__).parents[1] / "data" / "cases"
FORM = PixelFormat(64, 48, 1, 16, 12, 11, False, "MONOCHROME2", 0, 1)
FRAME = np.random.default_rng(3).integers(0, 4096, FORM.shape).astype("<u2")

# Jobs that no codec has, put beside the real ones in a codec process: what a codec may do to its process.
_BAD_JOBS = """
import ctypes, os, socket, time
from scp.encoding.cage import nursery, work
from scp.errors import BeyondBitsStored

def crash(data, form): ctypes.string_at(0)
def hang(data, form):
    while True: pass
def sleep(data, form): time.sleep(3600)
def allocate(data, form): return bytes(1 << 40)
def hoard(data, form):
    held = []
    while True: held.append(bytearray(os.urandom(1) * (16 << 20)))
def too_much(data, form): return bytes(50_000_000)
def opens(data, form): open(data.decode()).read()
def connects(data, form): socket.socket()
def removes(data, form): os.unlink(data.decode())
def kills(data, form): os.kill(int(data), 9)
def shrinks(data, form):
    for descriptor in range(3, 64):
        try: os.ftruncate(descriptor, 0)
        except OSError as error:
            if error.errno == 1: refused = error
    raise refused
def first_only(data, form, seen=[]):
    seen.append(data)
    return str(len(seen)).encode()
def dies_second(data, form, seen=[]):
    seen.append(data)
    if len(seen) > 1: ctypes.string_at(0)
    return b"well"
def pid(data, form): return str(os.getpid()).encode()
def naps(data, form):
    time.sleep(0.5)
    return b"well"
def starves_second(data, form, seen=[]):
    seen.append(data)
    if len(seen) > 1: raise MemoryError
    return b"well"
def forks(data, form):
    if not os.fork():
        time.sleep(60)
        os._exit(0)
    os._exit(3)
def raises(data, form): raise BeyondBitsStored(12, 14)
def names(data, form): raise ZeroDivisionError("a library's words")

warm_up = work.warm_up
def warm_up_and_add():
    warm_up()
    for job in (crash, hang, sleep, allocate, hoard, too_much, opens, connects, removes, kills, shrinks):
        work.READS["test." + job.__name__] = job
    for job in (first_only, dies_second, starves_second, naps, forks, pid, raises, names):
        work.READS["test." + job.__name__] = job
work.warm_up = warm_up_and_add
import sys
nursery.main(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def one_pool() -> Iterator[Pool]:
    """A pool whose codec processes know the bad jobs, too."""
    made = Pool(Watching(every=1, asleep=1.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scp.encoding.cage.process.COMMAND", ["-c", _BAD_JOBS])
        yield made
        made.close()


@pytest.fixture
def bad_jobs(one_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """That pool, with no process that served another test."""
    monkeypatch.setattr("scp.encoding.cage.pool._pool", one_pool)
    one_pool.let_idle_go()
    return one_pool


def job(name: str, use: Use = Use.FOREIGN, owner: object = None) -> caged._Job:
    return caged._Job("test", name, use, owner)


@pytest.fixture
def limits() -> None:
    bounds.use(replace(bounds.bounds(), codec_seconds=1.0, codec_bytes=400_000_000))


# -- What a codec may do to its process --------------------------------------------------------------------


def test_a_codec_that_crashes_fails_for_its_frame(bad_jobs: Pool) -> None:
    with pytest.raises(CodecProcessFailed, match=r"died \(SIGSEGV\)"):
        job("crash").convert(b"")
    assert int(job("pid").convert(b"")) != os.getpid()


def test_a_codec_that_hangs_is_ended_by_its_processor_time(bad_jobs: Pool, limits: None) -> None:
    with pytest.raises(CodecProcessFailed, match="took over 1 s of processor time"):
        job("hang").convert(b"")


def test_a_codec_that_sleeps_is_ended(bad_jobs: Pool) -> None:
    with pytest.raises(CodecProcessFailed, match="did nothing for"):
        job("sleep").convert(b"")


def test_who_stops_a_codec_process_does_not_refuse_an_object(bad_jobs: Pool) -> None:
    """Such as an admin, or a debugger: it is worked on in another process."""
    bad_jobs.libraries()
    made: list[bytes] = []
    thread = threading.Thread(target=lambda: made.append(job("naps").convert(b"")))
    thread.start()
    assert _until(lambda: bool(_children(bad_jobs.nursery().pid)))
    os.kill(_children(bad_jobs.nursery().pid)[0], signal.SIGSTOP)
    thread.join(30)
    assert made == [b"well"]


def test_a_codec_process_that_forked_and_ended_is_not_waited_for(bad_jobs: Pool) -> None:
    """Its child has the other end of the socket. Only root may fork there."""
    begun = time.monotonic()
    with pytest.raises((CodecProcessFailed, LibraryError)) as told:
        job("forks").convert(b"")
    assert time.monotonic() - begun < 50
    assert ("ended with status 3" if os.getuid() == 0 else "unavailable") in str(told.value)


def test_nobody_is_tried_for_ever(bad_jobs: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither processes that end before they are given work, nor results that grow."""
    asked: list[CodecRequest] = []

    def gone(_: CodecProcess, request: CodecRequest, __: object) -> CodecAnswer:
        asked.append(request)
        raise ProcessGone

    monkeypatch.setattr(CodecProcess, "work", gone)
    with pytest.raises(OutOfResources, match="end before they are given work"):
        job("pid").convert(b"")
    assert len(asked) == 3
    asked.clear()

    def grows(_: CodecProcess, request: CodecRequest, __: object) -> CodecAnswer:
        asked.append(request)
        return CodecAnswer(0, 0, NoRoom(request.room + 1))

    monkeypatch.setattr(CodecProcess, "work", grows)
    with pytest.raises(CodecProcessFailed, match=r"made \d+ bytes"):
        job("pid").convert(b"")
    assert len(asked) == 2


def test_memory_that_frames_before_took_is_not_held_against_one(bad_jobs: Pool) -> None:
    starves = job("starves_second", Use.OWN)
    assert [starves.convert(b"") for _ in range(4)] == [b"well"] * 4


def test_where_a_process_may_have_less_memory_codecs_work_with_that() -> None:
    program = (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        f"{_USES_CODECS}assert (codec.decode(codec.encode(frame, form, 0), form) == frame).all()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_codestreams_of_others_leave_places_for_the_rest(
    bad_jobs: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bad_jobs._foreign._value == bad_jobs._seats._value // 2  # type: ignore[attr-defined]
    monkeypatch.setattr(bad_jobs, "_foreign", threading.BoundedSemaphore(1))
    thread = threading.Thread(target=lambda: job("pid").convert(b""))
    with bad_jobs.process(Use.FOREIGN, 4096, object(), False):
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        assert job("pid", Use.OWN).convert(b"")
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("fails", ["mmap.mmap", "socket.socketpair"])
def test_no_handle_is_left_where_a_codec_process_cannot_be_made(
    bad_jobs: Pool, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    bad_jobs.libraries()

    def none(*_: object) -> None:
        raise OSError("no memory")

    before = _descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(f"scp.encoding.cage.process.{fails}", none)
        with pytest.raises(OutOfResources, match="no memory"):
            job("pid").convert(b"")
    assert _descriptors() == before


def test_a_nursery_outlives_children_that_end_while_it_notes_the_end_of_others() -> None:
    """It remembers a thousand, and forgets the others."""
    code = (
        "import itertools, os, signal\nfrom scp.encoding.cage import nursery\n"
        "numbers = itertools.count()\n"
        "signal.signal(signal.SIGALRM, lambda *_: nursery._note(next(numbers), 0))\n"
        "signal.setitimer(signal.ITIMER_REAL, 2e-5, 2e-5)\n"
        "while next(numbers) < 200_000: nursery._note(next(numbers), 0)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "assert len(nursery._ended) == 1000, len(nursery._ended)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_nursery_that_cannot_fork_hears_of_the_end_of_its_children_afterwards() -> None:
    program = (
        "import os, signal\nfrom scp.encoding.cage import nursery\n"
        "def none(): raise OSError\nos.fork = none\n"
        "try: nursery._fork(None, {}, [])\nexcept OSError: pass\n"
        "print(signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False"]


def test_to_prepare_codecs_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who needs them later tries again."""

    def none(_: Pool) -> None:
        raise OutOfResources("no codec process can be started")

    monkeypatch.setattr(Pool, "nursery", none)
    caged.prepare()


@pytest.mark.parametrize("name", ["allocate", "hoard"])
def test_a_codec_that_takes_memory_is_refused_it(bad_jobs: Pool, limits: None, name: str) -> None:
    with pytest.raises(CodecProcessFailed, match="asked for more than"):
        job(name).convert(b"")


def test_a_result_that_is_larger_than_expected_is_given_room(bad_jobs: Pool) -> None:
    assert job("too_much").convert(b"") == bytes(50_000_000)


def test_a_result_beyond_the_limit_of_memory_is_none(bad_jobs: Pool, limits: None) -> None:
    bounds.use(replace(bounds.bounds(), codec_bytes=40_000_000))
    with pytest.raises(CodecProcessFailed, match=r"made 50000000 bytes|asked for more than 40 MB"):
        job("too_much").convert(b"")


def test_nothing_is_opened_connected_removed_killed_or_cut_off(bad_jobs: Pool, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("here")
    with pytest.raises(LibraryError, match=r"Too many open files|Permission denied"):
        job("opens").convert(str(kept).encode())
    with pytest.raises(LibraryError, match=r"Too many open files|Permission denied"):
        job("connects").convert(b"")
    with pytest.raises(LibraryError, match="Operation not permitted"):
        job("shrinks").convert(b"")
    if _landlock() >= 1:
        with pytest.raises(LibraryError, match="Permission denied"):
            job("removes").convert(str(kept).encode())
        assert kept.read_text() == "here"
    if _landlock() >= 6:
        with pytest.raises(LibraryError, match="Operation not permitted"):
            job("kills").convert(str(os.getpid()).encode())


def _landlock() -> int:
    return confinement._call("syscall", confinement._CREATE_RULESET, None, 0, confinement._VERSION_FLAG)


def test_a_crash_in_a_process_that_served_others_is_not_blamed_on_its_frame(bad_jobs: Pool) -> None:
    dies = job("dies_second", Use.OWN)
    assert [dies.convert(b"") for _ in range(4)] == [b"well"] * 4


def test_codestreams_of_others_never_share_a_process_with_another_object(bad_jobs: Pool) -> None:
    one, other = object(), object()
    seen = [job("first_only", owner=each).convert(b"") for each in (one, one, other, one, other)]
    assert seen[:3] == [b"1", b"2", b"1"]
    pids = {name: {job("pid", owner=name).convert(b"") for _ in range(3)} for name in (one, other)}
    assert not pids[one] & pids[other]
    own = {job("pid", use).convert(b"") for use in (Use.OWN, Use.ENCODING) for _ in range(2)}
    assert len(own) == 2
    assert not own & (pids[one] | pids[other])


def test_a_process_that_raised_on_a_codestream_of_others_is_not_used_again(bad_jobs: Pool) -> None:
    before = job("pid").convert(b"")
    with pytest.raises(LibraryError, match="a library's words") as told:
        job("names").convert(b"")
    assert told.value.kind == "ZeroDivisionError"
    assert job("pid").convert(b"") != before


def test_errors_keep_their_kind_words_and_numbers(bad_jobs: Pool) -> None:
    with pytest.raises(BeyondBitsStored) as told:
        job("raises").convert(b"")
    assert (told.value.stored, told.value.bits) == (12, 14)
    assert str(told.value) == str(BeyondBitsStored(12, 14))


# -- What is said on the way -------------------------------------------------------------------------------

_REQUEST = CodecRequest("test.pid", FORM, 0, 1000, 1 << 20, 60.0, bounds.DEFAULTS)


@pytest.mark.parametrize(
    "error",
    [
        CannotEncode("why"),
        CannotDecode("why"),
        DamagedCodestream("why"),
        PixelsBeyondBounds("why"),
        BeyondBitsStored(8, 12),
        LibraryError("KeyError", "why"),
    ],
)
def test_an_error_arrives_as_it_was(error: Exception) -> None:
    raised = KeyError if isinstance(error, LibraryError) else None
    packet = messages.failed(ArithmeticError("why") if raised else error, 5)
    found = CodecAnswer.unpacked(packet, _REQUEST).error
    assert type(found) is type(error)
    assert str(found) == str(error)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x01",
        messages.done(1001, 0),
        messages.done(10, 0) + b"text",
        b"\x03" + messages.done(10, 0)[1:],
        b"\x01\x07" + messages.done(10, 0)[2:],
        b"\x02\x63" + messages.done(10, 0)[2:],
        b"\x02\x64\xff\xff" + messages.done(10, 0)[4:],
        messages.failed(CannotDecode("x"), 0) + bytes(4000),
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(packet: bytes) -> None:
    with pytest.raises(Garbage):
        CodecAnswer.unpacked(packet, _REQUEST)


def test_a_text_with_control_characters_does_not_reach_a_log() -> None:
    found = CodecAnswer.unpacked(messages.failed(CannotDecode("one\n\x1b[2Jtwo"), 0), _REQUEST).error
    assert str(found) == "one  [2Jtwo"


def test_time_that_a_process_claims_is_bounded_by_what_it_may_take() -> None:
    assert CodecAnswer.unpacked(messages.done(10, 1 << 60), _REQUEST).seconds == 60.0


def test_a_frame_of_another_shape_is_not_encoded() -> None:
    codec = codec_named("htj2k")
    assert codec is not None
    with pytest.raises(CannotEncode, match="is described"):
        codec.encode(FRAME[:10], FORM, 0)


# -- Real codecs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [row.name for row in CODECS if row.writes])
def test_each_codec_gives_the_same_as_in_this_process(name: str) -> None:
    codec, here = codec_named(name), next(row for row in native.CODECS if row.name == name)
    assert codec is not None
    codestream = codec.encode(FRAME, FORM, 0)
    assert codestream == here.encode(FRAME, FORM, 0)
    for decode in (codec.decode, codec.strictly):
        assert np.array_equal(decode(codestream, FORM), FRAME)
    assert codec.library() == here.library()


def _form_of(dataset: Dataset) -> PixelFormat:
    return PixelFormat(
        dataset.Rows,
        dataset.Columns,
        dataset.SamplesPerPixel,
        dataset.BitsAllocated,
        dataset.BitsStored,
        dataset.HighBit,
        bool(dataset.PixelRepresentation),
        dataset.PhotometricInterpretation,
        0,
        1,
    )


def test_a_codestream_that_kills_its_codec_harms_nothing_else() -> None:
    """OpenJPH writes outside its memory; what would refuse the codestream before is gone around here."""
    dataset = dcmread(_CASES / "htj2k-crashes-openjph.dcm")
    codestream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    htj2k = codec_named("htj2k")
    assert htj2k is not None
    for _ in range(3):
        with pytest.raises((CodecProcessFailed, CannotDecode, LibraryError)) as told:
            htj2k.decode(codestream, _form_of(dataset))
        assert np.array_equal(htj2k.decode(htj2k.encode(FRAME, FORM, 0), FORM), FRAME)
    assert "died (SIG" in str(told.value)


# -- What is left behind -----------------------------------------------------------------------------------


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _children(pid: int) -> list[int]:
    """Of the whole family, those that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found += [int(stat.parent.name), *_children(int(stat.parent.name))]
    return found


def _zombies(pid: int) -> int:
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            count += int(fields[1]) == pid and fields[0] == "Z"
    return count


def _until(holds: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def test_a_thousand_frames_leave_no_descriptor_process_or_memory_behind(bad_jobs: Pool) -> None:
    small, pid = job("pid", Use.OWN), job("pid")
    small.convert(b"")
    nursery = bad_jobs.nursery().pid
    before = _descriptors()
    for each in range(1000):
        if each % 20 == 0:
            pid.convert(b"")  # each of an object of its own
        else:
            small.convert(b"x" * 100_000)
    for _ in range(20):
        with pytest.raises(LibraryError):
            job("names").convert(b"")
    assert len(_children(nursery)) <= 8
    bad_jobs.let_idle_go()
    assert _until(lambda: not _children(nursery))
    assert _until(lambda: _zombies(nursery) == 0)
    assert _descriptors() <= before


def test_threads_have_processes_of_their_own(bad_jobs: Pool) -> None:
    wrong: list[Exception] = []

    def work(number: int) -> None:
        try:
            htj2k = codec_named("htj2k")
            assert htj2k is not None
            frame = (FRAME + number) % 4096
            for _ in range(20):
                assert np.array_equal(htj2k.decode(htj2k.encode(frame, FORM, 0), FORM), frame)
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("killed", ["codec process", "nursery"])
def test_what_is_killed_from_outside_is_started_again(bad_jobs: Pool, killed: str) -> None:
    htj2k = codec_named("htj2k")
    assert htj2k is not None
    codestream = htj2k.encode(FRAME, FORM, 0)
    for _ in range(5):
        assert np.array_equal(htj2k.decode(codestream, FORM), FRAME)
        nursery = bad_jobs.nursery().pid
        victims = _children(nursery) if killed == "codec process" else [nursery]
        assert victims
        for victim in victims:
            os.kill(victim, signal.SIGKILL)


def test_a_nursery_that_another_thread_gave_up_is_started_again(bad_jobs: Pool) -> None:
    """It is closed under whoever still asks it, who then asks the next one."""
    asked: list[int] = []

    def ask(nursery: Nursery) -> str:
        asked.append(nursery.pid)
        if len(asked) == 1:
            bad_jobs._forget(nursery)
            raise OSError(errno.EBADF, "Bad file descriptor")
        return "answer"

    assert bad_jobs._of_nursery(ask) == "answer"
    assert len(set(asked)) == 2


def test_a_nursery_that_is_stopped_is_given_up(bad_jobs: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever holds it up: nobody waits for it without end."""
    bad_jobs.libraries()
    before = bad_jobs.nursery().pid
    monkeypatch.setattr(bad_jobs.nursery(), "_answer_seconds", 1.0)
    os.kill(before, signal.SIGSTOP)
    with bad_jobs.process(Use.FOREIGN, 4096, object(), True):
        assert bad_jobs.nursery().pid != before
    assert _until(lambda: not _is_alive(before))


@pytest.mark.parametrize("name", ["jpegls", "htj2k"])
def test_without_a_codec_process_no_codestream_counts_as_damaged(
    bad_jobs: Pool, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is the machine's fault, and of a moment."""
    codec = codec_named(name)
    assert codec is not None
    coded = encapsulated(plain(), codec)[0]

    def none(*_: object) -> None:
        raise OSError("there are too many open files")

    monkeypatch.setattr(Nursery, "new_process", none)
    monkeypatch.setattr(bad_jobs, "_idle", {})
    with pytest.raises(OutOfResources, match="too many open files"):
        decoding(coded, lookup(codec.writes))
    with pytest.raises(OutOfResources, match="too many open files"):
        encapsulated(plain(), codec)


def plain() -> SplitDataset:
    """A dataset of one frame."""
    return parts_of(phantom(Shape(rows=64, columns=48)))


def test_a_frame_whose_processes_are_killed_again_fails(bad_jobs: Pool) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            job("sleep").convert(b"")
        except CodecProcessFailed as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    killed: set[int] = set()
    for _ in range(2):
        assert _until(lambda: bool(set(_children(bad_jobs.nursery().pid)) - killed))
        (victim,) = set(_children(bad_jobs.nursery().pid)) - killed
        killed.add(victim)
        os.kill(victim, signal.SIGKILL)
    thread.join(30)
    assert [str(each) for each in failed] == ["test died (SIGKILL)"]


_USES_CODECS = """
import os, sys, time
import numpy as np
from scp.encoding.cage.pool import pool
from scp.encoding.codecs.table import codec_named
from scp.encoding.pixels import PixelFormat
form = PixelFormat(64, 64, 1, 16, 12, 11, False, "MONOCHROME2", 0, 1)
codec = codec_named("htj2k")
frame = np.zeros((64, 64), "<u2")
codec.decode(codec.encode(frame, form, 0), form)
"""


@pytest.mark.parametrize("end", ["killed", "its end", "killed, with a child of its own"])
def test_no_codec_process_outlives_the_process_that_uses_it(end: str) -> None:
    fork = "os.fork() == 0 and (time.sleep(60), os._exit(0))\n" if "child" in end else ""
    rest = "" if end == "its end" else "time.sleep(60)"
    program = f"{_USES_CODECS}{fork}print(pool().nursery().pid, flush=True)\n{rest}"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    nursery = int(process.stdout.readline())
    family = [nursery, *_children(nursery)]
    forked = [each for each in _children(process.pid) if each not in family]
    assert len(family) >= 2 or end == "its end"
    if end != "its end":
        process.kill()
    process.wait(30)
    assert _until(lambda: not any(_is_alive(each) for each in family))
    for each in forked:
        os.kill(each, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_that_is_forked_uses_processes_of_its_own(bad_jobs: Pool) -> None:
    before = int(job("pid", Use.OWN).convert(b""))
    child = os.fork()
    if not child:
        status = 1
        try:
            status = int(int(job("pid", Use.OWN).convert(b"")) == before)
            pool().close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert int(job("pid", Use.OWN).convert(b"")) == before


def test_the_nursery_is_told_no_setting_of_the_node(bad_jobs: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSCP_INDEX__URL", "postgresql://somebody:secret@host/db")
    job("pid").convert(b"")
    environment = Path(f"/proc/{bad_jobs.nursery().pid}/environ").read_bytes()
    assert b"secret" not in environment


def test_who_serves_loads_no_codec(bad_jobs: Pool) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"{_USES_CODECS}print(open('/proc/self/maps').read())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "_multiarray_umath" in loaded
    assert "imagecodecs/_" not in loaded


def test_a_process_that_had_a_large_frame_goes_with_its_memory(bad_jobs: Pool) -> None:
    job("pid", Use.OWN).convert(bytes(1000))
    nursery = bad_jobs.nursery().pid
    before = len(_children(nursery))
    assert len(job("too_much", Use.ENCODING).convert(bytes(20_000_000))) == 50_000_000
    assert _until(lambda: len(_children(nursery)) == before)


def test_what_was_proven_here_is_decoded_here_and_nothing_else_is() -> None:
    """Which process decodes goes by where codestreams are from; by this a worker loads one library."""
    program = (
        f"{_USES_CODECS}from scp.encoding.cage.caged import Trust, of_one_object\n"
        "coded = codec.encode(frame, form, 0)\n"
        "for trust in (Trust.ANYBODYS, Trust.MADE_HERE, Trust.PROVEN):\n"
        "    assert (of_one_object(codec, trust, 1).decode(coded, form) == frame).all()\n"
        "    print(len({l.split('/')[-1] for l in open('/proc/self/maps') if 'imagecodecs/_' in l}))\n"
        "    print('_htj2k' in open('/proc/self/maps').read())\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split()[:4] == ["0", "False", "0", "False"]
    assert told.split()[5] == "True"


_ROOT = Path(caged.__file__).parents[3]


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of all that a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((each.name, "") for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, each.name) for each in node.names)


def test_codecs_are_reached_through_their_tables_alone() -> None:
    codecs = "scp.encoding.codecs"
    for path in (_ROOT / "scp").rglob("*.py"):
        module = ".".join(path.relative_to(_ROOT).with_suffix("").parts)
        for imported, name in _imports(path):
            full = f"{imported}.{name}" if imported == codecs else imported
            if full.partition(".")[0] == "imagecodecs":
                assert module.startswith(codecs), module
            if full == f"{codecs}.native":
                assert module in {"scp.encoding.cage.work", "scp.encoding.cage.caged", *_TABLES}, module
            row = name.endswith("_CODEC") and not module.startswith((codecs, "scp.encoding.cage.work"))
            assert not row, f"{module} uses {name} itself"


_TABLES = ("scp.encoding.codecs.table", "scp.encoding.codecs.lossy_table")
