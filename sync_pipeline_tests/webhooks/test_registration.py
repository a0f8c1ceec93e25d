"""Subscribing finds what is there, repairs it when asked, and never makes a second one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from sync_pipeline.clock import utc_now
from sync_pipeline.errors import AmbiguousWrite, ConfigError
from sync_pipeline.session.session import Session
from sync_pipeline.store.credentials import open_keyring
from sync_pipeline.store.events import open_counts
from sync_pipeline.webhooks.hooks import HookStore, new_hook
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.registration import (
    Registered,
    Registrar,
    Wishes,
    list_hooks,
    name_of,
    public_url,
    remove_hooks,
)
from sync_pipeline.webhooks.server import running
from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.webhooks.shipped import WORTH_MOST_FIRST

PUBLIC = "https://hooks.example.com/sync"
DEAD = "http://127.0.0.1:9"
UPDATED, CREATED, STOPPED = WORTH_MOST_FIRST[:3]


@dataclass
class Office:
    """A workspace, and the hooks of a pipeline on it."""

    team: Team
    session: Session
    hooks: HookStore

    def register(self, url: str = PUBLIC, **wishes: Any) -> Registered:
        """Register at a public address."""
        return Registrar.of(self.session, self.hooks, url).register(Wishes(**wishes))

    def at_clockify(self) -> dict[str, Json]:
        """The workspace's webhooks by event; no event twice."""
        found = self.team.clockify("GET", "/webhooks")["webhooks"]
        by_event = {hook["webhookEvent"]: hook for hook in found}
        assert len(by_event) == len(found)
        return by_event

    def foreign(self, event: str = "NEW_TAG", **fields: Any) -> Json:
        """Someone else's webhook."""
        body = {"name": "theirs", "url": "https://theirs.example.com", "webhookEvent": event, **fields}
        made: Json = self.team.clockify(
            "POST", "/webhooks", {**body, "triggerSourceType": "WORKSPACE_ID", "triggerSource": []}
        )
        return made

    def requests(self) -> int:
        """Requests sent to Clockify so far."""
        return self.session.clockify.requests.total()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One sandbox for the module."""
    with team(tmp_path_factory.mktemp("people")) as us:
        yield us


@contextmanager
def office_of(people: Team, tmp_path: Path, **settings: Any) -> Iterator[Office]:
    """A pipeline that has never been here."""
    with people.session(SYNC_HOME=str(tmp_path / "home"), **settings) as session:
        keyring = open_keyring("", tmp_path / "encryption.key")
        yield Office(people, session, HookStore(session.store, keyring, session.pair))


@pytest.fixture
def office(people: Team, tmp_path: Path) -> Iterator[Office]:
    """A workspace without webhooks, on a paid plan."""
    for hook in people.clockify("GET", "/webhooks")["webhooks"]:
        people.clockify("DELETE", f"/webhooks/{hook['id']}")
    people.no_faults()
    people.control("POST", "options", {"plan": "paid"})
    people.control("POST", "webhooks", {"put_enables": True, "disable_after": 10, "retry_delays": [15.0]})
    with office_of(people, tmp_path) as us:
        yield us


def actions(report: Registered) -> set[str]:
    """What was done."""
    return {row.action for row in report.hooks}


def test_what_is_worth_most_is_subscribed_once(office: Office) -> None:
    """Ten on a paid plan, at addresses no one can guess; a second time it is one request and nothing new."""
    report = office.register()

    there = office.at_clockify()
    assert set(there) == set(WORTH_MOST_FIRST[:10])
    assert (actions(report), report.not_subscribed, report.is_well) == ({"created"}, list(WORTH_MOST_FIRST[10:]), True)
    for event, hook in office.hooks.all().items():
        assert there[event]["url"] == PUBLIC + hook.path(office.team.sandbox.workspace)
        assert there[event]["authToken"] == hook.token
        assert len(hook.secret) >= 32

    before = office.requests()
    assert actions(office.register()) == {"kept"}
    assert office.at_clockify() == there
    assert office.requests() == before + 1


def test_nothing_that_is_shown_is_a_secret(office: Office) -> None:
    """Neither paths nor tokens, in reports and in ``repr``."""
    report = office.register(limit=2)
    shown = json.dumps([repr(report), repr(list_hooks(office.session, office.hooks)), repr(office.hooks.all())])
    shown += repr(office.session.call(office.session.clockify.webhooks.list))

    secrets = [secret for hook in office.hooks.all().values() for secret in (hook.secret, hook.token)]
    assert len(secrets) == 4
    assert [secret for secret in secrets if secret in shown] == []


def test_a_free_plan_has_room_for_three(people: Team, office: Office, tmp_path: Path) -> None:
    """New and changed time; what someone else has taken is not there, and that is reported."""
    people.control("POST", "options", {"plan": "free"})
    office.foreign()
    with office_of(people, tmp_path, CLOCKIFY_PLAN="free") as free:
        report = free.register()

        assert set(free.at_clockify()) == {UPDATED, CREATED, "NEW_TAG"}
        assert report.not_subscribed[0] == STOPPED
        assert report.is_well


def test_others_take_room_on_a_paid_plan_too(office: Office) -> None:
    """Ten webhooks a user, for all programs together."""
    office.foreign()

    assert len(office.register().hooks) == 9
    assert actions(office.register()) == {"kept"}


def test_a_refusal_is_reported(office: Office) -> None:
    """Clockify knows the limit best: what it took stays, what it refused is named."""
    report = office.register(limit=18)

    assert len(report.hooks) == 10
    assert "limit" in report.refusal
    assert not report.is_well
    assert report.not_subscribed == list(WORTH_MOST_FIRST[10:])
    assert report.without_room == list(WORTH_MOST_FIRST[18:])
    assert all("limit" in report.failures[event] for event in WORTH_MOST_FIRST[10:18])


def test_a_refused_event_keeps_no_other_from_being_registered(office: Office) -> None:
    """It is named with its reason; all the others have their webhooks."""
    refusal = {"message": "Event is not supported", "code": 501}
    office.team.fault("status", "POST */webhooks", status=400, body=refusal, count=1)
    report = office.register(limit=3)

    assert set(office.at_clockify()) == {row.event for row in report.hooks} == set(WORTH_MOST_FIRST[1:4])
    assert list(report.failures) == [WORTH_MOST_FIRST[0]]
    assert "Event is not supported" in report.failures[WORTH_MOST_FIRST[0]]
    assert (report.is_well, report.exit_code) == (False, 1)
    assert WORTH_MOST_FIRST[0] not in report.without_room


def test_what_stops_half_way_names_what_is_registered_and_what_is_not(office: Office) -> None:
    """The key is refused after two: nothing more is tried, no event is reported as having found no room."""
    office.register(limit=2)
    office.team.fault("status", "POST */webhooks", status=403, body={"message": "Access Denied", "code": 403})
    report = office.register(limit=4)

    assert [row.event for row in report.hooks] == list(WORTH_MOST_FIRST[:2])
    assert list(report.failures) == list(WORTH_MOST_FIRST[2:])
    assert "Access Denied" in report.failures[WORTH_MOST_FIRST[2]]
    assert report.failures[WORTH_MOST_FIRST[3]].startswith("Not tried")
    assert (report.is_well, report.without_room) == (False, [])
    office.team.no_faults()
    report = office.register(limit=4)
    assert [row.action for row in report.hooks] == ["kept", "kept", "created", "created"]
    assert report.is_well


def test_a_hook_that_cannot_be_moved_is_named(office: Office) -> None:
    """It continues delivering to the old address, which no one may take for success."""
    office.register(limit=3)
    office.team.fault("status", "PUT */webhooks/*", status=400, body={"message": "No", "code": 501}, count=1)
    report = office.register("https://new.example.com", limit=3)

    assert sorted(row.action for row in report.hooks) == ["failed", "moved", "moved"]
    assert [bool(row.problem) for row in report.hooks if row.action == "failed"] == [True]
    assert not report.is_well


def test_another_address_moves_the_hooks(office: Office) -> None:
    """A tunnel got a new name: the same hooks, the same tokens, the same secret paths."""
    office.register(limit=3)
    before = office.at_clockify()
    report = office.register("https://new.example.com", limit=3)

    after = office.at_clockify()
    assert actions(report) == {"moved"}
    assert [hook["id"] for hook in after.values()] == [hook["id"] for hook in before.values()]
    assert all(
        hook["url"] == old["url"].replace(PUBLIC, "https://new.example.com")
        for hook, old in zip(after.values(), before.values(), strict=True)
    )


def test_hooks_are_found_again_when_the_secrets_are_lost(people: Team, office: Office, tmp_path: Path) -> None:
    """By our name at our address: they get new paths, no second one is made."""
    office.register(limit=3)
    before = office.at_clockify()
    with office_of(people, tmp_path / "elsewhere") as other:
        report = other.register(limit=3)

        assert actions(report) == {"moved"}
        assert {hook["id"] for hook in other.at_clockify().values()} == {hook["id"] for hook in before.values()}
        assert other.at_clockify()[UPDATED]["url"] != before[UPDATED]["url"]
        assert other.hooks.all()[UPDATED].token == before[UPDATED]["authToken"]


def test_a_create_whose_answer_was_lost_is_found(office: Office) -> None:
    """Clockify has it: looked up by its address and taken, not made again."""
    office.team.fault("cut_after", "POST */webhooks", count=1)

    assert actions(office.register(limit=1)) == {"created"}
    assert office.hooks.all()[UPDATED].token == office.at_clockify()[UPDATED]["authToken"]


def test_a_create_that_never_arrived_is_not_repeated_blindly(office: Office) -> None:
    """The next run makes it."""
    office.team.fault("cut_before", "POST */webhooks", count=1)
    with pytest.raises(AmbiguousWrite):
        office.register(limit=1)

    assert actions(office.register(limit=1)) == {"created"}
    assert len(office.at_clockify()) == 1


def test_a_run_that_was_killed_after_the_create_is_completed(office: Office) -> None:
    """The path was kept before the request, so the hook is known and its token is learnt."""
    hook = new_hook(UPDATED)
    office.hooks.save(hook, utc_now())
    made = office.foreign(UPDATED, url=PUBLIC + hook.path(office.team.sandbox.workspace))

    assert actions(office.register(limit=1)) == {"kept"}
    assert office.hooks.all()[UPDATED].token == made["authToken"]


def test_a_double_at_our_address_is_taken_away(office: Office) -> None:
    """One event needs one hook."""
    office.register(limit=1)
    office.foreign(UPDATED, url=office.at_clockify()[UPDATED]["url"])

    assert actions(office.register(limit=1)) == {"kept"}
    assert len(office.at_clockify()) == 1


def disable(office: Office) -> str:
    """Register one hook at an address where no one answers, and let a delivery fail; the hook's id."""
    office.team.control("POST", "webhooks", {"disable_after": 1, "retry_delays": []})
    office.register(DEAD, limit=1)
    entry = office.team.entries()[0]
    office.team.change_entry(entry, description=f"edited {utc_now()}")
    assert any(not office.at_clockify()[UPDATED]["deliveryEnabled"] for _ in range(2000))
    return str(office.at_clockify()[UPDATED]["id"])


