"""An edited policy, tried and saved at the desk of a running node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scp.archive.archive import Archive
from scp.audit.events import SECURITY_CONFIGURATION, SOFTWARE_CONFIGURATION, AuditEvent, Participant
from scp.background.lookup import LookedUp
from scp.config.load import load
from scp.config.saving import ConfigurationFile
from scp.config.settings import Settings
from scp.config.users import hashed
from scp.errors import OutOfResources
from scp.node.build import open_archive
from scp.node.policy_desk import PolicyDesk
from scp.web.reports import ReloadReport

HASH = hashed("a password of a test")
JO = Participant("Jo", requestor=True)
RULE = '[[policy]]\nname = "all"\nstages = [{{ form = "{}" }}]\n'


class Recording:
    on = True

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    def handed_over(self, seconds: float) -> bool:
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "zscp.toml"
    stores = f'[storage]\nurl = "file://{tmp_path}/data"\n[index]\nurl = "sqlite:///{tmp_path}/index.db"\n'
    path.write_text(stores + RULE.format("zstd"), encoding="utf-8")
    return path


@pytest.fixture
def settings(path: Path) -> Settings:
    return load(path, {})


@pytest.fixture
def archive(settings: Settings) -> Iterator[Archive]:
    opened = open_archive(settings)
    yield opened
    opened.close()


@pytest.fixture
def trail() -> Recording:
    return Recording()


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def desk(path: Path, settings: Settings, archive: Archive, trail: Recording, asked: list[str]) -> PolicyDesk:
    def reload() -> ReloadReport:
        asked.append("reload")
        return ReloadReport("taken up")

    return PolicyDesk(ConfigurationFile(path, {}), lambda: settings, lambda: archive, reload, trail, LookedUp)


def test_what_is_saved_is_reloaded_and_recorded_with_who_did(
    desk: PolicyDesk, path: Path, trail: Recording, asked: list[str]
) -> None:
    read = desk.read()
    edited = read.text.replace('"zstd"', '"htj2k"')
    assert desk.try_text(edited).changed == ("policy[all].stages[0].forms",)
    done = desk.save(edited, read.digest, Participant("Jo", requestor=True, address="10.0.0.1"))
    assert (done.saved.outcome, done.reload.outcome) == ("saved", "taken up")
    assert (done.changed, done.needs_restart, done.others) == (("policy[all].stages[0].forms",), (), ())
    assert load(path, {}).policy[0].stages[0].forms == ("htj2k",)
    assert asked == ["reload"]
    (event,) = trail.events
    assert event.type == SOFTWARE_CONFIGURATION
    who = event.participants[0]
    assert (who.user_id, who.requestor, who.address) == ("Jo", True, "10.0.0.1")
    assert b"policy[all].stages[0].forms" in dict(event.subjects[0].details)["Alert Description"]


def test_what_is_saved_is_taken_up_while_the_index_is_away(desk: PolicyDesk, asked: list[str]) -> None:
    def away() -> Archive:
        raise OutOfResources("the index is away")

    read = desk.read()
    done = replace(desk, archive=away).save(read.text + "# more\n", read.digest, JO)
    assert (done.saved.outcome, done.reload.outcome, done.others) == ("saved", "taken up", None)
    assert asked == ["reload"]


def test_what_is_not_saved_is_neither_reloaded_nor_recorded(
    desk: PolicyDesk, path: Path, trail: Recording, asked: list[str]
) -> None:
    before = path.read_bytes()
    read = desk.read()
    done = desk.save(read.text.replace('"zstd"', '"zst"'), read.digest, JO)
    assert (done.saved.outcome, done.reload.outcome) == ("invalid", "not asked")
    assert desk.save(read.text + "#\n", "another", JO).saved.outcome == "changed meanwhile"
    assert (path.read_bytes(), asked, trail.events) == (before, [], [])


def test_what_only_a_restart_takes_up_is_said_and_a_secret_is_not(desk: PolicyDesk, trail: Recording) -> None:
    read = desk.read()
    peer = '[[peer]]\naet = "WS"\nhost = "h"\nport = 104\n'
    edited = read.text.replace("[index]\n", '[index]\npassword = "geheim"\n') + peer
    done = desk.save(edited, read.digest, JO)
    assert set(done.changed) == {"index.password", "peer[WS]"}
    assert done.needs_restart == ("index.password",)
    (event,) = trail.events
    assert event.type == SECURITY_CONFIGURATION
    assert "geheim" not in str(event)


def http(*users: tuple[str, str], more: str = "port = 11180") -> str:
    listed = (
        f'[[http.user]]\nname = "{name}"\npassword = "{HASH}"\nrole = "{role}"\n' for name, role in users
    )
    return f"[http]\n{more}\n{''.join(listed)}"


@pytest.fixture
def with_users(desk: PolicyDesk, path: Path) -> tuple[PolicyDesk, str]:
    """A desk of a node whose page has users, and its configuration without them."""
    rest = path.read_text(encoding="utf-8")
    path.write_text(rest + http(("Jo", "admin"), ("Al", "admin"), ("Vi", "viewer")), encoding="utf-8")
    in_force = load(path, {})
    return replace(desk, settings=lambda: in_force), rest


@pytest.mark.parametrize(
    ("edited", "told"),
    [
        (http(("Vi", "viewer")), "no user with the role admin would be left"),
        (http(), "no user with the role admin would be left"),
        (http(("Jo", "admin"), more="port = 0"), "no page any more: http.port is 0"),
        (http(("Jo", "admin"), more='port = 1\npage = "off"'), 'no page any more: http.page is "off"'),
        (http(more='port = 1\nhost = "0.0.0.0"'), "no page any more: the page is not served on 0.0.0.0"),
        (http(("Al", "admin")), ""),
    ],
)
def test_a_text_that_takes_the_page_or_its_admins_away_says_so_when_tried(
    with_users: tuple[PolicyDesk, str], edited: str, told: str
) -> None:
    desk, rest = with_users
    notes = desk.try_text(rest + edited).notes
    assert bool(notes) == bool(told)
    assert told in " ".join(notes)


@pytest.mark.parametrize("left", [(), (("Jo", "viewer"),), (("Al", "admin"),)])
def test_nobody_takes_the_role_of_an_admin_from_themselves(
    with_users: tuple[PolicyDesk, str], path: Path, asked: list[str], left: tuple[tuple[str, str], ...]
) -> None:
    desk, rest = with_users
    before, digest = path.read_bytes(), desk.read().digest
    done = desk.save(rest + http(*left), digest, JO)
    assert done.saved.outcome == "not possible"
    assert "takes the role admin away from you, Jo" in done.saved.reason
    assert (path.read_bytes(), asked) == (before, [])
    another = Participant("Al", requestor=True)
    assert desk.save(rest + http(("Al", "admin")), digest, another).saved.outcome == "saved"
