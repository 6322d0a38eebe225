"""What an admin can choose: the models of conf/zscp.toml, with every default.

Values are described in :mod:`scp.config_values`, their sources in :mod:`scp.config_sources`; each key
is explained to its reader in conf/zscp.toml, which a test keeps equal to the defaults here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from scp.config_sources import OTHER_STORES, first_and_others, override, read_file, tell
from scp.config_values import (
    AeTitle,
    Bytes,
    Count,
    Duration,
    Forms,
    Hours,
    IndexUrl,
    Match,
    Part,
    Quality,
    SampleError,
    Seconds,
    Span,
    StorageUrl,
    StoreName,
    Switch,
    TransferSyntaxes,
    Workers,
    bounds_lossy,
    duration,
    list_of_tables,
    nearest,
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
    """Where objects come in; ``reserve`` is the disk space in bytes that stays free.

    ``backlog`` is how many bytes may wait to be encoded behind their response; 0: none. ``name`` is what
    stages call this store, where there are several.
    """

    name: StoreName = "first"
    url: StorageUrl = "file://zscp-data/objects"
    reserve: Bytes = 10**9
    duplicates: Literal["replace", "keep", "reject"] = "replace"
    backlog: Bytes = 2 * 10**9
    trash: Span = 30 * 86_400
    high_watermark: Part = None
    low_watermark: Part = None

    @property
    def path(self) -> Path:
        """The folder of the objects; a relative one counts from the working directory."""
        return Path(self.url.removeprefix("file://"))


class TierSettings(_Table):
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


class CacheSettings(_Table):
    """How many bytes of decoded objects are kept, for who asks for them again; 0: none."""

    bytes: Bytes = 10**9


class ScrubSettings(_Table):
    """How often each stored file is read and checked, in seconds, and how fast; 0: not by itself."""

    interval: Duration = 90 * 86_400
    bytes_per_second: Bytes = 20 * 10**6

    @field_validator("bytes_per_second")
    @classmethod
    def _reads(cls, value: int) -> int:
        if value < 1:
            raise ValueError('0 would read nothing; write interval = "0s" not to scrub')
        return value


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

    ``forms`` is written ``form`` in the file; a stage without any is read with those of the one before it.
    ``wrap``, ``level`` and ``effort`` None are the form's own defaults. ``budget_ms`` are milliseconds for
    each megabyte of the received object. ``store`` None is the first store.
    """

    forms: Annotated[Forms, Field(alias="form")] = ()
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
    store: StoreName | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.forms and not self.store:
            raise ValueError('names neither a form nor a store; give it, say, form = "htj2k"')
        return self

    @property
    def compares(self) -> bool:
        """Whether the smallest of several forms is wanted."""
        return self.keep == "smallest" and len(self.forms) > 1

    @property
    def narrows(self) -> bool:
        """Whether forms may be ruled out that were not tried."""
        return self.compares and self.shortcut


class Promotion(Stage):
    """What a retrieve brings an object back to that is in a later stage, for ``keep_for`` seconds.

    Without ``forms`` it keeps its form; ``store`` None is the first store.
    """

    keep_for: Annotated[int, BeforeValidator(duration)] = 7 * 86_400

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.after is not None or self.after_access is not None:
            raise ValueError("applies at once; leave out `after` and `after_access`")
        return self


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
    return _in_stores(stages)


def _in_stores(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Each stage with what it takes over from the one before it: a store, and a form where it has none."""
    placed: list[Stage] = []
    for number, stage in enumerate(stages):
        if stage.store and not (stage.after or stage.after_access):
            raise ValueError(
                f"[{number}].store: objects come in to the first store; name another in a later stage"
            )
        times = {"after": stage.after, "after_access": stage.after_access}
        before = placed[-1] if placed else stage
        form = stage if stage.forms else before.model_copy(update=times)
        placed.append(form.model_copy(update={"store": stage.store or before.store}))
    return tuple(placed)


class PolicyRule(_Table):
    """What becomes of the objects that ``match``; an empty one matches every object."""

    name: Annotated[str, Field(min_length=1)]
    match: Match = Field(default_factory=dict)
    stages: Annotated[tuple[Stage, ...], BeforeValidator(list_of_tables), AfterValidator(_in_order)]
    on_access: Promotion | None = None

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


class RetentionRule(_Table):
    """Objects that ``match`` may go ``after`` so many seconds since they were received."""

    name: Annotated[str, Field(min_length=1)]
    match: Match = Field(default_factory=dict)
    after: Span
    delete: Literal["always", "when full"] = "always"


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


class Settings(_Table):
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
        lines += (f"policy[{number}].{line}" for line in _rule_warnings(rule))
        if not rule.match and number + 1 < len(settings.policy):
            lines.append(f"policy[{number}]: matches every object, so the rules below it are never reached")
    for number, kept in enumerate(settings.retention):
        if kept.delete == "when full" and settings.storage.high_watermark is None:
            lines.append(f"retention[{number}].delete: has no effect without storage.high_watermark")
    for number, kept in enumerate(settings.retention[:-1]):
        if not kept.match:
            lines.append(f"retention[{number}]: matches every object, so those below it are never reached")
    return lines


def _rule_warnings(rule: PolicyRule) -> Iterator[str]:
    yield from _access_warnings(rule)
    for number, stage in enumerate(rule.stages):
        place = f"stages[{number}]"
        yield from (f"{place}.{line}" for line in _choice_warnings(stage))


def _access_warnings(rule: PolicyRule) -> Iterator[str]:
    if rule.on_access is not None and rule.settled is rule.stages[-1]:
        yield "on_access: has no effect, as no later stage is there to come back from"


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
