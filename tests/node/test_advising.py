"""A comparison for the page: a process of its own, looked at and ended."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from waiting import until

from scp.node.advising import Advising

# In the place of zscp: prints its arguments as JSON, waits for as long as it was told to, or fails.
SCRIPT = """
import json, sys, time
seconds = float(sys.argv[sys.argv.index("--seconds") + 1])
if seconds == 7:
    sys.exit("zscp: the archive cannot be opened")
time.sleep(600 if seconds == 600 else 0)
if "--chart" in sys.argv:
    open(sys.argv[sys.argv.index("--chart") + 1], "w").write("<svg/>")
print(json.dumps({"asked": sys.argv[1:], "policy": "[[policy]]"}))
"""


def advising() -> Advising:
    return Advising(Path("/etc/zscp.toml"), (sys.executable, "-c", SCRIPT))


def test_a_comparison_gives_advice_and_a_chart() -> None:
    job = advising()
    assert job.report().state == "none"
    assert job.start(1)
    until(lambda: job.report().state == "done", "it is done")
    found = job.report()
    assert found.advice is not None
    assert found.advice["asked"][:7] == "advise --stored --json --seconds 1 --config /etc/zscp.toml".split()
    assert (found.chart, found.of) == ("<svg/>", 1)
    assert json.dumps(found.advice)


def test_one_runs_at_a_time_and_can_be_ended() -> None:
    job = advising()
    assert job.start(600)
    assert not job.start(1)
    assert job.report().state == "running"
    job.cancel()
    until(lambda: job.report().state != "running", "it has ended")
    assert job.report().state == "ended"
    assert job.start(1)
    until(lambda: job.report().state == "done", "the next one is done")


def test_why_it_failed_is_said() -> None:
    job = advising()
    job.start(7)
    until(lambda: job.report().state == "failed", "it has failed")
    assert job.report().fault.strip() == "zscp: the archive cannot be opened"


def test_a_comparison_does_not_outlive_the_process_that_began_it(tmp_path: Path) -> None:
    said = tmp_path / "ended"
    began = tmp_path / "began"
    script = f"""
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
try:
    open({str(began)!r}, "w").close()
    time.sleep(600)
except KeyboardInterrupt:
    open({str(said)!r}, "w").close()
"""
    job = Advising(None, (sys.executable, "-c", script))
    job.stop()  # where none runs
    assert job.start(600)
    until(began.exists, "it has begun")
    job.stop()
    assert job.report().state == "ended"
    assert said.exists()
