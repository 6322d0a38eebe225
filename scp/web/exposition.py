"""The metrics of a node as Prometheus reads them: those of all processes together, and what is looked up."""

from __future__ import annotations

import platform
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from scp.config.certificates import Certificate
from scp.index.index import Statistic
from scp.metrics.catalogue import COUNTED, METRICS, Metric
from scp.metrics.counting import NodeFigures
from scp.metrics.figures import Figures
from scp.resources.room import free_bytes
from scp.web.disks import Disks
from scp.web.health import Health
from scp.web.looks import Look

# One scrape at a time looks at disks; a look takes microseconds, and others wait for it at most so long.
_looking, _LOOK_SECONDS = threading.Lock(), 0.5

Numbers = tuple[float, ...]
Values = dict[tuple[str, ...], Numbers]  # by the values of the labels


@dataclass(frozen=True, slots=True)
class MetricSources:
    """What metrics are made of."""

    figures: NodeFigures
    health: Health
    latest: Callable[[], Look]
    disks: Callable[[], Disks]
    budget: Callable[[], tuple[int, int]]  # bytes that all processes have, and may have, for objects
    memory: Callable[[], tuple[int, int]]  # the same of all memory
    certificates: Callable[[], Iterable[Certificate]]
    configured: Callable[[], tuple[str, str, str]]  # the fingerprint, and the node's id and name
    started: float


class Exposition(Collector):
    """Makes the text of ``/metrics``."""

    def __init__(self, source: MetricSources) -> None:
        self._source = source
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def describe(self) -> Iterable[Family]:
        """Nothing, so that registering does not collect."""
        return ()

    def text(self, accept: str) -> tuple[str, bytes]:
        """Content type and body, in the format that the header field Accept asks for."""
        encoder, content_type = choose_encoder(accept)
        return content_type, encoder(self._registry)

    def collect(self) -> Iterator[Family]:
        """See Collector."""
        found = counted(self._source.figures.all()) | looked_up(self._source)
        for name, values in found.items():
            yield _family(METRICS[name], values)


def counted(all_figures: Iterable[Figures]) -> dict[str, Values]:
    """What all processes have counted, added up."""
    found: dict[str, Values] = defaultdict(dict)
    for metric in COUNTED.values():
        zero = (0.0,) * metric.width
        found[metric.name] = {(value,): zero for value in metric.known} if metric.labels else {(): zero}
    for figures in all_figures:
        for one in figures.read():
            before = found[one.metric.name].get(one.labels)
            added = one.numbers if before is None else tuple(map(sum, zip(before, one.numbers, strict=True)))
            found[one.metric.name][one.labels] = added
    return dict(found)


def looked_up(source: MetricSources) -> dict[str, Values]:
    """What is not counted but looked up, now or at the last look."""
    told = ("version", "python", "platform")
    build = dict(
        zip(told, (version("zscp"), platform.python_version(), platform.system().lower()), strict=True)
    )
    silent = source.health.silent_seconds()
    used, budget = source.budget()
    memory, most = source.memory()
    disks = source.disks()
    return {
        "zscp_build_info": {tuple(build.values()): (1.0,)},
        "zscp_config_info": {source.configured(): (1.0,)},
        "zscp_start_time_seconds": _one(source.started),
        "zscp_process_up": {(name,): (float(seconds is not None),) for name, seconds in silent.items()},
        "zscp_process_silent_seconds": {
            (name,): (seconds,) for name, seconds in silent.items() if seconds is not None
        },
        "zscp_disk_free_bytes": {(name,): (free,) for name, free in _free(disks)},
        "zscp_disk_reserve_bytes": {(name,): (room.reserve,) for name, room in disks.rooms.items()},
        "zscp_pending_limit_bytes": _one(disks.backlog),
        "zscp_scrub_interval_seconds": _one(disks.scrub_interval),
        "zscp_memory_budget_bytes": _one(budget),
        "zscp_memory_budget_used_bytes": _one(used),
        "zscp_memory_bytes": _one(memory),
        "zscp_memory_limit_bytes": _one(most),
        "zscp_certificate_end_time_seconds": _ends(source.certificates()),
        "zscp_ready": _one(float(not source.health.not_ready())),
        **_held(source.latest(), disks.first),
    }


def _held(latest: Look, first: str) -> dict[str, Values]:
    """What the index says; nothing of what was not looked at yet."""
    found: dict[str, Values] = {}
    if latest.index_at:
        found["zscp_index_age_seconds"] = _one(time.monotonic() - latest.index_at)
        found["zscp_pending_objects"] = _one(latest.pending_objects)
        found["zscp_pending_bytes"] = _one(latest.pending_bytes)
        found["zscp_clock_trusted"] = _one(float(not latest.clock_doubt))
    if (held := latest.statistics) is not None:
        found["zscp_stored_objects"] = _by_form(held.by_form, first, lambda row: row.instances)
        found["zscp_stored_bytes"] = _by_form(held.by_form, first, lambda row: row.stored_size)
        found["zscp_stored_received_bytes"] = _by_form(held.by_form, first, lambda row: row.received_size)
        found["zscp_studies"] = _one(held.counts.studies)
        found["zscp_send_queue_objects"] = _one(held.send_queue)
        found["zscp_commitments_pending"] = _one(held.commitments)
        found["zscp_damaged_objects"] = _one(held.damaged)
        found["zscp_refused_objects"] = _one(held.refused)
    if latest.oldest_check is not None:
        found["zscp_scrub_oldest_check_time_seconds"] = _one(latest.oldest_check)
    return found


def _by_form(rows: Iterable[Statistic], first: str, number: Callable[[Statistic], int]) -> Values:
    sums: dict[tuple[str, ...], float] = defaultdict(float)
    for row in rows:
        sums[row.form, row.store or first] += number(row)
    return {labels: (value,) for labels, value in sums.items()}


def _free(disks: Disks) -> list[tuple[str, float]]:
    """A store whose disk does not answer, as one that is unplugged, has no line.

    A network drive may let the system wait for ever: then one scrape does, and others have no such lines.
    """
    found = list[tuple[str, float]]()
    if _looking.acquire(timeout=_LOOK_SECONDS):
        try:
            for name, room in disks.rooms.items():
                with suppress(OSError):
                    found.append((name, free_bytes(room.folder)))
        finally:
            _looking.release()
    return found


def _ends(certificates: Iterable[Certificate]) -> Values:
    ends: dict[str, float] = {}
    for one in certificates:
        if one.ends is not None:
            ends[one.key] = min(ends.get(one.key, one.ends.timestamp()), one.ends.timestamp())
    return {(key,): (end,) for key, end in ends.items()}


def _one(value: float) -> Values:
    return {(): (value,)}


def _family(metric: Metric, values: Values) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        bounds = [*map(str, metric.buckets), "+Inf"]
        for labels, (*counts, total) in values.items():
            histogram.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), sum_value=total)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, (value,) in values.items():
        family.add_metric(labels, value)
    return family
