"""What ``zscp explain`` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from rich.table import Table

from scp.archive.records import lacks_only_a_file
from scp.cli import output
from scp.cli.output import percent, size
from scp.lifecycle.explain import NEVER, Cost, Explanation, PassedOver
from scp.model import Attempt
from scp.policy.wording import stage_in_words
from scp.syntaxes import lookup


def show(found: Explanation, json_wanted: bool) -> None:
    """Why an object is kept as it is."""
    if json_wanted:
        fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
        output.as_json(fields | {"rule": found.rule.model_dump(mode="json") if found.rule else None})
        return
    console = output.terminal()
    console.print(_summary(found))
    for title, attempts in (("tried", found.attempts), ("tried now", found.tried_now)):
        if attempts:
            console.print(_tried(title, attempts, found.provenance.size))
    if found.stored and not found.attempts:
        console.print(_without_history(found), highlight=False)
    if found.costs:
        console.print(_served(found.costs, found.provenance.size))
        others = sum(cost.reason == NEVER for cost in found.costs)
        console.print(f"{others} other transfer syntaxes are not encoded here; --json names them.")
    else:
        console.print("What it costs to serve is measured with --costs.")


def _summary(found: Explanation) -> Table:
    known, stored = found.provenance, found.stored
    table = Table(show_header=False)
    table.add_row("SOP instance", found.sop_instance_uid)
    table.add_row("received", f"{lookup(known.transfer_syntax).keyword}, {size(known.size)}")
    table.add_row("", f"at {known.received_at:%Y-%m-%d %H:%M:%S %Z} from {known.calling_aet or 'a file'}")
    table.add_row("readable", "yes" if known.readable else f"no: {known.fault}")
    if found.undecodable:
        table.add_row("not decoded", f"{found.undecodable}; it stays as received, and goes out only so")
    if found.refused:
        table.add_row("not done any more", f"{found.refused.act}: {found.refused.reason}")
        table.add_row("", f"with {found.refused.library}; recompress --now --match tries it again")
    if stored:
        table.add_row("rule that kept it", known.rule or stored.rule or "none: kept as received")
    for passed in found.passed_over:
        table.add_row("rule passed over", _why_not(passed))
    rule = found.rule.name if found.rule else "none: would be kept as received"
    why = ", ".join(f"{key} = {value}" for key, value in found.matched.items()) or "it takes every object"
    table.add_row("rule that matches now", f"{rule} ({why})" if found.rule else rule)
    for stage in found.later:
        table.add_row("later", stage_in_words(stage))
    at_rest = f"{known.form}: {lookup(found.transfer_syntax).keyword}, {size(found.size)}"
    table.add_row("kept as" if stored else "would be kept as", at_rest)
    table.add_row("", f"{percent(found.size, known.size)} of what was received; {known.codec or 'no codec'}")
    if stored and stored.pending:
        waits = "for a file of its own" if lacks_only_a_file(stored) else "to be encoded"
        table.add_row("", f"waits {waits}")
    for words in _of_loss(found):
        table.add_row(*words)
    if stored:
        table.add_row("file", stored.key)
    best = [lookup(uid).keyword for uid in found.ways_out[:4]]
    more = ["…"] if len(found.ways_out) > len(best) else []
    table.add_row("served as, best first", ", ".join([*best, *more]))
    return table


def _of_loss(found: Explanation) -> Iterator[tuple[str, str]]:
    """What a stage made lossy, and of what; or why it did not."""
    loss = found.provenance.loss
    if loss is not None:
        uid = "its own UID" if loss.sop_instance_uid == found.sop_instance_uid else loss.sop_instance_uid
        came = f"{lookup(loss.transfer_syntax).keyword}, {size(loss.size)}"
        yield "lossy copy of", f"{uid}, received as {came}"
        yield "", f"made at {loss.at:%Y-%m-%d %H:%M:%S %Z}: {loss.words}"
    if found.stored is not None and found.stored.no_loss:
        yield "not made lossy", found.stored.no_loss


def _why_not(passed: PassedOver) -> str:
    has = "\\".join(passed.has) or "nothing"
    return f"{passed.rule} ({passed.key} is {has}, not {' or '.join(passed.wanted)})"


def _without_history(found: Explanation) -> str:
    stored = found.stored
    if stored is not None and stored.pending and not lacks_only_a_file(stored):
        return "No form has been tried yet."
    return (
        "Its file records no attempts: they are written down only where the first form that was asked for "
        "was not the one taken. --try tries the forms now."
    )


def _tried(title: str, attempts: Iterable[Attempt], received: int) -> Table:
    table = Table(f"form {title}", "outcome")
    for heading in ("size", "of received", "ms"):
        table.add_column(heading, justify="right")
    table.add_column("reason")
    for one in attempts:
        sizes = (size(one.size), percent(one.size, received)) if one.size else ("", "")
        took = f"{one.seconds * 1000:.1f}" if one.seconds else ""
        table.add_row(one.form, one.outcome, *sizes, took, one.reason)
    return table


def _served(costs: Iterable[Cost], received: int) -> Table:
    table = Table("served as")
    for heading in ("size", "of received", "ms"):
        table.add_column(heading, justify="right")
    table.add_column("why not")
    for cost in costs:
        if cost.reason:
            if cost.reason != NEVER:
                table.add_row(cost.keyword, "", "", "", cost.reason)
            continue
        took = f"{cost.seconds * 1000:.1f}"
        table.add_row(cost.keyword, size(cost.size), percent(cost.size, received), took, "")
    return table
