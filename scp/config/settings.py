"""What an admin can choose: the models of conf/zscp.toml, with every default.

Each key is checked here by itself; what depends on several is in :mod:`scp.config.link`, and
:mod:`scp.config.load` does both. Values are described in :mod:`scp.config.values`. Each key is explained to
its reader in conf/zscp.toml, which a test keeps equal to the defaults here.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
)

from scp.config.audit import AuditSettings
from scp.config.dicomweb import DicomWebSettings
from scp.config.http import HttpSettings
from scp.config.index import IndexSettings
from scp.config.node import NodeSettings
from scp.config.peers import SERVICES, Peer, Services
from scp.config.rules import (
    DEFAULT_POLICY,
    ForwardRule,
    PolicyRule,
    PrefetchRule,
    RetentionRule,
)
from scp.config.sources import OTHER_STORES
from scp.config.stores import StorageSettings, TierSettings
from scp.config.tls import ClientCertificates, check_authority, readable
from scp.config.users import User
from scp.config.values import (
    Bytes,
    Count,
    Duration,
    Hours,
    MemoryBytes,
    Seconds,
    Switch,
    Table,
    TcpPort,
    list_of_tables,
    unique,
)
from scp.resources.bounds import DEFAULTS, Bounds


class CacheSettings(Table):
    """How many bytes of decoded objects are cached for later retrieves; 0: none."""

    bytes: Bytes = 10**9


class ScrubSettings(Table):
    """How often each stored file is read and checked, in seconds, and how fast; 0: not by itself."""

    interval: Duration = 90 * 86_400
    bytes_per_second: Bytes = 20 * 10**6

    @field_validator("bytes_per_second")
    @classmethod
    def _reads(cls, value: int) -> int:
        if value < 1:
            raise ValueError('0 would read nothing; write interval = "0s" not to scrub')
        return value


class LifecycleSettings(Table):
    """How later stages are carried out, by how many processes; ``max_cpu`` is in cores, for all of them.

    ``hours`` are kept as minutes of the day, None for all day. Without ``workers`` nobody carries them out.
    """

    workers: Annotated[int, Field(strict=True, ge=0, le=64)] = 1
    max_cpu: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 1.0
    hours: Hours = None


class AccessSettings(Table):
    """Who may associate, what peers without a [[peer]] may do, and what may be stored."""

    allow: Literal["any", "known"] = "any"
    may: Services = SERVICES
    users: Literal["ignored", "required"] = "ignored"
    check_called_aet: Switch = True
    unknown_sop_classes: Switch = True


class QuerySettings(Table):
    """How C-FIND, C-MOVE and C-GET take identifiers (docs/decisions/0101); ``max_matches`` 0 is no limit.

    ``seconds`` is how long the database may work for one query (docs/decisions/0133).
    """

    hierarchy: Literal["strict", "lenient"] = "lenient"
    max_matches: Count = 0
    seconds: Seconds = 60.0


# No limit can be switched off.
Positive = Annotated[int, Field(strict=True, ge=1, lt=1 << 63)]
PositiveBytes = Annotated[Bytes, Field(ge=1)]


class LimitSettings(Table):
    """What one peer, all together, or one object may take.

    0 is the default of :mod:`scp.resources.budget` for ``memory``, of :mod:`scp.resources.pressure` for
    ``node_memory``.
    """

    associations: Positive = 100
    associations_by_aet: Positive = 40
    associations_by_address: Positive = 60
    # One field of PS3.7 D.3.3.3 has 16 bits; a thread each is what bounds it here.
    operations: Annotated[int, Field(strict=True, ge=1, le=256)] = 16
    # PS3.8 D.1 has 0 for "no limit", but a receive buffer needs one; 16 MiB is far beyond any gain.
    pdu_bytes: Annotated[int, Field(strict=True, ge=4096, le=2**24)] = 131_072
    idle_seconds: Seconds = 300.0
    stall_seconds: Seconds = 60.0
    acse_seconds: Seconds = 30.0
    dimse_seconds: Seconds = 60.0
    connect_seconds: Seconds = 10.0
    move_retry_seconds: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 60.0
    # A service manager waits 90 s by default (TimeoutStopSec), and processes have 20 s more than this.
    stop_seconds: Annotated[Seconds, Field(le=3600)] = 10.0
    # Loops turn each second; a machine that swaps, or a pause of the collector, must not seem to hang.
    hang_seconds: Annotated[Seconds, Field(ge=3)] = 60.0
    memory: MemoryBytes = 0
    node_memory: MemoryBytes = 0
    # Of one object (scp.resources.bounds).
    elements: Positive = DEFAULTS.elements
    items: Positive = DEFAULTS.items
    fragments: Positive = DEFAULTS.fragments
    # Four calls of Python for each level, of a thousand that it allows.
    depth: Annotated[int, Field(strict=True, ge=1, le=128)] = DEFAULTS.depth
    header_bytes: PositiveBytes = DEFAULTS.header_bytes
    inflated_bytes: PositiveBytes = DEFAULTS.inflated_bytes
    inflated_ratio: Positive = DEFAULTS.inflated_ratio
    frame_bytes: PositiveBytes = DEFAULTS.frame_bytes
    pixel_bytes: PositiveBytes = DEFAULTS.pixel_bytes
    frame_ratio: Positive = DEFAULTS.frame_ratio
    # What a codec process takes whatever the frame is (docs/decisions/0110).
    codec_bytes: Annotated[Bytes, Field(ge=256 * 10**6)] = DEFAULTS.codec_bytes
    codec_seconds: Seconds = DEFAULTS.codec_seconds

    @property
    def bounds(self) -> Bounds:
        """What one object may be and take."""
        return Bounds(**{field.name: getattr(self, field.name) for field in fields(Bounds)})


class CommitmentSettings(Table):
    """How results of storage commitment are reported; ``give_up`` in seconds."""

    wait_seconds: Seconds = 1.0
    retry_seconds: Seconds = 60.0
    give_up: Duration = 7 * 86_400


class TlsSettings(Table):
    """PEM files; an empty text is none. ``port`` speaks TLS; without it, node.port does, with a certificate.

    ``clients`` says whether peers must show a certificate; "auto" is "required" where there is a ``ca``.
    """

    port: TcpPort = None
    certificate: Annotated[str, AfterValidator(readable)] = ""
    key: Annotated[str, AfterValidator(readable)] = ""
    ca: Annotated[str, AfterValidator(readable), AfterValidator(check_authority)] = ""
    clients: Literal["auto", "required", "optional", "none"] = "auto"

    @property
    def asked_of_clients(self) -> ClientCertificates:
        """Whether peers must show a certificate."""
        if self.clients == "auto":
            return "required" if self.ca else "none"
        return self.clients


class LogSettings(Table):
    """What is logged, and in which shape; ``patients`` lets names and ids through."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    patients: Switch = False


