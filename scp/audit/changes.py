"""What differs between two configurations, by the names of keys: values may be secrets, and are not told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scp.config.settings import Settings

# Who may do what, and what is recorded of it: a change of these is one of security.
_OF_SECURITY = ("access", "tls", "user", "peer", "audit", "log", "http", "dicomweb")
_OF_STORES = ".encryption_keys"  # the one key of a store that is


def changed_keys(before: Settings, after: Settings) -> list[str]:
    """The keys whose values differ, as ``peer[CT1].may``; an entry of a list that is new or gone is one."""
    return sorted(set(_differing("", before.model_dump(), after.model_dump())))


def is_of_security(keys: Iterable[str]) -> bool:
    """Whether any of these keys governs access, encryption or what is recorded."""
    return any(key.startswith(_OF_SECURITY) or key.endswith(_OF_STORES) for key in keys)


def _differing(path: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    first, second = _parts(before), _parts(after)
    if first is None or second is None:
        yield path
        return
    for key in {**first, **second}:
        inner = f"{path}{key}" if key.startswith("[") else f"{path}.{key}" if path else key
        if key in first and key in second:
            yield from _differing(inner, first[key], second[key])
        else:
            yield inner


def _parts(value: Any) -> dict[str, Any] | None:
    """What a table or a list of tables consists of; None for what is a value itself."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple)) and all(isinstance(one, Mapping) for one in value):
        named = [str(one.get("aet") or one.get("name") or number) for number, one in enumerate(value)]
        return {f"[{name}]": one for name, one in zip(named, value, strict=True)}
    return None
