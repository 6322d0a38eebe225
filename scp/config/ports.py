"""The ports that a configuration asks for, and what each speaks."""

from __future__ import annotations

from dataclasses import dataclass

from scp.config.settings import Settings


@dataclass(frozen=True, slots=True)
class PortChoice:
    """A port by the key that names it; ``secure`` ones speak TLS and nothing else, others never do."""

    key: str
    number: int
    secure: bool

    @property
    def speaks(self) -> str:
        """What it speaks, as the log and the commands say it."""
        return "DICOM over TLS" if self.secure else "plain DICOM"


def ports(settings: Settings) -> tuple[PortChoice, ...]:
    """node.port, which is secure where there is a certificate and no tls.port; then tls.port."""
    tls, node = settings.tls, settings.node
    if tls.port is None:
        return (PortChoice("node.port", node.port, bool(tls.certificate)),)
    return PortChoice("node.port", node.port, False), PortChoice("tls.port", tls.port, True)
