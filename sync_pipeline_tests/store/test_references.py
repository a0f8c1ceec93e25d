"""Who refers to whom: what is referred to, what is kept for that, and what waits for nothing any more."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import insert, update

from sync_pipeline.store.engine import Store
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.references import (
    DELETED,
    NOT_DELIVERED,
    NOT_THERE,
    Reference,
    referenced,
)
from sync_pipeline.store.rejects import VALUE_LENGTH, Reject
from sync_pipeline.store.schema import records
from sync_pipeline_tests.store.batch import ENTITY, HERE, THERE, at, here

USERS = "users"


def put(store: Store, source_id: str, entity: str = ENTITY, connection: str = HERE, **fields: object) -> None:
    """A live record that was delivered."""
    row = {"connection": connection, "entity": entity, "source_id": source_id, "target_id": source_id}
    text = json.dumps(fields)
    with store.writing() as tx:
        tx.execute(insert(records).values(**row, fields=text, fields_hash="h", delivered_hash="h", observed_at=at(1)))


def mark_deleted(store: Store, source_id: str, *, there: bool, entity: str = ENTITY) -> None:
    """It is deleted at the source; ``there`` is whether it still is at the target."""
    with store.writing() as tx:
        mine = update(records).where(records.c.entity == entity, records.c.source_id == source_id)
        tx.execute(mine.values(deleted_at=at(2), delivered_hash="h" if there else None))


def found(store: Store, *ids: str, field: str = "user_id") -> set[str]:
    """Which of these users the entries refer to."""
    return referenced(store, HERE, [Reference(ENTITY, field)], set(ids))


def test_what_a_live_record_refers_to_is_referenced(store: Store) -> None:
    """By the mapped field, in this connection and entity, and in no other."""
    put(store, "e1", user_id="u1", project_id="p1")
    put(store, "e2", user_id=None)
    put(store, "e3", connection=THERE, user_id="u2")
    put(store, "e4", entity="tasks", user_id="u3")
    assert found(store, "u1", "u2", "u3", "p1") == {"u1"}
    assert referenced(store, HERE, [Reference(ENTITY, "user_id"), Reference("tasks", "user_id")], {"u1", "u3"}) == {
        "u1",
        "u3",
    }
    assert referenced(store, HERE, [], {"u1"}) == set()


def test_a_record_that_is_deleted_refers_to_something_while_it_is_at_the_target(store: Store) -> None:
    """Only when it is deleted in both systems nothing is left that refers."""
    put(store, "e1", user_id="u1")
    mark_deleted(store, "e1", there=True)
    assert found(store, "u1") == {"u1"}
    mark_deleted(store, "e1", there=False)
    assert found(store, "u1") == set()


@pytest.mark.parametrize("text", ["\0", 'a "user_id":"u9" b', "\\u0000", "\\\0\\", "\N{REPLACEMENT CHARACTER}"])
def test_no_text_blocks_the_way(store: Store, text: str) -> None:
    """PostgreSQL reads no JSON that holds a NUL character; what looks like a field inside of a text is none."""
    put(store, "e1", description=text, user_id="u1")
    assert found(store, "u1", "u9") == {"u1"}


@pytest.mark.parametrize("field", ["user id", "user-id", "benutzer_ü", "it's", "a.b"])
def test_a_field_may_have_any_name(store: Store, field: str) -> None:
    """Names come from the mapping."""
    put(store, "e1", **{field: "u1"})
    assert found(store, "u1", field=field) == {"u1"}


def test_kept_is_what_is_deleted_and_still_at_the_target(store: Store) -> None:
    """Not what exists, nor what is deleted in both."""
    for key in ("lives", "kept", "gone"):
        put(store, key, entity=USERS)
    mark_deleted(store, "kept", there=True, entity=USERS)
    mark_deleted(store, "gone", there=False, entity=USERS)
    assert Ledger(store, HERE, USERS).kept_ids() == {"kept"}


def reject(store: Store, entity: str, source_id: str, rule: str, value: str = "", field: str = "user_id") -> None:
    """One reject of a check."""
    Ledger(store, HERE, entity).rejects.replace(
        None, [Reject(source_id, field, rule, "why", value)], None, at(1), source_ids=[source_id]
    )


def due(store: Store, limit: int = 10) -> list[str]:
    """The entries to check again."""
    return here(store).rejects.to_check_again([("user_id", USERS)], limit)


def test_what_waits_for_a_rejected_record_is_due_when_that_is_rejected_no_more(store: Store) -> None:
    """Whether it has been delivered yet or not: the next read finds out."""
    reject(store, USERS, "u1", "valid_values")
    reject(store, ENTITY, "e1", NOT_DELIVERED, "u1")
    assert due(store) == []
    Ledger(store, HERE, USERS).rejects.replace(None, [], None, at(2))
    assert due(store) == ["e1"]


def test_what_waits_for_a_missing_record_is_due_when_that_is_there(store: Store) -> None:
    """A record that is deleted is not there."""
    reject(store, ENTITY, "e1", NOT_THERE, "u1")
    assert due(store) == []
    put(store, "u1", entity=USERS)
    assert due(store) == ["e1"]
    mark_deleted(store, "u1", there=True, entity=USERS)
    assert due(store) == []


def test_an_old_reject_of_a_deleted_reference_is_due(store: Store) -> None:
    """Others are not: a bad value, another field, a value of which only the beginning is known."""
    reject(store, ENTITY, "e1", DELETED, "u1")
    reject(store, ENTITY, "e2", "valid_values", "u1")
    reject(store, ENTITY, "e3", NOT_DELIVERED, "u1", field="task_id")
    reject(store, ENTITY, "e4", NOT_DELIVERED, "u" * VALUE_LENGTH)
    assert due(store) == ["e1"]


def test_what_has_an_open_event_is_not_asked_for_again(store: Store) -> None:
    """And never more than a limit together."""
    for key in ("e1", "e2", "e3"):
        reject(store, ENTITY, key, DELETED, "u1")
    assert due(store, limit=2) == ["e1", "e2"]
    receive_many(store, HERE, "poll", [Received(content_id("k", "e1", {}), "k", ENTITY, "e1", "{}", at(3))])
    assert due(store) == ["e2", "e3"]
