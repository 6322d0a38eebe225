"""The view Objects, its actions and its API, on an archive that holds some objects."""

from __future__ import annotations

import html
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import imagecodecs
import pytest
from desks import MadePage, users
from objects import SECONDARY_CAPTURE, Shape, as_received, phantom, written
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from starlette.testclient import TestClient
from waiting import until

from scp.archive.archive import Archive
from scp.audit.actors import operator
from scp.audit.events import EXPORT
from scp.background.loop import Loops
from scp.config.rules import PolicyRule
from scp.config.settings import Settings
from scp.errors import OutOfResources
from scp.index.sql import SqlIndex
from scp.lifecycle.deletion import Deletion
from scp.node import object_jobs
from scp.objects.local import LocalStore
from scp.objects.trashed import Trashed
from scp.syntaxes import EXPLICIT
from scp.web.page.gatekeeper import API_SESSION, LOGIN, LOGOUT
from scp.web.page.views import object_actions
from scp.web.page.views import objects as objects_view
from scp.web.page.views.object_actions import ExportWanted

STUDY, OTHER = "1.2.10", "1.2.20"
IMAGES = ["1.2.10.1.1", "1.2.10.1.2", "1.2.10.2.1"]
SCRIPT = "<script>alert(1)</script>"


def report(study: str, image: str, **changed: Any) -> Dataset:
    """One object with an image of three frames."""
    sent = phantom(Shape(frames=3, rows=32, columns=32, noise=0.0))
    one = read_dataset(BytesIO(bytes(sent.dataset)), is_implicit_VR=False, is_little_endian=True)
    one.SOPInstanceUID, one.StudyInstanceUID = image, study
    one.SeriesInstanceUID, one.SeriesNumber = image.rpartition(".")[0], "1"
    one.PatientID, one.PatientName = "P1", "Miller^Anna"
    one.StudyDate, one.Modality, one.StudyDescription = "20260102", "CT", SCRIPT
    for key, value in changed.items():
        setattr(one, key, value)
    return one


def ingest(archive: Archive, one: Dataset, aet: str = "CT1") -> None:
    stream = written(one, explicit=True, little=True)
    sent = as_received(stream, EXPLICIT, SECONDARY_CAPTURE, one.SOPInstanceUID)
    archive.ingest(replace(sent, calling_aet=aet))


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    rule = PolicyRule.model_validate({"name": "all", "stages": [{"form": "zstd"}]})
    made = Archive(LocalStore(tmp_path / "objects"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), [rule])
    for image in IMAGES:
        ingest(made, report(STUDY, image))
    ingest(made, report(OTHER, "1.2.20.1.1", PatientID="P2", PatientName="Other", Modality="MR"), "MR1")
    yield made
    made.close()


@pytest.fixture
def page(tmp_path: Path, archive: Archive) -> Iterator[MadePage]:
    settings = Settings.model_validate(
        {
            "http": {"port": 11180, "user": users(anna="admin", victor="viewer")},
            "storage": {"url": str(tmp_path / "objects")},
            "peer": [{"aet": "DEST", "host": "127.0.0.1", "port": 11112}],
        }
    )
    made = MadePage(settings, tmp_path, archive)
    loops = Loops(made.objects.running.tasks)
    loops.start()
    yield made
    loops.stop()


def found(client: TestClient, **asked: Any) -> dict[str, Any]:
    answer = client.get("/api/objects", params=asked)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def done(client: TestClient, path: str, **wanted: Any) -> dict[str, Any]:
    """What came of a job."""
    answer = client.post(path, json=wanted)
    assert answer.status_code == 200, answer.text
    address = f"/api/objects/jobs/{answer.json()['job']['id']}"
    until(lambda: client.get(address).json()["job"]["ended"] is not None, "the job has ended")
    told: dict[str, Any] = client.get(address).json()
    return told


# -- looked at ----------------------------------------------------------------------------------------------


def test_a_search_goes_on_with_whatever_fields_it_had(
    page: MadePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_view, "MOST", 1)
    client = page.entered("victor")
    text = client.get("/objects", params={"path": "x", "level": "STUDY", "Modality": "*"}).text
    (further,) = re.findall(r'href="(/objects\?[^"]*before=[^"]*)"', text)
    assert "path=x" in further
    text = client.get(html.unescape(further)).text
    assert f"uid={STUDY}" in text
    assert f"uid={OTHER}" not in text


