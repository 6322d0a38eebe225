"""The file that an object is kept in: Part 10, within a zstd frame where that saves something."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from scp.config.rules import Stage
from scp.encoding.forms import Encoded
from scp.model import Provenance, Received
from scp.objects import part10
from scp.objects.dictionaries import Dictionaries
from scp.objects.part10 import Part10
from scp.spool import IN_MEMORY, Buffer, Spool, sha256

# The zstd form: 174 MB/s on CT, within 4 % of the size of level 19.
LEVEL = 3
# A frame around a codestream has to save this part of the file ("auto").
WORTHWHILE = 0.01
# From this share of header on, more is spent on compressing it (part10.wrap).
MOSTLY_HEADER = 0.1
# What thorough compression saves of a frame of the usual level at most (docs/decisions/0005): where a
# dictionary saves more, trying without one costs four times as much and cannot win.
_MOST_OF_THOROUGH = 0.05


@dataclass(frozen=True, slots=True)
class StoredForm:
    """A file, ready for the object store; ``sha256`` of ``data``, hexadecimal, empty until it is needed."""

    encoded: Encoded
    provenance: Provenance
    data: Buffer
    wrapped: bool
    sha256: str


class _Written(NamedTuple):
    """A file, and its digest where one was taken as it was written: a small one's costs nothing later."""

    data: Buffer
    sha256: str


class Packer:
    """Packs the forms of one object as a stage asks for; ``dictionaries`` are those of the store."""

    def __init__(self, received: Received, stage: Stage, dictionaries: Dictionaries | None) -> None:
        self._received = received
        self._stage = stage
        self._dictionaries = dictionaries

    def pack(self, result: Encoded, base: Provenance) -> StoredForm:
        """A form's file; ``base`` is what is known of the object, whatever its form."""
        provenance = replace(
            base,
            form=result.form,
            codec=result.codec,
            restoration=result.restoration,
            native_sha256=result.native_sha256,
        )
        wrap = self._wrap_of(result)
        plain = self._plain(result, provenance, hashing=wrap != "zstd")
        as_it_is = StoredForm(result, provenance, plain.data, False, plain.sha256)
        header_share = 1 - result.pixel_bytes / len(plain.data)
        if wrap == "none" or (wrap == "auto" and header_share < WORTHWHILE):
            return as_it_is
        wrapped = self._wrapped(result, plain)
        if wrap == "auto" and len(wrapped.data) > len(plain.data) * (1 - WORTHWHILE):
            return as_it_is
        return StoredForm(result, provenance, wrapped.data, True, wrapped.sha256)

    def pack_again(self, form: StoredForm, provenance: Provenance) -> StoredForm:
        """The same file, but for what it remembers; as it was, where it does not read back the same."""
        plain = self._plain(form.encoded, provenance, hashing=not form.wrapped)
        again = self._wrapped(form.encoded, plain) if form.wrapped else plain
        if sha256(self.unpack(again.data).dataset) != sha256(form.encoded.dataset):
            return form
        return replace(form, provenance=provenance, data=again.data, sha256=again.sha256)

    def unpack(self, data: Buffer) -> Part10:
        """What was packed, read back; by way of the dictionary that a reader will find in the store."""
        return part10.unpack(data, self._dictionaries.by_id if self._dictionaries is not None else None)

    def _wrap_of(self, result: Encoded) -> str:
        if result.form == "zstd":
            return "zstd"
        return self._stage.wrap or ("auto" if result.is_image_form else "none")

    def _plain(self, result: Encoded, provenance: Provenance, hashing: bool) -> _Written:
        received = self._received
        file = Part10(
            received.sop_class_uid,
            received.sop_instance_uid,
            result.transfer_syntax,
            result.dataset,
            provenance,
            received.calling_aet,
        )
        spool = Spool(hashing=hashing and len(result.dataset) > IN_MEMORY)
        return _Written(part10.pack(file, spool), spool.sha256)

    def _wrapped(self, result: Encoded, plain: _Written) -> _Written:
        codestream_with_header = 0 < result.pixel_bytes < len(plain.data) * (1 - MOSTLY_HEADER)
        thorough = codestream_with_header and result.form != "zstd" and self._stage.level is None
        level = None if thorough else self._stage.level or LEVEL
        small = self._with_dictionary(plain, level)
        if small is not None and thorough:
            usual = part10.wrap(plain.data, LEVEL)
            if len(small.data) < len(usual) * (1 - _MOST_OF_THOROUGH):
                return small
        spool = Spool(hashing=len(plain.data) > IN_MEMORY)
        found = _Written(part10.wrap(plain.data, level, spool), spool.sha256)
        return found if small is None or len(found.data) <= len(small.data) else small

    def _with_dictionary(self, plain: _Written, level: int | None) -> _Written | None:
        """The file in a frame with its SOP class's newest dictionary, where one is wanted and there."""
        if not self._stage.dictionary or self._dictionaries is None or len(plain.data) > IN_MEMORY:
            return None
        dictionary = self._dictionaries.newest(self._received.sop_class_uid)
        if dictionary is None:
            return None
        return _Written(part10.wrap(plain.data, level, dictionary=dictionary), "")
