"""The provenance of an object, as JSON in (0002,0102) (docs/format.md).

Empty fields are not written, and unknown fields are ignored: files outlive programs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from scp.errors import ObjectDamaged
from scp.loss import Loss
from scp.model import Attempt, AttemptOutcome, JpegLayout, Provenance, Restoration

VERSION = 1
_JSON = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False
)  # made once: json.dumps makes one each time
_ALWAYS = ("version", "syntax", "sha256", "size", "at")
_LARGEST = (1 << 63) - 1  # the largest integer that the index can hold
_LONGEST_REASON = 200  # characters: an error message may be long


def encoded(provenance: Provenance) -> bytes:
    """UTF-8 JSON, padded with a space to an even length."""
    fields: dict[str, Any] = {
        "version": VERSION,
        "syntax": provenance.transfer_syntax,
        "sha256": provenance.sha256,
        "size": provenance.size,
        "at": provenance.received_at.isoformat(),
        "from": provenance.calling_aet,
        "to": provenance.called_aet,
        "rule": provenance.rule,
        "stage": provenance.stage,
        "form": provenance.form,
        "codec": provenance.codec,
        "native": provenance.native_sha256,
        "xxh3": provenance.xxh3,
        "even": provenance.even,
        "fault": "" if provenance.readable else provenance.fault or "unreadable",
        "given": dict(provenance.given),
        "restore": _restoration(provenance.restoration),
        "tried": [_attempt(attempt) for attempt in provenance.attempts],
        "loss": _loss(provenance.loss),
    }
    text = _JSON.encode({k: v for k, v in fields.items() if v or k in _ALWAYS})
    data = text.encode(errors="replace")  # texts of a peer or a library may hold lone surrogates
    return data + b" " * (len(data) % 2)


def decoded(data: bytes) -> Provenance:
    """The reverse of :func:`encoded`. Raises ObjectDamaged for what :func:`encoded` cannot have written."""
    try:
        fields = json.loads(data.rstrip(b" \0"))
        return _read(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        told = str(error)[:_LONGEST_REASON]
        raise ObjectDamaged(f"its private information (0002,0102) cannot be read: {told}") from None


def _read(fields: dict[str, Any]) -> Provenance:
    text, syntax = partial(_text, fields), _text(fields, "syntax", required=True)
    return Provenance(
        transfer_syntax=syntax,
        sha256=text("sha256", required=True),
        size=_count(fields["size"]),
        received_at=_moment(text("at", required=True)),
        calling_aet=text("from"),
        called_aet=text("to"),
        rule=text("rule"),
        form=text("form"),
        codec=text("codec"),
        readable=not text("fault"),
        fault=text("fault"),
        restoration=_read_restoration(fields.get("restore"), syntax),
        native_sha256=text("native"),
        stage=text("stage"),
        attempts=tuple(_read_attempt(entry) for entry in fields.get("tried", ())),
        even=fields.get("even") is True,
        given=_read_given(fields.get("given")),
        xxh3=text("xxh3"),
        loss=_read_loss(fields.get("loss")),
    )


def _text(fields: dict[str, Any], name: str, required: bool = False) -> str:
    value = fields[name] if required else fields.get(name, "")
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return _writable(value)


def _writable(text: str) -> str:
    text.encode()  # raises ValueError for lone surrogates, which the index cannot hold
    return text


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise TypeError(f"{str(value)[:40]} is no count")
    return value


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError(f"{text} has no offset from UTC")
    moment.astimezone(UTC)  # raises OverflowError for a moment before the year 1 in UTC
    return moment


def _read_given(fields: dict[str, Any] | None) -> dict[str, str]:
    return {str(keyword): _writable(str(uid)) for keyword, uid in (fields or {}).items()}


def _restoration(restoration: Restoration | None) -> dict[str, Any]:
    if restoration is None:
        return {}
    fields = {
        "prefix": restoration.prefix,
        "suffix": restoration.suffix,
        "middle": restoration.middle.hex(),
        "planar": restoration.planar,
        "tail": restoration.tail.hex(),
    }
    found = {"vr": restoration.vr, **{name: value for name, value in fields.items() if value}}
    return found | {"jpeg": _layout(restoration.jpeg)} if restoration.jpeg is not None else found


def _layout(layout: JpegLayout) -> dict[str, Any]:
    table = {} if layout.table is None else {"table": layout.table.hex()}
    return table | ({"sizes": layout.sizes} if layout.sizes else {})


def _read_layout(fields: dict[str, Any] | None, transfer_syntax: str) -> JpegLayout | None:
    if fields is None:
        return None
    table = bytes.fromhex(fields["table"]) if "table" in fields else None
    return JpegLayout(
        transfer_syntax, table, tuple(tuple(map(_count, frame)) for frame in fields.get("sizes", ()))
    )


def _read_restoration(fields: dict[str, Any] | None, transfer_syntax: str) -> Restoration | None:
    if not fields:
        return None
    return Restoration(
        prefix=_count(fields.get("prefix", 0)),
        suffix=_count(fields.get("suffix", 0)),
        middle=bytes.fromhex(fields.get("middle", "")),
        vr=_text(fields, "vr", required=True),
        planar=_count(fields.get("planar", 0)),
        tail=bytes.fromhex(fields.get("tail", "")),
        jpeg=_read_layout(fields.get("jpeg"), transfer_syntax),
    )


def _attempt(attempt: Attempt) -> dict[str, Any]:
    fields = {
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "size": attempt.size,
        "seconds": round(attempt.seconds, 4),
    }
    return {"form": attempt.form, **{name: value for name, value in fields.items() if value}}


def _read_attempt(fields: dict[str, Any]) -> Attempt:
    return Attempt(
        form=_text(fields, "form", required=True),
        outcome=cast("AttemptOutcome", _text(fields, "outcome")),  # a later version may know others
        reason=_text(fields, "reason"),
        size=_count(fields.get("size", 0)),
        seconds=float(fields.get("seconds", 0.0)),
    )


def _loss(loss: Loss | None) -> dict[str, Any]:
    """What was lost, by short names; ``instance`` to ``size`` are of the original."""
    if loss is None:
        return {}
    psnr = {} if loss.psnr is None else {"psnr": loss.psnr}
    return {
        "instance": loss.sop_instance_uid,
        "syntax": loss.transfer_syntax,
        "sha256": loss.sha256,
        "size": loss.size,
        "rule": loss.rule,
        "at": loss.at.isoformat(),
        "ratio": loss.ratio,
        "max": loss.max_error,
        "mean": loss.mean_error,
        **psnr,
    }


def _read_loss(fields: dict[str, Any] | None) -> Loss | None:
    if not fields:
        return None
    text = partial(_text, fields, required=True)
    return Loss(
        sop_instance_uid=text("instance"),
        transfer_syntax=text("syntax"),
        sha256=text("sha256"),
        size=_count(fields["size"]),
        rule=text("rule"),
        at=_moment(text("at")),
        ratio=float(fields["ratio"]),
        max_error=_count(fields["max"]),
        mean_error=float(fields["mean"]),
        psnr=float(fields["psnr"]) if "psnr" in fields else None,
    )
