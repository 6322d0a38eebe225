"""Which keys of a configuration changed: by name, and never by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scp.audit.changes import changed_keys, is_of_security
from scp.config.keys import write_key
from scp.config.settings import Settings

pytestmark = pytest.mark.quick


def settings(**tables: Any) -> Settings:
    return Settings.model_validate(tables, by_alias=True, by_name=False)


CT1: dict[str, Any] = {"aet": "CT1", "host": "10.0.0.1", "port": 104}
CT2: dict[str, Any] = {"aet": "CT2", "host": "10.0.0.2", "port": 104}


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ({}, {}, []),
        ({}, {"access": {"allow": "known"}}, ["access.allow"]),
        ({"peer": [CT1]}, {"peer": [CT2, CT1]}, ["peer[CT2]"]),
        ({"peer": [CT1, CT2]}, {"peer": [CT1 | {"may": ["echo"]}, CT2]}, ["peer[CT1].may"]),
        ({"user": [{"name": "r"}]}, {"user": []}, ["user[r]"]),
        (
            {},
            {"limits": {"associations": 5}, "query": {"seconds": 1.0}},
            ["limits.associations", "query.seconds"],
        ),
    ],
)
def test_changed_keys(before: dict[str, Any], after: dict[str, Any], keys: list[str]) -> None:
    assert changed_keys(settings(**before), settings(**after)) == keys


def test_which_are_of_security() -> None:
    assert is_of_security(["limits.associations", "peer[CT1].may"])
    assert not is_of_security(["limits.associations"])


def test_keys_of_encryption_are_of_security(tmp_path: Path) -> None:
    key = tmp_path / "2026.key"
    write_key(key)
    store = {"name": "first", "url": f"file://{tmp_path}/objects"}
    keys = changed_keys(
        settings(storage=store), settings(storage=store | {"encryption_keys": [f"2026={key}"]})
    )
    assert keys == ["storage.encryption_keys"]
    assert is_of_security(keys)
