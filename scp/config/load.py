"""The configuration, read and checked, and the keys in it that have no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from scp.config.link import link
from scp.config.rules import rule_warnings
from scp.config.settings import Settings
from scp.config.sources import first_and_others, named, override, read_file, tell
from scp.errors import ConfigurationError


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file at ``path``, or the defaults, with those of ``environ`` over them.

    ConfigurationError names every fault: the file, the key, what is wrong, what would be right. Keys
    that do not fit together are reported once each key is right by itself.
    """
    tables = first_and_others(read_file(path)) if path else {}
    origins, faults = override(tables, environ, Settings)
    try:
        settings, unfit = link(Settings.model_validate(tables, by_alias=True, by_name=False))
        faults += (f"{named(key, origins)}: {what}" for key, what in unfit)
    except ValidationError as error:
        faults += tell(error, Settings, origins)
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults)
        raise ConfigurationError(f"{path or 'The environment'} cannot be used:{listed}")
    return settings


def warnings(settings: Settings) -> list[str]:
    """What is set but has no effect, a line each: ``zscp check`` shows them."""
    lines: list[str] = []
    for number, rule in enumerate(settings.policy):
        lines += (f"policy[{number}].{line}" for line in rule_warnings(rule))
        if not rule.match and number + 1 < len(settings.policy):
            lines.append(f"policy[{number}]: matches every object, so the rules below it are never reached")
    lines += (f"peer[{number}].certificate_name: {line}" for number, line in _never_shown(settings))
    for number, kept in enumerate(settings.retention):
        if kept.delete == "when full" and settings.storage.high_watermark is None:
            lines.append(f"retention[{number}].delete: has no effect without storage.high_watermark")
    for number, kept in enumerate(settings.retention[:-1]):
        if not kept.match:
            lines.append(f"retention[{number}]: matches every object, so those below it are never reached")
    return lines


def _never_shown(settings: Settings) -> Iterator[tuple[int, str]]:
    """Peers that must show a certificate where no port asks for any."""
    tls = settings.tls
    if tls.certificate and tls.asked_of_clients != "none":
        return
    for number, peer in enumerate(settings.peer):
        if peer.certificate_name:
            yield number, f"{peer.aet} can open no association: no port asks for certificates (tls.clients)"