def test_objects_are_found_as_by_c_find(page: MadePage) -> None:
    client = page.entered("victor")
    first, second = found(client)["hits"]
    assert [one["attributes"]["StudyInstanceUID"] for one in (first, second)] == [OTHER, STUDY]
    assert (second["instances"], second["held"], second["pending"]) == (3, "no", 0)
    assert second["received"] > second["kept"] > 0
    assert [one["form"] for one in second["forms"]] == ["zstd"]
    assert found(client, match="PatientName=Mill*")["count"] == 1
    assert found(client, match=["PatientID=P1", "Modality=MR"])["hits"] == []
    assert found(client, match="calling_aet=MR1")["hits"][0]["attributes"]["StudyInstanceUID"] == OTHER
    assert found(client, match="StudyDate=20270101-")["count"] == 0
    images = found(client, level="IMAGE", match=f"StudyInstanceUID={STUDY}", most=2)
    assert (len(images["hits"]), images["count"]) == (2, 3)
    rest = found(client, level="IMAGE", match=f"StudyInstanceUID={STUDY}", before=images["following"])
    assert (len(rest["hits"]), rest["following"]) == (1, None)
    assert client.get("/api/objects", params={"match": "NoSuchThing=1"}).status_code == 422


def test_the_search_form_finds_the_same(page: MadePage) -> None:
    client = page.entered("victor")
    text = client.get("/objects").text
    assert text.index(f"uid={OTHER}") < text.index(f"uid={STUDY}")
    asked = {
        "level": "STUDY",
        "PatientName": "Mill*",
        "from": "2026-01-01",
        "to": "2026-02-01",
        "calling_aet": "CT1",
    }
    text = client.get("/objects", params=asked).text
    assert "1 match;" in text
    assert f"uid={STUDY}" in text
    assert f"uid={OTHER}" not in text
    assert SCRIPT not in text
    assert 'value="Mill*"' in text
    wrong = client.get("/objects", params={"from": "yesterday"})
    assert wrong.status_code == 422
    assert 'role="alert"' in wrong.text
    page.archive = None
    away = client.get("/objects")
    assert away.status_code == 503
    assert "the index cannot be used" in away.text


@pytest.mark.parametrize(
    ("level", "uid", "inside"),
    [
        ("PATIENT", "P1", STUDY),
        ("STUDY", STUDY, "1.2.10.1"),
        ("SERIES", "1.2.10.1", IMAGES[1]),
        ("IMAGE", IMAGES[0], "SHA-256"),
    ],
)
def test_each_level_leads_to_the_next(page: MadePage, level: str, uid: str, inside: str) -> None:
    client = page.entered("victor")
    answer = client.get("/objects/one", params={"uid": uid, "level": level})
    assert answer.status_code == 200
    assert inside in answer.text
    assert SCRIPT not in answer.text
    assert "takes a user with the role admin" in answer.text
    assert 'action="/objects/verify"' not in answer.text
    assert 'action="/objects/verify"' in page.entered("anna").get(answer.request.url.raw_path.decode()).text
    facts = client.get("/api/objects/one", params={"uid": uid, "level": level}).json()
    assert [one["attributes"]["PatientID"] for one in facts["entities"]] == ["P1"]
    assert (facts["instance"] is not None) == (level == "IMAGE")


@pytest.mark.parametrize("patient", ["P*", ""])
def test_in_a_patient_is_nothing_of_others(page: MadePage, archive: Archive, patient: str) -> None:
    ingest(archive, report("1.2.30", "1.2.30.1.1", PatientID=patient))
    asked = {"uid": "1.2.30", "level": "STUDY", "patient_id": patient}
    client = page.entered("victor")
    assert "uid=1.2.30.1" in client.get("/objects/one", params=asked).text
    if patient:
        text = client.get("/objects/one", params={"uid": patient, "level": "PATIENT"}).text
        assert "uid=1.2.30&" in text
        assert f"uid={STUDY}" not in text
    ingest(archive, report("1.2.30", "1.2.30.2.1", PatientID="P2"))
    text = client.get("/objects/one", params=asked).text
    assert "uid=1.2.30.1" in text
    assert "uid=1.2.30.2" not in text


