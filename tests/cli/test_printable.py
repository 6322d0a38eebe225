"""What a peer or an object says is printed as text: no command and no log lets it control a terminal."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import objects
import pytest
import structlog

from scp import telemetry
from scp.archive.outstanding import OutstandingCommitment
from scp.cli import lists_output, objects_output, output
from scp.cli.main import main
from scp.config.settings import LogSettings, Settings
from scp.errors import ZscpError
from scp.node.build import open_archive
from scp.syntaxes import EXPLICIT
from scp.viewing.search import COLUMNS

pytestmark = pytest.mark.quick

# The title of a terminal, C1's CSI, an override of direction, rich's markup that closes nothing, a surrogate.
EVIL = "A\x1b]0;owned\x07B\x9b31mC\u202eD[/bold]E[red]F\udc9bG\x7f"
TOLD = r"A\x1b]0;owned\x07B\x9b31mC\u202eD[/bold]E[red]F\udc9bG\x7f"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
WHEN = datetime(2026, 1, 2, tzinfo=UTC)


def test_all_that_controls_is_escaped() -> None:
    assert telemetry.printable(EVIL) == TOLD
    kept = "Buc^Jérôme=山田^太郎=やまだ\n[b] 5\u200c °C"
    assert telemetry.printable(kept) == kept


def test_commitments(capsys: pytest.CaptureFixture[str]) -> None:
    one = OutstandingCommitment(EVIL, EVIL, 0, WHEN, 1, WHEN, EVIL)
    lists_output.commitments([one], json_wanted=False)
    assert capsys.readouterr().out.count(TOLD) == 3


@pytest.mark.parametrize("level", COLUMNS)
def test_tables(capsys: pytest.CaptureFixture[str], level: str) -> None:
    row = dict.fromkeys(COLUMNS[level], EVIL)
    objects_output.listing(level, [row], 0, json_wanted=False)
    shown = capsys.readouterr().out
    assert not CONTROL.search(shown)
    assert shown.count(TOLD) == len(row)


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    output.tell_faults([f"failed: {EVIL}"])
    output.show(f"{EVIL} is held")
    assert capsys.readouterr().out == f"failed: {TOLD}\n{TOLD} is held\n"


def test_json_is_escaped_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.as_json({"name": EVIL, "kept": "山田"})
    shown = capsys.readouterr().out
    assert not CONTROL.search(shown)
    assert "山田" in shown
    assert json.loads(shown) == {"name": EVIL, "kept": "山田"}


def test_the_end_of_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise ZscpError(EVIL)

    monkeypatch.setattr("scp.cli.main.app", fails)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == f"zscp: {TOLD}\n"


@pytest.mark.parametrize("shape", ["console", "json"])
def test_the_log(shape: Any) -> None:
    stream = io.StringIO()
    telemetry.configure(LogSettings(format=shape), stream)
    log = structlog.get_logger("zscp")
    log.warning("refused", calling_aet=EVIL, comment="one\ntwo", nested=[EVIL])
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        log.error("failed", exc_info=error)
    told = stream.getvalue()
    assert not CONTROL.search(told)
    assert "one\ntwo" not in told
    assert "Traceback" in told


@pytest.mark.parametrize("level", ["patient", "study", "series", "image"])
def test_ls(
    tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All the way: an object whose texts hold escape sequences, on any level."""
    tables: dict[str, dict[str, Any]] = {
        "storage": {"url": f"file://{tmp_path}/objects", "reserve": 0},
        "index": {"url": f"sqlite:///{tmp_path}/index.db"},
    }
    archive = open_archive(Settings.model_validate(tables))
    dataset = objects.described(objects.Shape(), "1.2.3")
    evil = "A\x1b]0;owned\x07B\u202eC[/bold]"
    dataset.PatientName = dataset.PatientID = dataset.StudyDescription = dataset.SeriesDescription = evil
    data = objects.written(dataset, explicit=True, little=True)
    archive.ingest(objects.as_received(data, EXPLICIT, sop_instance="1.2.3"))
    archive.close()
    config = tmp_path / "zscp.toml"
    urls = (tables["storage"]["url"], tables["index"]["url"])
    config.write_text('[storage]\nurl = "{}"\n[index]\nurl = "{}"\n'.format(*urls), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["zscp", "ls", "--level", level, "-c", str(config)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    shown = capsys.readouterr()
    assert not CONTROL.search(shown.out + shown.err)
    assert level == "image" or r"\x1b" in shown.out
