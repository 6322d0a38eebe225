"""What an admin can choose: the models of conf/zscp.toml, with every default.

Values are described in :mod:`scp.config.values`, their sources in :mod:`scp.config.sources`; each key
is explained to its reader in conf/zscp.toml, which a test keeps equal to the defaults here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from scp.config.rules import (
    DEFAULT_POLICY,
    ForwardRule,
    PolicyRule,
    PrefetchRule,
    RetentionRule,
    Stage,
    rule_warnings,
)
from scp.config.sources import OTHER_STORES, first_and_others, override, read_file, tell
from scp.config.tls import check_authority, check_identity, readable
from scp.config.values import (
    AeTitle,
    Bytes,
    Count,
    Duration,
    Hours,
    IndexUrl,
    MemoryBytes,
    Part,
    Quality,
    SampleError,
    Seconds,
    Span,
    StorageUrl,
    StoreName,
    Switch,
    Table,
    TransferSyntaxes,
    Workers,
    bounds_lossy,
    list_of_tables,
    nearest,
    part_of_lossy,
    unique,
)
from scp.errors import ConfigurationError
from scp.resources.bounds import DEFAULTS, Bounds


class NodeSettings(Table):
    """Who this node is, and where it listens. Port 0 takes any that is free."""

    aet: AeTitle = "ZSCP"
    host: Annotated[str, Field(min_length=1)] = "0.0.0.0"  # noqa: S104 - an archive serves its network
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 11112
    workers: Workers = "auto"


class StorageSettings(Table):
    """Where objects come in; ``reserve`` is the disk space in bytes that stays free.

    ``backlog`` is how many bytes may wait to be encoded behind their response; 0: none. ``name`` is what
    stages call this store, where there are several.
    """

    name: StoreName = "first"
    url: StorageUrl = "file://zscp-data/objects"
    reserve: Bytes = 10**9
    duplicates: Literal["replace", "keep", "reject"] = "replace"
    incomplete: Literal["keep", "reject"] = "keep"
    unreadable: Literal["keep", "reject"] = "keep"
    backlog: Bytes = 2 * 10**9
    trash: Span = 30 * 86_400
    high_watermark: Part = None
    low_watermark: Part = None

    @property
    def path(self) -> Path:
        """The folder of the objects; a relative one counts from the working directory."""
        return Path(self.url.removeprefix("file://"))


class TierSettings(Table):
    """Another store, which stages name: every [[storage]] but the first.

    ``availability`` is Instance Availability (PS3.3 C.4.23.1.1). Whoever waits for an object gives up when
    a store that is not online has given none for ``fetch_seconds``.
    """

    name: StoreName
    url: StorageUrl
    reserve: Bytes = 10**9
    availability: Literal["online", "nearline", "offline"] = "online"
    fetch_seconds: Seconds = 60.0

    @property
    def path(self) -> Path:
        """The folder of the objects; a relative one counts from the working directory."""
        return Path(self.url.removeprefix("file://"))


class CacheSettings(Table):
    """How many bytes of decoded objects are kept, for who asks for them again; 0: none."""

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


class IndexSettings(Table):
    """The database that answers queries."""

    url: IndexUrl = "sqlite:///zscp-data/index.db"

    @property
    def path(self) -> Path:
        """The database's file; a relative one counts from the working directory."""
        return Path(self.url.removeprefix("sqlite:///"))


class LifecycleSettings(Table):
    """How later stages are carried out, by how many processes; ``max_cpu`` is in cores, for all of them.

    ``hours`` are kept as minutes of the day, None for all day. Without ``workers`` nobody carries them out.
    """

    workers: Annotated[int, Field(strict=True, ge=0, le=64)] = 1
    max_cpu: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 1.0
    hours: Hours = None


class AccessSettings(Table):
    """Who may associate, and what may be stored."""

    allow: Literal["any", "known"] = "any"
    check_called_aet: Switch = True
    unknown_sop_classes: Switch = True


class QuerySettings(Table):
    """How C-FIND, C-MOVE and C-GET take identifiers (docs/decisions/0101); ``max_matches`` 0 is no limit."""

    hierarchy: Literal["strict", "lenient"] = "lenient"
    max_matches: Count = 0


