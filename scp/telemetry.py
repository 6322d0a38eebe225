"""zscp's log: structured lines, with one canonical event for each request.

Lines are text on a terminal, and JSON elsewhere. zscp's own are rendered and written directly; only what
libraries log goes through the standard library's handlers, which cost as much again. Patients' names, ids and
birth dates are dropped, unless ``log.patients`` allows them.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import StringIO
from typing import Any, Protocol, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from scp.errors import ZscpError, public
from scp.metrics import counting


class LogChoices(Protocol):
    """The log's settings; ``scp.config.settings.LogSettings`` has them."""

    @property
    def level(self) -> str:
        """The lowest level that is logged: debug, info, warning or error."""

    @property
    def format(self) -> str:
        """``console``, ``json``, or ``auto`` for console on a terminal and JSON elsewhere."""

    @property
    def patients(self) -> bool:
        """Whether names, ids and birth dates of patients may be logged."""


_PATIENT_KEYS = {"patientname", "patientid", "patientbirthdate"}
# What moves a terminal's cursor, changes its title or the order of what is read, and lone surrogates: C0 but
# the end of a line, DEL and C1, marks of direction (UAX 9), separators of lines, tags.
CONTROLS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_LIBRARIES = ("pynetdicom", "alembic", "httpx2", "httpcore2")
# It logs a traceback for each text of a peer that is not ASCII, and then goes on or raises, which is enough.
_NOISY = "pynetdicom.utils"
# Warnings of pydicom, by its logger or by Python's, quote the value that they are about: it may be a name.
_QUOTING = ("pydicom", "py.warnings")


class _Handler(logging.StreamHandler[TextIO]):
    """zscp's own handler, so that configuring again replaces this one and no other."""


class _Lines:
    """Writes rendered lines to the handler's stream, under its lock, so that lines never mix."""

    def __init__(self, handler: _Handler, name: str = "zscp") -> None:
        self._handler = handler
        self.name = name  # for structlog.stdlib.add_logger_name

    def info(self, line: str) -> None:
        """Write a line. A log that cannot be written must not fail the work that the line reports."""
        handler = self._handler
        handler.acquire()
        try:
            handler.stream.write(line + handler.terminator)
            handler.flush()
        except (OSError, ValueError):
            handler.handleError(logging.makeLogRecord({"name": self.name, "msg": line}))
        finally:
            handler.release()

    debug = warning = error = critical = exception = msg = log = info


def configure(log: LogChoices, stream: TextIO | None = None) -> None:
    """Send zscp's log and that of the libraries to ``stream``, by default standard error.

    May be called again, with other choices.
    """
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[log.level.upper()]
    shared, renderers = _processors(log.patients), _renderers(log, stream)
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *name: _Lines(handler, *name),
        cache_logger_on_first_use=False,  # a cached logger would outlive the next configure()
    )
    _route_standard_logging(handler, level, log.patients)


def _processors(patients: bool) -> list[Processor]:
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    return [*processors, _tell, _note] if patients else [*processors, redact, _tell_publicly, _note]


