"""What an admin can choose: the models of conf/zscp.toml, with every default.

Values are described in :mod:`scp.config_values`, their sources in :mod:`scp.config_sources`; each key
is explained to its reader in conf/zscp.toml, which a test keeps equal to the defaults here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from scp.config_sources import override, read_file, tell
from scp.config_values import (
    AeTitle,
    Bytes,
    Count,
    Duration,
    Forms,
    Hours,
    IndexUrl,
    Match,
    Quality,
    SampleError,
    Seconds,
    StorageUrl,
    Switch,
    TransferSyntaxes,
    Workers,
    bounds_lossy,
    list_of_tables,
    part_of_lossy,
    refuse_lossy,
    unique,
)
from scp.errors import ConfigurationError
from scp.tls import check_authority, check_identity, readable


class _Table(BaseModel):
    """A table of the file: never changed once read, and without keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


class NodeSettings(_Table):
    """Who this node is, and where it listens. Port 0 takes any that is free."""

    aet: AeTitle = "ZSCP"
    host: Annotated[str, Field(min_length=1)] = "0.0.0.0"  # noqa: S104 - an archive serves its network
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 11112
    workers: Workers = "auto"


class StorageSettings(_Table):
    """Where objects lie; ``reserve`` is the disk space in bytes that stays free.

    ``backlog`` is how many bytes may wait to be encoded behind their response; 0: none.
    """

    url: StorageUrl = "file://zscp-data/objects"
    reserve: Bytes = 10**9
    duplicates: Literal["replace", "keep", "reject"] = "replace"
    backlog: Bytes = 2 * 10**9

    @property
    def path(self) -> Path:
        """The folder of the objects; a relative one counts from the working directory."""
        return Path(self.url.removeprefix("file://"))


class IndexSettings(_Table):
    """The database that answers queries."""

    url: IndexUrl = "sqlite:///zscp-data/index.db"

    @property
    def path(self) -> Path:
        """The database's file; a relative one counts from the working directory."""
        return Path(self.url.removeprefix("sqlite:///"))


class LifecycleSettings(_Table):
    """How later stages are carried out, by how many processes; ``max_cpu`` is in cores, for all of them.

    ``hours`` are kept as minutes of the day, None for all day. Without ``workers`` nobody carries them out.
    """

    workers: Annotated[int, Field(strict=True, ge=0, le=64)] = 1
    max_cpu: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 1.0
    hours: Hours = None


class AccessSettings(_Table):
    """Who may associate, and what may be stored."""

    allow: Literal["any", "known"] = "any"
    check_called_aet: Switch = True
    unknown_sop_classes: Switch = True


class QuerySettings(_Table):
    """How C-FIND, C-MOVE and C-GET take identifiers; ``max_matches`` 0 is no limit."""

    hierarchy: Literal["strict", "lenient"] = "strict"
    max_matches: Count = 0


class LimitSettings(_Table):
    """What one peer, or all together, may take."""

    associations: Annotated[int, Field(strict=True, ge=1)] = 100
    # One field of PS3.7 D.3.3.3 has 16 bits; a thread each is what bounds it here.
    operations: Annotated[int, Field(strict=True, ge=1, le=256)] = 16
    # PS3.8 D.1 has 0 for "no limit", but a receive buffer needs one; 16 MiB is far beyond any gain.
    pdu_bytes: Annotated[int, Field(strict=True, ge=4096, le=2**24)] = 131_072
    idle_seconds: Seconds = 300.0
    acse_seconds: Seconds = 30.0
    dimse_seconds: Seconds = 60.0
    connect_seconds: Seconds = 10.0


class CommitmentSettings(_Table):
    """How results of storage commitment are reported; ``give_up`` in seconds."""

    wait_seconds: Seconds = 1.0
    retry_seconds: Seconds = 60.0
    give_up: Duration = 7 * 86_400


class TlsSettings(_Table):
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


class LogSettings(_Table):
    """What is logged, and in which shape; ``patients`` lets names and ids through."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    patients: Switch = False


class Peer(_Table):
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


class Stage(_Table):
    """One form, or several to choose from, and when it applies: ``after`` in seconds.

    ``forms`` is written ``form`` in the file. ``wrap``, ``level`` and ``effort`` None are the form's
    own defaults. ``budget_ms`` are milliseconds for each megabyte of the received object.
    """

    forms: Annotated[Forms, Field(alias="form")]
    after: Duration = None
    after_access: Duration = None
    level: Annotated[int, Field(strict=True, ge=1, le=22)] | None = None
    effort: Annotated[int, Field(strict=True, ge=1, le=9)] | None = None
    wrap: Literal["auto", "zstd", "none"] | None = None
    dictionary: Switch = False
    keep: Literal["first", "smallest"] = "first"
    budget_ms: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    shortcut: Switch = True
    lossy: Annotated[Switch, AfterValidator(refuse_lossy)] = False
    quality: Annotated[float | None, BeforeValidator(refuse_lossy)] = None
    max_error: Annotated[float | None, BeforeValidator(refuse_lossy)] = None
    store: Annotated[str, Field(min_length=1)] | None = None

    @property
    def compares(self) -> bool:
        """Whether the smallest of several forms is wanted."""
        return self.keep == "smallest" and len(self.forms) > 1

    @property
    def narrows(self) -> bool:
        """Whether forms may be ruled out that were not tried."""
        return self.compares and self.shortcut


def _in_order(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Stages as they will apply: one on receive, the others by time."""
    if not stages:
        raise ValueError('names no stage; write, say, [ { form = "htj2k" } ]')
    if stages[0].after or stages[0].after_access is not None:
        raise ValueError(
            '[0] must apply on receive; leave out its times, or put { form = "received" } before it'
        )
    for number, stage in enumerate(stages[1:], 1):
        if stage.after is None and stage.after_access is None:
            raise ValueError(f"[{number}] has no time, but only [0] applies on receive; give it an `after`")
    times = [stage.after for stage in stages if stage.after is not None]
    if times != sorted(times):
        raise ValueError("must stand in ascending order of `after`")
    return stages