def _some_rules(rules: tuple[PolicyRule, ...]) -> tuple[PolicyRule, ...]:
    if not rules:
        raise ValueError("has no rule; leave the key out for the default policy")
    return rules


class Settings(Table):
    """The whole configuration. ``peer`` and ``policy`` are named as their tables in the file."""

    node: NodeSettings = NodeSettings()
    storage: StorageSettings = StorageSettings()
    tiers: Annotated[
        tuple[TierSettings, ...],
        Field(alias=OTHER_STORES),
        AfterValidator(unique(lambda tier: tier.name, "store", 1)),
        AfterValidator(unique(lambda tier: tier.url, "folder", 1)),
    ] = ()
    cache: CacheSettings = CacheSettings()
    index: IndexSettings = IndexSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    scrub: ScrubSettings = ScrubSettings()
    access: AccessSettings = AccessSettings()
    query: QuerySettings = QuerySettings()
    limits: LimitSettings = LimitSettings()
    commitment: CommitmentSettings = CommitmentSettings()
    tls: TlsSettings = TlsSettings()
    log: LogSettings = LogSettings()
    audit: AuditSettings = AuditSettings()
    http: HttpSettings = HttpSettings()
    dicomweb: DicomWebSettings = DicomWebSettings()
    peer: Annotated[
        tuple[Peer, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(unique(lambda peer: peer.aet, "AE title")),
    ] = ()
    user: Annotated[
        tuple[User, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(unique(lambda user: user.name, "user")),
    ] = ()
    policy: Annotated[
        tuple[PolicyRule, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(_some_rules),
        AfterValidator(unique(lambda rule: rule.name, "rule")),
    ] = DEFAULT_POLICY
    retention: Annotated[
        tuple[RetentionRule, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(unique(lambda rule: rule.name, "rule")),
    ] = ()

    forward: Annotated[
        tuple[ForwardRule, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(unique(lambda rule: rule.name, "rule")),
    ] = ()
    prefetch: Annotated[
        tuple[PrefetchRule, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(unique(lambda rule: rule.name, "rule")),
    ] = ()

    @property
    def folders(self) -> dict[str, Path]:
        """The folder of each store, by its name, empty for the first; of a bucket, this node's own."""
        first = self.storage.path
        return {"": first, **{tier.name: tier.folder(first) for tier in self.tiers}}

    @property
    def stores(self) -> dict[str, StorageSettings | TierSettings]:
        """All stores, by name; that of the first is empty."""
        return {"": self.storage, **{tier.name: tier for tier in self.tiers}}

    @property
    def encrypts(self) -> bool:
        """Whether any store encrypts its files."""
        return bool(self.storage.encryption_keys) or any(tier.encryption_keys for tier in self.tiers)

    def peer_named(self, aet: str) -> Peer | None:
        """The peer with this AE title, padded or not, or None."""
        return next((peer for peer in self.peer if peer.aet == aet.strip(" ")), None)
