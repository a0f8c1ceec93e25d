"""`check`: every trouble is one distinct line, little is asked, nothing is written, no secret is shown."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sync_pipeline import terminal
from sync_pipeline.clock import unix_time
from sync_pipeline.diagnose.connection_test import diagnose
from sync_pipeline.store.rate import reserve
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.registration import Registrar, Wishes
from sync_pipeline.webhooks.server import running
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import ENTITIES, Json, team
from sync_pipeline_tests.impostor import Part, impostor
from sync_pipeline_tests.webhooks.shipped import WORTH_MOST_FIRST

MEMBER = "sandbox-clockify-member-key"
DEAD = "http://127.0.0.1:9"
NO_SUCH_WORKSPACE = "64c777ddd3fcab07cfbb210c"
ALL_CLOCKIFY = {"address", "API", "key", "workspace", "role", "plan", "clock", "reports"}
ANOTHER_PRODUCT = b'{"id": 7, "name": "Widget"}'


def found(shell: Shell, *words: str, code: int = 0) -> dict[str, Json]:
    """The findings of a check, by what was looked at; nothing was written."""
    shell.team.forget_stats()
    document = shell("check", "--json", *words, code=code).document
    assert document["ok"] == (code == 0)
    assert shell.team.writes() == {}
    for finding in document["checks"]:
        assert set(finding) == {"what", "verdict", "ok", "detail", "means", "fix"}
        assert finding["ok"] == (finding["verdict"] != "failed")
        assert finding["fix"] or finding["verdict"] in ("ok", "skipped"), finding
    return {finding["what"]: finding for finding in document["checks"]}


def failed(findings: dict[str, Json]) -> dict[str, str]:
    """What failed, in one line each."""
    return {what: line(f) for what, f in findings.items() if f["verdict"] == "failed"}


def line(finding: Json) -> str:
    """A finding as people read it."""
    return " ".join(filter(None, (finding["detail"], finding["means"], finding["fix"])))


def the_failure(shell: Shell, *words: str, code: int = 1) -> tuple[str, str]:
    """The only probe that failed, and its message; the ones that depend on it are reported as skipped."""
    findings = found(shell, *words, code=code)
    ((what, detail),) = failed(findings).items()
    skipped = [f["detail"] for f in findings.values() if f["verdict"] == "skipped"]
    assert set(skipped) <= {f"skipped, because of: {what}", "its answers have no Date header"}
    return what, detail


def test_all_is_well(shell: Shell) -> None:
    """Every question has its line, in order; each request is sent once, and their number is printed."""
    document = shell("check", "--json", code=0).document
    whats = [finding["what"] for finding in document["checks"]]
    assert {f"Clockify {what}" for what in ALL_CLOCKIFY} <= set(whats)
    assert {f"{verb} {entity} (snapshots)" for verb in ("Read", "Write") for entity in ENTITIES[1:]} <= set(whats)
    assert whats.index("Clockify clock") < whats.index("Snapshots address")
    assert {finding["verdict"] for finding in document["checks"]} == {"ok"}
    assert document["requests"] == {"clockify": 5, "snapshots": 7}


@pytest.mark.parametrize(("system", "silent"), [("clockify", "snapshots"), ("snapshots", "clockify")])
def test_one_side(shell: Shell, system: str, silent: str) -> None:
    """The name of a system leaves the other one alone: not a request, not a line. So does --system, which is older."""
    document = shell("check", system, "--json", code=0).document
    older = shell("check", "--json", "--system", system, code=0).document
    assert [f["what"] for f in older["checks"]] == [f["what"] for f in document["checks"]]
    assert document["requests"][silent] == 0
    assert not [f["what"] for f in document["checks"] if silent in f["what"].lower()]
    assert document["requests"][system] > 0


def test_it_fits_80_columns(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long finding continues below its own text; each begins with its verdict."""
    monkeypatch.setattr(terminal.out, "width", 80)
    bad = shell.with_(CLOCKIFY_API_KEY=MEMBER)
    out = bad("check", code=4).out.splitlines()
    marks = [text[:5] for text in out]
    assert set(marks) == {"ok   ", "FAIL ", "skip ", "     "}
    assert len([mark for mark in marks if mark.strip()]) == len(found(bad, code=4))
    assert [text for text in out if len(text) > 80] == []


