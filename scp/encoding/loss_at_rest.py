"""A lossy copy that a stage keeps in the place of an object: made, proven, measured (docs/decisions/0212).

Beside the bound of its rule, it has to be of an object that may lose something, its padding has to be farther
from the image than the largest error, and all errors are written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from scp.encoding.codecs.lossy_table import lossy_encoder_of
from scp.encoding.dataset import SplitDataset
from scp.encoding.derived import uid_of_copy
from scp.encoding.deviation import Deviation
from scp.encoding.headers import Header
from scp.encoding.lossy import Stored, coded, plain_of, stream_of
from scp.encoding.never_lossy import why_lossy, why_never
from scp.errors import CannotDecode, CannotEncode, UnreadableDataset
from scp.loss import Loss, LossyRule
from scp.model import Provenance
from scp.spool import Buffer
from scp.syntaxes import LOSSY_FORMS


@dataclass(frozen=True, slots=True)
class LossyCopy:
    """A copy in a transfer syntax: its SOP Instance UID, its dataset stream, what made it, what was lost."""

    sop_instance_uid: str
    transfer_syntax: str
    dataset: Buffer
    codec: str
    loss: Loss


def lossy_copy(stored: Stored, known: Provenance, form: str, rule: LossyRule, *, same_uid: bool) -> LossyCopy:
    """The copy of an object in a lossy form, named as its original if ``same_uid``.

    ``known`` is its provenance. Raises CannotEncode with the reason if it may not lose anything, the form
    cannot take it, or its error is above the bound; CannotDecode if it cannot be read.
    """
    target, source = LOSSY_FORMS[form], stored.source
    codec = lossy_encoder_of(target)
    if codec is None:
        raise CannotEncode(f"{form} is not encoded with loss here")
    plain, deviation = _losing(stored, known.transfer_syntax), Deviation()
    bits = Header(plain.header).format.bits_stored
    uid = source.sop_instance_uid if same_uid else uid_of_copy(source, codec.library(), target, rule)
    made = coded(plain, codec, rule, source, uid, deviation)
    psnr = deviation.psnr(bits)
    loss = Loss(
        sop_instance_uid=source.sop_instance_uid,
        transfer_syntax=known.transfer_syntax,
        sha256=known.sha256,
        size=known.size,
        rule=f"{form}, {rule.words}",
        at=datetime.now(UTC),
        ratio=round(made.ratio, 2),
        max_error=deviation.largest,
        mean_error=deviation.mean,
        psnr=None if psnr is None else round(psnr, 2),
    )
    return LossyCopy(uid, target, stream_of(made.dataset, target), codec.library(), loss)


def _losing(stored: Stored, came_in: str) -> SplitDataset:
    """The dataset of an object that may lose something. Raises CannotEncode, CannotDecode."""
    if reason := why_lossy(stored.transfer_syntax, came_in):
        raise CannotEncode(reason)
    plain = plain_of(stored)
    try:
        reason = why_never(stored.source.sop_class_uid, plain)
    except UnreadableDataset as error:
        raise CannotDecode(str(error)) from error
    if reason:
        raise CannotEncode(reason)
    return plain