# No limit can be switched off.
Positive = Annotated[int, Field(strict=True, ge=1)]
PositiveBytes = Annotated[Bytes, Field(ge=1)]


class LimitSettings(Table):
    """What one peer, all together, or one object may take; ``memory`` 0 is that of scp.resources.budget."""

    associations: Annotated[int, Field(strict=True, ge=1)] = 100
    # One field of PS3.7 D.3.3.3 has 16 bits; a thread each is what bounds it here.
    operations: Annotated[int, Field(strict=True, ge=1, le=256)] = 16
    # PS3.8 D.1 has 0 for "no limit", but a receive buffer needs one; 16 MiB is far beyond any gain.
    pdu_bytes: Annotated[int, Field(strict=True, ge=4096, le=2**24)] = 131_072
    idle_seconds: Seconds = 300.0
    acse_seconds: Seconds = 30.0
    dimse_seconds: Seconds = 60.0
    connect_seconds: Seconds = 10.0
    move_retry_seconds: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 60.0
    memory: MemoryBytes = 0
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
    """PEM files; an empty text is none. With ``certificate`` and ``key`` the node's port speaks TLS."""

    certificate: Annotated[str, AfterValidator(readable)] = ""
    key: Annotated[str, AfterValidator(readable), Field(validate_default=True)] = ""
    ca: Annotated[str, AfterValidator(readable), AfterValidator(check_authority)] = ""

    @field_validator("key")
    @classmethod
    def _belong_together(cls, key: str, info: ValidationInfo) -> str:
        if "certificate" in info.data:
            check_identity(info.data["certificate"], key)
        return key


