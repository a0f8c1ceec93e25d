"""Deliveries of a vendor that signs each body: only what it signed, lately and once, and only what is ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.store.audit import changes
from sync_pipeline.store.credentials import SIGNED
from sync_pipeline.store.events import DELIVERIES_KEPT, mark_attempt, seen_deliveries
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.webhooks.hooks import HookStore, new_hook
from sync_pipeline.webhooks.inbox import InboxLimits
from sync_pipeline.webhooks.receiver import REFUSALS, ReceiverOptions
from sync_pipeline.webhooks.signed import PATH, Signed
from sync_pipeline_tests.store.inbox import counts
from sync_pipeline_tests.webhooks.sending import HERE, START, WORKSPACE, Clock, Sender, delivering

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
UPDATE, RENAMED = "RecordUpdate", "LocationUpdate"
WON, READERS = "OpportunityStatusUpdate", {"locations": "locations", "opportunities": "won_opportunities"}


@dataclass
class App:
    """The vendor's side of an app."""

    sender: Sender
    path: str
    options: ReceiverOptions | None = None

    def send(self, event: str, body: Any, *, signed: bytes | None = None, header: str | None = None) -> httpx.Response:
        """One delivery; what is not given is valid."""
        raw = json.dumps(body).encode()
        signature = base64.b64encode(KEY.sign(raw if signed is None else signed)).decode()
        headers = {"content-type": "application/json", "x-ghl-signature": signature if header is None else header}
        return self.sender.client.post(f"{self.sender.url}{self.path}/{event}", content=raw, headers=headers)


def about(record: str, number: int = 1, **more: Any) -> dict[str, Any]:
    """The body of an event, sent now."""
    return {"id": record, "timestamp": START.isoformat(), "webhookId": f"delivery-{number}", **more}


@pytest.fixture
def app(hooks: HookStore, clock: Clock) -> Iterator[App]:
    """An app whose deliveries come to a running receiver."""
    facts = load_profile("highlevel").webhooks
    assert facts is not None
    hook = new_hook(SIGNED)
    hooks.save(hook, START)
    options = ReceiverOptions(
        workspace=WORKSPACE, signed=Signed(facts, KEY.public_key(), "company", "home", readers=READERS)
    )
    with delivering(hooks, hook, options, clock) as sender:
        yield App(sender, f"{PATH}/{hook.secret}", options)


def test_a_location_is_read_again_and_a_record_compared(app: App, hooks: HookStore) -> None:
    """A record is known by its id at the target; an unknown one, one that was made, and any other event are about nothing."""
    ledger = Ledger(hooks.store, HERE, "projects")
    with hooks.store.writing() as tx:
        tx.exec_driver_sql(
            "INSERT INTO records (connection, entity, source_id, target_id, fields, fields_hash, observed_at, read_no) "
            f"VALUES ('{HERE}', 'projects', 'p1', 'record1', '{{}}', 'h', '{START:%Y-%m-%d %H:%M:%S}', 1)"
        )
    sent = [
        (RENAMED, "loc1"),
        (UPDATE, "record1"),
        (UPDATE, "stranger"),
        ("RecordCreate", "record1"),
        ("Invoice", "i1"),
    ]
    for number, (event, record) in enumerate(sent):
        assert app.send(event, about(record, number)).json() == {"status": "stored"}
    assert [(one.kind, one.source_id) for one in app.sender.inbox("locations")] == [("source:LocationUpdate", "loc1")]
    assert [(one.kind, one.source_id) for one in ledger.events.open_events(10)] == [("target:RecordUpdate", "p1")]
    assert counts(hooks.store, HERE)[None].closed == 3


def test_an_opportunity_wakes_what_reads_won_ones(app: App, hooks: HookStore) -> None:
    """New or changed; one that is not won, or of another location, is in no list that is read, so it is about nothing."""
    home = {"locationId": "home"}
    sent: list[tuple[str, str, dict[str, str]]] = [
        (WON, "o1", home | {"status": "won"}),
        ("OpportunityCreate", "o2", home | {"status": "won"}),
        (WON, "o3", home),
        (WON, "o4", home | {"status": "lost"}),
        (WON, "o5", {"locationId": "another", "status": "won"}),
        ("OpportunityStageUpdate", "o6", home | {"status": "won"}),
    ]
    for number, (event, record, more) in enumerate(sent):
        assert app.send(event, about(record, number, **more)).json() == {"status": "stored"}
    found = [(one.kind, one.source_id) for one in app.sender.inbox("won_opportunities")]
    assert found == [(f"source:{WON}", "o1"), ("source:OpportunityCreate", "o2"), (f"source:{WON}", "o3")]
    assert counts(hooks.store, HERE)[None].closed == 3


