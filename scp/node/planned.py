"""What the policy would do to what is stored, as a report; and as a program that the page runs beside a node.

``python -m scp.node.planned`` reads the settings that are in force, pickled by its parent, and writes the
report as JSON. It reads all rows, and encodes some objects: in the process of the page, each request would
wait for that. What it cannot do is a line on standard error, and status 1.
"""

from __future__ import annotations

import pickle
import signal
import sys
import time
from datetime import UTC, datetime

from pydantic import TypeAdapter

from scp import telemetry
from scp.background.progress import Silent
from scp.config.settings import Settings
from scp.errors import ZscpError, public
from scp.lifecycle.forecast import Forecast, ForecastGroup, MeasuredLoss, forecast
from scp.node.build import open_archive
from scp.policy.wording import becomes_in_words
from scp.web.plans import PlanGroup, PlanLoss, PlanMeasured, PlanReport

REPORT = TypeAdapter(PlanReport)
# How long objects are measured: half of what ``zscp plan`` takes.
_SECONDS = 10.0


def plan_report(found: Forecast, at: datetime) -> PlanReport:
    """A forecast of what is due ``at`` a moment, as it is shown and printed."""
    groups = tuple(map(_group, found.groups))
    return PlanReport(at, found.looked_at, sum(one.objects for one in groups), found.seconds, groups)


def _group(one: ForecastGroup) -> PlanGroup:
    measured = one.measured
    return PlanGroup(
        one.rule,
        one.modality,
        one.form,
        becomes_in_words(one.stage, one.packs),
        one.objects,
        one.received_size,
        one.stored_size,
        one.seconds,
        one.saved,
        one.stage.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        PlanMeasured(
            measured.objects,
            measured.received_size,
            measured.stored_size,
            measured.saved,
            measured.seconds,
            _loss(measured.loss) if one.stage.lossy else None,
        ),
        one.packs,
    )


def _loss(found: MeasuredLoss) -> PlanLoss:
    return PlanLoss(found.copies, found.max_error, found.mean_error, found.psnr, dict(found.reasons))


def plan_now(settings: Settings) -> PlanReport:
    """What is due now, by these settings. Raises OutOfResources, IndexUnfit, ConfigurationError."""
    archive = open_archive(settings)
    try:
        if archive.pairing is not None:
            archive.pairing.require()
        now = time.time()
        found = forecast(archive, settings.lifecycle, now, _SECONDS, Silent())
        return plan_report(found, datetime.fromtimestamp(now, UTC))
    finally:
        archive.close()


def main() -> int:
    """Look once; the exit status."""
    # The node blocks these, and its programs inherit that: it could not ask this one to end.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell began the node with &
    settings: Settings = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the parent, through a pipe
    telemetry.configure(settings.log)
    try:
        report = plan_now(settings)
    except (ZscpError, OSError) as error:
        sys.stderr.write(f"{public(error)}\n")
        return 1
    sys.stdout.buffer.write(REPORT.dump_json(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
