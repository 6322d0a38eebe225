"""Python processes that are forked from one that has imported zscp, instead of started anew.

A process of zscp imports for a second of processor time before it does anything, and what makes its codec
processes for half of one (docs/decisions/0129). :class:`Python` takes a command
as ``subprocess.Popen`` does, and makes the same process in 20 ms: with its own process id, arguments,
environment, folder and streams, and the exit of an interpreter. It does not show how a process starts, and
what memory it begins with: tests of that use subprocess.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_IMPORTED = ("scp.cli.main", "scp.encoding.cage.nursery", "scp.node.supervisor", "pydicom", "pynetdicom")
# Commands import what they need when they run.
_IMPORTED_BY_COMMANDS = (
    "pydantic.type_adapter",
    "scp.config.load",
    "scp.node.service",
    "scp.lifecycle.rebuild",
    *(f"scp.cli.{path.stem}" for path in sorted((_ROOT / "scp" / "cli").glob("*_output.py"))),
)
_MOST_BYTES, _MOST_DESCRIPTORS, _MOST_WAITING = 1 << 17, 20, 100
_HIGH = 500  # descriptors from here on are out of the way of those that a process is given by number


class Python:
    """A process as of ``subprocess.Popen([sys.executable, …])``, as far as the tests and zscp use one."""

    def __init__(
        self,
        command: Sequence[object],
        *,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = None,
        stderr: Any = None,
        cwd: os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        text: bool = False,
    ) -> None:
        self.stdin: Any = None
        self.stdout: Any = None
        self.args = [str(each) for each in command[1:]]
        self.returncode: int | None = None
        order = {
            "arguments": self.args,
            "folder": str(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
            "numbers": [0, 1, 2, *pass_fds],
        }
        self._status = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._status.connect(_address())
        with ExitStack() as closed:
            nothing = closed.enter_context(Path(os.devnull).open("r+b", buffering=0))
            if stdin == subprocess.PIPE:
                stdin, ours = os.pipe()
                self.stdin = os.fdopen(ours, "w" if text else "wb")
                closed.callback(os.close, stdin)
            if stdout == subprocess.PIPE:
                ours, stdout = os.pipe()
                self.stdout = os.fdopen(ours, "r" if text else "rb")
                closed.callback(os.close, stdout)
            streams = [nothing if one == subprocess.DEVNULL else one for one in (stdin, stdout, stderr)]
            streams = [number if one is None else one for number, one in enumerate(streams)]
            numbers = [one if isinstance(one, int) else one.fileno() for one in streams]
            socket.send_fds(self._status, [json.dumps(order).encode()], [*numbers, *pass_fds])
        self.pid = int(self._status.recv(_MOST_BYTES))

    def __enter__(self) -> Python:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                stream.close()
        self.wait()

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Until it has ended, its exit status."""
        if self.returncode is None:
            ended = select.poll()  # not select: that one knows no descriptor above 1023
            ended.register(self._status, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._status.recv(_MOST_BYTES))
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def run(command: Sequence[object], *, timeout: float = 120, **more: Any) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run``, with the output captured as text."""
    files = [os.memfd_create(name) for name in ("stdout", "stderr")]
    try:
        process = Python(command, stdout=files[0], stderr=files[1], **more)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        output = [os.pread(each, os.fstat(each).st_size, 0).decode("utf-8", "replace") for each in files]
        return subprocess.CompletedProcess(process.args, status, *output)
    finally:
        for each in files:
            os.close(each)


def encode_beside_others() -> None:
    """Let threads that encode have their share of the cores, also in processes that are forked from now on.

    A node runs them only when no other wants a core. Beside other tests that take all cores, theirs stood
    still: a stage for 20 small objects took a minute.
    """
    for name in ("encoder", "recompress"):
        importlib.import_module(f"scp.lifecycle.{name}").yield_to_others = _nothing  # type: ignore[attr-defined]


def _nothing() -> None:
    pass


# -- the process that they are forked from ---------------------------------------------------------------

_found: dict[str, Any] = {}
_SHARED = "TESTS_FORK_FROM"


def share() -> None:
    """Have the processes that this one starts fork from the same one: each of its own imports for 2.5 s."""
    os.environ[_SHARED] = _address().removeprefix("\0")


def _address() -> str:
    """That of the process that forks, started when it is first needed. It ends with this one.

    Who asks before it has imported everything waits.
    """
    if not _found and _SHARED in os.environ:
        _found["address"] = f"\0{os.environ[_SHARED]}"
    if not _found:
        ours, theirs = socket.socketpair()
        listens = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        address = f"\0zscp-tests-{os.getpid()}"
        listens.bind(address)
        listens.listen(_MOST_WAITING)
        with theirs, listens:
            subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), str(listens.fileno())],
                cwd=_ROOT,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno(), listens.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        _found.update(socket=ours, address=address)
    return str(_found["address"])


def _serve(parent: socket.socket, listens: socket.socket) -> list[str]:
    """Fork for whoever asks; comes back in each process that is forked, with its command's arguments."""
    for name in (*_IMPORTED, *_IMPORTED_BY_COMMANDS):
        importlib.import_module(name)
    encode_beside_others()
    _build_the_commands()
    importlib.import_module("scp.encoding.cage.work").warm_up()
    with TemporaryDirectory() as folder:  # all that open an index find its statements compiled
        importlib.import_module("scp.index.sql").SqlIndex.open(f"sqlite:///{folder}/index.db").close()
    gc.collect()
    gc.freeze()
    _found["address"] = f"\0{os.fsdecode(listens.getsockname()[1:])}"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that wait for the others are not waited for
    while listens in select.select([parent, listens], [], [])[0]:
        asks = listens.accept()[0]
        if not os.fork():
            packet, descriptors, _, _ = socket.recv_fds(asks, _MOST_BYTES, _MOST_DESCRIPTORS)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if child := os.fork():
                _wait_for(child, asks, descriptors)
            for each in (asks, listens, parent):
                each.detach()  # closed below, as their numbers may be those that the process is given
            return _become(json.loads(packet), descriptors)
        asks.close()
    os._exit(0)