class LogSettings(Table):
    """What is logged, and in which shape; ``patients`` lets names and ids through."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    patients: Switch = False


class Peer(Table):
    """A node that zscp knows: it may be a C-MOVE destination. ``prefer`` holds UIDs.

    ``associations`` are the most that zscp opens to it for one C-MOVE. ``lossy`` lets zscp send it lossy
    copies, by ``quality`` or within ``max_error``.
    """

    aet: AeTitle
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    link_mbps: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    prefer: TransferSyntaxes = ()
    associations: Annotated[int, Field(strict=True, ge=1, le=16)] = 1
    tls: Switch = False
    lossy: Switch = False
    quality: Annotated[Quality | None, AfterValidator(part_of_lossy)] = None
    max_error: Annotated[
        SampleError | None,
        AfterValidator(part_of_lossy),
        AfterValidator(bounds_lossy),
        Field(validate_default=True),
    ] = None


def _some_rules(rules: tuple[PolicyRule, ...]) -> tuple[PolicyRule, ...]:
    if not rules:
        raise ValueError("has no rule; leave the key out for the default policy")
    return rules


def _in_known_stores(rules: tuple[PolicyRule, ...], info: ValidationInfo) -> tuple[PolicyRule, ...]:
    """The first store is where objects are without one: its name becomes None."""
    first, tiers = info.data.get("storage"), info.data.get("tiers")
    if first is None or tiers is None:  # these are at fault, and that is told
        return rules
    names = (first.name, *(tier.name for tier in tiers))
    for number, rule in enumerate(rules):
        placed = {f"stages[{place}]": stage for place, stage in enumerate(rule.stages)}
        for place, stage in {**placed, **({"on_access": rule.on_access} if rule.on_access else {})}.items():
            if stage.store and stage.store not in names:
                where, remedy = f"[{number}].{place}.store", nearest(stage.store, names)
                raise ValueError(f'{where}: "{stage.store}" is no [[storage]]; {remedy}')
    return tuple(_without_name(rule, first.name) for rule in rules)


def _without_name(rule: PolicyRule, first: str) -> PolicyRule:
    stages = tuple(_unless_first(stage, first) for stage in rule.stages)
    promotion = rule.on_access and _unless_first(rule.on_access, first)
    return rule.model_copy(update={"stages": stages, "on_access": promotion})


_AnyStage = TypeVar("_AnyStage", bound=Stage)


def _unless_first(stage: _AnyStage, first: str) -> _AnyStage:
    return stage.model_copy(update={"store": None}) if stage.store == first else stage


def _beside_the_first(tiers: tuple[TierSettings, ...], info: ValidationInfo) -> tuple[TierSettings, ...]:
    first = info.data.get("storage")
    for number, tier in enumerate(tiers, 1):
        if first is not None and tier.name == first.name:
            raise ValueError(f'[{number}].name: the first store is called "{first.name}"; give it another')
        if first is not None and tier.path.absolute() == first.path.absolute():
            raise ValueError(f"[{number}].url: is the folder of the first store; give it another")
    return tiers


def _can_be_verified(peers: tuple[Peer, ...], info: ValidationInfo) -> tuple[Peer, ...]:
    tls = info.data.get("tls")
    for number, peer in enumerate(peers):
        if peer.tls and isinstance(tls, TlsSettings) and not tls.ca:
            raise ValueError(f"[{number}].tls needs tls.ca, to know whose certificate to believe")
    return peers


def _destinations_are_peers(
    rules: tuple[ForwardRule | PrefetchRule, ...], info: ValidationInfo
) -> tuple[ForwardRule | PrefetchRule, ...]:
    known = {peer.aet for peer in info.data.get("peer", ())}
    for number, rule in enumerate(rules):
        for aet in rule.destinations:
            if "peer" in info.data and aet not in known:
                raise ValueError(
                    f'[{number}].to names "{aet}", which is no [[peer]]; add one with its address'
                )
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
        AfterValidator(_beside_the_first),
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
    peer: Annotated[
        tuple[Peer, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(unique(lambda peer: peer.aet, "AE title")),
        AfterValidator(_can_be_verified),
    ] = ()
    policy: Annotated[
        tuple[PolicyRule, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(_some_rules),
        AfterValidator(unique(lambda rule: rule.name, "rule")),
        AfterValidator(_in_known_stores),
    ] = DEFAULT_POLICY
    retention: Annotated[
        tuple[RetentionRule, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(unique(lambda rule: rule.name, "rule")),
    ] = ()

    forward: Annotated[
        tuple[ForwardRule, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(_destinations_are_peers),
        AfterValidator(unique(lambda rule: rule.name, "rule")),
    ] = ()
    prefetch: Annotated[
        tuple[PrefetchRule, ...],
        BeforeValidator(list_of_tables),
        AfterValidator(_destinations_are_peers),
        AfterValidator(unique(lambda rule: rule.name, "rule")),
    ] = ()

    @property
    def folders(self) -> dict[str, Path]:
        """Where the objects of each store lie, by its name; that of the first is empty."""
        return {"": self.storage.path, **{tier.name: tier.path for tier in self.tiers}}

    def peer_named(self, aet: str) -> Peer | None:
        """The peer with this AE title, padded or not, or None."""
        return next((peer for peer in self.peer if peer.aet == aet.strip(" ")), None)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file at ``path``, or the defaults, with those of ``environ`` over them.

    ConfigurationError names every fault at once: the file, the key, what is wrong, what would be right.
    """
    tables = first_and_others(read_file(path)) if path else {}
    origins, faults = override(tables, environ, Settings)
    try:
        settings = Settings.model_validate(tables, by_alias=True, by_name=False)
    except ValidationError as error:
        faults += tell(error, Settings, origins)
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults)
        raise ConfigurationError(f"{path or 'The environment'} cannot be used:{listed}")
    return settings


def warnings(settings: Settings) -> list[str]:
    """What is set but has no effect, a line each: ``zscp check`` shows them."""
    lines: list[str] = []
    for number, rule in enumerate(settings.policy):
        lines += (f"policy[{number}].{line}" for line in rule_warnings(rule))
        if not rule.match and number + 1 < len(settings.policy):
            lines.append(f"policy[{number}]: matches every object, so the rules below it are never reached")
    for number, kept in enumerate(settings.retention):
        if kept.delete == "when full" and settings.storage.high_watermark is None:
            lines.append(f"retention[{number}].delete: has no effect without storage.high_watermark")
    for number, kept in enumerate(settings.retention[:-1]):
        if not kept.match:
            lines.append(f"retention[{number}]: matches every object, so those below it are never reached")
    return lines