def test_what_is_not_held_or_of_several_patients(page: MadePage, archive: Archive) -> None:
    client = page.entered("anna")
    for path in (
        "/objects/one",
        "/objects/header",
        "/objects/explain",
        "/objects/picture",
        "/objects/delete",
    ):
        answer = client.get(path, params={"uid": "9.9", "level": "IMAGE"})
        assert answer.status_code == 404, path
        assert "9.9" in answer.text
    ingest(archive, report(STUDY, "1.2.10.1.1", PatientID="P9"))
    asked = {"uid": STUDY, "level": "STUDY"}
    assert "Choose which one" in client.get("/objects/one", params=asked).text
    answer = client.post("/api/objects/delete", json={**asked, "reason": "a test"})
    assert answer.status_code == 409
    assert "several patients" in answer.json()["detail"]
    one = client.get("/api/objects/one", params={**asked, "patient_id": "P9"}).json()
    assert [hit["instances"] for hit in one["entities"]] == [1]
    assert done(client, "/api/objects/delete", **asked, patient_id="P9", reason="a test")["result"]["deleted"]


def test_the_picture_of_a_frame_with_a_window(page: MadePage) -> None:
    client = page.entered("victor")
    asked = {"uid": IMAGES[0], "level": "IMAGE"}
    answer = client.get("/api/objects/picture", params={**asked, "frame": 2})
    assert answer.headers["content-type"] == "image/png"
    assert imagecodecs.png_decode(answer.content).shape == (32, 32)
    dark = client.get("/objects/picture", params={**asked, "center": 100_000, "width": 10})
    assert imagecodecs.png_decode(dark.content).max() == 0
    assert client.get("/objects/picture", params={**asked, "frame": 4}).status_code == 422
    assert client.get("/objects/picture", params={**asked, "center": 1, "width": 0}).status_code == 422
    shown = client.get("/objects/one", params={**asked, "frame": 3, "center": 40, "width": 400}).text
    assert "frame=3&amp;center=40&amp;width=400" in shown
    assert 'max="3"' in shown
    assert {event.participants[0].user_id for event in page.trail.events if event.why == "picture shown"} == {
        "victor"
    }


def test_the_header_row_by_row(page: MadePage) -> None:
    client = page.entered("victor")
    asked = {"uid": IMAGES[0], "level": "IMAGE"}
    rows = client.get("/api/objects/header", params={**asked, "most": 3}).json()
    assert (len(rows["rows"]), rows["more"], rows["first"]) == (3, True, 0)
    assert rows["file_meta"][0]["keyword"]
    last = client.get("/api/objects/header", params={**asked, "first": 3}).json()
    assert last["rows"][-1]["keyword"] == "PixelData"
    text = client.get("/objects/header", params=asked).text
    assert "StudyDescription" in text
    assert SCRIPT not in text


def test_of_a_large_file_the_beginning_of_the_header_is_shown_and_that_is_said(
    page: MadePage, archive: Archive
) -> None:
    instance = archive.ingest(phantom(Shape(rows=600, columns=600, noise=1.0))).instance
    client, asked = page.entered("victor"), {"uid": instance.sop_instance_uid, "level": "IMAGE"}
    found = client.get("/api/objects/header", params=asked).json()
    whole = client.get("/api/objects/header", params={**asked, "whole": True}).json()
    assert found["unread"] > 200_000
    assert found | {"unread": 0} == whole
    text = client.get("/objects/header", params=asked).text
    assert "was not compared with the file&#39;s digest" in text or "with the file's digest" in text
    assert "whole=true" in text
    assert "Read the whole file" not in client.get("/objects/header", params={**asked, "whole": True}).text


