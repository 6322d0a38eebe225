"""All that is measured, and what is to be reached, as two tables."""

from __future__ import annotations

from dataclasses import dataclass

from bench.results import Target

PEERS = ("storescp", "dcmqrscp", "Orthanc")
CODEC = "codec alone"
CLUSTERED = (
    "zscp",
    "zscp, encoded first",
    "zscp on PostgreSQL",
    "zscp on PostgreSQL and SeaweedFS",
    "zscp on PostgreSQL and SeaweedFS, encoded first",
    "zscp on PostgreSQL and SeaweedFS, spool",
    "two nodes behind HAProxy",
    "two nodes behind HAProxy, spool",
)


@dataclass(frozen=True)
class Scenario:
    """A row: what is done (a function of measure.py), with which objects, by how many clients, to whom."""

    name: str
    title: str
    action: str
    objects: str
    receivers: tuple[str, ...]
    associations: int = 1
    nodelay: bool = True
    rounds: int = 0  # 0: as many as asked for


def _store(objects: str, associations: int, *receivers: str, title: str = "") -> Scenario:
    name = f"store-{objects}-{associations}"
    shown = {"ct": "CT", "small": "small objects"}[objects]
    ways = "1 association" if associations == 1 else f"{associations} associations"
    return Scenario(name, title or f"C-STORE {shown}, {ways}", "store", objects, receivers, associations)


def _get(name: str, title: str, *receivers: str, associations: int = 1) -> Scenario:
    return Scenario(name, title, "get", "ct", receivers, associations)


def _clustered(associations: int) -> Scenario:
    ways = "1 association" if associations == 1 else f"{associations} associations"
    title = f"C-STORE small objects into servers, {ways}"
    return Scenario(f"cluster-small-{associations}", title, "store", "small", CLUSTERED, associations)


SCENARIOS = (
    _store("ct", 1, "zscp", *PEERS, "Orthanc, zlib", "Orthanc, JPEG-LS"),
    _store("ct", 4, "zscp", "zscp, htj2k first", CODEC, "storescp", "Orthanc"),
    _store("ct", 16, "zscp", "storescp", "Orthanc"),
    _store("small", 1, "zscp", *PEERS),
    _store("small", 4, "zscp", "storescp", "Orthanc"),
    _store("small", 16, "zscp", "storescp", "Orthanc"),
    Scenario(
        "store-small-nagle", "C-STORE small objects, Nagle on (DCMTK's default)", "store", "small-nagle",
        ("zscp", "storescp", "Orthanc"), nodelay=False,
    ),
    Scenario(
        "store-ct-nagle", "C-STORE CT, Nagle on (DCMTK's default)", "store", "ct",
        ("zscp", "storescp", "Orthanc"), nodelay=False,
    ),
    Scenario(
        "sustained-ct", "C-STORE CT three times over, to the end of all work", "store", "ct3",
        ("zscp", "zscp, htj2k first", "storescp", "Orthanc", "Orthanc, JPEG-LS"), 4,
    ),
    _get("get-ct-stored", "C-GET CT, stored form as it is", "zscp, as received", "dcmqrscp", "Orthanc"),
    Scenario(
        "move-ct-stored", "C-MOVE CT, stored form as it is", "move", "ct",
        ("zscp, as received", "dcmqrscp", "Orthanc"),
    ),
    _get(
        "get-ct-decoded", "C-GET CT, decoded to explicit little endian",
        "zscp, htj2k first", "Orthanc", "Orthanc, zlib", "Orthanc, JPEG-LS",
    ),
    Scenario(
        "get-ct-nagle", "C-GET CT, stored form as it is, Nagle on", "get", "ct",
        ("zscp, as received", "dcmqrscp", "Orthanc"), nodelay=False,
    ),
    _get("get-ct-4", "C-GET CT, decoded, 4 associations", "zscp, htj2k first", "Orthanc", associations=4),
    _get("get-ct-16", "C-GET CT, decoded, 16 associations", "zscp, htj2k first", "Orthanc", associations=16),
    Scenario("window", "C-STORE small objects with and without a window", "window", "small", ("zscp",)),
    Scenario(
        "fairness", "C-STORE small objects alone, and beside 100 MB objects", "fairness", "small",
        ("zscp, htj2k first",),
    ),
    _clustered(1),
    _clustered(8),
    Scenario("soak", "C-STORE 100,000 small objects", "soak", "small", ("zscp",), 2, rounds=1),
)  # fmt: skip