def test_another_product(shell: Shell) -> None:
    """JSON that is not this API's, with 200 or with 401, is a wrong address and not a wrong key."""
    with impostor(Part(body=ANOTHER_PRODUCT)) as url:
        what, detail = the_failure(shell.with_(CLOCKIFY_BASE_URL=url), "--system", "clockify")
        assert what == "Clockify API"
        assert "the answer is not a user of Clockify" in detail
        assert f"Did you mean {url}/api/v1?" in detail
        what, detail = the_failure(shell.with_(SNAPSHOTS_BASE_URL=url), "--system", "snapshots")
        assert what == "Snapshots API"
        assert "Check SNAPSHOTS_BASE_URL" in detail
    swapped = shell.with_(CLOCKIFY_BASE_URL=shell.team.sandbox.snapshots)
    what, detail = the_failure(swapped, "--system", "clockify")
    assert what == "Clockify API"
    assert "another product answers there" in detail


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Part(body=b"<!doctype html><h1>Hi</h1>", kind="text/html"), "A web page, a login form or a proxy"),
        (Part(status=404, body=b"nothing here", kind="text/plain"), "something else answers there"),
        (Part(status=404), "there is no such address"),
        (Part(status=302, headers={"Location": "https://login.example.com/"}), "a redirect to https://login.example"),
    ],
    ids=["html", "404 everywhere", "404 without a word", "redirect"],
)
@pytest.mark.parametrize("system", ["clockify", "snapshots"])
def test_not_an_api(shell: Shell, system: str, part: Part, expected: str) -> None:
    """A web page, nothing but 404, a redirect: the address is wrong, and its setting is named."""
    with impostor(part) as url:
        what, said = the_failure(shell.with_(**{f"{system.upper()}_BASE_URL": url}), "--system", system)
    assert what == f"{system.title()} API"
    assert expected in said
    assert f"{system.upper()}_BASE_URL" in said


@pytest.mark.undocumented
def test_reports_address(shell: Shell) -> None:
    """The core's address in place of the reports': what was meant is suggested, and only entries cannot be read."""
    sandbox = shell.team.sandbox
    what, detail = the_failure(shell.with_(CLOCKIFY_REPORTS_URL=sandbox.clockify), "--system", "clockify")
    assert what == "Clockify reports"
    assert "Check CLOCKIFY_REPORTS_URL" in detail
    assert f"Did you mean {sandbox.reports}?" in detail