@pytest.mark.parametrize("put_enables", [True, False])
def test_a_hook_clockify_gave_up_is_reported_and_switched_on(office: Office, put_enables: bool) -> None:
    """Saved again, or replaced where saving does not help; only when asked to."""
    old = disable(office)
    office.team.control("POST", "webhooks", {"put_enables": put_enables})

    for rows in (office.register(DEAD, limit=1).hooks, list_hooks(office.session, office.hooks)):
        assert ["too many failed deliveries" in row.problem for row in rows] == [True]

    report = office.register(DEAD, limit=1, enable=True)

    there = office.at_clockify()[UPDATED]
    assert (actions(report), report.is_well, there["deliveryEnabled"]) == ({"enabled"}, True, True)
    assert (there["id"] == old) is put_enables
    assert office.hooks.all()[UPDATED].token == there["authToken"]


def test_what_the_plan_switched_off_stays_off(office: Office) -> None:
    """After a downgrade only Clockify's plan can switch it on: reported, not tried."""
    office.register()
    office.team.control("POST", "options", {"plan": "free"})

    report = office.register(enable=True)

    assert actions(report) == {"kept"}
    assert sum("Not in the plan" in row.problem for row in report.hooks) == 7
    assert not report.is_well


def test_tokens_are_rotated_with_an_overlap(office: Office) -> None:
    """Clockify signs with the new one; we accept the old one as well, for a while."""
    office.register(limit=2)
    old = office.hooks.all()
    report = office.register(limit=2, rotate=True)

    now = utc_now()
    assert actions(report) == {"rotated"}
    for event, hook in office.hooks.all().items():
        assert hook.token == office.at_clockify()[event]["authToken"] != old[event].token
        assert hook.secret == old[event].secret
        assert hook.accepts(hook.token, now)
        assert hook.accepts(old[event].token, now)