def test_an_object_explained(page: MadePage) -> None:
    client = page.entered("victor")
    asked = {"uid": IMAGES[0], "level": "IMAGE"}
    told = client.get("/api/objects/explain", params=asked).json()
    assert (told["rule"]["name"], told["provenance"]["form"]) == ("all", "zstd")
    assert told["stored"]["sop_instance_uid"] == IMAGES[0]
    part = client.get("/objects/explain", params=asked, headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert "it takes every object" in part
    assert "<html" in client.get("/objects/explain", params=asked).text


def test_a_damaged_file_is_no_fault_of_the_node(page: MadePage, archive: Archive) -> None:
    (instance,) = archive.named(IMAGES[0])
    (page.folder / "objects" / instance.key).write_bytes(b"damaged")
    for what in ("header", "explain"):
        answer = page.entered("victor").get(f"/api/objects/{what}", params={"uid": IMAGES[0]})
        assert answer.status_code == 409, what
        assert "is not what was written" in answer.json()["detail"]


# -- done with them -----------------------------------------------------------------------------------------


def test_export_of_one_and_of_many(page: MadePage) -> None:
    client = page.entered("anna")
    one = client.post("/api/objects/export", json={"uid": IMAGES[0], "syntax": "ImplicitVRLittleEndian"})
    assert one.headers["content-disposition"] == f'attachment; filename="{IMAGES[0]}.dcm"'
    file = dcmread(BytesIO(one.content))
    assert (file.SOPInstanceUID, file.file_meta.TransferSyntaxUID) == (IMAGES[0], "1.2.840.10008.1.2")
    many = client.post("/objects/export", data={"uid": STUDY, "level": "STUDY", "syntax": "received"})
    with zipfile.ZipFile(BytesIO(many.content)) as exported:
        assert exported.testzip() is None
        assert len(exported.namelist()) == 3
    exports = [one for one in page.trail.events if one.event == EXPORT]
    assert [one.participants[0].user_id for one in exports] == ["anna", "anna"]
    assert client.post("/api/objects/export", json={"uid": STUDY, "syntax": "nonsense"}).status_code == 422


def test_no_more_exports_at_a_time_than_may_be(page: MadePage) -> None:
    from scp.web.page.objects.reports import Which  # noqa: PLC0415 - for this test alone

    which = Which(STUDY, "STUDY")
    held = [page.objects.export(which, operator(), "received") for _ in range(3)]
    with pytest.raises(OutOfResources, match="3 exports are under way"):
        page.objects.export(which, operator(), "received")
    assert page.entered("anna").post("/api/objects/export", json={"uid": IMAGES[0]}).status_code == 503
    held.pop()  # one whose browser has left
    assert list(page.objects.export(which, operator(), "received").pieces)


def test_an_export_that_is_broken_off_makes_room_for_another_at_once(page: MadePage) -> None:
    asked = ExportWanted(STUDY, "STUDY")
    desk: Any = SimpleNamespace(objects=page.objects)
    held = [object_actions.api_export(desk, asked, operator()) for _ in range(3)]

    async def left() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def silent(_: Any) -> None:
        await anyio.sleep_forever()

    for response in held:
        anyio.run(response, {"type": "http", "asgi": {"spec_version": "2.3"}}, left, silent)
    assert page.entered("anna").post("/api/objects/export", json={"uid": IMAGES[0]}).status_code == 200


def test_verify_and_recompress_as_jobs(page: MadePage, archive: Archive) -> None:
    client = page.entered("anna")
    told = done(client, "/api/objects/verify", uid=STUDY, level="STUDY", deep=True)
    assert (told["result"]["sound"], told["result"]["damaged"]) == (3, 0)
    assert told["told"] == "3 objects sound, 0 damaged or missing."
    (instance,) = archive.named(IMAGES[0])
    archive.store.delete(instance.key)
    told = done(client, "/api/objects/verify", uid=STUDY, level="STUDY")
    assert (told["result"]["sound"], told["result"]["damaged"]) == (2, 1)
    assert told["result"]["faults"][0]["sop_instance_uid"] == IMAGES[0]
    assert archive.named(IMAGES[0])[0].fault
    archive.use_policy(
        [
            PolicyRule.model_validate(
                {"name": "all", "stages": [{"form": "received"}, {"form": "jpegls", "after": "1d"}]}
            )
        ]
    )
    told = done(client, "/api/objects/recompress", uid=IMAGES[2], now=True)
    assert told["result"]["encoded"] + told["result"]["no_gain"] == 1
    assert told["job"]["done"] == told["job"]["total"] == 1
    listed = client.get("/api/objects/jobs").json()["jobs"]
    assert [one["job"]["kind"] for one in listed] == ["recompress", "verify", "verify"]
    assert {one["job"]["user"] for one in listed} == {"anna"}
    for path in ("/objects/jobs", f"/objects/jobs/{listed[0]['job']['id']}"):
        assert "anna" in client.get(path).text
    assert client.get("/objects/jobs/nothing").status_code == 404


def test_a_job_under_way_is_shown_and_stopped(page: MadePage, monkeypatch: pytest.MonkeyPatch) -> None:
    from scp.node import objects  # noqa: PLC0415 - for this test alone

    client = page.entered("anna")

    def slow(_: objects.NodeObjects, some: Any, progress: Any) -> Any:
        progress.total(len(some))
        until(lambda: bool(progress.advance(0)), "it is stopped")

    monkeypatch.setattr(
        objects.NodeObjects, "recompress", lambda me, some, who, now, progress: slow(me, some, progress)
    )
    answer = client.post("/objects/recompress", data={"uid": STUDY, "level": "STUDY"})
    assert answer.status_code == 303
    path = answer.headers["location"]
    text = client.get(path).text
    assert "0 of 3 objects" in text
    assert 'hx-trigger="every 2s"' in text
    part = client.get(path, headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert client.post(f"{path}/stop").status_code == 303
    until(lambda: "It was stopped before its end" in client.get(path).text, "it has ended")
    assert 'hx-trigger="every 2s"' not in client.get(path).text
    told = f"asked for an end of: recompress study {STUDY}"
    assert [one.participants[0].user_id for one in page.trail.events if told in str(one.subjects)] == ["anna"]


def test_send_queues_for_a_configured_peer(page: MadePage, archive: Archive) -> None:
    client = page.entered("anna")
    told = client.post("/api/objects/send", json={"uid": STUDY, "level": "STUDY", "aet": "DEST"}).json()
    assert told == {"destination": "DEST", "queued": 3, "being_sent": 0}
    assert archive.statistics().send_queue == 3
    text = client.post("/objects/send", data={"uid": IMAGES[0], "aet": "DEST"}).text
    assert "1 object queued for DEST" in text
    answer = client.post("/api/objects/send", json={"uid": STUDY, "level": "STUDY", "aet": "NOBODY"})
    assert answer.status_code == 404
    assert "no [[peer]]" in answer.json()["detail"]
    assert ("anna", "to be sent to DEST") in {(who, why) for _, who, why in page.trail.told()}


def test_hold_delete_restore_release(page: MadePage) -> None:
    client = page.entered("anna")
    hold = client.post(
        "/api/objects/hold", json={"uid": "1.2.10.2", "level": "SERIES", "reason": "a court asks"}
    ).json()
    assert (hold["level"], hold["uid"], hold["patient_id"]) == ("SERIES", "1.2.10.2", None)
    assert found(client, match=f"StudyInstanceUID={STUDY}")["hits"][0]["held"] == "part"
    asked = client.get("/objects/delete", params={"uid": STUDY, "level": "STUDY"}).text
    assert "3 objects of 1 study" in asked
    assert 'name="reason"' in asked
    assert len(found(client, level="IMAGE")["hits"]) == 4  # who only looks deletes nothing
    told = done(client, "/api/objects/delete", uid=STUDY, level="STUDY", reason="a test")
    assert (sorted(told["result"]["deleted"]), told["result"]["held"]) == (IMAGES[:2], IMAGES[2:])
    assert told["told"] == "2 objects moved to the trash; 1 object under a hold not deleted."
    trash = client.get("/api/objects/trash").json()
    assert trash["count"] == 2
    assert {one["reason"] for one in trash["entries"]} == {"by hand: a test"}
    assert IMAGES[0] in client.get("/objects/trash").text
    told = done(client, "/api/objects/restore", uid=trash["entries"][0]["id"])
    assert told["told"] == "1 object restored."
    told = done(client, "/api/objects/restore", uid=STUDY)
    assert len(told["result"]["restored"]) == 1
    assert len(found(client, level="IMAGE")["hits"]) == 4
    assert done(client, "/api/objects/restore", uid=STUDY)["job"]["fault"] == f"{STUDY} is not in the trash"
    assert "a court asks" in client.get("/objects/holds").text
    released = client.post("/objects/release", data={"uid": "1.2.10.2", "level": "SERIES"})
    assert "1 hold on 1.2.10.2 removed" in released.text
    assert client.get("/api/objects/holds").json() == []
    assert client.post("/api/objects/release", json={"uid": "9.9", "level": "STUDY"}).status_code == 404
    whys = {why for _, who, why in page.trail.told() if who == "anna"}
    assert {"by hand: a test", "restored from the trash"} <= whys


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (1, "It was stopped before its end. 1 object restored. Ask for it again to do the rest."),
        (3, "3 objects restored."),
    ],
)
def test_a_restore_is_stopped_between_objects(
    page: MadePage, monkeypatch: pytest.MonkeyPatch, at: int, told: str
) -> None:
    client, restore, begun = page.entered("anna"), Deletion._restore, []
    done(client, "/api/objects/delete", uid=STUDY, level="STUDY", reason="a test")

    def stopped_meanwhile(deletion: Deletion, one: Trashed, replace: bool) -> None:
        begun.append(one)
        if len(begun) == at:
            page.objects.stop_job(page.objects.jobs()[0].job.id)
        restore(deletion, one, replace)

    monkeypatch.setattr(Deletion, "_restore", stopped_meanwhile)
    found = done(client, "/api/objects/restore", uid=STUDY)
    assert (found["told"], found["job"]["done"]) == (told, at)
    assert client.get("/api/objects/trash").json()["count"] == 3 - at