def test_unreachable(shell: Shell, untrusted: str) -> None:
    """No such name, nothing listening, an untrusted certificate, hung up: four different lines."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{unused.getsockname()[1]}"
        urls = {"no such host": "https://nowhere.invalid", "refused": refused, "tls": untrusted}
        details = {}
        for trouble, url in urls.items():
            what, details[trouble] = the_failure(shell.with_(SNAPSHOTS_BASE_URL=url), "--system", "snapshots")
            assert what == "Snapshots address"
    shell.team.fault("cut_before", "GET /snapshots/*")
    what, details["cut"] = the_failure(shell, "--system", "snapshots")
    shell.team.no_faults()
    assert what == "Snapshots address"
    assert "The name does not exist, or this machine has no network." in details["no such host"]
    assert "No program listens there, or a firewall turns connections away." in details["refused"]
    assert "so no key was sent. Check SNAPSHOTS_BASE_URL" in details["tls"]
    assert not [trouble for trouble, text in details.items() if "Did you mean" in text]
    assert "The server or a proxy hung up." in details["cut"]


@pytest.mark.parametrize(
    ("changes", "what", "expected"),
    [
        ({"CLOCKIFY_API_KEY": "s3cret"}, "Clockify key", "The key was deleted or replaced in Clockify"),
        ({"CLOCKIFY_API_KEY": "eyJhbGciOiJ9.eyJzdWIiOiJ9.c2ln"}, "Clockify key", "the form of a token (a JWT)"),
        ({"CLOCKIFY_API_KEY": "sandbox-snapshots-key"}, "Clockify key", "The same key is set for both systems."),
        ({"CLOCKIFY_API_KEY": MEMBER}, "Clockify role", "what it leaves out would look deleted"),
        ({"SNAPSHOTS_API_KEY": "s3cret"}, "Snapshots key", "was revoked, replaced, or copied incompletely"),
        ({"SNAPSHOTS_API_KEY": "sandbox-clockify-key"}, "Snapshots key", "The same key is set for both systems."),
        (
            {"SNAPSHOTS_API_KEY": None, "SNAPSHOTS_CLIENT_ID": "nobody", "SNAPSHOTS_CLIENT_SECRET": "s3cret"},
            "Snapshots key",
            "This client id is not known with this secret.",
        ),
    ],
)
def test_keys(shell: Shell, changes: dict[str, str | None], what: str, expected: str) -> None:
    """Unknown, of the wrong kind, of someone who may not: distinguished, and only that is blamed."""
    assert_failure(the_failure(shell.with_(**changes), code=4), what, expected)


def assert_failure(failure: tuple[str, str], what: str, expected: str) -> None:
    """The probe that failed, and a part of its message."""
    assert failure[0] == what
    assert expected in failure[1]


def token(shell: Shell, **settings: Any) -> str:
    """An access token of the sandbox."""
    sandbox = shell.team.sandbox
    shell.team.control("POST", "snapshots", settings)
    shell.team.control("POST", "clients", {"client_id": "us", "client_secret": "s3cret", "scopes": ["users.read"]})
    form = {"grant_type": "client_credentials", "client_id": "us", "client_secret": "s3cret"}
    answer = shell.team.people.post(f"{sandbox.url}/oauth/token", data=form).raise_for_status()
    return str(answer.json()["access_token"])


def test_expired_and_revoked(shell: Shell) -> None:
    """A token that ended, and a consent that was withdrawn, are not a wrong key."""
    expired = token(shell, token_seconds=0)
    shell.team.control("POST", "snapshots", {"token_seconds": 3600})
    said = the_failure(shell.with_(SNAPSHOTS_API_KEY=expired), "--system", "snapshots", code=4)
    assert_failure(said, "Snapshots key", "An access token lives for hours only; it was right once. Check")
    refusal = {"error": "invalid_grant", "error_description": "the refresh token is not valid any more"}
    shell.team.fault("status", "POST */oauth/token", status=400, body=refusal)
    client = shell.with_(SNAPSHOTS_API_KEY=None, SNAPSHOTS_CLIENT_ID="us", SNAPSHOTS_CLIENT_SECRET="s3cret")
    said = the_failure(client, "--system", "snapshots", code=4)
    shell.team.no_faults()
    assert_failure(said, "Snapshots key", "The consent was revoked, or its refresh token was used up")
    assert said[1].endswith("Authorize again.")


def test_scopes_of_a_token(shell: Shell) -> None:
    """Where it is known what a token was granted, nothing is asked to find out, and the scope to ask for is named."""
    scopes = ["saas/location.read", "users.read", "users.write"]
    client = {"client_id": "narrow", "client_secret": "s3cret", "redirect_uris": [], "scopes": scopes}
    shell.team.control("POST", "clients", client)
    variables = {"SNAPSHOTS_API_KEY": "", "SNAPSHOTS_CLIENT_ID": "narrow", "SNAPSHOTS_CLIENT_SECRET": "s3cret"}
    variables["SNAPSHOTS_SCOPES"] = " ".join(scopes)  # by default all that is needed is asked for
    with shell.team.session(report=None, **variables) as session:
        shell.team.forget_stats()
        findings = {finding.what: finding for finding in diagnose(session, ["snapshots"])}
    asked = {route: count for route, count in shell.team.requests().items() if "oauth" not in route}
    assert sum(asked.values()) == 1
    assert findings["Write users (snapshots)"].detail == "users.write is granted"
    assert findings["Write projects (snapshots)"].fix == "Authorize again with projects.write."
    assert findings["Read projects (snapshots)"].verdict == "warning"


def test_a_trailing_path(shell: Shell) -> None:
    """The address of a list instead of the API's: one line that states what was meant."""
    root = shell.team.sandbox.snapshots
    what, detail = the_failure(shell.with_(SNAPSHOTS_BASE_URL=f"{root}/locations"), "--system", "snapshots")
    assert what == "Snapshots API"
    assert detail.endswith(f"Check SNAPSHOTS_BASE_URL ({root}/locations). Did you mean {root}?")


