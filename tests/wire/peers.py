"""Peers of a node under test: DCMTK's tools, and pynetdicom taken down to single messages.

pynetdicom's own services decide too much: which identifiers are sent, which SOP classes are stored, what
is answered when. Here its upper layer is used, and every message is put together by the test.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE, SOPClassExtendedNegotiation
from pynetdicom.transport import RequestHandler
from waiting import SECONDS as SECONDS  # noqa: PLC0414 - these two are named from here, too
from waiting import until as until  # noqa: PLC0414

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEGLS = "1.2.840.10008.1.2.4.80"
JPEG2000 = "1.2.840.10008.1.2.4.90"
MPEG4 = "1.2.840.10008.1.2.4.102"
JPEGXL = "1.2.840.10008.1.2.4.110"
JPEGXL_RECOMPRESSION = "1.2.840.10008.1.2.4.111"
HTJ2K = "1.2.840.10008.1.2.4.201"
RLE = "1.2.840.10008.1.2.5"

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{n}" for n in (1, 2, 3))
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRIVATE_CLASS = "1.3.6.1.4.1.99999.7.1"

PENDING = (0xFF00, 0xFF01)

# -- DCMTK ---------------------------------------------------------------------------------------------

# pynetdicom installs a storescu, an echoscu, … of its own; only dcmsend is DCMTK's alone.
_DCMSEND = shutil.which("dcmsend")


def dcmtk(
    tool: str, *arguments: object, seconds: float = 90, status: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's tools to its end; ``status`` None takes any exit status."""
    done = subprocess.run(
        dcmtk_command(tool, *arguments),
        capture_output=True,
        timeout=seconds,
        check=False,
        env=dcmtk_environment(),
        encoding="utf-8",
        errors="replace",
    )
    assert status is None or done.returncode == status, (
        f"{tool}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done


def dcmtk_command(tool: str, *arguments: object) -> list[str]:
    if _DCMSEND is None:
        pytest.skip("DCMTK's tools are not installed")
    return [str(Path(_DCMSEND).with_name(tool)), *map(str, arguments)]


def dcmtk_environment() -> dict[str, str]:
    # Without it every small message waits 40 ms for the acknowledgement of the one before.
    return {**os.environ, "TCP_NODELAY": "1"}


@contextmanager
def storescp(folder: Path, *options: str, aet: str = "DEST") -> Iterator[int]:
    """DCMTK's storescp as a destination; yields its port. Files are written to ``folder`` as received."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = dcmtk_command("storescp", "-aet", aet, "-od", folder, "+B", "-pdu", "131072", *options, port)
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=dcmtk_environment())
        try:
            until(lambda: _listens(port) or process.poll() is not None, "storescp listens")
            assert process.poll() is None, "storescp ended"
            yield port
        finally:
            process.kill()
            process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nothing listens on now.

    Below those that Linux gives to connections: another test's might have it before it is listened on.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


# -- objects -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """An object as it goes over the wire."""

    sop_class: str
    instance: str
    syntax: str
    data: bytes

    @property
    def dataset(self) -> Dataset:
        """Read by pydicom."""
        return read(self.data, self.syntax)


def of_file(path: Path) -> Sent:
    """A file's dataset stream, untouched."""
    with path.open("rb") as file:
        read_preamble(file, False)
        meta = _read_file_meta_info(file)
        return Sent(
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID, file.read()
        )


def files_in(folder: Path) -> dict[str, Sent]:
    """Received Part 10 files by SOP Instance UID."""
    found = (of_file(path) for path in sorted(folder.rglob("*")) if path.is_file())
    return {sent.instance: sent for sent in found}


def has_arrived(sent: Sent, folder: Path) -> bool:
    """Whether a file in ``folder`` holds the object, whole: storescp writes a file under its last name."""
    return any(path.read_bytes().endswith(sent.data) for path in folder.iterdir())


def as_file(sent: Sent, path: Path) -> Path:
    """Write an object as a Part 10 file, its dataset stream untouched."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sent.sop_class, sent.instance
    meta.TransferSyntaxUID = sent.syntax
    meta.ImplementationClassUID = "1.2.3.4"
    head = BytesIO()
    pydicom.filewriter.write_file_meta_info(head, meta, enforce_standard=True)
    path.write_bytes(b"\0" * 128 + b"DICM" + head.getvalue() + sent.data)
    return path


def read(data: bytes, syntax: str) -> Dataset:
    """A dataset stream as pydicom reads it, with what it takes to ask for its pixels."""
    uid = pydicom.uid.UID(syntax)
    found = decode(BytesIO(data), uid.is_implicit_VR, uid.is_little_endian, uid.is_deflated)
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = uid
    return found


def written(dataset: Dataset, syntax: str) -> bytes:
    """A dataset as a stream."""
    uid = pydicom.uid.UID(syntax)
    data = encode(dataset, uid.is_implicit_VR, uid.is_little_endian, uid.is_deflated)
    assert data is not None
    return data


def image(
    *,
    sop_class: str = MR_IMAGE,
    instance: str = "",
    study: str = "1.2.3",
    series: str = "",
    rows: int = 32,
    seed: int = 0,
    syntax: str = EXPLICIT,
    **attributes: Any,
) -> Sent:
    """A small picture that compresses; ``attributes`` are set on top, None takes one away."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance or generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series or f"{study}.1"
    dataset.PatientID, dataset.PatientName = "WIRE1", "Wire^Test"
    dataset.Modality = "MR"
    dataset.InstanceNumber = 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = rows
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    ramp = np.add.outer(np.arange(rows), np.arange(rows)) * 7
    pixels = (ramp + np.random.default_rng(seed).integers(0, 9, (rows, rows))) % 4096
    order = ">u2" if syntax == BIG_ENDIAN else "<u2"
    dataset.add_new(0x7FE00010, "OW", pixels.astype(order).tobytes())
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return Sent(sop_class, str(dataset.SOPInstanceUID), syntax, written(dataset, syntax))


_TOOLS = {JPEGLS: "dcmdjpls", JPEG_LOSSLESS: "dcmdjpeg", JPEG_BASELINE: "dcmdjpeg"}
_READERS = {JPEG2000: "jpeg2k_decode", HTJ2K: "jpeg2k_decode", JPEGXL: "jpegxl_decode"}
_READERS["1.2.840.10008.1.2.4.91"] = "jpeg2k_decode"
_TOOLS |= dict.fromkeys(("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57"), "dcmdjpeg")
_TOOLS["1.2.840.10008.1.2.4.81"] = "dcmdjpls"


def pixels(sent: Sent) -> np.ndarray:
    """The samples of an object, as stored, by another decoder than zscp's, or by the bare library.

    Native and RLE: pydicom. JPEG and JPEG-LS: DCMTK.
    """
    if sent.syntax in _TOOLS:
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "plain.dcm"
            dcmtk(_TOOLS[sent.syntax], as_file(sent, Path(folder) / "compressed.dcm"), plain)
            sent = of_file(plain)
    dataset = sent.dataset
    if sent.syntax in _READERS:
        decoder = getattr(imagecodecs, _READERS[sent.syntax])
        count = int(dataset.get("NumberOfFrames", 1) or 1)
        frames = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=count)
        samples = np.squeeze(np.stack([decoder(frame) for frame in frames]))
        if dataset.PixelRepresentation and samples.dtype.kind == "u":  # JPEG XL's codestreams know no sign
            return samples.view(f"<i{samples.itemsize}")
        return samples
    return np.squeeze(pydicom.pixels.pixel_array(dataset, raw=True))  # type: ignore[attr-defined]


