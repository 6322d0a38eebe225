"""The alert rules and the dashboard name metrics that exist, and the rules say what they ought to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scp.metrics.catalogue import METRICS

CONF = Path(__file__).parents[2] / "conf" / "prometheus"
RULES, DASHBOARD = CONF / "alerts.yml", CONF / "grafana-dashboard.json"
CASES = tuple(Path(__file__).parent / name for name in ("alerts_test.yml", "slow_alerts_test.yml"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is missing; scripts/install-tools.sh installs it"
)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def series() -> set[str]:
    """The names that can stand in a query."""
    parts = ("_bucket", "_count", "_sum")
    histograms = {name for name, metric in METRICS.items() if metric.kind == "histogram"}
    return (METRICS.keys() - histograms) | {name + part for name in histograms for part in parts}


def named(text: str) -> set[str]:
    return set(re.findall(r"\bzscp_\w+", text))


def expressions() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        yield from (target["expr"] for target in panel["targets"])


@pytest.mark.quick
def test_what_the_rules_and_the_dashboard_name_exists() -> None:
    assert set().union(*(named(rule["expr"]) for rule in rules())) <= series()
    assert set().union(*map(named, expressions())) <= series()


@pytest.mark.quick
def test_the_dashboard_shows_every_metric() -> None:
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for text in expressions() for name in named(text)}
    assert METRICS.keys() - shown == set()


@pytest.mark.quick
def test_each_alert_says_what_happened_where_and_what_to_do() -> None:
    for rule in rules():
        assert re.search(r"\$labels\.(instance|job)", rule["annotations"]["summary"])
        assert rule["annotations"]["remedy"].endswith((".", "!"))
        assert rule["labels"]["severity"] in ("warning", "critical")


@pytest.mark.quick
def test_each_alert_is_tested() -> None:
    cases = [case for path in CASES for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    fired = {one["alertname"] for case in cases for one in case["alert_rule_test"] if one.get("exp_alerts")}
    assert {rule["alert"] for rule in rules()} - fired == set()


def promtool(*arguments: object) -> str:
    command, folder = [str(PROMTOOL), *map(str, arguments)], CASES[0].parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_the_rules_are_as_prometheus_reads_them() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", RULES)


@needs_promtool
def test_the_rules_fire_when_they_ought_to() -> None:
    promtool("test", "rules", *CASES)


@needs_promtool
def test_the_queries_of_the_dashboard_can_be_asked(tmp_path: Path) -> None:
    """As rules, of which promtool checks the syntax."""
    asked = [text.replace("$__rate_interval", "5m").replace("$instance", ".*") for text in expressions()]
    group = {"name": "dashboard", "rules": [{"record": f"q{n}", "expr": one} for n, one in enumerate(asked)]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    promtool("check", "rules", tmp_path / "rules.yml")