def test_blanks_around_a_uid_do_not_count_for_a_hold(page: MadePage) -> None:
    client, asked = page.entered("anna"), {"uid": f" {STUDY} ", "level": "STUDY"}
    assert client.post("/api/objects/hold", json={**asked, "reason": "a court asks"}).json()["uid"] == STUDY
    told = done(client, "/api/objects/delete", uid=STUDY, level="STUDY", reason="a test")
    assert (told["result"]["deleted"], len(told["result"]["held"])) == ([], 3)
    assert [one["uid"] for one in client.post("/api/objects/release", json=asked).json()] == [STUDY]


def test_holds_that_wait_for_a_deletion_leave_threads_for_the_others(page: MadePage) -> None:
    asked = {"uid": STUDY, "level": "STUDY", "reason": "a court asks"}
    clients, deletion = [page.entered("anna") for _ in range(3)], page.objects._objects._actions._deletion()
    waiting: list[Future[int]] = []

    def hold(client: TestClient) -> int:
        return client.post("/api/objects/hold", json=asked).status_code

    with ThreadPoolExecutor(2) as pool:
        with deletion.trash.lock():
            waiting += [pool.submit(hold, one) for one in clients[:2]]
            until(lambda: not object_actions._HOLDS._free._value, "both wait")
            refused = clients[2].post("/api/objects/hold", json=asked)
        assert [one.result(20) for one in waiting] == [200, 200]
    assert refused.status_code == 503
    assert "other holds is under way" in refused.json()["detail"]
    assert hold(clients[2]) == 200


