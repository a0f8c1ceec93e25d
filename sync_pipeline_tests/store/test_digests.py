"""Digests of deliveries, and what rules on figures read: the same on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

from sqlalchemy import insert, select

from sync_pipeline.alerts.figures import FigureReader, passed, superseded
from sync_pipeline.alerts.rules import Calendar, ready_made
from sync_pipeline.store.alerts import FIGURE, AlertKey, AlertState, open_rows, store_alerts
from sync_pipeline.store.digests import (
    DigestContent,
    DigestScope,
    Gathering,
    begin,
    delivered_since,
    gather,
    waiting_digests,
)
from sync_pipeline.store.engine import Store
from sync_pipeline.store.figures import last_logged, names_of, running_since
from sync_pipeline.store.forgotten import remove_quotes
from sync_pipeline.store.project_months import ReportSettings, recompute
from sync_pipeline.store.schema import alert_notices, deliveries, digests, entry_facts, person_facts, project_facts
from sync_pipeline_tests.store.batch import HERE

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALERTS = [AlertKey(FIGURE, "timers", f"{id_}/above=12") for id_ in ("u1", "u10")]


def facts(table: Any, entity: str, id_: str, **values: Any) -> Any:
    """The insert of one row of facts."""
    return insert(table).values(connection=HERE, entity=entity, source_id=id_, read_no=1, **values)


def delivered(*ids: str, entity: str = "time_entries", kind: str = "create") -> Any:
    """The insert of the outcomes of some writes."""
    of = {"connection": HERE, "entity": entity, "kind": kind, "phase": "outcome", "outcome": "delivered", "at": NOW}
    return insert(deliveries).values([{**of, "source_id": id_} for id_ in ids])


def do(store: Store, *statements: Any) -> None:
    """Write that."""
    with store.writing() as tx:
        for each in statements:
            tx.execute(each)


def gathered(store: Store, now: datetime, clients: Sequence[str] = ()) -> list[str]:
    """The texts of the digests that wait after another one was made."""
    wanted = DigestScope(kinds=[("time_entries", "create"), ("locations", "create")], clients=clients)

    def message(found: DigestContent) -> tuple[str, str]:
        return "", " ".join([str(sum(found.counts.values())), *(each.source_id for each in found.first)])

    asked = Gathering(name="mine", destinations=["ops"], wanted=wanted, since=now, window=now, shown=2, message=message)
    gather(store, HERE, asked, now)
    return [each.body for each in waiting_digests(store, HERE, now)]


def test_a_digest_is_about_what_was_delivered_since_the_last_one(store: Store) -> None:
    """Of the clients that are wanted; what a write that is still open has counts in the next one, and none is missed."""
    project = facts(project_facts, "projects", "p1", name="Website", client_id="c1", client_name="Acme")
    entries = [facts(entry_facts, "time_entries", f"e{number}", project_id="p1") for number in range(9)]
    do(store, project, *entries, delivered("e0"))
    assert gathered(store, NOW) == []
    do(store, delivered("e1", "e2", "e3"), delivered("e1", kind="update"), delivered("x"))
    assert gathered(store, NOW + HOUR, ["c1"]) == ["3 e1 e2"]
    do(store, delivered("l1", entity="locations"))
    assert gathered(store, NOW + 2 * HOUR) == ["3 e1 e2", "1 l1"]
    if store.dialect == "postgresql":
        with store.writing() as tx:
            tx.execute(delivered("e4"))
            do(store, delivered("e5"))  # is committed before the one that has the number before
            reading = Thread(target=gathered, args=(store, NOW + 3 * HOUR))
            reading.start()
        reading.join()
        assert gathered(store, NOW + 4 * HOUR) == ["3 e1 e2", "1 l1", "2 e4 e5"]


def test_a_subscription_begins_when_it_is_made(store: Store) -> None:
    """Not when it is first looked at; what was delivered before can be previewed, and is not new. It begins only once."""
    wanted = DigestScope(kinds=[("time_entries", "create")])
    assert delivered_since(store, HERE, wanted, NOW, 2) == DigestContent({}, [])
    do(store, delivered("e0", "e1", "e2"))
    found = delivered_since(store, HERE, wanted, NOW, 2)
    assert (found.counts, [each.source_id for each in found.first]) == ({("time_entries", "create"): 3}, ["e0", "e1"])
    assert delivered_since(store, HERE, wanted, NOW + HOUR, 2) == DigestContent({}, [])
    begin(store, HERE, "mine", NOW)
    do(store, delivered("e3"))
    begin(store, HERE, "mine", NOW)
    assert gathered(store, NOW + HOUR) == ["1 e3"]


def test_figures_are_read_on_both_databases(store: Store) -> None:
    """Sums in months and weeks, budgets, timers that run, and who logged last."""
    do(
        store,
        facts(project_facts, "projects", "p1", name="Website", client_id="c1", client_name="Acme", budget=10_000),
        facts(person_facts, "users", "u1", name="Ann"),
        facts(entry_facts, "time_entries", "e1", project_id="p1", user_id="u1", start_time=NOW - 30 * HOUR,
              seconds=90_000, billable=False, amount=9_500, currency="EUR"),
        facts(entry_facts, "time_entries", "e2", project_id="p1", user_id="u1", start_time=NOW - 20 * HOUR),
    )  # fmt: skip
    recompute(store, HERE, ReportSettings())
    for scope, name in (("project", "Website"), ("client", "Acme"), ("person", "Ann")):
        ((id_, found, at),) = running_since(store, HERE, scope)
        assert (found, at, names_of(store, HERE, scope)) == (name, NOW - 20 * HOUR, {id_: name})
        assert [each.at for each in last_logged(store, HERE, scope, NOW - 40 * HOUR)] == [NOW - 20 * HOUR]
    reader = FigureReader(store, HERE, ReportSettings(), NOW + 96 * HOUR, Calendar())
    states = {key: state for rule in ready_made().values() for key, state, _ in passed(reader, rule)}
    assert sorted(state.title or "" for key, state in states.items() if key not in superseded(states)) == [
        "Ann: a timer has been running for more than 24 hours",
        "Ann: no time logged for 2 working days",
        "Website: hours that are not billable in 2026-11 above 20 h",
        "Website: use of the budget above 90 %",
    ]


def test_alerts_and_digests_about_who_is_forgotten_are_removed(store: Store) -> None:
    """The alert with its messages; in a digest that waits the name is replaced. Others stay."""
    states = {key: AlertState(NOW, None, 1, "x", "Ann: x", "info") for key in ALERTS}
    store_alerts(store, HERE, states, (), NOW, figures=True)
    rows = open_rows(store, HERE)
    notice = {"destination": "ops", "event": "opened", "at": NOW, "next_at": NOW}
    waiting = {"subscription": "mine", "destination": "ops", "at": NOW, "next_at": NOW}
    do(
        store,
        insert(alert_notices).values([{**notice, "alert_id": row.id} for row in rows.values()]),
        insert(digests).values(connection=HERE, title="1 new", body="new time entry: Ann Smith", **waiting),
    )
    remove_quotes(store, HERE, ["u1"], ["Ann Smith"])
    assert list(open_rows(store, HERE)) == [ALERTS[1]]
    with store.reading() as tx:
        assert list(tx.scalars(select(alert_notices.c.alert_id))) == [rows[ALERTS[1]].id]
    (digest,) = waiting_digests(store, HERE, NOW)
    assert "Ann" not in digest.body
