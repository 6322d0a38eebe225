"""The tables of docs/conformance.md, made from the tables that the code runs by.

``python -m scripts.conformance`` writes them anew. With ``--check`` it changes nothing, and
exits with 1 where a table is not as the code has it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.uid import UID

from scp.config.settings import Settings
from scp.dimse import status, verdict
from scp.dimse.negotiation import contexts
from scp.encoding.codecs.lossy_table import lossy_encoder_of
from scp.encoding.codecs.table import decoder_of
from scp.encoding.forms import target_of
from scp.encoding.transcode import ways_out
from scp.index.attributes import COMPUTED, HELD_BY_KEYWORD, HELD_BY_LEVEL, Attribute, Computed
from scp.model import SyntaxPreference
from scp.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from scp.syntaxes import BY_UID, ENCAPSULATED_UNCOMPRESSED, FORMS, Content
from scp.web.dicomweb.routes import ROUTES
from scp.web.dicomweb.search.attributes import ADDED, REQUIRED
from scripts.sections import main, table

DOCUMENT = Path(__file__).parents[1] / "docs" / "conformance.md"
_LEVELS = {"PATIENT": "Patient", "STUDY": "Study", "SERIES": "Series", "IMAGE": "Composite object instance"}


def _services() -> str:
    rows = [
        ("Verification", contexts.VERIFICATION, "yes, as `zscp echo`", "yes"),
        ("Storage Commitment Push Model", contexts.STORAGE_COMMITMENT, "no", "yes"),
    ]
    for model, service in ((contexts.FIND, "FIND"), (contexts.MOVE, "MOVE"), (contexts.GET, "GET")):
        rows += [
            (f"{root.title()} Root Query/Retrieve Information Model – {service}", uid, "no", "yes")
            for uid, root in model.items()
        ]
    return table(("SOP class", "UID", "SCU", "SCP"), rows)


def _storage() -> str:
    rows = [(UID(uid).name, uid, "C-MOVE, C-GET", "yes") for uid in contexts.storage_classes()]
    return table(("SOP class", "UID", "SCU", "SCP"), rows)


def _transfer_syntaxes() -> str:
    rows = []
    made = ways_out("", "", BY_UID, SyntaxPreference())
    for place, uid in enumerate(contexts.STORAGE_SYNTAXES, 1):
        row = BY_UID[uid]
        decoded = row.content is Content.NATIVE or uid == ENCAPSULATED_UNCOMPRESSED or decoder_of(uid)
        rows.append(
            (
                str(place),
                UID(uid).name,
                uid,
                row.content.value,
                "yes" if decoded else "no",
                ", ".join(f"`{form}`" for form in FORMS if target_of(form) == uid) or "as received",
                _made(uid, made),
            )
        )
    head = (
        "order",
        "transfer syntax",
        "UID",
        "pixel data",
        "decoded",
        "at rest by form",
        "made on the way out",
    )
    return table(head, rows)


def _made(uid: str, made: Iterable[str]) -> str:
    if uid in made:
        return "yes"
    return "lossy, by a rule" if lossy_encoder_of(uid) else "as stored only"


def _identifiers() -> str:
    return table(
        ("order", "transfer syntax", "UID"),
        [(str(n), UID(uid).name, uid) for n, uid in enumerate(contexts.COMMAND_SYNTAXES, 1)],
    )


def _query_keys() -> str:
    rows = []
    for level, held in HELD_BY_LEVEL.items():
        rows += [
            (*_named(row.keyword), row.vr, _LEVELS[level], _matching(row))
            for row in held
            if row.keyword != "SpecificCharacterSet"  # that of a query is its own
        ]
        rows += [
            (
                *_named(row.keyword),
                "",
                _LEVELS[level],
                _gathered(row),
            )
            for row in COMPUTED
            if row.level == level
        ]
    return table(("attribute", "tag", "VR", "level", "matching"), rows)


def _named(keyword: str) -> tuple[str, str]:
    tag = tag_for_keyword(keyword) or 0
    return dictionary_description(tag), f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _matching(row: Attribute) -> str:
    kinds = {"SQ": "sequence", "UI": "list of UID", "DA": "range", "TM": "range", "DT": "range"}
    numeric = "single value" if row.vr in ("US", "IS", "DS") else "wildcard"
    return kinds.get(row.vr, numeric) + (", each value by itself" if row.several else "")


def _gathered(row: Computed) -> str:
    if not row.gathers:
        return "none"
    return "sequence" if HELD_BY_KEYWORD[row.gathers].vr == "SQ" else "list, single value"


def _statuses() -> str:
    rows = [(f"0x{code:04X}", when) for code, when in status.MEANINGS]
    rows += [(f"0x{code:04X}", _first_line(kind)) for kind, code in status.TABLE]
    return table(("status", "when"), sorted(rows))


def _failure_reasons() -> str:
    return table(("reason", "when"), [(f"{code:04X}H", when) for code, when in verdict.MEANINGS])


def _first_line(kind: type[Exception]) -> str:
    if kind is Exception:
        return "Anything else; the log has it."
    if kind is OSError:
        return "The operating system refuses what the node needs, such as a permission; the log has it."
    return (kind.__doc__ or "").split("\n")[0]


def _limits() -> str:
    settings = Settings()
    limits = settings.limits
    return table(
        ("what", "value", "configured by"),
        [
            ("AE title", settings.node.aet, "`node.aet`"),
            ("TCP port", str(settings.node.port), "`node.port`"),
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID, ""),
            ("Implementation Version Name", IMPLEMENTATION_VERSION, ""),
            ("Maximum PDU length announced", f"{limits.pdu_bytes} bytes", "`limits.pdu_bytes`"),
            ("Simultaneous associations accepted", str(limits.associations), "`limits.associations`"),
            ("Of one calling AE title", str(limits.associations_by_aet), "`limits.associations_by_aet`"),
            ("Of one address", str(limits.associations_by_address), "`limits.associations_by_address`"),
            ("Associations opened for one C-MOVE", "1", "`peer.associations`"),
            ("Outstanding asynchronous operations", str(limits.operations), "`limits.operations`"),
            ("Time for a negotiation (ARTIM)", f"{limits.acse_seconds:g} s", "`limits.acse_seconds`"),
            ("Time for an answer", f"{limits.dimse_seconds:g} s", "`limits.dimse_seconds`"),
            ("Idle time of an association", f"{limits.idle_seconds:g} s", "`limits.idle_seconds`"),
            ("Time for 16 KB of a message", f"{limits.stall_seconds:g} s", "`limits.stall_seconds`"),
            (
                "Time for a C-MOVE to reach a destination again that broke off",
                f"{limits.move_retry_seconds:g} s",
                "`limits.move_retry_seconds`",
            ),
            (
                "Time for what is under way when the node is stopped",
                f"{limits.stop_seconds:g} s",
                "`limits.stop_seconds`",
            ),
            ("Time to connect to a peer", f"{limits.connect_seconds:g} s", "`limits.connect_seconds`"),
            (
                "Quiet before a commitment's result on the same association",
                f"{settings.commitment.wait_seconds:g} s",
                "`commitment.wait_seconds`",
            ),
            (
                "First time between two tries to report it",
                f"{settings.commitment.retry_seconds:g} s",
                "`commitment.retry_seconds`",
            ),
            (
                "Given up after",
                f"{(settings.commitment.give_up or 0) / 86_400:g} days",
                "`commitment.give_up`",
            ),
        ],
    )


def _resources() -> str:
    rows = [(f"`{route.path}`", route.method, route.name, _media_types(route.answers)) for route in ROUTES]
    return table(("resource", "method", "transaction", "media types"), rows)


def _parameters() -> str:
    """Each set of query parameters, with the transactions that have it."""
    found: dict[tuple[str, ...], list[str]] = {}
    for route in ROUTES:
        found.setdefault(route.parameters, []).append(route.name)
    rows = [(", ".join(names), ", ".join(f"`{one}`" for one in taken)) for taken, names in found.items()]
    return table(("transactions", "query parameters"), rows)


def _media_types(answers: Iterable[str]) -> str:
    return ", ".join(f"`{one}`" for one in answers)


def _search_fields() -> str:
    rows = [
        (*_named(keyword), _LEVELS[level])
        for level, fields in REQUIRED.items()
        for keyword in (*fields, *ADDED)
    ]
    return table(("attribute", "tag", "level"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "services": _services,
    "storage": _storage,
    "transfer-syntaxes": _transfer_syntaxes,
    "identifiers": _identifiers,
    "query-keys": _query_keys,
    "statuses": _statuses,
    "failure-reasons": _failure_reasons,
    "limits": _limits,
    "resources": _resources,
    "parameters": _parameters,
    "search-fields": _search_fields,
}

if __name__ == "__main__":
    sys.exit(main(DOCUMENT, TABLES, "make conformance", sys.argv[1:]))
