"""`alerts`: open alerts, and who is notified, in the terminal."""

from __future__ import annotations

import pytest

from sync_pipeline.session.session import open_session
from sync_pipeline.store.health import note_failure
from sync_pipeline_tests.alerts.sinks import TOKEN, http_sink
from sync_pipeline_tests.cli.shell import Shell

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
        "warning", "open", "Users differ between both sides",
    )  # fmt: skip
    assert "`verify` found 1 missing." in drifted("alerts", "list", code=0).out
    assert any("`verify` found 1 missing." in told for told in drifted("status").warnings)
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


def test_destinations(drifted: Shell) -> None:
    """Added with an address from elsewhere, tried, told, and removed; the address is never printed."""
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