def _build_the_commands() -> None:
    """Else each process builds all commands before it runs one, which takes 0.1 s of processor time."""
    typer = importlib.import_module("typer.main")
    typer.get_command = functools.cache(typer.get_command)  # type: ignore[attr-defined]
    main = importlib.import_module("scp.cli.main")
    for name in typer.get_command(main.app).commands:
        typer.get_command(main.app_for([name]))
    typer.get_command(main.app)(["--version"], standalone_mode=False)


def _wait_for(child: int, asks: socket.socket, descriptors: list[int]) -> None:
    """Tell who asked how a process ended, and end."""
    for each in (0, 1, 2, *descriptors):
        os.close(each)
    with suppress(OSError):
        asks.send(str(child).encode())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        asks.send(str(status).encode())
    os._exit(0)


def _become(order: dict[str, Any], descriptors: list[int]) -> list[str]:
    """Take over what the order names; returns the arguments."""
    kept = [fcntl.fcntl(each, fcntl.F_DUPFD, _HIGH) for each in descriptors]
    os.closerange(3, _HIGH)
    for number, each in zip(order["numbers"], kept, strict=True):
        os.dup2(each, number)
        os.close(each)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.path[:0] = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    process = importlib.import_module("scp.encoding.cage.process")
    process.subprocess = types.SimpleNamespace(  # type: ignore[attr-defined]
        Popen=Python, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )
    return list(order["arguments"])


def _run(arguments: list[str]) -> None:
    """What the interpreter does with its arguments."""
    while arguments[0] == "-P":
        arguments.pop(0)
    kind, *rest = arguments
    main = types.ModuleType("__main__")
    if kind == "-m":
        folder, sys.argv = str(Path.cwd()), rest
        code = _code_of(main, rest[0])
    elif kind == "-c":
        folder, sys.argv = "", ["-c", *rest[1:]]
        code = compile(rest[0], "<string>", "exec")
    else:
        folder, sys.argv = str(Path(kind).parent), arguments
        main.__file__ = kind
        code = compile(Path(kind).read_bytes(), kind, "exec")
    sys.path.insert(0, folder)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _code_of(main: types.ModuleType, name: str) -> Any:
    """What ``-m`` runs, in ``main``."""
    main.__spec__ = importlib.util.find_spec(name)
    if main.__spec__ is not None and main.__spec__.submodule_search_locations:
        main.__spec__ = importlib.util.find_spec(f"{name}.__main__")
    assert main.__spec__ is not None, name
    main.__package__, main.__file__ = main.__spec__.parent, main.__spec__.origin
    return main.__spec__.loader.get_code(main.__spec__.name)  # type: ignore[union-attr]


def _to_the_end(arguments: list[str]) -> int:
    """Run what the arguments name, and all that an interpreter does before it ends; the exit status.

    Then the process ends at once. Taking down all modules would cost 0.3 s.
    """
    status: Any = None
    try:
        _run(arguments)
    except SystemExit as end:
        status = end.code
        if not isinstance(status, int | None):
            sys.stderr.write(f"{status}\n")
            status = 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    return int(status or 0)


if __name__ == "__main__":
    sys.modules["forked"] = sys.modules["__main__"]
    sys.path.pop(0)
    os._exit(_to_the_end(_serve(*(socket.socket(fileno=int(each)) for each in sys.argv[1:]))))
