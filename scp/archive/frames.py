"""Single frames of stored objects: read by their numbers, for viewers that ask for one after the other.

A stored file is read, and its digest compared, once; then it stays open for a while, and a frame costs what
is read of that frame (docs/decisions/0205).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import dataclass

from scp.archive.elsewhere import Elsewhere
from scp.archive.reader import Reader
from scp.archive.records import provenance_of
from scp.archive.refusal import by_failure
from scp.archive.trials import Trials
from scp.encoding.frame_access import FrameAccess
from scp.errors import CodecError, CodecProcessFailed, NoLosslessWay, UnreadableDataset
from scp.loss import LossyRule
from scp.model import Instance
from scp.spool import IN_MEMORY, Buffer
from scp.syntaxes import lookup

# So many files stay open, each until nobody asked for a frame of it for so many seconds. A large one is a map
# of its file, or of a nameless file of what was unpacked: it takes no memory that is not free at once.
_MOST_OPEN, _OPEN_SECONDS = 16, 60.0
_SMALL = 1 << 20


@dataclass(frozen=True, slots=True)
class OpenFrames:
    """The frames of a stored object, whose file was read and checked; ``instance`` is its current row.

    ``proven``: by SHA-256, which is needed for more than to send its frames as they lie there
    (docs/decisions/0192).
    """

    instance: Instance
    access: FrameAccess
    proven: bool

    @property
    def count(self) -> int:
        """How many frames there are."""
        return self.access.count


@dataclass(slots=True)
class _Kept:
    opened: OpenFrames
    used: float


class FrameReader:
    """Opens stored objects for their frames, and reads these. It may be used by several threads."""

    def __init__(self, reader: Reader, trials: Trials, elsewhere: Elsewhere) -> None:
        self._reader, self._trials, self._elsewhere = reader, trials, elsewhere
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._changes = threading.Lock()
        self._closing: threading.Timer | None = None

    def open(self, instance: Instance, as_stored: bool = False) -> OpenFrames:
        """The frames of an object that the index holds now; ``as_stored``: they are to go out as they lie.

        Raises NoLosslessWay where it has none that can be told apart; ObjectMissing, ObjectDamaged,
        ObjectUnavailable, OutOfResources.
        """
        instance = self._elsewhere.brought(instance)
        if (found := self._found(instance)) is not None and (found.proven or as_stored):
            return found
        with self._trials.of(instance, "read"):
            instance, (file, proven) = self._reader.followed(
                instance, self._reader.quickly if as_stored else self._reader.proven
            )
            try:
                access = FrameAccess(file.dataset, file.transfer_syntax, provenance_of(file).restoration)
            except (CodecError, UnreadableDataset) as error:
                raise NoLosslessWay(f"{instance.sop_instance_uid}: {error}") from error
        opened = OpenFrames(instance, access, proven)
        self._keep(opened)
        return opened

    def frame(
        self, opened: OpenFrames, number: int, transfer_syntax: str, lossy: LossyRule | None = None
    ) -> Buffer:
        """The frame of a number from 1 on; see :meth:`FrameAccess.get` and, where ``lossy``, ``with_loss``.

        Raises NoLosslessWay, with the reason, where it cannot be had in that transfer syntax; ObjectRefused,
        OutOfResources.
        """
        if not opened.proven and (lossy is not None or transfer_syntax != opened.access.transfer_syntax):
            opened = self.open(opened.instance)  # a forged codestream must reach no codec
        instance, access = opened.instance, opened.access
        decodes = transfer_syntax != access.transfer_syntax and lookup(access.transfer_syntax).encapsulated
        # A file that is cut off while it is mapped ends the process: the next one knows which it was.
        guarded = decodes or instance.stored_size > IN_MEMORY
        with self._trials.of(instance, "decode" if decodes else "read") if guarded else nullcontext():
            try:
                if lossy is not None:
                    return access.with_loss(number - 1, transfer_syntax, lossy, instance.sop_class_uid)
                return access.get(number - 1, transfer_syntax)
            except CodecProcessFailed as error:
                self._trials.refuse(instance, by_failure("decode", error))
                raise NoLosslessWay(self._told(instance, transfer_syntax, error)) from error
            except CodecError as error:
                raise NoLosslessWay(self._told(instance, transfer_syntax, error)) from error

    @staticmethod
    def _told(instance: Instance, transfer_syntax: str, error: CodecError) -> str:
        return f"{instance.sop_instance_uid}: {error} ({lookup(transfer_syntax).keyword})"

    # -- those that are open -----------------------------------------------------------------------------

    def _found(self, instance: Instance) -> OpenFrames | None:
        with self._changes:
            self._close_old()
            kept = self._kept.get(_name(instance))
            if kept is None:
                return None
            self._kept.move_to_end(_name(instance))
            kept.used = time.monotonic()
            return kept.opened

    def _keep(self, opened: OpenFrames) -> None:
        if opened.count == 1 and opened.instance.stored_size <= _SMALL:  # as soon read again as looked for
            return
        with self._changes:
            self._kept[_name(opened.instance)] = _Kept(opened, time.monotonic())
            self._close_old()
            self._close_later()

    def _close_later(self) -> None:
        """Though nobody asks again: a file that was deleted takes its space for as long as it is open."""
        if self._closing is None and self._kept:
            self._closing = threading.Timer(_OPEN_SECONDS, self._time_is_up)
            self._closing.daemon = True
            self._closing.start()

    def _time_is_up(self) -> None:
        with self._changes:
            self._closing = None
            self._close_old()
            self._close_later()

    def _close_old(self) -> None:
        old = time.monotonic() - _OPEN_SECONDS
        while self._kept and (len(self._kept) > _MOST_OPEN or next(iter(self._kept.values())).used < old):
            self._kept.popitem(last=False)


def _name(instance: Instance) -> tuple[str, str]:
    """A stored file: another one of the same object has another name, so that no replaced one is read."""
    return instance.key, instance.stored_sha256
