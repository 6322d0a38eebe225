"""The view Policy: what rules hold; an edited configuration is tried, then saved; codecs are compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from admin_desks import SCRIPT, TEXT, made_advice
from desks import MadePage, http_settings, users
from starlette.testclient import TestClient

from scp.background.lookup import LookedUp
from scp.config.load import ConfigurationFault
from scp.config.saving import digest_of
from scp.errors import ConfigurationError
from scp.policy.reports import PolicyTrial
from scp.web.page.views import policy
from scp.web.reports import AdviceReport

pytestmark = pytest.mark.quick

WRONG = TEXT.replace("zstd", "zst")
BETTER = TEXT.replace("zstd", "htj2k")


@pytest.fixture
def page(tmp_path: Path) -> MadePage:
    return MadePage(http_settings(user=users(anna="admin", victor="viewer")), tmp_path)


@pytest.fixture
def admin(page: MadePage) -> TestClient:
    return page.entered("anna")


def test_what_each_rule_holds_and_what_comes_next(admin: TestClient) -> None:
    found = admin.get("/api/policy/rules").json()
    ct, none = found["rules"]
    assert (ct["name"], ct["amount"]["objects"], ct["forms"][0]["form"]) == ("ct", 3000, "htj2k")
    assert (none["number"], found["looked_at"], found["total"]) == (0, 3001, 9000)
    text = admin.get("/policy").text
    for shown in ("jpegxl after 180 d", "2000 objects", "estimates, from 3\u202f001 of 9\u202f000", "3650 d"):
        assert shown in text
    assert SCRIPT not in text


def test_it_opens_before_that_is_known(page: MadePage, admin: TestClient) -> None:
    page.admin.policy.held = LookedUp()
    assert admin.get("/api/policy/rules").status_code == 503
    assert 'hx-get="/policy/rules"' in admin.get("/policy").text
    page.admin.policy.held = LookedUp(None, "it is away")
    assert "it is away" in admin.get("/api/policy/rules").json()["detail"]
    assert "it is away" in admin.get("/policy/rules").text


def test_only_admins_read_the_file(page: MadePage, admin: TestClient) -> None:
    assert admin.get("/api/policy/file").json()["text"] == TEXT
    assert "The policy of a test" in admin.get("/policy").text
    viewer = page.entered("victor")
    assert viewer.get("/api/policy/file").status_code == 403
    assert "The policy of a test" not in viewer.get("/policy").text


def test_where_the_configuration_comes_from_elsewhere_it_is_said(page: MadePage, admin: TestClient) -> None:
    assert "node.aet (ZSCP_NODE__AET)" in admin.get("/policy").text
    page.admin.policy.fixed = "the node was started without a configuration file"
    text = admin.get("/policy").text
    assert "It cannot be saved here, only tried: the node was started without a configuration file" in text
    tried = admin.post("/policy/try", data={"text": BETTER, "digest": ""}).text
    assert "What this text would change" in tried
    assert "/policy/save" not in tried


def test_the_page_opens_where_the_file_cannot_be_read(
    page: MadePage, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> None:
        raise ConfigurationError("/etc/zscp.toml cannot be read")

    monkeypatch.setattr(page.admin.policy, "read", read)
    assert "/etc/zscp.toml cannot be read" in admin.get("/policy").text
    assert admin.get("/api/policy/file").status_code == 409
    assert admin.post("/policy/try", data={"text": BETTER}).status_code == 200


def test_a_fault_is_shown_at_its_line(admin: TestClient) -> None:
    found = admin.post("/api/policy/try", json={"text": WRONG}).json()
    assert [(one["line"], one["key"]) for one in found["faults"]] == [(5, "policy[0].stages[0].form")]
    text = admin.post("/policy/try", data={"text": WRONG.replace("\n", "\r\n"), "digest": "d"}).text
    assert '<a href="#text" data-line="5">Line 5</a>' in text
    assert "&gt;     5  stages = [{ form = &#34;zst&#34; }]" in text
    assert "      4  name = &#34;all&#34;" in text
    assert "did you mean &#34;zstd&#34;" in text
    assert "/policy/save" not in text  # what has faults offers no way to save it


def test_lines_around_a_fault() -> None:
    wrong = (ConfigurationFault(1, "a", "odd"), ConfigurationFault(0, "b", "odd"))
    first, nowhere = policy.fault_places("1\n2\n3\n4", wrong)
    assert first.lines == [(1, "1"), (2, "2"), (3, "3")]
    assert nowhere.lines == []


def test_what_is_different_is_told_with_how_sure_that_is(admin: TestClient) -> None:
    found = admin.post("/api/policy/try", json={"text": BETTER}).json()
    assert found["comparison"]["differences"][0]["off_by"] == 4
    assert found["digest"] == digest_of(BETTER)
    text = admin.post("/policy/try", data={"text": BETTER, "digest": "d"}).text
    for shown in ("60 ± 4", "ct → all", "from 20\u202f000 of 50\u202f000", "3 smaller differences", "a note"):
        assert shown in text


def test_only_what_was_tried_is_saved(page: MadePage, admin: TestClient) -> None:
    digest = admin.get("/api/policy/file").json()["digest"]
    edit = {"text": BETTER, "digest": digest, "tried": digest_of(TEXT)}
    refused = admin.post("/api/policy/save", json=edit)
    assert (refused.status_code, refused.json()["saved"]["outcome"]) == (409, "not tried")
    assert "try it, then save it" in admin.post("/policy/save", data=edit).text
    assert page.admin.policy.saved == []
    tried = admin.post("/api/policy/try", json={"text": BETTER}).json()["digest"]
    done = admin.post("/api/policy/save", json={**edit, "tried": tried})
    assert (done.status_code, done.json()["reload"]["outcome"]) == (200, "taken up")
    ((text, who),) = page.admin.policy.saved
    assert (text, who.user_id, who.address) == (BETTER, "anna", "127.0.0.1")


def test_a_form_is_tried_and_saved_without_scripts(page: MadePage, admin: TestClient) -> None:
    csrf = admin.headers.pop("X-CSRF-Token")
    sent = {"csrf": csrf, "text": BETTER.replace("\n", "\r\n"), "digest": digest_of(TEXT)}
    assert admin.post("/policy/try", data={**sent, "csrf": ""}).status_code == 403
    tried = admin.post("/policy/try", data=sent).text
    assert f'name="tried" value="{digest_of(BETTER)}"' in tried
    assert '<button formaction="/policy/save">' in tried
    saved = admin.post("/policy/save", data={**sent, "tried": digest_of(BETTER)}).text
    for shown in ("Saved.", "/etc/zscp.toml.former", "all of its processes", "archive2"):
        assert shown in saved
    assert page.admin.policy.text == BETTER


def test_what_another_admin_saved_meanwhile_is_not_lost(page: MadePage, admin: TestClient) -> None:
    sent = {"text": BETTER, "digest": digest_of(TEXT), "tried": digest_of(BETTER)}
    page.admin.policy.text = TEXT + "# another\n"
    answer = admin.post("/policy/save", data=sent)
    assert answer.status_code == 409
    assert "changed meanwhile" in answer.text
    assert "Load the file as it is now" in answer.text
    assert f'name="digest" value="{sent["digest"]}"' in answer.text
    assert "htj2k" in answer.text


def test_one_trial_at_a_time(page: MadePage, admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    inner: list[int] = []

    def try_text(text: str) -> PolicyTrial:
        inner.append(admin.post("/api/policy/try", json={"text": text}).status_code)
        return PolicyTrial((ConfigurationFault(0, "", "odd"),))

    monkeypatch.setattr(page.admin.policy, "try_text", try_text)
    assert admin.post("/api/policy/try", json={"text": ""}).status_code == 200
    assert inner == [503]


# -- the comparison of codecs -------------------------------------------------------------------------------


def test_a_comparison_is_begun_followed_and_ended(page: MadePage, admin: TestClient) -> None:
    assert admin.post("/policy/advice", data={"seconds": "30"}).headers["location"] == "/policy#advice"
    assert admin.post("/api/policy/advice", json={"seconds": 30}).status_code == 409
    part = admin.get("/policy/advice").text
    assert 'hx-trigger="every 2s"' in part
    assert '<progress max="30.0" value="1.0">' in part
    assert admin.post("/policy/advice/cancel").status_code == 303
    assert admin.get("/api/policy/advice").json()["state"] == "ended"
    told = [why for kind, who, why in page.trail.told() if kind == "Use of Restricted Function"]
    assert len(told) == 2
    assert admin.post("/policy/advice", data={"seconds": "many"}).status_code == 422
    assert admin.get("/policy/advice.svg").status_code == 404


def test_its_chart_is_an_image_that_can_do_nothing(page: MadePage, admin: TestClient) -> None:
    page.admin.advice.state = made_advice()
    text = admin.get("/policy").text
    assert '<img class="advice" src="/policy/advice.svg"' in text
    assert "29.1 %" in text
    assert SCRIPT not in text
    answer = admin.get("/policy/advice.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "script" not in answer.headers["content-security-policy"]


def test_what_it_proposes_is_tried_within_the_file(page: MadePage, admin: TestClient) -> None:
    assert admin.post("/policy/advice/try").status_code == 409
    page.admin.advice.state = made_advice()
    text = admin.post("/policy/advice/try").text
    assert "What this text would change" in text
    assert "# The policy of a test\n\n[[policy]]\nname = &#34;proposed&#34;" in text
    assert f'name="digest" value="{digest_of(TEXT)}"' in text


def test_why_it_failed_and_that_a_viewer_cannot_begin_one(page: MadePage) -> None:
    page.admin.advice.state = AdviceReport("failed", fault=f"{SCRIPT} no object")
    viewer = page.entered("victor")
    text = viewer.get("/policy").text
    assert "no object" in text
    assert "Compare codecs" not in text
