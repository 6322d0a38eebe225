"""A standby of PostgreSQL takes over that lacks the last commits: nothing acknowledged stays lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from servers_postgresql import PostgreSQL

from scp.index.databases import Database

from .conftest import NodeProcess
from .peers import EXPLICIT, MR_IMAGE, STUDY_FIND, STUDY_GET, Scu, Sent, identifier, image, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


def stored(node: NodeProcess, *objects: Sent) -> None:
    """Send objects until each is acknowledged, as the database may be away."""
    left = list(objects)

    def none_left() -> bool:
        with Scu(node.address, [(MR_IMAGE, [EXPLICIT])]) as scu:
            while left and scu.store(left[0]).status == 0:
                del left[0]
        return not left

    until(none_left, "all are acknowledged", 60)


def found(node: NodeProcess) -> set[str]:
    with Scu(node.address, [(STUDY_FIND, [EXPLICIT])]) as scu:
        answers = scu.find(STUDY_FIND, identifier("IMAGE", SOPInstanceUID=""))
        return {one.identifier.SOPInstanceUID for one in answers if one.status in (0xFF00, 0xFF01)}


def sequence(server: PostgreSQL, database: Database) -> str:
    """The number in the index that says how old it is; the store has the same one (scp.archive.pairing)."""
    name = str(database.parsed.database)
    ((value,),) = server.execute("SELECT value FROM meta WHERE name = 'sequence'", name)
    return str(value)


def all_have_begun(server: PostgreSQL, database: Database) -> None:
    """The last process beats every other second: one that cannot open its index at first ends the node."""
    beats = set()

    def again() -> bool:
        beats.update(server.execute("SELECT seen FROM node", str(database.parsed.database)))
        return len(beats) > 2

    until(again, "the node beats", 60)


@pytest.mark.parametrize("landing", [True, False], ids=["landing log", "own files"])
def test_commits_that_a_standby_lacks(
    server: PostgreSQL, process: Callable[..., NodeProcess], landing: bool
) -> None:
    database = server.database(made=False)
    node = process(
        node={"workers": 2}, storage={"landing": landing, "backlog": "1GB"}, **server.tables(database)
    )
    node.start()
    all_have_begun(server, database)
    early = [image(rows=8) for _ in range(3)]
    stored(node, *early)
    late: list[Sent] = []
    before = ""
    # Each minute a number is raised in index and store. Were that lost, the index would be rebuilt.
    while not before or sequence(server, database) != before:
        server.follow()
        before = sequence(server, database)
        late.append(image(rows=8))
        stored(node, late[-1])
        late.extend(image(rows=8) for _ in range(10))
        stored(node, *late[-10:])
    server.fail_over()
    wanted = {one.instance for one in (*early, *late)}
    until(lambda: found(node) >= wanted, "all that was acknowledged is found", 60)
    with Scu(node.address, [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])], roles=[MR_IMAGE]) as scu:
        for one in late:
            got = scu.get(STUDY_GET, identifier("IMAGE", SOPInstanceUID=one.instance))
            assert [each.data for each in got.objects] == [one.data]
    told = [one for one in node.events() if one["event"] == "the database had lost commits"]
    assert sum(one["objects"] for one in told) >= 11
    # A form that was made anew, or whose commit was in doubt, leaves a file until the encoder comes to it;
    # what it could not encode while the database was away, it puts off for a minute.
    until(
        lambda: "Files and index agree" in node.run("fsck", status=None).stdout, "files and index agree", 180
    )
