"""The pure parts of the benchmark: what is made of samples. Nothing is timed here."""

from __future__ import annotations

import importlib
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest

from bench import report
from bench.clients import window_result
from bench.processes import BenchError
from bench.results import Sample, Target, judge, quarters, ratio, summarise
from bench.scenarios import SCENARIOS, TARGETS

pytestmark = pytest.mark.quick

OWN = Sample("store", "zscp", 10, 5_000_000, 1.0, 3.0, 1_000_000, (90.0, 120.0), cpu=0.5)
OTHER = Sample("store", "peer", 20, 10_000_000, 4.0, cpu=2.0)
SAMPLES = [OWN, OTHER, replace(OWN, seconds=9.0), replace(OWN, seconds=2.0)]
A, B = OWN.key, OTHER.key


def chart(*arguments: Any) -> str:
    """It loads matplotlib, which takes a second: only for those who draw one."""
    return str(importlib.import_module("bench.chart").chart(*arguments))


def made(samples: list[Sample] = SAMPLES) -> report.Report:
    summaries = summarise(samples)
    verdicts = judge([Target(A, "time", 1.5, B)], summaries, None)
    return report.Report(
        {"processor": "a|b"}, {"store": "Stores <&>"}, tuple(samples), summaries, tuple(verdicts)
    )


def test_rounds_become_their_median_with_its_spread() -> None:
    own = summarise(SAMPLES)[A]
    assert (own.rounds, own.seconds, own.fastest, own.slowest) == (3, 2.0, 1.0, 9.0)
    assert (own.ms, own.rate) == (200.0, 2.5)
    assert (own.drained, own.kept, own.peak) == (3.0, 1_000_000, 120.0)


def test_ratios_are_of_an_objects_time() -> None:
    summaries = summarise(SAMPLES)
    assert ratio(summaries, A, B) == 1.0  # 200 ms an object, both
    assert ratio(summaries, A, ("store", "missing")) is None


@pytest.mark.parametrize(
    ("target", "value", "reached"),
    [
        (Target(A, "time", 1.0, B), 1.0, True),
        (Target(A, "time", 0.9, B), 1.0, False),
        (Target(A, "speed", 1.1, B), 1.0, False),
        (Target(A, "drained", 1.5, B), 1.5, True),
        (Target(A, "cpu", 0.6, B), 0.5, True),
        (Target(A, "cpu", 0.6, ("store", "none")), None, None),
        (Target(("all", "zscp"), "peak", 100), 120.0, False),
        (Target(("soak", "zscp"), "growth", 1.05), 1.02, True),
        (Target(("store", "none"), "time", 1.0, B), None, None),
    ],
)
def test_targets(target: Target, value: float | None, reached: bool | None) -> None:
    (verdict,) = judge([target], summarise(SAMPLES), 1.02)
    assert verdict.value == (pytest.approx(value) if value else value)
    assert verdict.reached == reached


def test_the_table_has_a_row_each_and_names_the_machine() -> None:
    text = report.markdown(made())
    assert "| processor | a\\|b |" in text
    assert "| store: zscp, time ≤ 1.5 × peer | 1.00 | yes |" in text
    assert "| zscp | 2.00 | 1.00–9.00 | 200.00 | 50.00 | 2 | 3.0 | 20 % | 120 | 1 |" in text
    assert "|  | peer | 4.00 | 4.00–4.00 | 200.00 | 100.00 | 2 |  |  |  | 1.00 |" in text


def test_json_reads_back() -> None:
    machine, samples, soak = report.read(made().to_json())
    assert (machine, samples, soak) == ({"processor": "a|b"}, SAMPLES, {})


def test_where_every_receiver_failed_there_is_a_chart_of_nothing() -> None:
    assert ET.fromstring(chart({}, {})).tag.endswith("svg")


def test_the_chart_is_xml_with_a_bar_each() -> None:
    done = made()
    root = ET.fromstring(chart(done.summaries, done.titles))
    texts = [(each.text or "").strip() for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"zscp", "peer"} < set(texts)
    assert texts.count("200.00 ms") == 2


def test_a_document_keeps_what_is_outside_of_the_markers() -> None:
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.into(document, "new\n") == document.replace("old", "new")
    with pytest.raises(ValueError, match="lacks"):
        report.into("nothing here", "new\n")


def test_quarters() -> None:
    assert quarters([1, 1, 5, 5, 5, 5, 3, 3]) == (1, 3)
    assert quarters([2]) == (2, 2)


def test_targets_name_what_is_measured() -> None:
    names = {scenario.name for scenario in SCENARIOS} | {"all"}
    assert {key[0] for t in TARGETS for key in (t.of, t.than) if key} <= names


def test_window_results() -> None:
    line = "600 objects, 15.0 MB, window 16: 0.52 s, 1154/s, 29 MB/s, 0 refused"
    assert window_result(line) == (600, 16, 0.52)
    assert window_result('{"objects": 2, "window": 1, "seconds": 0.5}') == (2, 1, 0.5)
    with pytest.raises(BenchError):
        window_result("Traceback")
