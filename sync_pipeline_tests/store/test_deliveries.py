"""Intents make an unrepeatable write safe, and the audit records what was done."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from sqlalchemy import event

from sync_pipeline.store import deliveries as audit
from sync_pipeline.store.claims import Sending
from sync_pipeline.store.deliveries import Delivered
from sync_pipeline.store.engine import Store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline_tests.store.batch import ENTITY, HERE, at, here, is_pending, merge, row, there


def test_an_intent_survives_the_death_of_its_process(url: str, store: Store) -> None:
    """It is committed before ``intend`` returns, so a kill right after it leaves it open."""
    script = (
        "import os, signal; from datetime import datetime, UTC\n"
        "from sync_pipeline.store.engine import open_store\n"
        "from sync_pipeline.store.ledger import Ledger\n"
        f"store = open_store({url!r})\n"
        f"Ledger(store, {HERE!r}, {ENTITY!r}).intend('a', 'create', {{'name': 'Zoë'}}, datetime(2024, 3, 1, tzinfo=UTC))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)

    (intent,) = here(store).open_intents()
    assert (intent.source_id, intent.kind, intent.attempted, intent.at) == ("a", "create", {"name": "Zoë"}, at(0))
    assert there(store).open_intents() == []


def test_a_delivered_intent_links_its_record_in_the_same_transaction(store: Store) -> None:
    """There is no moment at which the audit knows of a create that the record does not."""
    merge(store, [row("a")], 1)
    intent = here(store).intend("a", "create", {"name": "A"}, at(2))
    here(store).conclude(intent, "delivered", at(3), target_id="t9", fields_hash="v1")

    known = here(store).lookup(["a"])["a"]
    assert (known.target_id, known.delivered_hash) == ("t9", "v1")
    assert here(store).open_intents() == []


def test_a_refused_intent_rejects_the_record(store: Store) -> None:
    """The reason becomes a reject and the record waits for a change."""
    merge(store, [row("a")], 1)
    intent = here(store).intend("a", "create", {}, at(2))
    here(store).conclude(intent, "refused", at(3), fields_hash="v1", reason="name taken", run_id="r1")

    assert [(reject.reason, reject.run_id) for reject in list_rejects(store, HERE)] == [("name taken", "r1")]
    assert not is_pending(here(store).lookup(["a"])["a"])


def test_a_failed_intent_is_closed_and_nothing_else(store: Store) -> None:
    """A write that certainly did not happen leaves the record pending."""
    merge(store, [row("a")], 1)
    intent = here(store).intend("a", "create", {}, at(2))
    here(store).conclude(intent, "failed", at(3), reason="refused connection")

    assert here(store).open_intents() == []
    assert is_pending(here(store).lookup(["a"])["a"])


def test_concluding_twice_changes_nothing(store: Store) -> None:
    """The first outcome is kept."""
    merge(store, [row("a")], 1)
    intent = here(store).intend("a", "create", {}, at(2))
    here(store).conclude(intent, "delivered", at(3), target_id="t1", fields_hash="v1")
    here(store).conclude(intent, "delivered", at(4), target_id="t2", fields_hash="v1")

    assert here(store).linked() == {"t1": "a"}
    assert len(audit.recent(store, HERE)) == 2


def test_every_attempt_is_remembered(store: Store) -> None:
    """The names a record was ever to be created under, newest first."""
    for hour, name in enumerate(["Old name", "New name"]):
        intent = here(store).intend("a", "create", {"name": name}, at(hour))
        here(store).conclude(intent, "failed", at(hour))

    names = [attempt.attempted["name"] for attempt in here(store).attempts("a")]
    assert names == ["New name", "Old name"]


def test_the_audit_is_listed_newest_first_by_run_entity_or_record(store: Store) -> None:
    """Each filter narrows the list."""
    sync = here(store).syncs.begin(observed_at=at(1), at=at(1), run_id="r1")
    merge(store, [row("a"), row("b")], 1)
    here(store).mark_delivered([Delivered(key, key, "v1", "create") for key in "ab"], sync, at(1))
    Ledger(store, HERE, "locations").intend("x", "create", {}, at(2))

    def ids(**narrowed: Any) -> list[str]:
        return [line.source_id for line in audit.recent(store, HERE, **narrowed)]

    assert ids() == ["x", "b", "a"]
    assert ids(entity="locations") == ["x"]
    assert ids(run_id="r1") == ["b", "a"]
    assert ids(source_id="a") == ["a"]
    assert audit.recent(store, HERE, limit=1)[0].phase == "intent"


def test_acknowledged_writes_of_linked_records_are_noted_in_one_pass(store: Store) -> None:
    """A link that is not there yet takes a second pass, and reading back which were noted a third: only where they are needed."""
    merge(store, [row("a"), row("b")], 1)
    ledger = here(store)
    ledger.mark_sending([Sending("a", "ta", None), Sending("b", "tb", None)])
    heard: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *executed: heard.append(executed[2]))

    assert ledger.mark_delivered(
        [Delivered("a", "ta", "v1", "create"), Delivered("b", "tb", "v1", "create")], None, at(2)
    )
    assert sum("UPDATE records" in statement for statement in heard) == 1
    assert not any("delivered_no = " in statement for statement in heard if statement.startswith("SELECT"))
    assert {key: known.delivered_hash for key, known in ledger.lookup(["a", "b"]).items()} == {"a": "v1", "b": "v1"}
