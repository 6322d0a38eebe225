"""A node's day in a minute: store, find, get back, compare, and count what was saved.

Needs nothing but zscp's own environment; where DCMTK is installed its dcmsend is the sender. Everything
happens in a temporary folder and on loopback. Exit status 1 says that something came back differently.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.association import Association
from rich.console import Console
from rich.table import Table

from scp.dimse.negotiation.contexts import STORAGE_SYNTAXES
from scp.syntaxes import EXPLICIT

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0  # of a busy machine
PATIENCE_SECONDS = 300.0  # of a machine that is busy with other things
STATS = [sys.executable, "-m", "scp", "stats"]
# DCMTK waits 40 ms for nothing with every small object unless it is told not to (Nagle, delayed ACK).
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1", "PYTHONPATH": str(ROOT)}
FIND, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"  # Study Root
SHOWN = ("PatientID", "StudyDate", "ModalitiesInStudy", "NumberOfStudyRelatedInstances", "StudyInstanceUID")
Contexts = set[tuple[str, str]]  # SOP class, transfer syntax
Datasets = dict[str, tuple[str, bytes]]  # SOP Instance UID → transfer syntax and the dataset's bytes

_config.STORE_SEND_CHUNKED_DATASET = True  # files as they are, not as pydicom would write them
warnings.filterwarnings("ignore", module="pydicom")  # some of the files are odd on purpose
console = Console(highlight=False)


@dataclass
class Study:
    """The files of one study that are sent, and how to ask for them."""

    files: list[Path] = field(default_factory=list)
    contexts: Contexts = field(default_factory=set)
    size: int = 0


def bundled() -> dict[str, Study]:
    """The test files that pydicom brings along, by study; of those that share a SOP instance, the first."""
    studies: dict[str, Study] = defaultdict(Study)
    seen = set()
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")):
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            study, instance = str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)
            context = (str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID))
        except (InvalidDicomError, AttributeError, OSError, ValueError):
            continue  # a folder, a DICOMDIR, or a file that is broken on purpose
        if instance not in seen:
            seen.add(instance)
            studies[study].files.append(path)
            studies[study].contexts.add(context)
            studies[study].size += path.stat().st_size
    return studies


@contextmanager
def node(folder: Path, *choices: str) -> Iterator[int]:
    """A node that keeps its data in ``folder``, begun with ``choices``; yields its port, and ends it."""
    settings = {"ZSCP_NODE__HOST": "127.0.0.1", "ZSCP_NODE__PORT": "0", "ZSCP_LOG__FORMAT": "json"}
    command = [sys.executable, "-m", "scp", "serve", *choices]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT | settings, stderr=log)  # noqa: S603
    try:
        yield _port(folder / "log", process)
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        for line in log.read_text().splitlines(keepends=True):
            if line.endswith("\n") and line.startswith("{") and json.loads(line)["event"] == "listening":
                return int(json.loads(line)["port"])
        time.sleep(0.05)
    raise SystemExit(f"the node did not start:\n{log.read_text()}")


def send(files: list[Path], contexts: Contexts, port: int) -> None:
    """Store files, with DCMTK's dcmsend where it is installed, else with pynetdicom."""
    dcmsend = shutil.which("dcmsend")
    if dcmsend:
        command = [dcmsend, "-q", "-nh", "-dn", "-aec", "ZSCP", "127.0.0.1", str(port), *map(str, files)]
        subprocess.run(command, env=ENVIRONMENT, check=False)  # noqa: S603
        return
    with associated(port, contexts, {}) as association:
        for path in files:
            association.send_c_store(path)


