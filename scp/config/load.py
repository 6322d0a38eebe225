"""The configuration, read and checked, and the keys in it that have no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from scp.config.link import link
from scp.config.places import line_of, lines_of
from scp.config.rules import rule_warnings
from scp.config.settings import Settings
from scp.config.sources import (
    Tables,
    first_and_others,
    line_told,
    named,
    override,
    read_text,
    tables_of,
    tell,
)
from scp.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ConfigurationFault:
    """What is wrong with a ``key``, and what would be right; the key is empty where the text is no TOML.

    ``line`` counts from 1; it is 0 for what comes from the environment, or stands nowhere.
    """

    line: int
    key: str
    what: str

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        return f"{line}{self.key}: {self.what}" if self.key else f"is not valid TOML: {self.what}"


@dataclass(frozen=True, slots=True)
class JudgedText:
    """The text of a configuration file, checked: its ``settings``, or None and its ``faults``."""

    settings: Settings | None
    faults: tuple[ConfigurationFault, ...] = ()

    @property
    def is_toml(self) -> bool:
        """Whether it could be read at all."""
        return not any(not fault.key for fault in self.faults)


def judge(text: str, environ: Mapping[str, str]) -> JudgedText:
    """What the text of a configuration file, with the variables of ``environ`` over it, comes to.

    Keys that do not fit together are reported once each key is right by itself.
    """
    try:
        tables = first_and_others(tables_of(text))
    except ValueError as error:
        return JudgedText(None, (ConfigurationFault(line_told(str(error)), "", str(error)),))
    origins, strange = override(tables, environ, Settings)
    faults = [ConfigurationFault(0, *fault) for fault in strange]
    settings, wrong = _validated(tables)
    lines = lines_of(text) if wrong else {}
    for key, what in wrong:
        line = 0 if key in origins else line_of(key, lines)
        faults.append(ConfigurationFault(line, named(key, origins), what))
    return JudgedText(None if faults else settings, tuple(faults))


def _validated(tables: Tables) -> tuple[Settings | None, list[tuple[str, str]]]:
    try:
        return link(Settings.model_validate(tables, by_alias=True, by_name=False))
    except ValidationError as error:
        return None, tell(error, Settings)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file at ``path``, or the defaults, with those of ``environ`` over them.

    ConfigurationError names every fault: the file, the line, the key, what is wrong, what would be right.
    """
    judged = judge(read_text(path) if path else "", environ)
    if judged.settings is not None:
        return judged.settings
    if not judged.is_toml:
        raise ConfigurationError(f"{path} {judged.faults[0]}")
    listed = "".join(f"\n  {fault}" for fault in judged.faults)
    raise ConfigurationError(f"{path or 'The environment'} cannot be used:{listed}")


def warnings(settings: Settings) -> list[str]:
    """What is set but has no effect, a line each: ``zscp check`` shows them."""
    lines: list[str] = []
    for number, rule in enumerate(settings.policy):
        lines += (f"policy[{number}].{line}" for line in rule_warnings(rule))
        if not rule.match and number + 1 < len(settings.policy):
            lines.append(f"policy[{number}]: matches every object, so the rules below it are never reached")
    lines += (f"http.oidc.{line}" for line in settings.http.oidc.warnings())
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
