"""Ways of audit messages out of a process: a file, syslog over UDP, syslog over TLS."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from scp.audit.syslog import AuditMessage, framed, syslog

_SECONDS = 5.0  # to connect, and to send one message
_MODE = 0o640  # the group may read, as it may the objects


class AuditTransport(Protocol):
    """Where messages go. After an error the next :meth:`send` begins anew."""

    def send(self, message: AuditMessage) -> None:
        """Hand a message over. Raises OSError; the message is then sent again."""

    def close(self) -> None:
        """Let go of everything."""


class AuditFile:
    """A file, one XML document a line, to which any number of processes append.

    Each line is one write to the end of the file, which Linux does as a whole. A file that was renamed or
    removed, as by logrotate, is made anew with the next message: no signal is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._torn = False  # the end of the file is a part of a line, as of a disk that was full

    def send(self, message: AuditMessage) -> None:
        """See :class:`AuditTransport`."""
        line = (b"\n" if self._torn else b"") + message.xml + b"\n"
        written = os.write(self._opened(), line)
        self._torn = written < len(line) and (self._torn or written > 0)
        if written < len(line):
            raise OSError(f"{self._path}: {written} of {len(line)} bytes were written")

    def _opened(self) -> int:
        """The file that has the path now."""
        if self._file >= 0:
            with suppress(FileNotFoundError):
                here, there = os.fstat(self._file), self._path.stat()
                if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                    return self._file
            self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, _MODE)
        if os.geteuid() == 0:
            self._give_away()
        self._torn = False
        return self._file

    def _give_away(self) -> None:
        """A file that root made belongs to the folder's owner: else the node could not append to it."""
        with suppress(OSError):
            folder = self._path.parent.stat()
            os.fchown(self._file, folder.st_uid, folder.st_gid)

    def close(self) -> None:
        """See :class:`AuditTransport`."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class SyslogUdp:
    """Syslog over UDP (RFC 5426, PS3.15 A.7): nobody tells whether a message arrived."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def send(self, message: AuditMessage) -> None:
        """See :class:`AuditTransport`."""
        if self._socket is None:
            self._socket = _udp(self._address)
        try:
            self._socket.send(syslog(message))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """See :class:`AuditTransport`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _udp(address: tuple[str, int]) -> socket.socket:
    """A socket that is connected, so that an error of an earlier message comes back with the next."""
    family, kind, protocol, _, target = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.connect(target)
    except OSError:
        made.close()
        raise
    return made


class SyslogTls:
    """Syslog over TLS (RFC 5425, PS3.15 A.6), on one connection that is kept.

    ``context`` reads the certificates, for each connection anew; it raises ValueError where a file cannot be
    used. Messages wait meanwhile: a file that is not there harms nothing but the trail.
    """

    def __init__(self, host: str, port: int, context: Callable[[], ssl.SSLContext]) -> None:
        self._address, self._context = (host, port), context
        self._socket: ssl.SSLSocket | None = None

    def send(self, message: AuditMessage) -> None:
        """See :class:`AuditTransport`."""
        try:
            if self._socket is not None and _is_closed(self._socket):
                self.close()
            if self._socket is None:
                self._socket = self._connected()
            self._socket.sendall(framed(syslog(message)))
        except OSError:
            self.close()
            raise

    def _connected(self) -> ssl.SSLSocket:
        try:
            context = self._context()
        except ValueError as error:
            raise OSError(str(error)) from error
        plain = socket.create_connection(self._address, _SECONDS)
        try:
            return context.wrap_socket(plain, server_hostname=self._address[0])
        except BaseException:
            plain.close()
            raise

    def close(self) -> None:
        """See :class:`AuditTransport`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_closed(connection: ssl.SSLSocket) -> bool:
    """Whether the collector has closed it: what is written then is lost without an error.

    A collector says nothing but what TLS itself has to say.
    """
    connection.setblocking(False)
    try:
        return not connection.recv(1)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    finally:
        connection.settimeout(_SECONDS)