BESIDE = ", beside 100 MB objects"  # appended to the receiver's name by the fairness scenario
WINDOW = 16
NO_WINDOW, WITH_WINDOW = ", no window", f", window {WINDOW}"
# Each way: what a line between two hospitals of a region has.
LINE_SECONDS = 0.005
OVER_LINE = ", 10 ms line"
# Medians of a few rounds on a busy machine differ by some per cent: "does not fall" is asked up to 5 %.
NOT_LESS = 0.95


def _steady(first: str, second: str, receiver: str) -> Target:
    return Target((second, receiver), "speed", NOT_LESS, (first, receiver))


TARGETS = (
    Target(("store-ct-1", "zscp"), "time", 1.8, ("store-ct-1", "storescp")),
    Target(("store-ct-1", "zscp"), "time", 0.8, ("store-ct-1", "dcmqrscp")),
    Target(("store-ct-1", "zscp"), "time", 0.4, ("store-ct-1", "Orthanc")),
    Target(("store-ct-4", "zscp, htj2k first"), "speed", 0.5, ("store-ct-4", CODEC)),
    Target(("store-small-1", "zscp"), "time", 1.1, ("store-small-1", "storescp")),
    Target(("store-small-nagle", "zscp"), "speed", 30, ("store-small-nagle", "storescp")),
    Target(("store-small-nagle", "zscp"), "speed", 30, ("store-small-nagle", "Orthanc")),
    *(
        Target((scenario, "zscp, as received"), "time", limit, (scenario, peer))
        for scenario in ("get-ct-stored", "move-ct-stored")
        for peer, limit in (("dcmqrscp", 1.0), ("Orthanc", 0.9))
    ),
    Target(("get-ct-decoded", "zscp, htj2k first"), "time", 1.4, ("get-ct-decoded", "Orthanc")),
    Target(("get-ct-decoded", "zscp, htj2k first"), "time", 0.25, ("get-ct-decoded", "Orthanc, JPEG-LS")),
    _steady("store-ct-1", "store-ct-16", "zscp"),
    _steady("store-small-1", "store-small-16", "zscp"),
    _steady("get-ct-decoded", "get-ct-16", "zscp, htj2k first"),
    *(
        Target((f"cluster-small-{ways}", receiver), "speed", share, (f"cluster-small-{ways}", "zscp"))
        for ways in (1, 8)
        for receiver, share in (
            ("zscp on PostgreSQL and SeaweedFS", 0.5),
            ("zscp on PostgreSQL and SeaweedFS, spool", 0.8),
        )
    ),
    Target(
        ("cluster-small-8", "two nodes behind HAProxy"),
        "speed",
        1.0,
        ("cluster-small-8", "zscp on PostgreSQL and SeaweedFS"),
    ),
    Target(("window", f"zscp{WITH_WINDOW}"), "speed", 2.0, ("window", f"zscp{NO_WINDOW}")),
    Target(
        ("window", f"zscp{WITH_WINDOW}{OVER_LINE}"), "speed", 2.0, ("window", f"zscp{NO_WINDOW}{OVER_LINE}")
    ),
    Target(
        ("fairness", f"zscp, htj2k first{BESIDE}"), "speed", 0.5, ("fairness", "zscp, htj2k first, alone")
    ),
    Target(("all", "zscp"), "peak", 250),
    # Allocators keep some slack: 5 % between the first and the last quarter is taken as none.
    Target(("soak", "zscp"), "growth", 1.05),
)
