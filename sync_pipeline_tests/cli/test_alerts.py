"""`alerts`: open alerts, and who is notified, in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert

from sync_pipeline.alerts.kinds import KINDS
from sync_pipeline.alerts.rules import ready_made
from sync_pipeline.session.session import open_session
from sync_pipeline.store.health import note_failure
from sync_pipeline.store.requests import WorkScope, ask, finish
from sync_pipeline.store.schema import entry_facts
from sync_pipeline_tests.alerts.sinks import TOKEN, http_sink
from sync_pipeline_tests.cli.shell import Shell
from sync_pipeline_tests.cli.terminal import CTRL_C, on_a_terminal

NAME = "drift:users"


@pytest.fixture
def drifted(shell: Shell) -> Shell:
    """A pipeline of which a comparison found differences."""
    shell("status", code=0)
    with open_session(shell.settings()) as session:
        note_failure(session.store, session.pair, "verify:users", "1 missing", "1 missing")
    return shell


def test_an_alert_is_listed_shown_acknowledged_and_silenced(drifted: Shell) -> None:
    """By its name or its number; `status` names it until someone deals with it."""
    (alert,) = drifted("alerts", "list", "--json", code=0).document["alerts"]
    assert (alert["alert"], alert["kind"], alert["entity"], alert["system"]) == (NAME, "drift", "users", None)
    assert (alert["severity"], alert["state"], alert["title"]) == (
        "warning", "open", "Users differ between the two sides",
    )  # fmt: skip
    assert "`verify` found 1 missing." in drifted("alerts", "list", code=0).out
    assert any("`verify` found 1 missing." in line for line in drifted("status").warnings)
    assert [each["alert"] for each in drifted("status", "--json").document["alerts"]] == [NAME]
    assert "`verify` found 1 missing." in drifted("alerts", "show", str(alert["number"]), code=0).out
    until = drifted("alerts", "silence", NAME, "--hours", "2", "--json", code=0).document["silenced_until"]
    assert until is not None
    assert drifted("alerts", "silence", NAME, "--undo", "--json", code=0).document["silenced_until"] is None
    assert drifted("alerts", "ack", NAME, "--json", code=0).document["state"] == "acknowledged"
    assert drifted("status", "--json").document["alerts"] == []
    (row,) = drifted("alerts", "list", "--all", "--json", code=0).document["alerts"]
    assert (row["alert"], row["state"], row["resolved_at"]) == (NAME, "acknowledged", None)
    assert "Open are: drift:users." in drifted("alerts", "ack", "nonsense", code=2).message


def test_status_ends_with_1_until_a_failed_run_is_repaired(shell: Shell) -> None:
    """As the newest run of each entity ended: 1 failed, 4 a missing permission, 0 after one that ended well; a preview is no run."""
    shell("sync", "users", code=0)
    for status, code in ((418, 1), (403, 4)):
        shell.team.fault("status", "GET /clockify/*/projects", status=status)
        assert shell("sync", "projects").code in (1, 4)
        shell.team.no_faults()
        assert shell("status", "--json", code=code).document["entities"]["projects"]["last_outcome"] == "failed"
        shell("preview", "projects", code=0)
        shell("sync", "users", code=0)
        shell("status", code=code)
    shell("sync", "projects", code=0)
    shell("status", code=0)


def test_the_rules_list_every_kind(shell: Shell) -> None:
    """The worst first, with what opens and what resolves each."""
    rules = shell("alerts", "rules", "--json", code=0).document["rules"]
    assert [rule["kind"] for rule in rules] == list(KINDS)
    assert "`verify` found differences" in shell("alerts", "rules", code=0).out


def test_rules_on_figures_are_listed_and_their_alerts_too(shell: Shell, tmp_path: Path) -> None:
    """Yours and those that are ready-made; a mistake is a message with its line."""
    assert "Ready-made are budget, estimate" in shell("alerts", "rules", code=0).out
    file = tmp_path / "rules.yaml"
    topics = "subscriptions: {acme: {about: [new_entries, new_projects], client: Acme}}"
    file.write_text(f"rules:\n  busy: {{figure: hours, scope: person, period: total, above: 1}}\n{topics}\n")
    shell = shell.with_(SYNC_ALERT_RULES_FILE=str(file))
    found = shell("alerts", "rules", "--json", code=0).document
    assert [rule["fires"] for rule in found["figures"]] == ["hours of a person (total): above 1 h"]
    assert [rule["rule"] for rule in found["ready_made"]] == list(ready_made())
    assert [each["sends"] for each in found["subscriptions"]] == ["new time entries, new projects of Acme"]
    assert "new time entries, new projects of Acme" in shell("alerts", "rules", code=0).out
    assert "hours of a person (total): above 1 h" in shell("alerts", "rules", code=0).out
    with open_session(shell.settings()) as session, session.store.writing() as tx:
        key = {"connection": session.pair, "source_id": "e1", "entity": "time_entries", "read_no": 1}
        tx.execute(insert(entry_facts).values(**key, user_id="u1", start_time=session.now(), seconds=7_200))
    shell("alerts", "send", code=0)
    (alert,) = shell("alerts", "list", "--json", code=0).document["alerts"]
    assert (alert["alert"], alert["rule"], alert["entity"]) == ("figure:busy:u1/total/above=1", "busy", None)
    assert shell("alerts", "ack", alert["alert"], "--json", code=0).document["state"] == "acknowledged"
    (row,) = shell("alerts", "list", "--all", "--json", code=0).document["alerts"]
    assert (row["title"], row["state"]) == ("u1: hours above 1 h", "acknowledged")
    file.write_text("rules:\n  busy: {figure: hours, above: 1}\n")
    assert f"{file}:2: rules.busy.scope: is missing." in shell("alerts", "rules", code=2).message


def test_status_lists_what_was_asked_for_in_the_console(shell: Shell) -> None:
    """While it is open: what, by whom, and why nothing happens."""
    assert shell("status", "--json").document["open_requests"] == []
    with open_session(shell.settings()) as session:
        request, _ = ask(session.store, session.pair, "verify", WorkScope("users"), "Ana")
        (shown,) = shell("status", "--json").document["open_requests"]
        assert (shown["number"], shown["what"], shown["by"], shown["state"]) == (
            request.id, "Verify users", "Ana", "waiting",
        )  # fmt: skip
        assert f"Request {request.id}: Verify users (waiting), asked for by Ana" in shell("status").out
        finish(session.store, request.id, "done")
    assert shell("status", "--json").document["open_requests"] == []


def test_only_a_terminal_is_redrawn(shell: Shell) -> None:
    """A pipe and a document are refused, with what to do."""
    for ended in (shell.piped("status", "--watch", code=2), shell("status", "--watch", "--json", code=2)):
        assert "--watch redraws a terminal" in ended.err


def test_status_is_shown_again_until_ctrl_c(shell: Shell) -> None:
    """What changed meanwhile is on the screen without a key; then one line, and exit 130."""
    environ = {name: value for name, value in shell.environ.items() if value is not None}
    with on_a_terminal(shell.root, environ, "status", "--watch") as seen:
        seen.wait_for(lambda text: "Ctrl-C ends it." in text and "users" in text)
        with open_session(shell.settings()) as session:
            ask(session.store, session.pair, "verify", WorkScope("users"), "Ana")
        seen.wait_for(lambda text: "Verify users (waiting), asked for by Ana" in text)
        seen.press(CTRL_C)
        assert seen.ended() == 130, seen.text
    assert "Traceback" not in seen.text


def test_destinations(drifted: Shell) -> None:
    """Added with an address from elsewhere, tried, sent to, and removed; the address is never printed."""
    with http_sink() as sink:
        shell = drifted.with_(ADDRESS=sink.address, SYNC_ALERT_GROUP_SECONDS="1")
        assert "sent nowhere" in shell("alerts", "destinations", code=0).out
        added = shell("alerts", "add", "ops", "--env", "ADDRESS", "--json", code=0)
        assert added.document["destination"]["service"] == "JSON"
        assert shell("alerts", "test", "ops", "--json", code=0).document["sent"]
        sink.status = 404
        failed = shell("alerts", "test", "ops", code=1)
        assert "ops was not reached: it answered 404." in failed.out
        (row,) = shell("alerts", "destinations", "--json", code=0).document["destinations"]
        assert row["name"] == "ops"
        shell("alerts", "send", code=0)
        trail = shell("audit", "list", code=0)
        removed = shell("alerts", "remove", "ops", code=0)
        assert sink.titles == ["Test of sync_pipeline"]
    assert [each for each in (added, failed, trail, removed) if TOKEN in each.out + each.err] == []
    assert "There is no destination 'ops'." in shell("alerts", "remove", "ops", code=2).message
    assert "cannot be used" in shell.with_(ADDRESS="x")("alerts", "add", "o", "--env", "ADDRESS", code=2).message
    assert "--no-input asks nothing" in shell("alerts", "add", "ops", "--no-input", code=2).err