def test_nothing_is_tried_again(shell: Shell) -> None:
    """A check reports the current state: one request, whatever SYNC_MAX_ATTEMPTS is."""
    shell.team.fault("status", "GET /snapshots/*", status=503)
    what, detail = the_failure(shell.with_(SYNC_MAX_ATTEMPTS="6"), "--system", "snapshots")
    shell.team.no_faults()
    assert what == "Snapshots address"
    assert "does not work just now" in detail
    assert sum(shell.team.requests().values()) == 1


def test_unknown_workspace(shell: Shell) -> None:
    """It is not there for this key: the ones that are, are named."""
    what, detail = the_failure(shell.with_(CLOCKIFY_WORKSPACE_ID=NO_SUCH_WORKSPACE), "--system", "clockify")
    assert what == "Clockify workspace"
    name = shell.team.clockify("GET", "")["name"]
    assert f"no such workspace. This key sees {name} ({shell.team.sandbox.workspace})." in detail


@pytest.mark.parametrize(
    ("scope", "missing"),
    [
        ("saas-location-read", {"users.write", "projects.write", "time_entries.write"}),
        ("users-write", {"saas/location.read", "projects.write", "time_entries.write"}),
    ],
)
def test_scopes(shell: Shell, scope: str, missing: set[str]) -> None:
    """Each scope a sync lacks is named on its own line; what only `verify` reads is a warning."""
    bad = shell.with_(SNAPSHOTS_API_KEY=f"sandbox-snapshots-{scope}-key")
    findings = found(bad, "--system", "snapshots", code=4)
    lines = failed(findings)
    assert len(lines) == len(missing)
    for name in missing:
        assert len([line for line in lines.values() if f"the scope {name} is missing. Grant {name}" in line]) == 1
    warned = {what for what, finding in findings.items() if finding["verdict"] == "warning"}
    assert warned == {f"Read {entity} (snapshots)" for entity in ("users", "projects", "time_entries")}
    assert findings["Snapshots key"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("minutes", "verdict", "expected"),
    [
        (0, "ok", "less than 30 s apart"),
        (3, "warning", "our clock is 3 minutes behind it"),
        (-90, "failed", "our clock is 90 minutes ahead of it"),
    ],
)
@pytest.mark.parametrize("system", ["clockify", "snapshots"])
def test_clock(shell: Shell, system: str, minutes: int, verdict: str, expected: str) -> None:
    """The Date of its answers against our clock: a warning from 30 s, a failure from 5 minutes, and what it breaks."""
    part = Part(target=shell.team.sandbox.url, clock=timedelta(minutes=minutes, seconds=2))
    with impostor(part) as url:
        path = shell.team.environ[f"{system.upper()}_BASE_URL"].removeprefix(shell.team.sandbox.url)
        elsewhere = shell.with_(**{f"{system.upper()}_BASE_URL": url + path})
        findings = found(elsewhere, "--system", system, code=1 if verdict == "failed" else 0)
    clock = findings[f"{system.title()} clock"]
    assert clock["verdict"] == verdict
    assert expected in clock["detail"]
    assert bool(clock["means"]) == bool(minutes)