def test_a_deletion_that_fails_tells_what_was_deleted_before(
    page: MadePage, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_jobs, "_REMOVED_AT_ONCE", 2)
    sync, synced = Archive.sync, []

    def second_fails(one: Archive) -> None:
        synced.append(archive.count())
        if len(synced) == 2:
            raise OutOfResources("the disk is full")
        sync(one)

    monkeypatch.setattr(Archive, "sync", second_fails)
    told = done(page.entered("anna"), "/api/objects/delete", uid=STUDY, level="STUDY", reason="a test")
    assert (told["job"]["state"], told["job"]["done"], len(told["result"]["deleted"])) == ("failed", 2, 2)
    assert told["told"] == "This did not work: the disk is full. Until then: 2 objects moved to the trash."
    whys = [why for _, who, why in page.trail.told() if who == "anna"]
    assert whys.count("by hand: a test") == 1  # in one message, however many portions there are


# -- who may ------------------------------------------------------------------------------------------------


def routes_of(router: Any) -> Iterator[Any]:
    """All routes, also those of routers within routers."""
    for one in router.routes:
        inner = getattr(one, "original_router", None)
        if inner is None:
            yield one
        else:
            yield from routes_of(inner)


def actions(page: MadePage) -> list[tuple[str, str]]:
    """Every route of the app that changes something, but for logging in and out."""
    given = list(routes_of(page.app._app))  # type: ignore[attr-defined]
    return [
        (method, route.path.replace("{id}", "1"))
        for route in given
        for method in getattr(route, "methods", None) or ()
        if method not in ("GET", "HEAD") and route.path not in (LOGIN, LOGOUT, API_SESSION)
    ]


def test_a_viewer_gets_403_from_every_action(page: MadePage, archive: Archive) -> None:
    client, before = page.entered("victor"), archive.count()
    asked = actions(page)
    assert {"/objects/delete", "/api/objects/export", "/api/objects/jobs/1/stop"} <= {
        path for _, path in asked
    }
    for method, path in asked:
        fields = {"uid": STUDY, "level": "STUDY", "reason": "a test", "csrf": client.headers["X-CSRF-Token"]}
        if path.startswith("/api/"):
            answer = client.request(method, path, json=fields)
        else:
            answer = client.request(method, path, data=fields)
        assert answer.status_code == 403, path
        assert "role admin" in answer.text
    assert archive.count() == before


def test_without_the_token_nothing_is_done(page: MadePage, archive: Archive) -> None:
    client = page.entered("anna")
    del client.headers["X-CSRF-Token"]
    for method, path in actions(page):
        assert client.request(method, path, data={"uid": STUDY, "level": "STUDY"}).status_code == 403, path
    assert archive.count() == 4
    assert page.objects.jobs() == []
