"""Clockify sends changes of users only for the users a hook names: the hooks follow who is known, and no one is missed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from sync_pipeline.connectors.clockify import webhooks
from sync_pipeline.errors import SyncError
from sync_pipeline.sandbox.clockify import webhooks as clockify_webhooks
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.registration import Registrar, Wishes, follow_named
from sync_pipeline_tests.defs.live import live
from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.webhooks.shipped import OF_USERS, WORTH_MOST_FIRST

pytestmark = pytest.mark.clock

PUBLIC = "https://hooks.example.com"
CHANGED = "USER_UPDATED"


@pytest.fixture
def us(tmp_path: Path) -> Any:
    """A workspace on a paid plan, never synced."""
    with team(tmp_path / "team", plan="paid") as opened:
        yield opened


def hook(us: Team, event: str = CHANGED) -> Json:
    """The workspace's webhook for an event."""
    (found,) = [one for one in us.clockify("GET", "/webhooks")["webhooks"] if one["webhookEvent"] == event]
    return dict(found)


def ids(us: Team) -> set[str]:
    """Everyone in the workspace."""
    return {user["id"] for user in us.users()}


def join(us: Team, name: str) -> str:
    """Someone joins the workspace."""
    us.clockify("POST", "/users", {"email": f"{name}@example.org"})
    (user,) = [user for user in us.users() if user["email"] == f"{name}@example.org"]
    us.clockify("PUT", f"/users/{user['id']}", {"status": "ACTIVE"})
    return str(user["id"])


def register(us: Team, limit: int | None = None) -> list[str]:
    """Register, and return what was done with each hook."""
    with us.session() as session:
        report = Registrar.of(session, open_hooks(session), PUBLIC).register(Wishes(limit=limit))
        assert report.is_well, report
        return [row.action for row in report.hooks]


def follow(us: Team) -> tuple[str, int]:
    """Have the hooks follow; what was done, and the requests it took."""
    with us.session() as session:
        before = session.requests
        return follow_named(session, open_hooks(session)), session.requests - before


def test_hooks_about_users_name_them(us: Team) -> None:
    """Before the first sync those that Clockify lists; no other hook names anyone; a second time it is one request."""
    assert register(us) == ["created"] * 10
    assert (hook(us)["triggerSourceType"], set(hook(us)["triggerSource"])) == ("USER_ID", ids(us))
    others = [one for one in us.clockify("GET", "/webhooks")["webhooks"] if one["webhookEvent"] not in OF_USERS]
    assert {(one["triggerSourceType"], *one["triggerSource"]) for one in others} == {("WORKSPACE_ID",)}

    us.forget_stats()
    assert register(us) == ["kept"] * 10
    assert sum(us.requests().values()) == 1


def test_every_event_is_accepted_where_a_plan_allows_more(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both events about users, and all that come after them."""
    monkeypatch.setitem(clockify_webhooks.LIMITS, "paid", (100, 100))
    assert register(us, limit=len(WORTH_MOST_FIRST)) == ["created"] * len(WORTH_MOST_FIRST)
    for event in OF_USERS:
        assert set(hook(us, event)["triggerSource"]) == ids(us)


def test_who_joins_is_named_once_they_are_known(us: Team) -> None:
    """The next sync of users knows them, the hook follows with two requests; without news there are none."""
    register(us)
    us.sync("users")
    assert follow(us) == ("", 1)  # the same users as Clockify listed: compared only once
    late = join(us, "late")
    assert follow(us) == ("", 0)
    us.sync("users")
    before = hook(us)
    note, requests = follow(us)
    assert (note, requests) == (f"the webhook {CHANGED} names {len(ids(us))} users now", 2)
    assert late in hook(us)["triggerSource"]
    unchanged = ("id", "url", "authToken", "name", "enabled")
    assert [hook(us)[key] for key in unchanged] == [before[key] for key in unchanged]
    assert follow(us) == ("", 0)
    assert register(us) == ["kept"] * 10


def test_who_leaves_needs_no_change(us: Team) -> None:
    """A hook that names more than there are is right."""
    register(us)
    us.sync()
    follow(us)
    leaving = join(us, "gone")
    us.sync("users")
    follow(us)
    us.control("POST", "users", {"id": leaving, "remove": True})
    us.sync("users")
    assert follow(us) == ("", 1)
    assert follow(us) == ("", 0)


def test_a_refusal_is_named_and_not_repeated(us: Team) -> None:
    """Until the users change again; an outage is tried again at the next look."""
    register(us)
    us.sync("users")
    follow(us)
    join(us, "late")
    us.sync("users")
    us.fault("status", "PUT */webhooks/*", status=400, body={"message": "Too many sources", "code": 501})
    note, _ = follow(us)
    assert note.startswith(f"the webhook {CHANGED} does not name all users:")
    assert "Too many sources" in note
    assert follow(us) == ("", 0)
    us.no_faults()
    join(us, "later")
    us.sync("users")
    us.fault("status", "GET */webhooks", status=403, body={"message": "Access Denied", "code": 501}, count=1)
    with us.session() as session, pytest.raises(SyncError):
        follow_named(session, open_hooks(session))
    us.no_faults()
    assert follow(us)[0] == f"the webhook {CHANGED} names {len(ids(us))} users now"


def test_no_more_users_are_named_than_the_limit(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest: what happens to the others is found by polling."""
    monkeypatch.setattr(webhooks, "MOST_NAMED", 2)
    register(us)
    assert hook(us)["triggerSource"] == sorted(ids(us))[-2:]
    us.sync("users")
    late = join(us, "late")
    us.sync("users")
    follow(us)
    assert late in hook(us)["triggerSource"]
    assert len(hook(us)["triggerSource"]) == 2


def test_a_hook_of_before_is_corrected(us: Team) -> None:
    """One for the whole workspace, as older versions asked for it: it keeps its id and token."""
    register(us)
    before = hook(us)
    db = us.sandbox.world.db
    row = db.execute("SELECT body FROM webhooks WHERE id = ?", (before["id"],)).fetchone()
    body = orjson.loads(row["body"]) | {"triggerSourceType": "WORKSPACE_ID", "triggerSource": []}
    db.execute("UPDATE webhooks SET body = ? WHERE id = ?", (orjson.dumps(body).decode(), before["id"]))

    assert sorted(register(us)) == ["kept"] * 9 + ["updated"]
    assert hook(us) == before


def test_without_such_a_hook_nothing_is_asked(us: Team) -> None:
    """Neither without hooks, nor with others, nor with one that was deleted in Clockify."""
    us.sync("users")
    assert follow(us) == ("", 0)
    register(us, limit=2)
    assert follow(us) == ("", 0)
    register(us)
    us.clockify("DELETE", f"/webhooks/{hook(us)['id']}")
    join(us, "late")
    us.sync("users")
    assert follow(us) == ("", 1)
    assert follow(us) == ("", 0)


def test_the_sensor_has_the_hooks_follow(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone joins, no hook reports it: polling does, and from then on the hook does."""
    us.sync()
    register(us)
    us.changes["SYNC_POLL_SECONDS"] = "1"
    with live(us, tmp_path / "live", monkeypatch) as on:
        on.drain("users")
        late = join(us, "late")
        on.cursors.clear()
        on.drain("users")
        assert late in us.at_snapshots("users")
        on.tick("users")
        assert late in hook(us)["triggerSource"]
        us.fault("status", "*/webhooks*", status=500)
        join(us, "later")
        on.cursors.clear()
        ticks = on.drain("users")
        assert ticks
        assert len(us.at_snapshots("users")) == len(ids(us))