# -- pynetdicom's upper layer -----------------------------------------------------------------------------

_LOOKS_MS = 50  # for pynetdicom's timers


class _Awaiting(DULServiceProvider):
    """An upper layer that sleeps until something comes or is to be sent.

    pynetdicom's looks a thousand times a second: each association took 6 % of a core while it waited.
    """

    _bell: int
    _ringing: threading.Lock
    _closing: weakref.finalize[[int], DULServiceProvider]

    @classmethod
    def take_over(cls, dul: Any) -> None:
        """Let an upper layer, which may run already, sleep so from now on."""
        dul._bell, dul._ringing = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), threading.Lock()
        # Its thread may never start, be over, or end by an error: then nobody else closes it.
        dul._closing = weakref.finalize(dul, os.close, dul._bell)
        dul.__class__ = cls

    def send_pdu(self, primitive: Any) -> None:
        super().send_pdu(primitive)
        self._ring()

    @property
    def _kill_thread(self) -> bool:
        ends = bool(self.__dict__["_kill_thread"])
        if ends and threading.current_thread() is self:
            self._close_bell()
        return ends

    @_kill_thread.setter
    def _kill_thread(self, ends: bool) -> None:
        self.__dict__["_kill_thread"] = ends
        self._ring()

    @property
    def _run_loop_delay(self) -> float:  # type: ignore[override]
        """What its thread sleeps, after it has waited here. Others ask how long to wait for its end."""
        if threading.current_thread() is not self or self._bell < 0:
            return 0.001
        waits = select.poll()
        waits.register(self._bell, select.POLLIN)
        connection = self.socket.socket
        # What is no longer connected is not read, and would be ready for ever.
        if connection is not None and self.socket._is_connected and connection.fileno() >= 0:
            waits.register(connection, select.POLLIN)
        waits.poll(_LOOKS_MS)
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        return 0.001  # as before, for a test that lets it read nothing of what is there

    def _ring(self) -> None:
        with self._ringing:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _close_bell(self) -> None:
        with self._ringing:
            self._closing()
            self._bell = -1


