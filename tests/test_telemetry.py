"""The log: its shapes, what it leaves out, and one event a request."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from pynetdicom.utils import decode_bytes

from scp import telemetry
from scp.config.settings import LogSettings
from scp.errors import DuplicateRejected

pytestmark = pytest.mark.quick


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is the process's: leave it as it was found."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    names = ("pynetdicom", "pynetdicom.utils", "pydicom", "py.warnings")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in names:
        logging.getLogger(name).setLevel(levels[name])
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines() -> Any:
    """Configure, and return how to read what was logged since."""
    stream = io.StringIO()

    def read(**choices: Any) -> list[dict[str, Any]]:
        if choices:
            telemetry.configure(LogSettings(**choices), stream)
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    read(level="info")
    return read


def test_json_lines_where_there_is_no_terminal(lines: Any) -> None:
    structlog.get_logger("zscp").info("started", port=11112)
    (line,) = lines()
    assert (line["event"], line["level"], line["port"]) == ("started", "info", 11112)
    moment = datetime.fromisoformat(line["timestamp"])
    assert moment.utcoffset() == datetime.now(UTC).utcoffset()


def test_readable_lines_on_a_terminal() -> None:
    stream = Terminal()
    telemetry.configure(LogSettings(), stream)
    structlog.get_logger("zscp").info("started", port=11112)
    assert "started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(("shape", "stream"), [("json", Terminal()), ("console", io.StringIO())])
def test_the_shape_can_be_chosen(shape: Any, stream: io.StringIO) -> None:
    telemetry.configure(LogSettings(format=shape), stream)
    structlog.get_logger("zscp").info("started")
    assert stream.getvalue().startswith("{") == (shape == "json")
    assert "\x1b" not in stream.getvalue()


def test_the_level_filters(lines: Any) -> None:
    lines(level="warning")
    structlog.get_logger("zscp").info("hidden")
    structlog.get_logger("zscp").warning("shown")
    logging.getLogger("somebody").info("hidden")
    assert [line["event"] for line in lines()] == ["shown"]


def test_libraries_log_through_the_same_from_warning_on(lines: Any) -> None:
    lines(level="debug")
    logging.getLogger("pynetdicom.assoc").info("hidden")
    logging.getLogger("pynetdicom.assoc").warning("peer said %d", 5)
    logging.getLogger("alembic.runtime").error("bad")
    assert [(line["logger"], line["event"]) for line in lines()] == [
        ("pynetdicom.assoc", "peer said 5"),
        ("alembic.runtime", "bad"),
    ]


def test_texts_of_peers_that_are_not_ascii_are_no_errors_of_the_node(lines: Any) -> None:
    """Found by the soak: pynetdicom logged a traceback for each such item of an association request."""
    lines(level="debug")
    with suppress(ValueError):
        decode_bytes(b"1.2.\x95")
    assert lines() == []


def test_configuring_again_replaces_and_keeps_the_handlers_of_others(lines: Any) -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    lines(level="info")
    structlog.get_logger("zscp").info("once")
    assert len(lines()) == 1
    assert other in logging.getLogger().handlers


def test_context_stands_in_every_line(lines: Any) -> None:
    with structlog.contextvars.bound_contextvars(association="a1"):
        structlog.get_logger("zscp").info("one")
        logging.getLogger("pynetdicom").warning("two")
    assert [line["association"] for line in lines()] == ["a1", "a1"]


def fail_beside(secret: str) -> None:
    raise RuntimeError(f"no {len(secret)}")


@pytest.mark.parametrize("shape", ["json", "console"])
def test_tracebacks_are_rendered_without_local_variables(shape: Any) -> None:
    stream = io.StringIO()
    telemetry.configure(LogSettings(format=shape), stream)
    try:
        fail_beside("Doe" + "^John")
    except RuntimeError:
        structlog.get_logger("zscp").exception("broken")
    assert "RuntimeError: no 8" in stream.getvalue()
    assert "Traceback" in stream.getvalue()
    assert "Doe^John" not in stream.getvalue()


@pytest.mark.parametrize(
    "key", ["patient_name", "patient_id", "patient_birth_date", "PatientName", "PatientID"]
)
def test_patients_are_named_only_where_that_was_chosen(lines: Any, key: str) -> None:
    structlog.get_logger("zscp").info("query", **{key: "Doe^John"})
    assert "Doe^John" not in json.dumps(lines())
    lines(patients=True)
    structlog.get_logger("zscp").info("query", **{key: "Doe^John"})
    assert lines()[-1][key] == "Doe^John"


def test_python_warnings_quote_values_and_are_held_back(lines: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        lines(level="info")
        warnings.warn("Invalid value for VR PN: 'Doe^John'", stacklevel=1)
        assert lines() == []
        lines(patients=True)
        warnings.warn("Invalid value for VR PN: 'Doe^John'", stacklevel=1)
        assert "Doe^John" in lines()[-1]["event"]
        logging.captureWarnings(False)


def test_pydicom_quotes_values_and_is_held_back(lines: Any) -> None:
    lines(level="info")
    logging.getLogger("pydicom").warning("Invalid value for VR PN: 'Doe^John'")
    assert lines() == []
    lines(patients=True)
    logging.getLogger("pydicom").warning("Invalid value for VR PN: 'Doe^John'")
    assert "Doe^John" in lines()[-1]["event"]


# ---- One event a request ----


def test_a_request_is_one_line(lines: Any) -> None:
    with telemetry.request("c-store", calling_aet="CT1", association="a1") as event:
        event.add(bytes_received=100, bytes_kept=29)
        event.add(status=0x0000, bytes_kept=30)
    (line,) = lines()
    assert line["event"] == "c-store"
    assert (line["calling_aet"], line["association"]) == ("CT1", "a1")
    assert (line["bytes_received"], line["bytes_kept"], line["status"]) == (100, 30, "0x0000")
    assert (line["outcome"], line["level"]) == ("ok", "info")
    assert 0 <= line["duration_ms"] < 10_000


def test_what_is_bound_stands_in_the_lines_within_and_not_after(lines: Any) -> None:
    with telemetry.request("c-store", calling_aet="CT1"):
        structlog.get_logger("zscp").info("within")
    structlog.get_logger("zscp").info("after")
    within, _, after = lines()
    assert within["calling_aet"] == "CT1"
    assert "calling_aet" not in after


def test_an_error_that_escapes_is_noted_and_raised_on(lines: Any) -> None:
    def store() -> None:
        with telemetry.request("c-store") as event:
            event.add(bytes_received=5)
            raise DuplicateRejected("held already")

    with pytest.raises(DuplicateRejected):
        store()
    (line,) = lines()
    assert (line["outcome"], line["reason"], line["level"]) == (
        "DuplicateRejected",
        "held already",
        "warning",
    )
    assert line["bytes_received"] == 5
    assert "exception" not in line


def test_an_error_that_nobody_meant_shows_its_place(lines: Any) -> None:
    with pytest.raises(KeyError), telemetry.request("c-find"):
        raise KeyError("x")
    assert "KeyError" in lines()[0]["exception"]
    assert sys._getframe().f_code.co_filename in lines()[0]["exception"]


def test_an_error_that_was_answered_is_noted_too(lines: Any) -> None:
    with telemetry.request("c-store") as event:
        event.fail(DuplicateRejected("held already"))
        event.add(status=0xA700)
    (line,) = lines()
    assert (line["outcome"], line["status"], line["level"]) == ("DuplicateRejected", "0xA700", "warning")


@pytest.mark.parametrize(
    ("status", "failed"),
    [
        (0x0000, False),
        (0xFF00, False),
        (0xFF01, False),
        (0xFE00, False),
        (0xB000, False),
        (0xB007, False),
        (0x0107, False),
        (0xA700, True),
        (0xC000, True),
        (0x0110, True),
        (0x0122, True),
    ],
)
def test_a_status_of_failure_is_a_warning(lines: Any, status: int, failed: bool) -> None:
    with telemetry.request("c-move") as event:
        event.add(status=status)
    (line,) = lines()
    assert (line["level"], line["outcome"]) == (("warning", "failed") if failed else ("info", "ok"))


def test_an_outcome_can_be_named(lines: Any) -> None:
    with telemetry.request("c-store") as event:
        event.add(outcome="duplicate")
    assert (lines()[0]["outcome"], lines()[0]["level"]) == ("duplicate", "info")


def test_a_line_that_waits_has_what_became_known_after_the_request(lines: Any) -> None:
    waiting: list[Callable[[object], object]] = []
    with telemetry.request("c-store") as event:
        event.add(outcome="kept", status=0)
        event.emit_by(waiting.append)
    assert lines() == []
    event.add(outcome="duplicate")
    waiting[0](None)
    (line,) = lines()
    assert (line["outcome"], line["status"], "duration_ms" in line) == ("duplicate", "0x0000", True)
