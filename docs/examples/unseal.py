"""Opens an encrypted file of a store, as docs/format.md section 11 describes it; needs only cryptography.

python unseal.py KEY-FILE STORE-FOLDER FILE > OUT
"""

import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK = 65536 + 16


def unseal(stored: bytes, name: str, key: bytes) -> bytes:
    """What an encrypted file holds; ``name`` is its path below the folder of the store."""
    if stored[:12] != b"zscp-enc" + bytes([1, 16, 0, 0]):
        raise SystemExit("this is no encrypted file of version 1")
    info = b"zscp object\0" + stored[:52] + name.encode()
    aes = AESGCM(HKDF(SHA256(), 32, stored[52:84], info).derive(key))
    plain, body = [], stored[84:]
    for number, at in enumerate(range(0, len(body), CHUNK)):
        last = at + CHUNK >= len(body)
        plain.append(aes.decrypt(number.to_bytes(11, "big") + bytes([last]), body[at : at + CHUNK], None))
    return b"".join(plain)


if __name__ == "__main__":
    key_file, store, path = map(Path, sys.argv[1:])
    secret = bytes.fromhex(key_file.read_text())
    sys.stdout.buffer.write(unseal(path.read_bytes(), path.relative_to(store).as_posix(), secret))
