"""How those are told whose [[peer]] entry has objects coded with loss (invariant 4): of frames, by a header.

Whole instances are copies that say it themselves (scp.encoding.derived). A frame has no header of an object
with it, and metadata is of the object that is stored.
"""

from __future__ import annotations

import json

from scp.encoding.lossy_frames import may_lose
from scp.loss import LossyRule

_SOP_CLASS, _DERIVATION, _LOSSY, _PIXELS = "00080016", "00082111", "00282110", "7FE00010"


def warning(base: str, rule: LossyRule) -> dict[str, str]:
    """The header that goes with frames that were coded with loss."""
    return {"Warning": f'299 {base} "Coded with loss, as the [[peer]] entry has it: {rule.words}."'}


def told_in(metadata: bytes, rule: LossyRule) -> bytes:
    """The DICOM JSON of an object of which frames may go out with loss: Lossy Image Compression is 01.

    Whether they do goes by what is accepted then. So this errs, if it does, on the safe side.
    """
    one = json.loads(metadata)
    sop_class = next(iter(one.get(_SOP_CLASS, {}).get("Value", [])), "")
    if _PIXELS not in one or not may_lose(sop_class):
        return metadata
    before = next(iter(one.get(_DERIVATION, {}).get("Value", [])), "")
    told = f"Frames may be coded with loss on their way: {rule.words}"
    one[_LOSSY] = {"vr": "CS", "Value": ["01"]}
    one[_DERIVATION] = {"vr": "ST", "Value": [f"{before}; {told}" if before else told]}
    return json.dumps(dict(sorted(one.items())), ensure_ascii=False, separators=(",", ":")).encode()
