"""A reload that a child of the supervisor asks for: who takes it up, and who does not."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from waiting import SECONDS, until

from scp.metrics.counting import NodeFigures
from scp.node.reloading import Reloading

ROOT = Path(__file__).parents[2]
SCRIPT = """
    import dataclasses, json, os, sys, threading, time
    from pathlib import Path
    from scp.metrics import counting
    from scp.metrics.counting import NodeFigures
    from scp.node.reloading import Reloading
    from scp.node.supervisor import Processes

    folder, figures, parent = Path(sys.argv[1]), NodeFigures(), os.getpid()

    class Role:
        def start(self): ...
        def turns(self): return True
        def stop(self): ...
        def reload(self):
            counting.current().reloaded()

    class Deaf(Role):
        def reload(self): ...

    class Asker(Role):
        def start(self):
            threading.Thread(target=self.ask).start()
        def ask(self):
            while not all(one.alive for one in figures.processes().values()):
                time.sleep(0.01)
            found = Reloading(figures, parent).ask(float(sys.argv[3]))
            (folder / "new").write_text(json.dumps(dataclasses.asdict(found)))
            (folder / "new").rename(folder / "found")

    def reload():
        if (folder / "bad configuration").exists():
            return False
        figures.own.reloaded()
        return True

    kinds = {"works": Role, "deaf": Deaf, "asks": Asker}
    processes = Processes(figures=figures)
    for name in sys.argv[2].split(","):
        figures.reserve(name)
    for name in sys.argv[2].split(","):
        processes.fork(name, kinds[name])
    processes.run(reload)
"""


def asked(folder: Path, names: str, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), names, str(seconds)]
    with subprocess.Popen(command, cwd=ROOT) as parent:
        until((folder / "found").exists, "the reload was asked for")
        parent.terminate()
        parent.wait(SECONDS)
    found: dict[str, Any] = json.loads((folder / "found").read_text())
    return found


def test_all_processes_take_it_up(tmp_path: Path) -> None:
    assert asked(tmp_path, "works,asks", SECONDS) == {"outcome": "taken up", "reason": "", "missing": []}


def test_one_that_does_not_is_named(tmp_path: Path) -> None:
    found = asked(tmp_path, "works,deaf,asks", 1)
    assert (found["outcome"], found["missing"]) == ("not taken up", ["deaf"])


def test_a_configuration_that_the_supervisor_refuses(tmp_path: Path) -> None:
    (tmp_path / "bad configuration").touch()
    found = asked(tmp_path, "works,asks", 1)
    assert (found["outcome"], found["missing"]) == ("not taken up", [])
    assert "supervisor" in found["reason"]


def test_nobody_else_is_signalled_once_the_supervisor_has_ended() -> None:
    found = Reloading(NodeFigures(), supervisor=4711, parent=lambda: 1).ask()
    assert found.outcome == "not asked"
