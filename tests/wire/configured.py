"""Configurations for tests, and what lies in their folders."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scp.archive.encode import as_received
from scp.config.link import link
from scp.config.settings import Settings
from scp.config.sources import OTHER_STORES
from scp.index.index import Index
from scp.index.queue import Lease
from scp.model import Received
from scp.objects import landing, part10
from scp.objects.trash import Trash

from .peers import Sent

_PROJECT = Path(__file__).parents[2]


# What makes the table of the first store, where a test's objects lie elsewhere than in a folder.
elsewhere: ContextVar[Callable[[], dict[str, Any]] | None] = ContextVar("elsewhere", default=None)


def tables_of(root: Path, tables: dict[str, Any]) -> dict[str, Any]:
    """A configuration in a folder, on loopback, on a free port; ``tables`` go over it.

    ``shipped`` among them leaves what is not named as it is shipped.
    """
    plain: dict[str, Any] = {
        "node": {"host": "127.0.0.1", "port": 0},
        # Encoded before the response: what is stored is there at once, in its form. tests/wire/test_behind.py
        # is about the other way.
        "storage": {"url": f"file://{root}/objects", "reserve": 0, "backlog": 0},
        "cache": {"bytes": 0},  # what is served is decoded each time
        "index": {"url": f"sqlite:///{root}/index.db"},
    }
    if (make := elsewhere.get()) is not None:
        plain["storage"] |= {**make(), "spool": plain["storage"]["url"]}
    tables = dict(tables)
    if tables.pop("shipped", False):
        del plain["storage"]["backlog"], plain["cache"]["bytes"]
    merged = {key: {**plain[key], **tables.get(key, {})} for key in plain}
    others = {key: table for key, table in tables.items() if key != "tiers"}
    if "tiers" in tables:
        others[OTHER_STORES] = tables["tiers"]
    return {**others, **merged}


def settings_of(tables: dict[str, Any]) -> Settings:
    return link(Settings.model_validate(tables, by_alias=True, by_name=False))[0]


def stored_files(objects: Path) -> list[Path]:
    """All but what lies in folders of another use: on its way, trash, set aside, and the archive's mark."""
    others = {".incoming", ".landing", ".trash", ".damaged", ".zscp", ".attempts"}
    return sorted(p for p in objects.rglob("*") if p.is_file() and not others & {*p.parts})


def trashed_contents(objects: Path) -> list[str]:
    """The SHA-256 of what was received, of each object in the trash."""
    return sorted(one.received_sha256 for one in Trash({"": objects}).entries() if one.state == "gone")


def journal(objects: Path) -> list[Path]:
    """What lies in the journal besides the locks."""
    return sorted(p for p in (objects / ".incoming").rglob("*") if p.is_file() and p.name != "lock")


def free_claims(index: Index) -> None:
    """As if the time had passed that the claims of the dead last."""
    later = datetime.now(UTC) + timedelta(hours=1)
    index.claims.claim(Lease("test", later, later), [])


def environment(helpers: bool = False) -> dict[str, str]:
    """That of a process of zscp; with ``helpers`` of one that imports those of the tests, too."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZSCP_")}
    folders = [_PROJECT, _PROJECT / "tests"] if helpers else [_PROJECT]
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def as_toml(tables: dict[str, Any]) -> str:
    """The few shapes of TOML that the tests need."""
    lines = []
    several = (
        {"storage": [tables["storage"], *tables.get(OTHER_STORES, [])]} if OTHER_STORES in tables else {}
    )
    for name, table in (tables | several).items():
        if name == OTHER_STORES:
            continue
        for one in table if isinstance(table, list) else [table]:
            lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in one.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def left_by_the_dead(root: Path, sent: Sent, **changes: Any) -> None:
    """What a process leaves that dies between writing a record and answering for it."""
    log = landing.LandingLog(root / "objects", segment=1 << 20)
    uids = {"sop_class_uid": sent.sop_class, "sop_instance_uid": sent.instance}
    what = {"transfer_syntax": sent.syntax, "dataset": sent.data, "received_at": datetime.now(UTC)}
    received = Received(**{**uids, **what, "calling_aet": "A", "called_aet": "B", **changes})
    log.sync(log.write(part10.head(as_received(received)), received.dataset))
    fcntl.flock(log._own_lock, fcntl.LOCK_UN)  # also where a process that is being forked now has it, too
    os.close(log._own_lock)
