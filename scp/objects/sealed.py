"""The envelope of an encrypted file: a header, and chunks of 64 KB that are encrypted each by itself.

docs/format.md section 11 describes it byte by byte, and docs/examples/unseal.py reads it. The chunks are the
STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance, CRYPTO 2015), as age has it (C2SP, age.md, "Payload"): the nonce counts the chunks, and its
last byte says which is the last one. No chunk can be left out, exchanged or cut off, and each can be read
without the others. A nonce never comes twice with one AES key: each file has an AES key of its own, which
HKDF-SHA256 (RFC 5869) derives from the store's key and 32 random bytes. The name of the object goes into that
as well: a file in another object's place cannot be opened.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scp.config.keys import EncryptionKey
from scp.errors import ObjectDamaged, ObjectUnreadable
from scp.spool import Buffer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"zscp-enc"
CHUNK = 1 << 16
TAG = 16
_VERSION, _LOG_CHUNK = 1, 16
# Magic, version, log2 of the chunk's bytes, reserved; key id; the key's check; salt.
_HEADER = struct.Struct("<8sBBH32s8s32s")
HEADER = _HEADER.size
_NAMED = HEADER - 32  # the header without its salt
_INFO = b"zscp object\0"


@dataclass(frozen=True, slots=True)
class EnvelopeHeader:
    """What the header of an encrypted file says; ``raw`` are its bytes."""

    key_id: str
    check: bytes
    raw: bytes


def is_sealed(begin: bytes) -> bool:
    """Whether a file that begins so is encrypted: no Part 10 file, zstd frame or dictionary begins so."""
    return begin.startswith(MAGIC)


def sealed_size(size: int) -> int:
    """The size of the encrypted file of ``size`` bytes."""
    return HEADER + size + TAG * max(1, -(-size // CHUNK))


def plain_size(name: str, size: int) -> int:
    """The size of what an encrypted file of ``size`` bytes holds. Raises ObjectDamaged if none has that."""
    whole, rest = divmod(size - HEADER, CHUNK + TAG)
    if size < HEADER + TAG or 0 < rest < TAG or (rest == TAG and whole):
        raise ObjectDamaged(f"{name} is cut off; restore it from a copy")
    return size - HEADER - TAG * (whole + bool(rest))


def header_of(name: str, begin: bytes) -> EnvelopeHeader:
    """The header of an encrypted file. Raises ObjectDamaged, and ObjectUnreadable for a later version."""
    if len(begin) < HEADER:
        raise ObjectDamaged(f"{name} is cut off; restore it from a copy")
    _, version, chunk, zero, _, check, _ = _HEADER.unpack_from(begin)
    if (version, chunk, zero) != (_VERSION, _LOG_CHUNK, 0):
        raise ObjectUnreadable(
            f"{name} is in version {version} of zscp's envelope; version {_VERSION} is known"
        )
    return EnvelopeHeader(key_id_in(begin), check, begin[:HEADER])


def key_id_in(begin: bytes) -> str:
    """The id of the key in a header, of any version; control characters are escaped."""
    return ascii(begin[12:44].rstrip(b"\0").decode("latin-1"))[1:-1]


def seal(name: str, parts: Iterable[Buffer], key: EncryptionKey) -> Iterator[bytes]:
    """The encrypted file of ``parts``, one after another, under an object's name."""
    raw = _HEADER.pack(MAGIC, _VERSION, _LOG_CHUNK, 0, key.id.encode(), key.check, secrets.token_bytes(32))
    yield raw
    aes = _aes(name, raw, key)
    for nonce, chunk in _numbered(parts, CHUNK):
        yield aes.encrypt(nonce, chunk, None)


def unseal(
    name: str, header: EnvelopeHeader, chunks: Iterable[Buffer], key: EncryptionKey
) -> Iterator[bytes]:
    """What an encrypted file holds; ``chunks`` is all behind its header. Raises ObjectDamaged.

    Nothing of a chunk is given before it is known to be what was written.
    """
    # Imported where it is used: 13 ms and 8 MB that a process without encryption does without.
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only stores that encrypt

    aes = _aes(name, header.raw, key)
    try:
        for nonce, chunk in _numbered(chunks, CHUNK + TAG):
            yield aes.decrypt(nonce, chunk, None)
    except InvalidTag:
        raise ObjectDamaged(
            f"{name} is not what was written, or is the file of another object; restore it from a copy"
        ) from None


def _aes(name: str, raw: bytes, key: EncryptionKey) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - as above

    info = _INFO + raw[:_NAMED] + name.encode()
    return AESGCM(HKDF(SHA256(), 32, raw[_NAMED:], info).derive(key.secret))


def _numbered(parts: Iterable[Buffer], size: int) -> Iterator[tuple[bytes, Buffer]]:
    """Chunks of ``size`` bytes, the last one of fewer, each with its nonce. Most are not copied."""
    number, held = 0, bytearray()
    for part in parts:
        view = memoryview(part)
        while len(held) + len(view) > size:
            missing = size - len(held)
            chunk: Buffer = bytes(held) + view[:missing] if held else view[:size]
            held.clear()
            view = view[missing:]
            yield number.to_bytes(11, "big") + b"\0", chunk
            number += 1
        held += view
    yield number.to_bytes(11, "big") + b"\1", bytes(held)
