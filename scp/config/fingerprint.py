"""A fingerprint of a configuration: nodes that share one should run the same.

It leaves out what differs from node to node on purpose (where it listens, folders, how it logs), and secrets.
Files that the configuration names (certificates, keys) are known by their names alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from scp.config.settings import Settings

# By table: all of it, or some keys. Folders of files are each node's own; those of a URL to a server are not.
_OF_THE_NODE: Mapping[str, frozenset[str]] = {
    "node": frozenset({"host", "port", "workers"}),
    "http": frozenset({"host", "port", "names"}),
    "log": frozenset({"level", "format"}),
    "tls": frozenset({"certificate", "key", "ca"}),
    "storage": frozenset({"spool", "reserve"}),
    "lifecycle": frozenset({"workers", "max_cpu"}),
    "limits": frozenset({"memory", "node_memory"}),
}
_SECRET = ("password", "passcode", "secret", "access_key")
_PASSWORD = re.compile(r"(?<=//)[^/@]*@")  # of a URL, with the user's name
_FOLDERS = ("file://", "sqlite:///")


def fingerprint(settings: Settings) -> str:
    """12 hexadecimal digits; the same for the same configuration, on every node and after each start."""
    told = settings.model_dump(mode="json", by_alias=True)
    for table, keys in _OF_THE_NODE.items():
        told[table] = {key: value for key, value in told[table].items() if key not in keys}
    plain = json.dumps(_shared(told), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:12]


def _shared(value: Any) -> Any:
    """Without secrets, and with folders as nothing but their kind."""
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if not any(word in key for word in _SECRET)}
        return {key: _shared(one) for key, one in kept.items()}
    if isinstance(value, list):
        return [_shared(one) for one in value]
    if isinstance(value, str):
        plain = _PASSWORD.sub("@", value)
        return next((kind for kind in _FOLDERS if value.startswith(kind)), plain)
    return value