class PolicyRule(_Table):
    """What becomes of the objects that ``match``; an empty one matches every object."""

    name: Annotated[str, Field(min_length=1)]
    match: Match = Field(default_factory=dict)
    stages: Annotated[tuple[Stage, ...], BeforeValidator(list_of_tables), AfterValidator(_in_order)]

    @property
    def on_receive(self) -> Stage:
        """The stage that applies before a C-STORE is answered: always the first."""
        return self.stages[0]

    @property
    def later(self) -> tuple[Stage, ...]:
        """The stages that apply afterwards, by time."""
        return self.stages[1:]

    def at(self, stage: Stage) -> PolicyRule:
        """This rule where ``stage`` is the one that applies."""
        return self.model_copy(update={"stages": (stage,)})

    @property
    def carried_out(self) -> tuple[Stage, ...]:
        """The stages that apply by age; those by ``after_access`` are not in use in this version."""
        return tuple(stage for stage in self.stages if stage.after_access is None)

    @property
    def waits(self) -> bool:
        """Whether the response may be sent before anything is encoded."""
        return self.on_receive.forms == ("received",)

    @property
    def behind(self) -> Stage | None:
        """The stage that applies right behind the response, if there is one."""
        at_once = [stage for stage in self.later if stage.after == 0 and stage.after_access is None]
        return at_once[-1] if at_once else None

    @property
    def settled(self) -> Stage:
        """The stage that an object ends in without waiting: the one behind, or the first."""
        return self.behind or self.on_receive


class ForwardRule(_Table):
    """Where what arrives and matches is sent to: AE titles of peers. ``after`` and ``give_up`` in seconds."""

    name: Annotated[str, Field(min_length=1)]
    match: Match = Field(default_factory=dict)
    to: Annotated[tuple[AeTitle, ...], Field(min_length=1)]
    after: Duration = 0
    give_up: Duration = 7 * 86_400


class PrefetchRule(_Table):
    """Which earlier studies of a patient are sent ahead of being asked for, and when.

    ``modality`` and ``body_part`` select series, empty: all; studies with such a series are sent whole, at
    most ``count`` of them, the newest first, none older than ``within`` seconds.
    """

    name: Annotated[str, Field(min_length=1)]
    on: Annotated[tuple[Literal["store", "query"], ...], Field(min_length=1)] = ("store",)
    match: Match = Field(default_factory=dict)
    to: AeTitle
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    same_body_part: Switch = False
    within: Duration = None
    count: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    give_up: Duration = 86_400


_COMPRESSED = ("JPEG*", "HTJ2K*", "RLE*", "MPEG*", "HEVC*", "Deflated*", "JPIP*", "Encapsulated*")
DEFAULT_POLICY: tuple[PolicyRule, ...] = (
    PolicyRule(
        name="already compressed",
        match={"transfer_syntax": _COMPRESSED},
        stages=(Stage(forms=("received",), wrap="auto"),),
    ),
    PolicyRule(
        name="everything else",
        stages=(Stage(forms=("received",)), Stage.model_validate({"form": "htj2k", "after": "0s"})),
    ),
)


def _some_rules(rules: tuple[PolicyRule, ...]) -> tuple[PolicyRule, ...]:
    if not rules:
        raise ValueError("has no rule; leave the key out for the default policy")
    return rules


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
        for aet in (rule.to,) if isinstance(rule.to, str) else rule.to:
            if "peer" in info.data and aet not in known:
                raise ValueError(
                    f'[{number}].to names "{aet}", which is no [[peer]]; add one with its address'
                )
    return rules


class Settings(_Table):
    """The whole configuration. ``peer`` and ``policy`` are named as their tables in the file."""

    node: NodeSettings = NodeSettings()
    storage: StorageSettings = StorageSettings()
    index: IndexSettings = IndexSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
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
    ] = DEFAULT_POLICY

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

    def peer_named(self, aet: str) -> Peer | None:
        """The peer with this AE title, padded or not, or None."""
        return next((peer for peer in self.peer if peer.aet == aet.strip(" ")), None)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file at ``path``, or the defaults, with those of ``environ`` over them.

    ConfigurationError names every fault at once: the file, the key, what is wrong, what would be right.
    """
    tables = read_file(path) if path else {}
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
        lines += (f"policy[{number}].{line}" for line in _rule_warnings(rule))
        if not rule.match and number + 1 < len(settings.policy):
            lines.append(f"policy[{number}]: matches every object, so the rules below it are never reached")
    return lines


def _rule_warnings(rule: PolicyRule) -> Iterator[str]:
    for number, stage in enumerate(rule.stages):
        place = f"stages[{number}]"
        if stage.after_access is not None:
            yield f"{place}.after_access: not in use in this version, so that the stage is never carried out"
        yield from (f"{place}.{line}" for line in _choice_warnings(stage))
        if stage.store is not None:
            yield f"{place}.store: not in use in this version"


def _choice_warnings(stage: Stage) -> Iterator[str]:
    if stage.compares:
        return
    for key, is_set in (
        ("keep", stage.keep == "smallest"),
        ("budget_ms", stage.budget_ms is not None),
        ("shortcut", not stage.shortcut),
    ):
        if is_set:
            yield f'{key}: has an effect only with several forms and keep = "smallest"'
