"""Certificates, keys and authorities as they were last read: a file counts again at the next reload."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from scp.config.certificates import Certificate, read_certificates
from scp.config.settings import TlsSettings
from scp.config.tls import client_context, server_context


@dataclass(frozen=True, slots=True)
class Credentials:
    """What TLS needs; None where the configuration has no files for it.

    ``server`` is for associations that peers open. Of those to peers, ``to_host`` is for one whose
    certificate must have its host or address, ``to_name`` for one that has a ``certificate_name``.
    """

    server: ssl.SSLContext | None
    to_host: ssl.SSLContext | None
    to_name: ssl.SSLContext | None
    certificates: tuple[Certificate, ...]


# By what of the settings they come from. A process that is forked has those of its parent, so that one that
# is started in another's place needs no file.
_read: dict[tuple[str, ...], Credentials] = {}


def credentials_of(tls: TlsSettings) -> Credentials:
    """Those that were read last. Raises ValueError where they never were, and a file cannot be used."""
    return _read.get(_key(tls)) or renewed(tls)


def renewed(tls: TlsSettings) -> Credentials:
    """Read the files again. Raises ValueError where one cannot be used: what was read before stays."""
    own = (tls.certificate, tls.key)
    made = _read[_key(tls)] = Credentials(
        server=server_context(*own, tls.ca, tls.asked_of_clients) if tls.certificate else None,
        to_host=client_context(*own, tls.ca, check_host=True) if tls.ca else None,
        to_name=client_context(*own, tls.ca) if tls.ca else None,
        certificates=(
            *read_certificates("tls.certificate", tls.certificate),
            *read_certificates("tls.ca", tls.ca),
        ),
    )
    return made


def _key(tls: TlsSettings) -> tuple[str, ...]:
    return tls.certificate, tls.key, tls.ca, tls.asked_of_clients