def test_what_is_forged_stale_or_not_signed_is_refused(app: App) -> None:
    """Each with its own reason; nothing of it is kept."""
    body, spaced = about("record1"), json.dumps(about("record1"), separators=(",", ":")).encode()
    old = about("record1", timestamp=(START - timedelta(days=3, minutes=6)).isoformat())
    nameless = about("record1", timestamp=(START - timedelta(minutes=6)).isoformat(), webhookId=None)
    future = about("record1", timestamp=(START + timedelta(minutes=6)).isoformat())
    refused = {
        "signature": [
            app.send(UPDATE, body, signed=b"forged"),
            app.send(UPDATE, body, signed=spaced),
            app.send(UPDATE, body, header="?"),
        ],
        "unsigned": [app.send(UPDATE, body, header="N/A"), app.send(UPDATE, body, header="")],
        "stale": [app.send(UPDATE, one) for one in (old, nameless, future, about("record1", timestamp="soon"))],
        "other_workspace": [app.send(RENAMED, about("loc1", companyId="another"))],
        "not_json": [app.send(UPDATE, ["a"])],
        "event": [app.send("Record-Update", body)],
    }
    guessed = app.sender.client.post(f"{app.sender.url}{PATH}/guess/{UPDATE}", content=b"{}")
    for reason, answers in (refused | {"path": [guessed]}).items():
        assert {(one.status_code, one.json()["refused"]) for one in answers} == {(REFUSALS[reason], reason)}
    assert app.sender.kept() == 0


def test_a_repeated_delivery_is_answered_and_dropped(app: App, clock: Clock) -> None:
    """By its id, also after a run has taken up what it reported, for a week; another delivery is news."""
    first = about("loc1", 1)
    assert app.send(RENAMED, first).json() == {"status": "stored"}
    assert app.send(RENAMED, first | {"name": "else"}).json() == {"status": "duplicate"}
    assert app.send(RENAMED, {**about("loc1"), "deliveryId": "d2", "webhookId": None}).json() == {"status": "stored"}
    assert len(app.sender.inbox("locations")) == 2
    clock.pass_(timedelta(minutes=6))
    assert app.send(RENAMED, first).json() == {"status": "duplicate"}
    store = app.sender.hooks.store
    assert seen_deliveries(store, HERE, ["delivery-1", "delivery-2"], clock.now()) == {"delivery-1"}
    clock.pass_(DELIVERIES_KEPT)
    assert seen_deliveries(store, HERE, ["delivery-1"], clock.now()) == set()


def test_two_receivers_keep_a_delivery_once(app: App, hooks: HookStore, clock: Clock) -> None:
    """A delivery that both get, one after the other or together, is one event; each verifies it and counts for itself."""
    with delivering(hooks, app.sender.hook, app.options, clock) as sender:
        other = App(sender, app.path, app.options)
        body, store = about("loc1", 1), hooks.store
        assert app.send(RENAMED, body).json() == {"status": "stored"}
        (event,) = app.sender.inbox("locations")
        mark_attempt(store, [event.id], clock.now())  # a run has it: what has the same content is news from now on
        assert other.send(RENAMED, body).json() == {"status": "duplicate"}
        assert other.send(RENAMED, {**body, "name": "else"}).json() == {"status": "duplicate"}
        with ThreadPoolExecutor(8) as senders:
            bodies = [about(f"loc{number % 10}", 100 + number % 10) for number in range(40)]
            ways = [app, other] * 20
            said = list(senders.map(lambda way, body: way.send(RENAMED, body).json()["status"], ways, bodies))
        assert said.count("stored") == len(app.sender.inbox("locations")) - 1
        assert {event.source_id for event in app.sender.inbox("locations")} == {f"loc{number}" for number in range(10)}
        assert other.send(UPDATE, about("record1"), header="?").json() == {"refused": "signature"}
        refused = 'refused_total{reason="signature"}'
        assert refused in sender.figures()
        assert refused not in app.sender.figures()


def test_a_delivery_that_was_not_taken_may_come_again_for_three_days(app: App, clock: Clock) -> None:
    """It comes with the words and the time of the first try; taken once, it is dropped from then on."""
    first = about("loc1")
    clock.pass_(timedelta(days=2, hours=23))
    assert app.send(RENAMED, first).json() == {"status": "stored"}
    assert app.send(RENAMED, first).json() == {"status": "duplicate"}


def test_a_receiver_that_is_busy_is_asked_again(hooks: HookStore) -> None:
    """With 429, after which it is certain that the vendor sends again."""
    facts = load_profile("highlevel").webhooks
    assert facts is not None
    hook = new_hook(SIGNED)
    hooks.save(hook, START)
    limits = InboxLimits(events=0)
    options = ReceiverOptions(workspace=WORKSPACE, signed=Signed(facts, KEY.public_key()), limits=limits)
    with delivering(hooks, hook, options) as sender:
        answer = App(sender, f"{PATH}/{hook.secret}").send(RENAMED, about("loc1"))
    assert (answer.status_code, answer.json()) == (429, {"refused": "busy"})
    assert int(answer.headers["Retry-After"]) > 0


def test_the_app_is_noted_and_its_hook_is_none_of_clockifys(app: App, hooks: HookStore) -> None:
    """Installed and removed: in the audit trail. Clockify is not asked for the hook."""
    app.send("UNINSTALL", {"type": "UNINSTALL", "appId": "a", "companyId": "company", "webhookId": "w1"})
    (line,) = changes(hooks.store)
    assert (line.by, line.what, line.detail) == ("webhook", "app: uninstall", "company")
    assert hooks.names() == []
    assert list(hooks.readable()) == [SIGNED]
