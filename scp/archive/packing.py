"""A stored object's file packed anew: the same Part 10 file in another zstd frame (docs/decisions/0211).

No pixel is decoded. The proof is that the new frame, read with the dictionary that a reader will find in the
store, gives the same Part 10 file byte for byte (invariant 2).
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from scp.archive.framing import Framing, Written, framed, with_dictionary
from scp.archive.package import framing_of
from scp.archive.records import packed_anew
from scp.archive.replacement import Change
from scp.archive.trainer import pixels_at
from scp.config.rules import Stage
from scp.encoding.forms import is_image_form
from scp.errors import NotReproduced
from scp.model import Instance
from scp.objects import part10
from scp.objects.dictionaries import Dictionaries, Dictionary
from scp.objects.part10 import Part10
from scp.spool import Buffer, sha256

# What a new frame has to save of the file: it is written, synced and deleted for that. A dictionary has to
# save as much of its class (scp.lifecycle.training).
PAYS = 0.02


def pack_anew(instance: Instance, plain: Buffer, stage: Stage, dictionaries: Dictionaries) -> Change:
    """The file of an object in the frame that ``stage`` now asks for; ``plain`` is the Part 10 file within.

    With a dictionary it takes the former file's place where it saves enough. Where the stage wants no
    dictionary, it does so in any case. Raises NotReproduced if that does not give back the same file.
    """
    file = part10.taken_apart(plain)
    if not stage.dictionary:
        kept = framed(plain, _framing(instance, file, stage, None)) or Written(plain, "")
        if not _is_proven(kept.data, plain, dictionaries):
            raise NotReproduced(f"{instance.key}: without its dictionary it does not give the same file")
        return Change(instance, packed_anew(instance, kept.data, 0), kept.data, stage, packs=True)
    newest = dictionaries.newest(instance.sop_class_uid)
    framing = _framing(instance, file, stage, newest)
    if stage.wrap is None and instance.form not in stage.forms:
        framing = replace(framing, wrap="auto")  # a last resort, kept for want of anything smaller
    found = None if framing.wrap == "none" else with_dictionary(plain, framing)
    tried = dictionaries.newest_id(instance.sop_class_uid) if newest is None else newest.id
    if found is not None and len(found.data) <= instance.stored_size * (1 - PAYS):
        if _is_proven(found.data, plain, dictionaries):
            return Change(instance, packed_anew(instance, found.data, tried), found.data, stage, packs=True)
        log = structlog.get_logger("zscp")
        log.error("not packed anew", sop_instance=instance.sop_instance_uid, reason="it gives another file")
    return Change(instance, replace(instance, dictionary_tried=tried), None, stage, packs=True)


def _framing(instance: Instance, file: Part10, stage: Stage, dictionary: Dictionary | None) -> Framing:
    pixels = len(file.dataset) - pixels_at(file) if instance.readable else 0
    return framing_of(stage, instance.form, is_image_form(instance.form), pixels, lambda: dictionary)


def _is_proven(data: Buffer, plain: Buffer, dictionaries: Dictionaries) -> bool:
    return sha256(part10.unwrap(data, dictionaries.by_id)) == sha256(plain)