# -- a requester ---------------------------------------------------------------------------------------


@dataclass
class Answer:
    """One response message."""

    status: int
    comment: str
    identifier: Dataset | None
    counts: tuple[int | None, int | None, int | None, int | None] = (None,) * 4


@dataclass
class Retrieved:
    """What a C-GET or C-MOVE came to; ``objects`` in the order of arrival."""

    answers: list[Answer] = field(default_factory=list)
    objects: list[Sent] = field(default_factory=list)

    @property
    def final(self) -> Answer:
        return self.answers[-1]


def _has_lost_its_answer(association: Association) -> bool:
    """Whether the node's rejection came before pynetdicom looked whether it was connected.

    It closes its socket for the rejection, takes that for a connection that failed, and aborts
    (``ACSE._negotiate_as_requestor``).
    """
    left = association.dul.to_user_queue.queue
    return association.is_aborted and any(isinstance(one, A_ASSOCIATE) for one in left)


class Scu:
    """An association to a node, message by message.

    ``contexts`` are (abstract syntax, transfer syntaxes); ``roles`` the SOP classes for which the SCP role
    is asked for; ``extended`` the application information of SOP Class Extended Negotiation,
    ``items`` other items of negotiation.
    """

    def __init__(
        self,
        address: tuple[str, int],
        contexts: Iterable[tuple[str, Sequence[str]]],
        *,
        called: str = "ZSCP",
        calling: str = "TESTER",
        roles: Iterable[str] = (),
        extended: dict[str, bytes] | None = None,
        max_pdu: int = 131072,
        items: Iterable[Any] = (),
    ) -> None:
        ae = AE(calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = SECONDS
        negotiation: list[Any] = [*(build_role(uid, scp_role=True) for uid in roles), *items]
        for uid, information in (extended or {}).items():
            item = SOPClassExtendedNegotiation()
            item.sop_class_uid, item.service_class_application_information = uid, information
            negotiation.append(item)
        proposed = [build_context(uid, list(syntaxes)) for uid, syntaxes in contexts]
        while True:
            self.association = ae.associate(
                *address, contexts=proposed, ae_title=called, ext_neg=negotiation, max_pdu=max_pdu
            )
            if not _has_lost_its_answer(self.association):
                break
        self.message_id = 0
        if self.established:  # from here on the messages are ours, not pynetdicom's
            _Awaiting.take_over(self.association.dul)
            self.association._reactor_checkpoint.clear()
            until(lambda: self.association._is_paused, "pynetdicom's reactor pauses")

    @property
    def established(self) -> bool:
        return bool(self.association.is_established)

    @property
    def accepted(self) -> dict[tuple[str, str], int]:
        """(abstract syntax, transfer syntax) → context."""
        contexts = self.association.accepted_contexts
        return {(c.abstract_syntax, c.transfer_syntax[0]): c.context_id for c in contexts}

    def __enter__(self) -> Scu:
        assert self.established, f"no association: {self.association.is_rejected=}"
        return self

    def __exit__(self, *error: object) -> None:
        if self.established and error[0] is None:
            self.association.release()
        else:
            self.association.abort()

    def context(self, sop_class: str, syntax: str = "") -> int:
        return next(
            number
            for (uid, accepted), number in self.accepted.items()
            if uid == sop_class and accepted == (syntax or accepted)
        )

    def _prepared(self, request: Any, sop_class: str) -> Any:
        self.message_id += 1
        request.MessageID, request.AffectedSOPClassUID = self.message_id, sop_class
        if not isinstance(request, C_ECHO):
            request.Priority = 2
        return request

    def send(self, request: Any, context: int) -> None:
        self.association.dimse.send_msg(request, context)

    def message(self) -> tuple[int, Any]:
        """The next message; (0, None) when the association is gone, failing when none comes."""
        context, message = self.association.dimse.get_msg(block=True)
        if message is None:
            assert self.association.acse.is_aborted() or not self.association.dul.is_alive(), "no answer"
        return context or 0, message

    def echo(self) -> int:
        request = self._prepared(C_ECHO(), VERIFICATION)
        self.send(request, self.context(VERIFICATION))
        return int(self.message()[1].Status)

    def store(self, sent: Sent, *, context: int = 0, **command: str) -> Answer:
        """Send an object; ``command`` overrides what the command set says of it."""
        self.begin_store(sent, context=context, **command)
        return self._answer(self.message()[1], sent.syntax)

    def begin_store(self, sent: Sent, *, context: int = 0, **command: str) -> None:
        request = self._prepared(C_STORE(), command.get("sop_class", sent.sop_class))
        request.AffectedSOPInstanceUID = command.get("instance", sent.instance)
        request.DataSet = BytesIO(sent.data)
        self.send(request, context or self.context(sent.sop_class, sent.syntax))

    def find(self, root: str, identifier: Dataset | bytes | None, cancel_after: int = 0) -> list[Answer]:
        """All responses to a C-FIND, the final one last."""
        context = self.begin(C_FIND(), root, identifier)
        answers: list[Answer] = []
        while not answers or answers[-1].status in PENDING:
            answers.append(self._answer(self.message()[1], self._syntax(context)))
            if len(answers) == cancel_after:
                self.cancel(context)
        return answers

    def begin(self, request: Any, root: str, identifier: Dataset | bytes | None) -> int:
        """Send a request with an identifier; returns its context."""
        context = self.context(root)
        request = self._prepared(request, root)
        if isinstance(identifier, Dataset):
            identifier = written(identifier, self._syntax(context))
        if identifier is not None:
            request.Identifier = BytesIO(identifier)
        self.send(request, context)
        return context

    def cancel(self, context: int, message_id: int = 0) -> None:
        self.association.send_c_cancel(message_id or self.message_id, context)

    def get(
        self,
        root: str,
        identifier: Dataset,
        *,
        status: Callable[[Sent], int] = lambda _: 0,
        cancel_after: int = 0,
        abort_after: int = 0,
    ) -> Retrieved:
        """A C-GET; ``status`` answers each object, the two numbers count objects."""
        context = self.begin(C_GET(), root, identifier)
        done = Retrieved()
        while True:
            number, message = self.message()
            if isinstance(message, C_STORE):
                done.objects.append(stored(message, self._syntax(number)))
                if len(done.objects) == abort_after:
                    self.association.abort()
                    return done
                if len(done.objects) == cancel_after:
                    self.cancel(context)
                acknowledge(self.association, message, number, status(done.objects[-1]))
                continue
            done.answers.append(self._answer(message, self._syntax(context)))
            if done.final.status not in PENDING:
                return done

    def move(self, root: str, identifier: Dataset, destination: str, *, cancel_after: int = 0) -> Retrieved:
        """A C-MOVE; ``cancel_after`` counts pending responses."""
        request = C_MOVE()
        request.MoveDestination = destination
        context = self.begin(request, root, identifier)
        done = Retrieved()
        while True:
            done.answers.append(self._answer(self.message()[1], self._syntax(context)))
            if done.final.status not in PENDING:
                return done
            if len(done.answers) == cancel_after:
                self.cancel(context)

    def _syntax(self, context: int) -> str:
        return next(syntax for (_, syntax), number in self.accepted.items() if number == context)

    def _answer(self, message: Any, syntax: str) -> Answer:
        assert message is not None, "the association ended instead of an answer"
        assert message.MessageIDBeingRespondedTo == self.message_id
        encoded = getattr(message, "Identifier", None)
        data = encoded.getvalue() if encoded else b""
        kinds = ("Remaining", "Completed", "Failed", "Warning")
        return Answer(
            message.Status,
            str(message.ErrorComment or ""),
            read(data, syntax) if data else None,
            tuple(getattr(message, f"NumberOf{kind}Suboperations", None) for kind in kinds),  # type: ignore[arg-type]
        )


def stored(message: C_STORE, syntax: str) -> Sent:
    """A C-STORE request as the object that it carries."""
    data = message.DataSet.getvalue() if message.DataSet else b""
    return Sent(str(message.AffectedSOPClassUID), str(message.AffectedSOPInstanceUID), syntax, data)


def acknowledge(association: Association, request: C_STORE, context: int, status: int) -> None:
    response = C_STORE()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
    response.Status = status
    association.dimse.send_msg(response, context)


# -- a destination -------------------------------------------------------------------------------------


@dataclass
class Arrived:
    """One object that came to a Sink."""

    sent: Sent
    originator: tuple[str, int]
    association: int


class _SinkAssociation(Association):
    """Stores whatever comes, of SOP classes that pynetdicom has no service for too."""

    sink: Sink

    def _serve_request(self, msg: Any, context_id: int) -> None:
        if isinstance(msg, C_STORE):
            self.sink.take(self, msg, context_id)


class Sink:
    """A destination of C-MOVE, inside the test's own process.

    ``accepts`` says of (SOP class, transfer syntax) whether a context is accepted, ``status`` how an
    object is answered; ``proposals`` are those of each association, as (SOP class, transfer syntaxes).
    """

    def __init__(
        self,
        accepts: Callable[[str, str], bool] = lambda *_: True,
        status: Callable[[Sent], int] = lambda _: 0,
        aet: str = "SINK",
    ) -> None:
        self.accepts, self.status, self.aet = accepts, status, aet
        self.arrived: list[Arrived] = []
        self.proposals: list[list[tuple[str, list[str]]]] = []
        self.gate = threading.Event()  # an object is answered only while it is set
        self.gate.set()
        sink = self

        class Handler(RequestHandler):
            def _create_association(self) -> Association:
                association = super()._create_association()
                association.__class__ = _SinkAssociation
                _Awaiting.take_over(association.dul)
                association.sink = sink  # type: ignore[attr-defined]
                return association

        ae = AE(aet)
        ae.maximum_pdu_size = 131072
        self._server = ae.make_server(
            ("127.0.0.1", 0),
            ae_title=aet,
            contexts=[build_context(VERIFICATION)],
            evt_handlers=[(evt.EVT_REQUESTED, self._negotiate)],
            request_handler=Handler,
        )
        # pynetdicom collects the garbage of the whole process there, again and again.
        self._server.service_actions = lambda: None  # type: ignore[method-assign]
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        socketserver.BaseServer.shutdown(self._server)  # pynetdicom's own looks for it where it is not
        self._server.server_close()
        for association in self._server.active_associations:
            association.abort()

    @property
    def objects(self) -> dict[str, Sent]:
        return {arrived.sent.instance: arrived.sent for arrived in self.arrived}

    def _negotiate(self, event: evt.Event) -> None:
        proposed = event.assoc.requestor.primitive.presentation_context_definition_list
        self.proposals.append(
            [(str(c.abstract_syntax), [str(s) for s in c.transfer_syntax]) for c in proposed]
        )
        supported: dict[str, list[str]] = {}
        for context in proposed:
            uid = str(context.abstract_syntax)
            taken = [str(s) for s in context.transfer_syntax if self.accepts(uid, str(s))]
            supported.setdefault(uid, []).extend(taken)
        event.assoc.acceptor.supported_contexts = [
            build_context(uid, syntaxes) for uid, syntaxes in supported.items() if syntaxes
        ]

    def take(self, association: Association, message: C_STORE, context: int) -> None:
        accepted = {c.context_id: c.transfer_syntax[0] for c in association.accepted_contexts}
        sent = stored(message, str(accepted[context]))
        by = (str(message.MoveOriginatorApplicationEntityTitle or ""), message.MoveOriginatorMessageID)
        self.arrived.append(Arrived(sent, by, len(self.proposals) - 1))
        self.gate.wait(SECONDS)
        acknowledge(association, message, context, self.status(sent))


def identifier(level: str, **keys: Any) -> Dataset:
    """A query's identifier."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset
