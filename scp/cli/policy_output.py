"""What ``zscp policy`` prints."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from scp.cli.output import as_json, number, percent, show, size, terminal

if TYPE_CHECKING:
    from scp.policy.reports import Amount, Comparison, Fate, Holdings, PolicyTrial, RuleHoldings
    from scp.web.reports import PolicySaved


def holdings(found: Holdings, json_wanted: bool) -> None:
    """What the rules hold."""
    if json_wanted:
        as_json(found)
        return
    table = Table("rule", "for", "objects", "received", "kept", "share", "forms", "next")
    for rule in found.rules:
        table.add_row(rule.name or "none", rule.match, *_figures(rule.amount), _forms(rule), _next(rule))
    show(table)
    kept = Table("retention", "for", "after", "objects", "received", "kept", "share", "may go now", "next")
    for one in found.retention:
        expired = f"{one.expired.objects}, {size(one.expired.stored_size)}" if one.expired.objects else ""
        figures = (*_figures(one.amount), expired, _moment(one.next))
        kept.add_row(one.name or "none", one.match, one.after, *figures)
    if len(found.retention) > 1:
        show(kept)
    uncertain = sum(rule.uncertain for rule in found.rules)
    if uncertain:
        show(f"{number(uncertain, 'object')} uncertain: a rule asks for what the index does not hold.")


def _figures(amount: Amount) -> tuple[str, ...]:
    share = percent(amount.stored_size, amount.received_size)
    return str(amount.objects), size(amount.received_size), size(amount.stored_size), share


def _forms(rule: RuleHoldings) -> str:
    told = [f"{one.form} {one.amount.objects}" for one in rule.forms]
    return ", ".join([*told, f"pending {rule.pending}"] if rule.pending else told)


def _next(rule: RuleHoldings) -> str:
    return "; ".join(f"{one.stage}: {one.amount.objects} {_moment(one.due) or 'now'}" for one in rule.next)


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else ""


def trial(found: PolicyTrial, edited: Path, json_wanted: bool) -> None:
    """What an edited configuration would change, or why it cannot be used."""
    if json_wanted:
        as_json(found)
        return
    for fault in found.faults:
        terminal().print(f"{edited}: {fault}", highlight=False)
    for note in found.notes:
        show(f"note: {note}")
    if found.comparison is not None:
        show(f"Keys that differ: {', '.join(found.changed) or 'none'}.")
        _comparison(found.comparison)


def _comparison(found: Comparison) -> None:
    table = Table("form now", "rule", "due now", "next", "retention", "objects", "received", "kept")
    for one in found.differences:
        off = f" ± {one.off_by}" if one.off_by else ""
        figures = (f"{one.amount.objects}{off}", size(one.amount.received_size), size(one.amount.stored_size))
        table.add_row(one.form, *_changes(one.before, one.after), *figures)
    if found.differences:
        show(table)
    if found.left_out:
        show(f"{number(found.left_out, 'smaller difference')} left out.")
    for what, amount in (
        ("come under another rule", found.other_rule),
        ("get another stage, now or later", found.other_stage),
        ("get another retention", found.other_retention),
        ("stay as they are", found.unchanged),
    ):
        show(f"{number(amount.objects, 'object')}, {size(amount.stored_size)} kept, {what}.")
    due = f"{found.due_after.objects} objects, {size(found.due_after.stored_size)}"
    show(f"Due to be encoded or moved at once: {due}; before: {found.due_before.objects} objects.")
    if found.looked_at < found.total:
        show(f"Estimates, from {found.looked_at} of {found.total} objects; ± holds in 95 of 100 cases.")
    if found.uncertain:
        show(f"{number(found.uncertain, 'object')} uncertain: a rule asks for what the index does not hold.")


def _changes(before: Fate, after: Fate) -> tuple[str, ...]:
    pairs = ((getattr(before, name), getattr(after, name)) for name in before.__slots__)
    return tuple(one if one == other else f"{one or '-'} → {other or '-'}" for one, other in pairs)


def saved(done: PolicySaved, edited: Path, json_wanted: bool) -> None:
    """What became of an edited configuration."""
    if json_wanted:
        as_json(done)
        return
    for fault in done.saved.faults:
        terminal().print(f"{edited}: {fault}", highlight=False)
    if done.saved.outcome != "saved":
        show(f"{done.saved.outcome}: {done.saved.reason}.")
        return
    show(f"Saved. The former file is {done.saved.former}.")
    show(f"Keys that differ: {', '.join(done.changed) or 'none'}.")
    if done.needs_restart:
        show(f"In force when the node starts again: {', '.join(done.needs_restart)}.")
    show("A node that runs with this file takes it up with its next reload: send it SIGHUP.")
