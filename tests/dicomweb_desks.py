"""DICOMweb without a node behind it: an archive that a test fills, settings of its own, and a client."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from desks import BASE, PORT, Recorded
from objects import Shape, as_received, phantom, written
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from scp.archive.archive import Archive
from scp.config.http import digest_of
from scp.config.link import link
from scp.config.rules import PolicyRule
from scp.config.settings import Settings
from scp.dimse.negotiation.contexts import check_stored
from scp.dimse.status import of_kept, status_of
from scp.index.sql import SqlIndex
from scp.node.rendering import rendering
from scp.objects.local import LocalStore
from scp.syntaxes import EXPLICIT
from scp.web.access.sessions import Sessions
from scp.web.dicomweb.app import DicomWebBefore
from scp.web.dicomweb.desk import DicomWebDesk, StoreRules

ROOT = "/dicom-web"
CT = "1.2.840.10008.5.1.4.1.1.2"
# The secret of each token that a test names.
SECRETS = {name: f"the token of {name}" for name in ("viewer", "writer", "held")}


def token(name: str, **keys: Any) -> dict[str, Any]:
    """A table of [[http.token]], whose secret is that of ``name``."""
    return {"name": name, "digest": digest_of(SECRETS[name]), **keys}


def bearer(name: str) -> dict[str, str]:
    """What a program with the token of ``name`` sends."""
    return bearer_of(SECRETS[name])


def bearer_of(secret: str) -> dict[str, str]:
    """What a program sends that has this for a token."""
    return {"Authorization": f"Bearer {secret}"}


def dicomweb_settings(peers: Iterable[dict[str, Any]] = (), **keys: Any) -> Settings:
    """Settings with a token that may find and get; ``keys`` are of [dicomweb], ``http`` of [http]."""
    http = {"port": PORT, "token": [token("viewer")], **keys.pop("http", {})}
    made = Settings.model_validate({"http": http, "peer": list(peers), "dicomweb": keys})
    linked, faults = link(made)
    assert not faults
    return linked


def image(uid: str, **changed: Any) -> Dataset:
    """A CT image; its series and study have the UIDs that its own begins with: study.series.image."""
    sent = phantom(Shape(rows=16, columns=16, noise=0.0))
    one = read_dataset(BytesIO(bytes(sent.dataset)), is_implicit_VR=False, is_little_endian=True)
    series = uid.rpartition(".")[0]
    one.SOPClassUID, one.SOPInstanceUID = CT, uid
    one.SeriesInstanceUID, one.StudyInstanceUID = series, series.rpartition(".")[0]
    one.PatientID, one.PatientName, one.Modality = "P1", "Miller^Anna", "CT"
    for key, value in changed.items():
        setattr(one, key, value)
    return one


@dataclass
class MadeDicomWeb:
    """DICOMweb on an archive of its own below ``folder``; ``settings`` may be changed between requests."""

    folder: Path
    settings: Settings = field(default_factory=dicomweb_settings)
    trail: Recorded = field(default_factory=Recorded)

    def __post_init__(self) -> None:
        rule = PolicyRule.model_validate({"name": "all", "stages": [{"form": "zstd"}]})
        index = SqlIndex.open(f"sqlite:///{self.folder}/index.db")
        self.archive = Archive(LocalStore(self.folder / "objects"), index, [rule])
        self.sessions = Sessions(lambda: self.settings.http)
        self.app = self.made_app()

    def made_app(self) -> DicomWebBefore:
        """The application, as after a start."""
        desk = DicomWebDesk(
            lambda: self.settings,
            lambda: self.archive,
            self.trail,
            rendering(lambda: self.archive),
            StoreRules(check_stored, status_of, of_kept),
        )
        return DicomWebBefore(PlainTextResponse("the page"), desk, self.sessions)

    def keep_as(self, form: str) -> None:
        """Store what comes from now on in a form; it is small, and would not gain by most of them."""
        stage = {"form": form, "wrap": "none"}
        self.archive.use_policy([PolicyRule.model_validate({"name": "all", "stages": [stage]})])

    def store(self, *images: Dataset, aet: str = "CT1") -> None:
        """Keep objects that came from ``aet``."""
        for one in images:
            stream = written(one, explicit=True, little=True)
            sent = as_received(stream, EXPLICIT, one.SOPClassUID, one.SOPInstanceUID)
            self.archive.ingest(replace(sent, calling_aet=aet))

    def client(self, name: str = "viewer", **choices: Any) -> TestClient:
        """A program with the token of ``name``; without any where that is empty."""
        headers = bearer(name) if name else {}
        return TestClient(self.app, base_url=f"{BASE}{ROOT}", headers=headers, **choices)

    def close(self) -> None:
        """Close the archive."""
        self.archive.close()
