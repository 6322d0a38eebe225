"""What tests of lossy stages share: pictures that may lose something, rules, and archives with a trash."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from objects import as_received
from wire.configured import settings_of, tables_of
from wire.peers import Sent, image

from scp.archive.archive import Archive
from scp.archive.replacement import Change
from scp.config.settings import Settings
from scp.index.promises import PROMISED_SINCE
from scp.model import Instance, Received
from scp.node.build import open_archive
from scp.syntaxes import EXPLICIT

MG = "1.2.840.10008.5.1.4.1.1.1.2"
# An object that came ten days ago is due.
DAYS = 10
NEAR = {"form": "jpegls", "max_error": 2}
SAME = {**NEAR, "uid": "same"}
J2K = {"form": "jpeg2000", "max_error": 8}


def picture(number: int = 1, **attributes: Any) -> Sent:
    """A mammogram of a kind, of 12 bits and with noise, which loss makes much smaller."""
    uid = f"1.2.826.0.1.77.{number}"
    given = {"ImageType": ["ORIGINAL", "PRIMARY"], "Modality": "MG", "StudyInstanceUID": "1.2.826.0.1.7"}
    return image(sop_class=MG, instance=uid, rows=96, seed=number, **(given | attributes))


def as_sent(sent: Sent, days: float = DAYS) -> Received:
    """A picture as it came so many days ago."""
    came = as_received(sent.data, sent.syntax, sent.sop_class, sent.instance)
    return replace(came, received_at=datetime.now(UTC) - timedelta(days=days))


def rules(stage: dict[str, Any], **match: Any) -> list[dict[str, Any]]:
    """A policy that keeps pictures as HTJ2K, and after a day as a lossy ``stage`` says."""
    lossy = {"after": "1d", "lossy": True, **stage}
    first = [{"form": "received"}, {"form": "htj2k", "after": "0s"}]
    return [{"name": "thin", "match": match or {"Modality": "MG"}, "stages": [*first, lossy]}]


def configured(root: Path, stage: dict[str, Any], **tables: Any) -> Settings:
    """The configuration of an archive in a folder."""
    return settings_of(tables_of(root, {"policy": rules(stage), **tables}))


def opened(settings: Settings, knows_promises: bool = True) -> Archive:
    """An archive that knows of all objects whether a storage commitment was answered."""
    archive = open_archive(settings)
    archive.clock.look()  # as a node does at its start; what is kept here came long ago
    if knows_promises:
        archive.index.meta.put({PROMISED_SINCE: "0"})
    return archive


def lossless(archive: Archive, one: Instance) -> bytes:
    """The dataset of an object as explicit VR little endian."""
    return b"".join(map(bytes, archive.fetch(one, [EXPLICIT]).chunks))


def samples(dataset: Any) -> np.ndarray:
    """The samples of a dataset with native pixel data."""
    return np.frombuffer(dataset.PixelData, "<u2").astype(int)


def made(archive: Archive, one: Instance) -> Change:
    """What the stage that is due makes of an object; it is not put in its place."""
    return archive.encode(one)
