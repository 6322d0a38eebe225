"""What the page and its API show, of made values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
from desks import NAME, NODE, MadePage, http_settings, users
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from scp.archive.archive import Archive
from scp.audit import messages
from scp.audit.actors import peer, this_process
from scp.audit.events import AuditSource
from scp.audit.rendering import to_xml
from scp.audit.tail import tail_of
from scp.index.checks import SqlChecks
from scp.index.nodes import KnownNode, NodeReport, state_of
from scp.index.sql import SqlIndex
from scp.metrics.board import Trouble
from scp.model import Commitment, Instance
from scp.objects.local import LocalStore
from scp.web.looks import Look
from scp.web.page.rates import Rates
from scp.web.page.rendering import STATIC_FOLDER
from scp.web.page.views.table import VIEWS

pytestmark = pytest.mark.quick

PAGES = [view.entry.path for view in VIEWS]
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(LocalStore(tmp_path / "data"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), ())
    yield made
    made.close()


@pytest.fixture
def page(tmp_path: Path, archive: Archive) -> MadePage:
    report = NodeReport(NODE, NAME, "start", address="10.0.0.5:11112", associations={"all": 2}, pending=5000)
    other = NodeReport("ba9876543210", "archive2", "start", associations={"all": 40})
    nodes = (KnownNode(report, 1.0), KnownNode(other, 99.0))
    look = Look(1.0, "", "", 3, 4_200_000, nodes=tuple(map(state_of, nodes)))
    return MadePage(http_settings(user=users(anna="admin", victor="viewer")), tmp_path, archive, look)


def busy(page: MadePage) -> None:
    """Two associations, in two workers, and what went wrong."""
    first, second = (page.figures.of(name) for name in ("worker 1", "worker 2"))
    one = first.board.show("1-1", "CT1", "ZSCP", "10.0.0.17")
    one.begins("c-store")
    one.answered(1_000_000)
    one.begins("c-store")
    other = second.board.show("2-1", SCRIPT[:16], "ZSCP", "10.0.0.18")
    other.begins("c-move")
    other.sent(500)
    for figures in (first, second):
        figures.add("zscp_associations_open")
        figures.add("zscp_requests_total", ("c-store", "success"))
        figures.add("zscp_received_bytes_total", (), 1_000_000)
        figures.board.note(Trouble(1e9, "warning", "association rejected", f"{SCRIPT} is no [[peer]]", "CT9"))


def test_now_adds_up_all_processes(page: MadePage) -> None:
    busy(page)
    told = page.entered("victor").get("/api/now").json()
    assert (told["node"], told["name"], told["open"], told["open_limit"]) == (NODE, NAME, 2, 100)
    assert told["since_start"]["requests"] == 2
    assert told["since_start"]["bytes_received"] == 2_000_000
    ct1, other = told["associations"]
    assert (ct1["process"], ct1["calling_aet"], ct1["address"]) == ("worker 1", "CT1", "10.0.0.17")
    assert (ct1["service"], ct1["busy"], ct1["requests"], ct1["bytes_received"]) == (
        "c-store",
        True,
        1,
        10**6,
    )
    assert ct1["bytes_received_per_second"] > 0
    assert (other["process"], other["service"], other["bytes_sent"]) == ("worker 2", "c-move", 500)
    assert [one["process"] for one in told["troubles"]] == ["worker 1", "worker 2"]
    assert {one["name"]: one["associations"] for one in told["processes"]} == {"worker 1": 1, "worker 2": 1}
    assert [(one["name"], one["state"], one["associations"]) for one in told["nodes"]] == [
        (NAME, "lives", 2),
        ("archive2", "silent", 40),
    ]
    assert (told["pending_objects"], told["pending_bytes"], told["pending_limit_bytes"]) == (
        3,
        4_200_000,
        10**9,
    )


def test_now_tells_why_peers_are_not_served(page: MadePage) -> None:
    page.look = Look(index_fault="it is away", store_fault="")
    told = page.entered("victor").get("/api/now").json()
    assert told["ready"] is False
    assert told["index_age_seconds"] is None
    assert "the index cannot be used: it is away" in told["faults"]
    assert "the index cannot be used: it is away" in page.entered("victor").get("/").text


def test_rates_are_of_the_last_samples(page: MadePage) -> None:
    now = [1000.0]
    rates = Rates(page.figures, lambda: now[0])
    figures = page.figures.of("worker 1")
    shown = figures.board.show("1-1", "CT1", "ZSCP", "10.0.0.17")
    for _ in range(200):
        rates.sample()
        now[0] += 5
        figures.add("zscp_received_bytes_total", (), 500)
        figures.add("zscp_requests_total", ("c-store", "success"), 10)
        shown.answered(500)
    assert rates.now().bytes_received == pytest.approx(100)
    assert rates.now().requests == pytest.approx(2)
    (association,) = figures.board.associations()
    assert rates.of(association)[0] == pytest.approx(100)
    assert rates.of(association)[1] == 0
    history = rates.history()
    assert len(history) == 120
    assert {round(one.bytes_received) for one in history} == {100}
    assert [one.at for one in history] == sorted(one.at for one in history)


def test_of_many_damaged_objects_only_those_that_are_shown_are_loaded(
    page: MadePage, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(checks: SqlChecks, most: int | None = None) -> list[Instance]:
        found = was(checks, most)
        loaded.append(len(found))
        return found

    loaded: list[int] = []
    was = SqlChecks.damaged
    monkeypatch.setattr(SqlChecks, "damaged", damaged)
    when, syntax = datetime(2026, 11, 1, 12, tzinfo=UTC), "1.2.840.10008.1.2.1"
    held = [
        Instance(
            "1.2", f"1.2.{n}", "1.4", "1.5", f"k{n}", "zstd", syntax, 5, "", syntax, 10, "", when, "CT1", ""
        )
        for n in range(60)
    ]
    archive.record_rows((one, {}) for one in held)
    archive.integrity.note([(one, "rot") for one in held], 1.7e9)
    client = page.entered("victor")
    for look in (replace(page.look, statistics=None), replace(page.look, statistics=archive.statistics())):
        page.look = look
        found = client.get("/api/health").json()
        assert (found["damaged"], len(found["damaged_objects"])) == (60, 50)
    assert loaded == [50, 50]


def test_health_lists_what_is_wrong(page: MadePage, archive: Archive) -> None:
    when = datetime(2026, 11, 1, 12, tzinfo=UTC)
    told = (
        "1.2",
        "1.2.3",
        "1.2.4",
        "1.2.5",
        "key",
        "zstd",
        "1.2.840.10008.1.2.1",
        5,
        "",
        "1.2.840.10008.1.2.1",
    )
    instance = Instance(*told, 10, "", when, "CT1", "rule")
    archive.record_rows([(instance, {})])
    archive.integrity.note([(instance, f"{SCRIPT} its digest differs")], 1.7e9)
    archive.integrity.refuse("1.2.3", "key", "not encoded: it ended two processes")
    archive.commitments.add(Commitment("1.2.9", "CT1", (), when, when))
    page.figures.own.add("zscp_limit_reached_total", ("limits.associations",), 3)
    page.figures.of("worker 1").add("zscp_index_errors_total", ("lock",))
    page.look = replace(page.look, oldest_check=1_700_000_000, statistics=archive.statistics())
    client = page.entered("victor")
    found = client.get("/api/health").json()
    assert (found["damaged"], found["refused"], found["commitments"], found["forwards"]) == (1, 1, 1, 0)
    assert found["damaged_objects"][0]["sop_instance_uid"] == "1.2.3"
    assert found["refused_objects"][0]["fault"] == "not encoded: it ended two processes"
    assert found["outstanding_commitments"][0]["calling_aet"] == "CT1"
    assert found["limits"] == {"limits.associations": 3}
    assert found["index_errors"] == {"lock": 1}
    assert found["scrubbing"]["oldest_check"] == "2023-11-14T22:13:20Z"
    assert [(one["store"], one["reserve"]) for one in found["stores"]] == [("hot", 10**6)]
    assert (found["memory"], found["memory_limit"]) == (3000, 4000)
    text = client.get("/health").text
    for shown in ("its digest differs", "it ended two processes", "limits.associations"):
        assert shown in text


def test_health_opens_while_the_index_is_away(page: MadePage) -> None:
    page.archive, page.look = None, Look(index_fault="it is away", store_fault="")
    client = page.entered("victor")
    assert client.get("/api/health").json()["index_fault"] == "it is away"
    assert client.get("/health").status_code == 200
    assert client.get("/api/health/conflicts").status_code == 503
    answer = client.get("/health/conflicts")
    assert answer.status_code == 503
    assert "the index cannot be used: it is away" in answer.text


def test_conflicts_are_looked_for_when_asked(page: MadePage, archive: Archive) -> None:
    client = page.entered("victor")
    assert client.get("/api/health/conflicts").json() == {"total": 0, "conflicts": []}
    told = ("1.2.4", "1.2.5", "key", "zstd", "1.2.840.10008.1.2.1", 5, "", "1.2.840.10008.1.2.1", 10, "")
    for uid, patient in (("1.2.3.1", "P1"), ("1.2.3.2", SCRIPT)):
        instance = Instance("1.2", uid, *told, datetime(2026, 11, 1, tzinfo=UTC), "CT1", "rule")
        archive.record_rows([(instance, {"PatientID": patient, "StudyInstanceUID": "1.2.4"})])
    found = client.get("/api/health/conflicts").json()
    assert found["total"] == 1
    assert found["conflicts"][0]["kind"] == "one study, several patients"
    part = client.get("/health/conflicts", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert "one study, several patients" in part
    assert SCRIPT not in client.get("/health/conflicts").text


def test_the_audit_trails_last_lines(page: MadePage, tmp_path: Path) -> None:
    file = tmp_path / "audit.xml"
    source = AuditSource("ZSCP")
    who = (peer("CT1", "10.0.0.17"), this_process("ZSCP"))
    lines = [to_xml(messages.login(*who, why), source) for why in ("", f"{SCRIPT} is wrong")]
    patient = to_xml(messages.study_deleted(who, (messages.patient("PATIENT-7"),), "old"), source)
    file.write_bytes(b"half a li\n" + b"\n".join([*lines * 20, patient]) + b"\n<AuditMessage>")
    audit = page.settings.audit.model_copy(update={"to": f"file://{file}"})
    first, second, third = tail_of(audit, 3).lines
    assert (first.event, second.event, second.kind) == ("DICOM Study Deleted", "User Authentication", "Login")
    assert (second.failed, second.why, third.failed) == (True, f"{SCRIPT} is wrong", False)
    assert second.who[0] == "CT1 (10.0.0.17)"
    page.settings = page.settings.model_copy(update={"audit": audit})
    text = page.entered("victor").get("/health").text
    assert "DICOM Study Deleted" in text
    assert "PATIENT-7" not in text
    file.unlink()
    assert "nothing was recorded yet" in page.entered("victor").get("/health").text


# -- every page ---------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Notes what a page loads and leads to, and what a content security policy or a reader would miss."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.faults: list[str] = []
        self.tags: list[str] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self._script = tag == "script"
        for key, value in given.items():
            if key in ("href", "src", "action", "sse-connect") or key.startswith("hx-get"):
                self.addresses.append(value or "")
            if key == "style" or key.startswith("on") or (value or "").strip().startswith("javascript:"):
                self.faults.append(f"{tag} {key}")
        if tag == "table":
            self.faults.append("a table without a caption")
        if tag in ("caption", "figcaption", "thead") and "a table without a caption" in self.faults:
            self.faults.remove("a table without a caption")

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.faults.append("a script within the page")

    def handle_endtag(self, tag: str) -> None:
        self._script = False


@pytest.mark.parametrize(
    "path",
    [*PAGES, "/login", "/nowhere", "/health/conflicts", "/objects/trash", "/objects/holds", "/objects/jobs"],
)
def test_a_page_loads_nothing_from_elsewhere_and_has_no_script_in_it(page: MadePage, path: str) -> None:
    busy(page)
    client = page.client() if path == "/login" else page.entered("anna")
    answer = client.get(path)
    read = Reader(answer.text)
    assert read.faults == []
    assert SCRIPT not in answer.text
    assert all(one.startswith(("/", "#")) and not one.startswith("//") for one in read.addresses)
    for one in read.addresses:
        if one.startswith("/static/"):
            assert client.get(one).status_code == 200
    assert read.tags.count("h1") == read.tags.count("main") == 1


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_small_with_all_that_it_loads(page: MadePage, path: str) -> None:
    busy(page)
    client = page.entered("anna")
    text = client.get(path).text
    loaded = {one for one in Reader(text).addresses if one.startswith("/static/")}
    assert len(text.encode()) + sum(len(client.get(one).content) for one in loaded) < 200_000


def test_files_of_the_page_ask_no_other_host() -> None:
    """Their only addresses are names of namespaces, and of a library in a comment."""
    for file in STATIC_FOLDER.iterdir():
        text = re.sub(r"/\*.*?\*/", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        found = re.findall(r"https?://[^\s\"'`)]+", text)
        assert [one for one in found if not one.startswith("http://www.w3.org/")] == [], file.name


def test_what_is_not_there_and_what_is_broken(page: MadePage) -> None:
    client = page.entered("anna")
    assert client.get("/nowhere").status_code == 404
    assert client.get("/api/nowhere").json() == {"detail": "Not Found"}
    client = TestClient(page.app, base_url="http://127.0.0.1:11180", raise_server_exceptions=False)
    client.cookies = page.entered("anna").cookies
    page.app._app.add_api_route("/api/broken", lambda: 1 / 0)  # type: ignore[attr-defined]
    answer = client.get("/api/broken")
    assert answer.status_code == 500
    assert "a fault of zscp" in answer.json()["detail"]
    assert "frame-ancestors" in answer.headers["content-security-policy"]


def described(page: MadePage) -> dict[str, Any]:
    found: dict[str, Any] = page.entered("victor").get("/api/openapi.json").json()
    return found


def test_the_api_describes_itself_and_hides_the_page(page: MadePage) -> None:
    paths = described(page)["paths"]
    assert {"/api/now", "/api/now/history", "/api/health", "/api/health/conflicts", "/api/session"} <= set(
        paths
    )
    assert all(path.startswith("/api/") for path in paths)
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path}"
            assert operation.get("tags"), f"{method} {path}"


@pytest.mark.parametrize("most", [2, pytest.param(8, marks=pytest.mark.long)])
def test_the_api_answers_as_it_says(page: MadePage, most: int) -> None:
    """Schemathesis asks for every operation, with what its description allows."""
    import schemathesis  # noqa: PLC0415 - 2 s, which each process would take that collects tests
    from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: PLC0415

    busy(page)
    client = page.entered("anna")
    headers = {"Cookie": "; ".join(f"{key}={value}" for key, value in client.cookies.items())}
    headers |= {"Host": "127.0.0.1", "X-CSRF-Token": client.headers["X-CSRF-Token"]}
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", page.app, headers=headers)
    asked = 0
    for found in schema.get_all_operations():
        operation = cast("Any", found).ok()
        if operation.method.upper() == "DELETE":
            continue  # it ends the session that the others need

        @given(case=operation.as_strategy())
        @settings(max_examples=most, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def try_it(case: Any) -> None:
            # No description can tell attributes' keywords, or what UIDs are held: such answers are described.
            case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

        try_it()
        asked += 1
    assert asked >= 5