@pytest.mark.parametrize(
    ("really", "configured", "verdict"),
    [("free", "free", "ok"), ("free", "paid", "failed"), ("paid", "free", "warning"), ("paid", "paid", "ok")],
)
def test_plan(tmp_path: Path, really: str, configured: str, verdict: str) -> None:
    """The plan of the workspace against CLOCKIFY_PLAN."""
    with team(tmp_path, plan=really) as us, shell_for(us, tmp_path, CLOCKIFY_PLAN=configured) as shell:
        plan = found(shell, "--system", "clockify", code=1 if verdict == "failed" else 0)["Clockify plan"]
    assert plan["verdict"] == verdict
    assert configured in plan["detail"]


def test_free_budget(tmp_path: Path) -> None:
    """On the Free plan a check reports what it costs and what is left; when that is too little, nothing is asked."""
    with team(tmp_path, plan="free", requests_per_hour=30) as us:
        with shell_for(us, tmp_path, CLOCKIFY_PLAN="free") as shell:
            findings = found(shell, "--system", "clockify")
            assert findings["Clockify budget"]["detail"].startswith("30 of 30 requests are left this hour")
            assert sum(us.requests().values()) == 5
            again = found(shell, "--system", "clockify")["Clockify budget"]
            assert again["detail"].startswith("25 of 30 requests are left this hour")
        with us.session(SYNC_HOME=str(shell.home), CLOCKIFY_PLAN="free") as session:
            for _ in range(18):
                reserve(session.store, session.clockify.account.bucket, [(30, 3600.0)], unix_time())
        what, detail = the_failure(shell, "--system", "clockify")
        assert what == "Clockify budget"
        assert detail.startswith("2 of 30 requests are left")
        assert us.requests() == {}


def test_too_many_requests(shell: Shell) -> None:
    """A 429 ends the questions to that side: the next one would wait for its turn."""
    shell.team.fault("status", "GET /clockify/*/workspaces/*", status=429, headers={"Retry-After": "3000"})
    what, detail = the_failure(shell, "--system", "clockify")
    shell.team.no_faults()
    assert what == "Clockify workspace"
    assert "all keys of this account share it" in detail
    assert sum(shell.team.requests().values()) == 2


def test_no_webhooks(shell: Shell) -> None:
    """None are registered: that is no mistake, changes are polled."""
    hooks = found(shell, "--system", "clockify")["Clockify webhooks"]
    assert (hooks["verdict"], hooks["detail"].partition(":")[0]) == ("ok", "none are registered")


def test_one_list_a_user(shell: Shell) -> None:
    """With CLOCKIFY_READER=users the reports are not needed, so a wrong address of theirs does no harm."""
    lists = shell.with_(CLOCKIFY_READER="users", CLOCKIFY_REPORTS_URL="http://127.0.0.1:9")
    findings = found(lists, "--system", "clockify")
    assert "Clockify reports" not in findings
    assert findings["Read time_entries (clockify)"]["verdict"] == "ok"
    assert sum(shell.team.requests().values()) == 5


@pytest.fixture
def hooked(tmp_path: Path) -> Iterator[tuple[Shell, Registrar]]:
    """A sandbox of one's own with two webhooks that lead to an address where no one listens."""
    with team(tmp_path) as us, shell_for(us, tmp_path) as shell, us.session(SYNC_HOME=str(shell.home)) as session:
        registrar = Registrar.of(session, open_hooks(session), DEAD)
        registrar.register(Wishes(limit=2))
        yield shell, registrar


def test_webhooks_that_arrive(hooked: tuple[Shell, Registrar]) -> None:
    """Clockify has them switched on, and the public address leads to our receiver: two lines, one request to Clockify."""
    shell, registrar = hooked
    workspace = shell.team.sandbox.workspace
    with running(registrar.hooks, ReceiverOptions(workspace=workspace)) as receiver:
        replace(registrar, base=receiver.url).register(Wishes(limit=2))
        findings = found(shell, "--system", "clockify")
    assert findings["Clockify webhooks"]["detail"] == "2 are switched on"
    assert findings["Webhook receiver"]["detail"].startswith(f"{receiver.url} leads to our receiver; 0 events wait")
    assert sum(shell.team.requests().values()) == 6