def test_a_token_changed_in_clockifys_pages_is_learnt(office: Office) -> None:
    """Also that of a run that was killed between the change and its notice."""
    office.register(limit=1)
    hook_id = office.at_clockify()[UPDATED]["id"]
    token = office.team.clockify("PATCH", f"/webhooks/{hook_id}/token")["authToken"]
    office.register(limit=1)

    assert office.hooks.all()[UPDATED].token == token


def test_registering_brings_a_new_key_into_use(office: Office, tmp_path: Path) -> None:
    """With both keys listed once, the old one can be taken out."""
    office.register(limit=1)
    old = (tmp_path / "encryption.key").read_text().strip()
    new = Fernet.generate_key().decode()
    both = HookStore(office.hooks.store, open_keyring(f"{new},{old}", tmp_path), office.hooks.pair)
    Registrar.of(office.session, both, PUBLIC).register(Wishes(limit=1))

    alone = HookStore(office.hooks.store, open_keyring(new, tmp_path), office.hooks.pair)
    assert alone.all()[UPDATED].token == office.at_clockify()[UPDATED]["authToken"]


def test_ours_are_removed_and_only_ours(office: Office) -> None:
    """Here and there; a second time there is nothing to do."""
    theirs = office.foreign()
    office.register(limit=3)

    assert {row.event for row in remove_hooks(office.session, office.hooks)} == {UPDATED, CREATED, STOPPED}
    assert [hook["id"] for hook in office.at_clockify().values()] == [theirs["id"]]
    assert office.hooks.names() == []
    assert remove_hooks(office.session, office.hooks) == []


