"""Certificates of a running node: read again at a reload, and warned of before they expire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from scp.background.loop import Every
from scp.config.certificates import expiry_warnings
from scp.config.credentials import credentials_of, renewed
from scp.config.settings import Settings, TlsSettings

_DAY_SECONDS = 86_400.0


def renewed_tls(before: TlsSettings, after: TlsSettings) -> TlsSettings:
    """TLS as it is from a reload on, its files read again; what each port speaks stays as it was.

    If a file cannot be used, everything stays: the certificate that is in use is better than none.
    """
    chosen = after
    if needs_restart(before, after):
        kept = {name: getattr(before, name) for name in ("port", "certificate", "key")}
        chosen = after.model_copy(update=kept)
    try:
        renewed(chosen)
    except (OSError, ValueError) as error:  # also of a file that goes away just now
        structlog.get_logger("zscp").error("certificates not reloaded", reason=str(error))
        return before
    return chosen


def needs_restart(before: TlsSettings, after: TlsSettings) -> bool:
    """Whether another set of ports is asked for, or another thing of them."""
    return (before.port, bool(before.certificate)) != (after.port, bool(after.certificate))


def warn_of_expiry(settings: Settings) -> None:
    """Log a warning for each certificate in use that has expired, or soon will."""
    for line in expiry_warnings(credentials_of(settings.tls).certificates, datetime.now(UTC)):
        structlog.get_logger("zscp").warning("certificate", reason=line)


def daily(settings: Callable[[], Settings]) -> Every:
    """The task that warns once a day; the start and each reload warn by themselves."""
    return Every("certificates", _DAY_SECONDS, lambda: warn_of_expiry(settings()))
