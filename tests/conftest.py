"""Hooks and fixtures for all tests."""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from pathlib import Path

import examples
import forked
import objects
import pytest
import temporary
import typer.main
import typer.testing
from process_state import collect_descriptors, put_back, wait_on_any_descriptor
from servers_azurite import Azurite, azurite
from servers_seaweedfs import SeaweedFS

from scp.encoding.cage import caged
from scp.metrics import counting
from scp.metrics.figures import Figures

# Commands that are run inside a test's process are built once: all are built for each, which takes 0.1 s.
typer.testing._get_command = functools.cache(typer.main.get_command)  # type: ignore[attr-defined]

gc.disable()  # until all tests are collected: each of many collections would look at all that is there so far


# Those that take the most processor time, the longest first.
_LONGEST = [
    "encoding/test_matrix.py", "hostile/test_bad_objects.py", "wire/test_stages.py", "wire/test_memory.py",
    "hostile/test_real.py", "advise/test_advise.py",
    "wire/test_crash.py", "wire/test_behind.py", "wire/test_killed.py",
    "wire/test_codec_processes.py", "wire/test_nodes.py", "wire/test_hanging.py", "wire/test_commands.py",
]  # fmt: skip
_TESTS = Path(__file__).parent


@functools.cache
def _place(path: Path) -> int:
    """Where a file stands among the longest, or behind them."""
    file = path.relative_to(_TESTS).as_posix() if path.is_relative_to(_TESTS) else ""
    return _LONGEST.index(file) if file in _LONGEST else len(_LONGEST)


def _turn(item: pytest.Item) -> tuple[int, bool]:
    """When a test's file is begun, the lowest first."""
    return _place(item.path), item.get_closest_marker("slow") is None


def pytest_addoption(parser: pytest.Parser) -> None:
    """What ``make test`` adds where it found Chromium, and ``make everything`` always."""
    parser.addoption("--browser", action="store_true", help="also those in a real browser, Chromium")
    parser.addoption("--cluster", action="store_true", help="also those on real servers")


def _is_asked_for(mark: str, config: pytest.Config) -> bool:
    """Whether tests run that bear a mark: it is named, or has an option."""
    return mark in config.option.markexpr or bool(getattr(config.option, mark, False))


def _alternating(items: list[pytest.Item]) -> list[pytest.Item]:
    """Every other file is one on servers, as long as there are: those wait for much of their time."""
    waiting: dict[Path, list[pytest.Item]] = {}
    working: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files = waiting if item.get_closest_marker("cluster") else working
        files.setdefault(item.path, []).append(item)
    no_more: list[pytest.Item] = []
    pairs = zip_longest(working.values(), waiting.values(), fillvalue=no_more)
    return [item for pair in pairs for item in chain(*pair)]


def pytest_configure(config: pytest.Config) -> None:
    """Processes that share the tests (pytest-xdist) have one process from which those of zscp are forked."""
    if not hasattr(config, "workerinput"):  # those of pytest-xdist have their folders in this one's
        temporary.use_memory()
        if getattr(config.option, "numprocesses", None):
            forked.share()
    forked.encode_beside_others()
    wait_on_any_descriptor()
    if _is_asked_for("long", config):
        examples.try_all()


# The mark of all tests of a file.
_MARK = re.compile(r"^pytestmark = .*\bpytest\.mark\.(faults|cluster|long)\b", re.MULTILINE)
# Who uses the corpus (tests/objects.py), or is marked so, names one of these.
_CORPUS = re.compile(r"corpus|\ball_files\b", re.IGNORECASE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file whose tests would all be left out (see below) is not even imported."""
    if not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text(encoding="utf-8")
    mark = _MARK.search(text)
    if mark is not None and not _is_asked_for(mark[1], config):
        return True
    return True if config.option.markexpr == "corpus" and not _CORPUS.search(text) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is given a file of the corpus is marked ``corpus``, so that it can be run by itself.

    What takes minutes (``faults``, ``long``), real servers or a browser runs only where that is asked for.
    Properties are marked ``long``, too, where all of their examples are asked for (tests/examples.py).
    What takes longest comes first: workers that each take a file after the other then end together.
    """
    for mark in ("faults", "cluster", "browser", "long"):
        if not _is_asked_for(mark, config):
            items[:] = [item for item in items if item.get_closest_marker(mark) is None]
    if _is_asked_for("long", config):
        for item in items:
            if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
                item.add_marker(pytest.mark.long)
    items.sort(key=_turn)
    items[:] = _alternating(items)
    for item in items:
        given = getattr(item, "callspec", None)
        values = given.params.values() if given is not None else ()
        if any(isinstance(value, Path) and value.is_relative_to(objects.CORPUS) for value in values):
            item.add_marker(pytest.mark.corpus)


def pytest_collection_finish() -> None:
    """Ten thousand tests are not looked through by each collection of garbage, and those are fewer.

    They took a twentieth of the processor time of tests/encoding.
    """
    gc.enable()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server for all tests that only use it; who stops one starts its own."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A server that speaks as Azure Blob Storage does; tests of it are skipped where it is missing."""
    if azurite() is None:
        pytest.skip("Azurite is not installed: scripts/install-cluster.sh says why not")
    with Azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="module")
def codecs_here() -> Iterator[None]:
    """Codecs work in the test's own process, as they do where the system has no codec processes.

    With a codec process for each object that came encoded, tests of what codecs and forms make of thousands
    of objects took twice the processor time. tests/contracts/test_codecs.py runs each codec in one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caged, "AVAILABLE", False)
        yield


@pytest.fixture(autouse=True)
def _only_marked_tests_use_the_corpus(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or ``pytest -m corpus`` would not run all that the corpus adds."""
    if request.node.get_closest_marker("corpus") is None:
        monkeypatch.setattr(objects, "CORPUS", None)


@pytest.fixture(autouse=True, scope="module")
def _no_module_leaves_a_trace() -> Iterator[None]:
    """A node that the tests of a module share sets the limits of the process before any of them."""
    with put_back():
        yield


@pytest.fixture(autouse=True)
def _no_test_leaves_a_trace() -> Iterator[None]:
    with put_back():
        yield
    collect_descriptors()


@pytest.fixture
def figures() -> Iterator[Figures]:
    """What this process counts during the test, empty at first."""
    before = counting.current()
    counting.use(Figures())
    yield counting.current()
    counting.use(before)


@pytest.fixture
def reached(figures: Figures) -> Callable[[str], float]:
    """How often a limit was reached during the test, by its key."""

    def times(limit: str) -> float:
        found = {(one.metric.name, *one.labels): one.numbers[0] for one in figures.read()}
        return found.get(("zscp_limit_reached_total", limit), 0.0)

    return times