def test_one_is_removed_by_its_id_even_without_the_key(office: Office, tmp_path: Path) -> None:
    """That is the way out when the key is lost; an id that does not exist removes nothing."""
    office.register(limit=2)
    keyless = HookStore(office.hooks.store, open_keyring("", tmp_path / "new.key"), office.hooks.pair)
    ids = [row.id for row in list_hooks(office.session, keyless) if row.ours]
    assert len(ids) == 2
    with pytest.raises(ConfigError, match="another key"):
        Registrar.of(office.session, keyless, PUBLIC).register(Wishes(limit=2))
    with pytest.raises(ConfigError, match="The workspace has no webhook 0f"):
        remove_hooks(office.session, keyless, [*ids, "0f"])
    assert len(office.at_clockify()) == 2

    remove_hooks(office.session, keyless, ids)

    assert office.at_clockify() == {}
    assert actions(Registrar.of(office.session, keyless, PUBLIC).register(Wishes(limit=2))) == {"created"}


def test_an_edit_arrives_in_the_inbox(office: Office) -> None:
    """From a person's edit in Clockify to the inbox, over everything that is real."""
    workspace = office.team.sandbox.workspace
    with running(office.hooks, ReceiverOptions(workspace=workspace)) as receiver:
        office.register(receiver.url)
        user = office.team.users()[0]["id"]
        made = office.team.add_entry(user, utc_now())
        office.team.clockify("POST", "/clients", {"name": f"Client {made['id']}"})

        def inbox() -> dict[str, int]:
            return open_counts(office.session.store, office.session.pair)

        assert any(inbox() == {"time_entries": 1, "locations": 1} for _ in range(5000))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("hooks.example.com", "no public address"),
        ("ftp://hooks.example.com", "no public address"),
        ("https://", "no public address"),
        ("https://me:s3cret@hooks.example.com", "no public address"),
        ("https://hooks.example.com?x=1", "no public address"),
        ("https://hooks.example.com:port", "no public address"),
        ("http://hooks.example.com", "not encrypted"),
        ("http://127.0.0.1.example.com", "not encrypted"),
        ("http://127.0.0.1:8760", "Clockify cannot reach 127.0.0.1"),
    ],
)
def test_an_address_that_will_not_do_is_refused(url: str, says: str) -> None:
    """Before anything is asked of Clockify."""
    with pytest.raises(ConfigError, match=says) as caught:
        public_url(url, "https://api.clockify.me/api/v1")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "clockify", "base"),
    [
        ("https://hooks.example.com/", "https://api.clockify.me/api/v1", "https://hooks.example.com"),
        ("http://127.0.0.1:8760", "http://127.0.0.1:8750/clockify", "http://127.0.0.1:8760"),
        ("http://[::1]:8760/sub/", "http://localhost:8750/clockify", "http://[::1]:8760/sub"),
    ],
)
def test_an_address_that_will_do(url: str, clockify: str, base: str) -> None:
    """Encrypted, or on this machine when the sandbox is too."""
    assert public_url(url, clockify) == base


def test_a_hook_is_recognisable_in_clockifys_pages(office: Office) -> None:
    """Its name states whose it is and what for."""
    office.register(limit=1)

    assert office.at_clockify()[UPDATED]["name"] == name_of(UPDATED) == "sync TIME_ENTRY_UPDATED"


def test_an_addons_address_stays(office: Office) -> None:
    """The manifest is written once; Clockify is not asked."""
    before = office.requests()
    registrar = Registrar.of(office.session, office.hooks, PUBLIC)
    address = registrar.addon_url()

    assert address.startswith(f"{PUBLIC}/hooks/{office.team.sandbox.workspace}/ADDON/")
    assert registrar.addon_url() == address
    assert office.requests() == before