@contextmanager
def associated(
    port: int, contexts: Contexts, received: Datasets, calling: str = "DEMO"
) -> Iterator[Association]:
    """An association to the node; what comes by C-GET lands in ``received``."""
    ae = AE(calling)
    ae.dimse_timeout = ae.network_timeout = PATIENCE_SECONDS
    roles: list[Any] = [build_role(uid, scu_role=True, scp_role=True) for uid in {uid for uid, _ in contexts}]
    handlers: list[Any] = [(evt.EVT_C_STORE, _keep, [received])]
    for sop_class, syntax in [(FIND, EXPLICIT), (GET, EXPLICIT), *sorted(contexts)]:
        ae.add_requested_context(sop_class, syntax)
    association = ae.associate("127.0.0.1", port, ae_title="ZSCP", ext_neg=roles, evt_handlers=handlers)
    if not association.is_established:
        raise SystemExit("the node refused the association")
    try:
        yield association
    finally:
        association.release()


def _keep(event: Any, received: Datasets) -> int:
    uid = str(event.request.AffectedSOPInstanceUID)
    received[uid] = (str(event.context.transfer_syntax), event.request.DataSet.getvalue())
    return 0x0000


def on_the_wire(study: Study) -> Datasets:
    """A study's datasets as sent: DCMTK writes them its own way, so a witness takes them down."""
    ae, taken, syntaxes = AE("ZSCP"), Datasets(), list(STORAGE_SYNTAXES)
    for sop_class in {sop_class for sop_class, _ in study.contexts}:
        ae.add_supported_context(sop_class, syntaxes)
    handlers: list[Any] = [(evt.EVT_C_STORE, _keep, [taken])]
    witness: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    send(study.files, study.contexts, witness.socket.getsockname()[1])
    witness.shutdown()
    return taken


def find(port: int) -> Table:
    """All studies, by C-FIND."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    for keyword in SHOWN:
        setattr(query, keyword, None)
    table = Table("patient", "date", "modalities", "objects", "study")
    with associated(port, set(), {}) as association:
        answers = association.send_c_find(query, FIND)
        found = [match for _, match in answers if match is not None]
    for match in sorted(found, key=lambda match: -int(match.NumberOfStudyRelatedInstances))[:6]:
        table.add_row(*(str(match[keyword].value) for keyword in SHOWN))
    return table


def get(port: int, uid: str, study: Study, calling: str = "DEMO") -> Datasets:
    """One study, by C-GET, each object in the transfer syntax that it was sent in."""
    received: Datasets = {}
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", uid
    with associated(port, study.contexts, received, calling) as association:
        list(association.send_c_get(query, GET))
    return received


def settled(folder: Path) -> Any:
    """What ``zscp stats`` counts once nothing waits to be encoded any more."""
    until = time.monotonic() + START_SECONDS
    while True:
        counted = subprocess.check_output([*STATS, "--json"], cwd=folder, env=ENVIRONMENT)  # noqa: S603
        total = json.loads(counted)
        if not total["pending"]["instances"] or time.monotonic() > until:
            return total


def main() -> int:
    """Run the demonstration; the exit status."""
    studies = bundled()
    uid, study = max(studies.items(), key=lambda item: (len(item[1].files) > 4, item[1].size))
    files = [path for each in studies.values() for path in each.files]
    contexts = {context for each in studies.values() for context in each.contexts}
    with tempfile.TemporaryDirectory() as name, node(folder := Path(name)) as port:
        sender = "dcmsend" if shutil.which("dcmsend") else "pynetdicom"
        console.print(f"{sender} stores {len(files)} files of {len(studies)} studies to port {port}.")
        send(files, contexts, port)
        console.print("The studies with most objects, by C-FIND:", find(port))
        sent, back = on_the_wire(study), get(port, uid, study)
        same = sum(back.get(instance) == dataset for instance, dataset in sent.items())
        console.print(f"C-GET of {uid}: {same} of {len(sent)} objects came back byte for byte.")
        sys.stdout.flush()
        total = settled(folder)
        subprocess.run(STATS, cwd=folder, env=ENVIRONMENT, check=True)  # noqa: S603
    received, stored = total["received_size"], total["stored_size"]
    saved = f"{100 - 100 * stored / received:.1f} % saved" if received else "nothing came"
    console.print(f"{received:,} bytes received, {stored:,} kept: {saved}.")
    return 0 if sent and sent == back else 1


if __name__ == "__main__":
    sys.exit(main())