def _renderers(log: LogChoices, stream: TextIO) -> list[Processor]:
    """The last processors. Tracebacks stay plain: structlog's richer ones show local variables, and with
    them the dataset that was worked on.
    """
    terminal = stream.isatty()
    if log.format == "console" or (log.format == "auto" and terminal):
        return [_printable, structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _route_standard_logging(handler: logging.Handler, level: int, patients: bool) -> None:
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, _Handler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.getLogger(_NOISY).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    for name in _QUOTING:
        logging.getLogger(name).setLevel(max(level, logging.WARNING) if patients else logging.CRITICAL)


def printable(text: str) -> str:
    """Text of a peer or an object, for a terminal: control characters as \\x1b or \\u202e."""
    return CONTROLS.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return (
        found[0].encode("ascii", "backslashreplace").decode("ascii")
        if found[0] > "\x7f"
        else f"\\x{ord(found[0]):02x}"
    )


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Each text in one line, but a traceback; what is nested is shown by its repr, which escapes."""
    for key, value in event.items():
        if isinstance(value, str):
            told = printable(value)
            event[key] = told if key == "exception" else told.replace("\n", "\\n")
    return event


def _traceback(out: TextIO, error: ExcInfo) -> None:
    told = StringIO()
    structlog.dev.plain_traceback(told, error)
    out.write(printable(told.getvalue()))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop the keys that identify a patient, such as ``patient_name`` and ``PatientID``."""
    for key in [key for key in event if _names_patient(key)]:
        del event[key]
    return event


def _tell(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Errors among the values become their messages."""
    for key, value in event.items():
        if isinstance(value, BaseException) and key != "exc_info":
            event[key] = str(value)
    return event


def _tell_publicly(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """As :func:`_tell`, without the values that messages quote; tracebacks become text here."""
    for key, value in event.items():
        if isinstance(value, BaseException) and key != "exc_info":
            event[key] = public(value)
    error = _error_of(event.pop("exc_info", None))
    if error is not None:
        event["exception"] = _public_traceback(error)
    return event


# What a line of the log is about, the first that it has.
_ABOUT = ("calling_aet", "destination", "peer", "sop_instance", "process", "path", "limit")


def _note(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep the last warnings and errors where the node's page finds them."""
    if (level := event.get("level", "")) in ("warning", "error", "critical"):
        about = next((str(event[key]) for key in _ABOUT if event.get(key)), "")
        counting.trouble(level, str(event.get("event", "")), str(event.get("reason", "")), about)
    return event


def _error_of(given: object) -> BaseException | None:
    """The error that a line is about: given itself, as sys.exc_info() has it, or as True for the current."""
    if isinstance(given, tuple):
        given = given[1]
    found = given if isinstance(given, BaseException) or not given else sys.exc_info()[1]
    return found if isinstance(found, BaseException) else None


def _public_traceback(error: BaseException) -> str:
    """A traceback whose messages quote no value: not its own, nor those of the errors that led to it."""
    text = "".join(traceback.format_exception(error))
    seen: set[int] = set()
    following: list[BaseException | None] = [error]
    while following:
        one = following.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            following += [one.__cause__, one.__context__]
            text = text.replace(f": {one}", f": {public(one)}") if str(one) else text
    return text.rstrip("\n")


@lru_cache(1024)  # keys are few, and the same in every line
def _names_patient(key: str) -> bool:
    return key.replace("_", "").lower() in _PATIENT_KEYS


def limit_reached(limit: str, event: str, **values: Any) -> None:
    """Count that a limit was reached, and warn of it; ``values`` name the peer, and say what to do."""
    counting.limit(limit)
    structlog.get_logger("zscp").warning(event, limit=limit, **values)


class RequestEvent:
    """What is known of a request so far; it becomes one line when the request ends."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._failed = self._incomplete = False
        self._class = "none"
        self._emit_by: Callable[[Callable[[object], object]], None] | None = None

    def add(self, **values: Any) -> None:
        """Add to the line. ``status`` is a DIMSE status as a number; a failure makes the line a warning."""
        status = values.get("status")
        if isinstance(status, int):
            self._failed = self._failed or is_failure(status)
            self._class = status_class(status)
            values["status"] = f"0x{status:04X}"
        self._values |= values

    def answered(self, http_status: int) -> None:
        """Note the status of HTTP that a request was answered with; a refusal makes the line a warning."""
        refused = http_status >= 400
        self._failed, self._class = self._failed or refused, "failure" if refused else "success"
        self._values["http_status"] = http_status

    def fail(self, error: BaseException) -> None:
        """Note that the request failed with ``error``, where the caller answers it instead of raising."""
        self._failed = True
        self.add(outcome=type(error).__name__, reason=error)
        if isinstance(error, ZscpError) and error.limit:
            self.reached(error.limit)
        if not isinstance(error, ZscpError):  # a bug, or a fault of the machine: the traceback is needed
            self.add(exc_info=error)

    def reached(self, limit: str) -> None:
        """Count that the request reached a limit, and name that in the line."""
        counting.limit(limit)
        self.add(limit=limit)

    def warn(self, reason: str) -> None:
        """Note that the request was answered, but not all of it could be done: the line is a warning."""
        self._incomplete = True
        self.add(reason=reason)

    def emit_by(self, then: Callable[[Callable[[object], object]], None]) -> None:
        """Write the line once ``then`` calls what it is given, with anything; not before the request ends."""
        self._emit_by = then

    def end(self, name: str, milliseconds: float) -> None:
        """Write the line, now or when its time has come; :func:`request` does so at the end of its block."""
        if self._emit_by is None:
            self.emit(name, milliseconds)
        else:
            self._emit_by(lambda _: self.emit(name, milliseconds))

    def emit(self, name: str, milliseconds: float) -> None:
        """Write the line, and count."""
        logger = structlog.get_logger("zscp")
        write = logger.warning if self._failed or self._incomplete else logger.info
        outcome = {"outcome": "failed" if self._failed else "incomplete" if self._incomplete else "ok"}
        write(name, duration_ms=round(milliseconds, 1), **(outcome | self._values))
        counting.request(name, self._class, milliseconds / 1000, self._values)


@contextmanager
def request(name: str, **bound: Any) -> Iterator[RequestEvent]:
    """One canonical event for the request that the block answers, such as ``c-store``.

    ``bound`` is added to the event and to every line that is logged meanwhile. An error that leaves the
    block is noted and raised again.
    """
    event = RequestEvent()
    event.add(**bound)
    started = time.perf_counter()
    with structlog.contextvars.bound_contextvars(**bound):
        try:
            yield event
        except BaseException as error:
            event.fail(error)
            raise
        finally:
            event.end(name, (time.perf_counter() - started) * 1000)


def is_failure(status: int) -> bool:
    """Whether a DIMSE status is of the failure class of PS3.7 C.1.

    Success is 0x0000, pending 0xFF00 and 0xFF01, cancel 0xFE00; warnings are 0x0001, 0x0107, 0x0116
    and 0xBxxx.
    """
    passing = {0x0000, 0x0001, 0x0107, 0x0116, 0xFE00, 0xFF00, 0xFF01}
    return status not in passing and status >> 12 != 0xB


def status_class(status: int) -> str:
    """The class of a DIMSE status (PS3.7 Annex C), as the metrics name it."""
    if is_failure(status):
        return "failure"
    return {0x0000: "success", 0xFE00: "cancel", 0xFF00: "pending", 0xFF01: "pending"}.get(status, "warning")
