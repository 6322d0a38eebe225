"""Measure zscp beside DCMTK's receivers and Orthanc: ``python -m bench.run --help``.

Takes minutes to hours, uses all cores, and says nothing about a machine that does something else meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from bench import machine, measure, processes, report, soak
from bench.chart import chart
from bench.measure import Bench
from bench.objects import Objects
from bench.processes import ROOT, BenchError
from bench.receivers import RECEIVERS, installed, of_checkout
from bench.results import Key, Measure, Sample, Target, judge, quarters, summarise
from bench.scenarios import SCENARIOS, TARGETS, Scenario

NOTES = (
    "zscp makes every object durable (fsync, index) before it answers; storescp, dcmqrscp and Orthanc answer "
    "when the bytes are in the kernel's cache. storescp and dcmqrscp fork a process for each association. "
    "All receivers and clients use PDUs of 128 KB.",
)


# Something else that takes more of all cores changes the figures.
MOST_BUSY = 0.1


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="scenarios, with * and ?"
    )
    parser.add_argument(
        "--receivers", default="*", metavar="PATTERN", help="of these, receivers, with * and ?"
    )
    parser.add_argument("--list", action="store_true", help="list scenarios, receivers and targets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the objects; below 1 only to try it"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--merge", action="store_true", help="keep the scenarios in OUT that are not run now")
    parser.add_argument("--disk", type=Path, help="a folder on the disk to measure; default: the checkout")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="also zscp of another checkout that was set up, in turn",
    )
    parser.add_argument(
        "--undrained",
        action="store_true",
        help="do not wait until stored objects are encoded; no such figures",
    )
    parser.add_argument("--busy", action="store_true", help="measure although something else runs")
    parser.add_argument("--corpus", type=Path, help="folder with real objects; without it they are generated")
    parser.add_argument("--soak", type=int, default=soak.OBJECTS, metavar="N", help="objects of the soak")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(
        "--page", "--readme", action="store_true", help="also write the table into docs/benchmarks.md"
    )
    parser.add_argument(
        "--profile", action="store_true", help="run zscp under py-spy; the figures are worthless"
    )
    parser.add_argument(
        "--find", action="store_true", help="also run bench/index_find.py, which takes minutes"
    )
    return parser.parse_args(given)


def chosen(only: Sequence[str], pattern: str) -> list[Scenario]:
    """The scenarios to run, with the receivers to run them with."""
    found = []
    for scenario in SCENARIOS:
        names = tuple(name for name in scenario.receivers if fnmatchcase(name, pattern))
        if names and any(fnmatchcase(scenario.name, each) for each in only or ["*"]):
            found.append(replace(scenario, receivers=names))
    return found


def beside(scenario: Scenario, checkout: Path) -> Scenario:
    """The same with the zscp of another checkout after each of this one."""
    names = []
    for name in scenario.receivers:
        is_zscp = name in RECEIVERS and RECEIVERS[name].program == "zscp"
        names += [name, of_checkout(name, checkout)] if is_zscp else [name]
    return replace(scenario, receivers=tuple(names))


def not_slower(measured: Iterable[Key], checkout: Path) -> list[Target]:
    """That no scenario takes a tenth more time, or processor time, than with the zscp of another checkout."""
    measures: tuple[Measure, ...] = ("time", "cpu")
    return [
        Target((scenario, name.replace(f", {checkout.name}", "", 1)), measure, 1.1, (scenario, name))
        for scenario, name in measured
        for measure in measures
        if f", {checkout.name}" in name
    ]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measured(bench: Bench, scenario: Scenario, rounds: int) -> list[Sample]:
    samples: list[Sample] = []
    say(f"{scenario.name}: {scenario.title}")
    for sample in measure.ACTIONS[scenario.action](bench, scenario, rounds):
        samples.append(sample)
        each = 1000 * sample.seconds / sample.objects
        say(f"  {sample.receiver:40} {sample.seconds:8.2f} s {each:8.2f} ms/object")
    return samples


def soaked(bench: Bench, scenario: Scenario, objects: int) -> dict[str, float]:
    say(f"{scenario.name}: {objects} objects")
    for last in soak.run(bench, scenario, scenario.receivers[0], objects):
        if len(last.resident) % 10 == 1:
            say(f"  {last.objects:8} stored, {last.resident[-1]:.0f} MB resident")
    first, final = quarters(list(last.resident))
    sizes = {"first": first, "last": final, "growth": last.growth}
    return {"objects": last.objects, "seconds": last.seconds, **sizes}


def kept_from(out: Path, described: dict[str, str]) -> tuple[list[Sample], dict[str, float]]:
    """The samples and the soak of an earlier run on the same machine; of another one they would be lies."""
    path = out / "results.json"
    if not path.exists():
        return [], {}
    before, samples, soak_before = report.read(path.read_text(encoding="utf-8"))
    for key in ("processor", "memory", "kernel", "scale", "zscp", "DCMTK", "Orthanc", "objects"):
        if before.get(key) != described[key]:
            raise BenchError(f"--merge: {key} was {before.get(key)}, is {described[key]}")
    return samples, soak_before


def run(asked: argparse.Namespace, folder: Path) -> report.Report:
    bench = Bench(folder, Objects(folder / "objects", asked.corpus, asked.scale), drains=not asked.undrained)
    if asked.profile:
        bench.profiles = asked.out.resolve()
        bench.profiles.mkdir(parents=True, exist_ok=True)
    others = machine.busy()
    if others > MOST_BUSY and not asked.busy:
        raise BenchError(
            f"{100 * others:.0f} % of the processor is in use by something else; end it, or say --busy"
        )
    described = machine.describe(folder, asked.rounds, asked.scale, asked.corpus is not None, others)
    scenarios = chosen(asked.only, asked.receivers)
    if asked.against is not None:
        asked.against = asked.against.resolve()
        scenarios = [beside(scenario, asked.against) for scenario in scenarios if scenario.action != "soak"]
    now = {scenario.name for scenario in scenarios}
    samples, soak_result = kept_from(asked.out, described) if asked.merge else ([], {})
    samples = [sample for sample in samples if sample.scenario not in now]
    failures: list[str] = []
    for scenario in scenarios:
        # A scenario that fails gives no figure at all; the hours that the others took are not lost with it.
        try:
            if scenario.action == "soak":
                soak_result = soaked(bench, scenario, asked.soak)
            else:
                samples += measured(bench, scenario, asked.rounds)
        except BenchError as error:
            failures.append(f"{scenario.name}: {error}")
            say(f"  FAILED: {error}")
    order = {scenario.name: index for index, scenario in enumerate(SCENARIOS)}
    samples.sort(key=lambda sample: order[sample.scenario])  # stable: receivers stay as they were
    summaries = summarise(samples)
    targets = TARGETS if asked.against is None else not_slower(summaries, asked.against)
    verdicts = tuple(judge(targets, summaries, soak_result.get("growth")))
    titles = {scenario.name: scenario.title for scenario in SCENARIOS}
    return report.Report(
        described, titles, tuple(samples), summaries, verdicts, soak_result, NOTES, tuple(failures)
    )


def listed() -> str:
    lines = [f"{s.name:20} {s.title}: {', '.join(s.receivers)}" for s in SCENARIOS]
    missing = [name for name, receiver in RECEIVERS.items() if not installed(receiver)]
    lines += ["", *(report.sentence(target) for target in TARGETS)]
    return "\n".join([*lines, *(["", f"not installed: {', '.join(missing)}"] if missing else [])])


def find() -> None:
    """The colleague's C-FIND bench, which has its own output."""
    if not (ROOT / "bench" / "index_find.py").exists():
        say("find: left out: there is no bench/index_find.py")
        return
    command = processes.python("-m", "bench.index_find")
    subprocess.run(command, cwd=ROOT, env=processes.environment(True), check=True)


def main(given: Sequence[str] | None = None) -> int:
    asked = arguments(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    if asked.list:
        print(listed())
        return 0
    if asked.profile and shutil.which("py-spy") is None:
        say("--profile takes py-spy, which is not installed")
        return 2
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=asked.disk or ROOT) as name:
        try:
            done = run(asked, Path(name))
        except BenchError as error:
            say(f"bench: {error}")
            return 1
    text = report.markdown(done)
    if not asked.profile:
        report.write(done, asked.out, chart(done.summaries, done.titles))
    if asked.page and not asked.profile:
        page = ROOT / "docs" / "benchmarks.md"
        page.write_text(report.into(page.read_text(encoding="utf-8"), text), encoding="utf-8")
    print(done.to_json() if asked.json else text)
    if asked.find:
        find()
    return 1 if done.failures else 0


if __name__ == "__main__":
    sys.exit(main())
