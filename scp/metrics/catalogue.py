"""Every metric of a node: its name, kind, labels and meaning; docs/metrics.md is written from this table.

Names and units are as Prometheus asks: base units, ``_total`` for what only grows. The values of every label
are known to the code or to the configuration. What a stranger says of itself is never one, nor is anything
about a patient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
OTHER = "other"  # peers without a [[peer]], all together
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_FEW = (0.01, 0.1, 1.0, 10.0)  # there may be two hundred peers


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``known`` are label values that are shown from the start, as 0.

    Without that, Prometheus would not see the first increase.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    known: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers a series takes: for a histogram a count for each bucket, the last one, a sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


def _named(metrics: Iterable[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


_SERVICES = (
    "c-echo",
    "c-store",
    "c-find",
    "c-move",
    "c-get",
    "n-action",
    "qido-rs",
    "wado-rs",
    "stow-rs",
    "stow-rs request",
    "dicomweb",
)
_KINDS = ("worker", "encoder", "lifecycle", "web")

# What processes count as they work.
COUNTED = _named(
    (
        Metric("zscp_associations_open", "gauge", "Associations that are under way."),
        Metric(
            "zscp_associations_total",
            "counter",
            "Connections that have ended, by how: `released`, `aborted`, `rejected`, `no request`, `idle`, "
            "`stalled`, `lost`, `protocol`, `no TLS`, `failed`, `ended` (otherwise).",
            ("outcome",),
            known=("released", "rejected", "aborted"),
        ),
        Metric(
            "zscp_associations_rejected_total",
            "counter",
            "Rejected associations, by the reason of PS3.8 9.3.4 or the key of the limit that was reached.",
            ("reason",),
            known=("calling AE title", "called AE title"),
        ),
        Metric(
            "zscp_requests_total",
            "counter",
            "Requests that have ended, by service and class of the status (PS3.7 Annex C): `success`, "
            "`warning`, `failure`, `cancel`, and `none` where there was no answer. `forward` is a batch that "
            "is sent to a peer; it has no status.",
            ("service", "status"),
        ),
        Metric(
            "zscp_request_seconds", "histogram", "How long requests take.", ("service",), _SECONDS, _SERVICES
        ),
        Metric(
            "zscp_peer_request_seconds",
            "histogram",
            "How long requests take, by AE title of the first 200 `[[peer]]`s; all others are `other`.",
            ("service", "peer"),
            _FEW,
        ),
        Metric("zscp_received_bytes_total", "counter", "Datasets of C-STORE requests that were accepted."),
        Metric(
            "zscp_kept_bytes_total",
            "counter",
            "What was stored of them before the response; what is encoded later becomes smaller after it.",
        ),
        Metric(
            "zscp_sent_bytes_total",
            "counter",
            "Datasets that C-MOVE, C-GET and forwarding sent, in the transfer syntax on the wire.",
            ("service",),
            known=("c-move", "c-get", "forward"),
        ),
        Metric(
            "zscp_encoding_seconds",
            "histogram",
            "How long a try of a form takes, with its proof.",
            ("form",),
            _SECONDS,
        ),
        Metric(
            "zscp_encodings_total",
            "counter",
            "Tries of forms, by outcome: `kept` (or another form was smaller), `refused` (cannot take the "
            "object), `larger`, `wrong` (did not reproduce it), `no room`, `failed` (a codec process ended).",
            ("form", "outcome"),
        ),
        Metric(
            "zscp_limit_reached_total", "counter", "How often a limit was reached, by its key.", ("limit",)
        ),
        Metric(
            "zscp_index_errors_total",
            "counter",
            "Errors of the database, by operation: `open`, `use`, `damaged`, `contradiction`, `lock` (others "
            "wrote for too long), `sync`.",
            ("operation",),
            known=("open", "use", "damaged", "contradiction", "lock", "sync"),
        ),
        Metric(
            "zscp_lost_commits_total",
            "counter",
            "Acknowledged objects that the database had lost again, as where a standby took over that lacked "
            "them; they were recorded again from their files.",
        ),
        Metric(
            "zscp_store_errors_total",
            "counter",
            "Errors of the object store, by operation: `put`, `journal`, `landing`, `get`, and `room` where "
            "`storage.reserve` was reached.",
            ("operation",),
            known=("put", "journal", "landing", "get", "room"),
        ),
        Metric(
            "zscp_scrubbed_files_total",
            "counter",
            "Stored files that scrubbing read, by result: `sound`, `damaged`, `repaired`, and `unread` where "
            "a file could not be read now.",
            ("result",),
            known=("sound", "damaged", "repaired", "unread"),
        ),
        Metric("zscp_scrubbed_bytes_total", "counter", "Stored bytes that scrubbing read."),
        Metric(
            "zscp_process_restarts_total",
            "counter",
            "Processes that ended while the node ran, and were started again.",
            ("kind",),
            known=_KINDS,
        ),
    )
)

# What is looked up when it is asked for, or once in a while.
LOOKED_UP = _named(
    (
        Metric(
            "zscp_build_info", "gauge", "1; the labels tell the version.", ("version", "python", "platform")
        ),
        Metric(
            "zscp_config_info",
            "gauge",
            "1; the labels tell which node this is, and the fingerprint of its configuration.",
            ("fingerprint", "node", "name"),
        ),
        Metric("zscp_start_time_seconds", "gauge", "When the node was started, in seconds since 1970."),
        Metric("zscp_process_up", "gauge", "1 where a process has begun and has not ended.", ("process",)),
        Metric(
            "zscp_process_silent_seconds",
            "gauge",
            "For how long a process has not said that it is alive; each does so every second.",
            ("process",),
        ),
        Metric("zscp_pending_objects", "gauge", "Objects that wait to be encoded, or for their own files."),
        Metric("zscp_pending_bytes", "gauge", "Their stored size."),
        Metric("zscp_pending_limit_bytes", "gauge", "`storage.backlog`; 0 where nothing may be pending."),
        Metric("zscp_stored_objects", "gauge", "Stored objects.", ("form", "store")),
        Metric("zscp_stored_bytes", "gauge", "Their size as stored.", ("form", "store")),
        Metric("zscp_stored_received_bytes", "gauge", "Their size as received.", ("form", "store")),
        Metric("zscp_studies", "gauge", "Studies of which something is stored."),
        Metric("zscp_send_queue_objects", "gauge", "Objects that are yet to be sent to peers."),
        Metric("zscp_commitments_pending", "gauge", "Results of storage commitment yet to be reported."),
        Metric("zscp_damaged_objects", "gauge", "Objects whose file is damaged or missing."),
        Metric("zscp_refused_objects", "gauge", "Objects that are not encoded or decoded any more."),
        Metric(
            "zscp_scrub_oldest_check_time_seconds",
            "gauge",
            "When the stored file that was not checked for the longest time was last read, in seconds since "
            "1970.",
        ),
        Metric("zscp_scrub_interval_seconds", "gauge", "`scrub.interval`; 0 where nothing is scrubbed."),
        Metric("zscp_disk_free_bytes", "gauge", "Free bytes on the disk of a store.", ("store",)),
        Metric("zscp_disk_reserve_bytes", "gauge", "The store's `reserve`.", ("store",)),
        Metric("zscp_memory_budget_bytes", "gauge", "The node's budget of memory (`limits.memory`)."),
        Metric("zscp_memory_budget_used_bytes", "gauge", "What all processes have of that budget."),
        Metric("zscp_memory_bytes", "gauge", "What all processes have of the machine's memory."),
        Metric("zscp_memory_limit_bytes", "gauge", "`limits.node_memory`."),
        Metric(
            "zscp_certificate_end_time_seconds",
            "gauge",
            "When the first certificate of a file expires, in seconds since 1970, by the key that names it.",
            ("key",),
        ),
        Metric("zscp_ready", "gauge", "1 where `/ready` answers 200."),
        Metric(
            "zscp_clock_trusted",
            "gauge",
            "0 where the clock jumped ahead: nothing is deleted, purged or made lossy by it (`zscp clock`).",
        ),
        Metric("zscp_index_age_seconds", "gauge", "How old the figures are that come from the index."),
    )
)

METRICS = COUNTED | LOOKED_UP