def test_webhooks_that_do_not_arrive(hooked: tuple[Shell, Registrar]) -> None:
    """No one there is a warning, since only Clockify's view counts; another program is a failure; no secret is shown."""
    shell, registrar = hooked
    receiver = found(shell, "--system", "clockify")["Webhook receiver"]
    assert receiver["verdict"] == "warning"
    assert "nothing answers there" in receiver["detail"]
    shown = shell("check", code=0).out
    with impostor(Part(body=b'{"status": "fine"}')) as elsewhere:
        replace(registrar, base=elsewhere).register(Wishes(limit=2))
        assert_failure(the_failure(shell, "--system", "clockify"), "Webhook receiver", "another program answers there")
        shown += shell("check", code=1).out
    assert not [hook for hook in registrar.hooks.all().values() if hook.secret in shown or hook.token in shown]


def test_a_registration_that_stops_says_what_there_is(hooked: tuple[Shell, Registrar]) -> None:
    """Both webhooks are in the table, each event without one is named with the reason, and it is no success."""
    shell, _ = hooked
    shell.team.fault("status", "POST */webhooks", status=403, body={"message": "Access Denied", "code": 403})
    done = shell("webhooks", "register", "--url", DEAD, code=4)
    assert WORTH_MOST_FIRST[0] in done.out
    assert f"{WORTH_MOST_FIRST[2]} is not registered: " in done.err
    assert "No room" not in done.out
    assert shell("webhooks", "register", "--url", DEAD, "--json", code=4).document["exit_code"] == 4


def test_webhooks_elsewhere(hooked: tuple[Shell, Registrar]) -> None:
    """While both systems are on this machine, no request leaves it: a public address is not asked."""
    shell, registrar = hooked
    replace(registrar, base="https://hooks.example.com").register(Wishes(limit=2))
    receiver = found(shell, "--system", "clockify")["Webhook receiver"]
    assert (receiver["verdict"], receiver["detail"]) == ("skipped", "in the sandbox only this machine is asked")


def test_webhooks_that_are_off(hooked: tuple[Shell, Registrar]) -> None:
    """Given up by Clockify, or deleted there: distinguished, with the command that repairs it."""
    shell, _ = hooked
    us = shell.team
    us.control("POST", "webhooks", {"disable_after": 1, "retry_delays": []})
    us.change_entry(us.entries()[0], description="edited")
    assert any(not all(hook["deliveryEnabled"] for hook in at_clockify(shell)) for _ in range(2000))
    said = the_failure(shell, "--system", "clockify")
    assert_failure(said, "Clockify webhooks", "Clockify switched it off after too many failed deliveries")
    assert "register --enable" in said[1]
    deleted = at_clockify(shell)[0]
    us.clockify("DELETE", f"/webhooks/{deleted['id']}")
    said = the_failure(shell, "--system", "clockify")
    assert_failure(said, "Clockify webhooks", f"Clockify does not have {deleted['webhookEvent']}")


def at_clockify(shell: Shell) -> list[Json]:
    """The webhooks of the workspace."""
    hooks: list[Json] = shell.team.clockify("GET", "/webhooks")["webhooks"]
    return hooks


def test_a_client_that_may_not_ask_for_all_that_is_needed(shell: Shell) -> None:
    """The refusal of its scopes is reported, with the fix once."""
    client = {"client_id": "poor", "client_secret": "s3cret", "redirect_uris": [], "scopes": ["saas/location.read"]}
    shell.team.control("POST", "clients", client)
    poor = shell.with_(SNAPSHOTS_API_KEY=None, SNAPSHOTS_CLIENT_ID="poor", SNAPSHOTS_CLIENT_SECRET="s3cret")
    said = the_failure(poor, "--system", "snapshots", code=4)
    assert_failure(said, "Snapshots key", "the client may not have one of the scopes")
    assert " ".join(said).lower().count("ask for fewer scopes") + " ".join(said).count("ask for fewer.") == 1
