"""What ``zscp ls --conflicts`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from scp.cli.output import as_json, show
from scp.identity import Claimant, Conflict


def conflicts(found: Sequence[Conflict], json_wanted: bool) -> None:
    """Objects that contradict each other in whose they are, a row for each study that has a part in one."""
    if json_wanted:
        as_json([asdict(one) for one in found])
        return
    table = Table("conflict", "UID or Patient ID", "Patient ID", "name", "born", "sex", "study", "objects")
    for one in found:
        for number, claimant in enumerate(one.claimants):
            first = (str(one.kind), escape(one.uid)) if number == 0 else ("", "")
            table.add_row(*first, *_row(claimant))
    show(table, f"{len(found)} conflicts. Each object is kept as what it says it is; see docs/conflicts.md.")


def _row(of: Claimant) -> tuple[str, ...]:
    issuer = f" ({of.issuer_of_patient_id})" if of.issuer_of_patient_id else ""
    name = f"{of.patient_name}, and others" if of.differs_within else of.patient_name
    person = (of.patient_id + issuer, name, of.patient_birth_date, of.patient_sex)
    return (*map(escape, person), of.study_instance_uid, str(of.instances))
