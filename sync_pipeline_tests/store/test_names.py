"""Names are kept as last read, and only where there is something new."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import event, insert, select

from sync_pipeline.clock import utc_now
from sync_pipeline.store.credentials import open_keyring
from sync_pipeline.store.engine import Store
from sync_pipeline.store.forgotten import Forgotten, load_forgotten, remember
from sync_pipeline.store.migrations.versions import r0005_order_and_loads as r0005
from sync_pipeline.store.names import StoredNames, remove_names
from sync_pipeline.store.schema import names, records

ANN, BOB = ("user", "u1"), ("user", "u2")


def of(store: Store, connection: str = "c") -> StoredNames:
    """The names of a connection that has forgotten no one."""
    return StoredNames(store, connection, Forgotten)


def test_the_last_name_is_kept_apart_for_each_connection(store: Store) -> None:
    """Others are not touched, unknown ones are left out; more than fit into one statement."""
    many = {("task", f"t{number}"): f"Task {number}" for number in range(1500)}
    of(store).save({ANN: "Ann", BOB: "Bob"} | many)
    of(store, "other").save({ANN: "Anna"})
    of(store).save({ANN: "Ann B."})

    assert of(store).load([ANN, BOB, ("user", "u3"), ("project", "u1")]) == {ANN: "Ann B.", BOB: "Bob"}
    assert of(store).load(many) == many
    remove_names(store, "c", ["u1"])
    assert of(store).load([ANN, BOB]) == {BOB: "Bob"}
    assert of(store, "other").load([ANN]) == {ANN: "Anna"}


def test_what_is_known_is_not_written(store: Store) -> None:
    """A read of unchanged records takes no write lock."""
    of(store).save({ANN: "Ann"})
    statements: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *executed: statements.append(executed[2]))
    of(store).save({ANN: "Ann"})

    assert statements
    assert all(text.lstrip().startswith("SELECT") for text in statements if "names" in text)


def test_names_of_forgotten_people_are_not_kept(store: Store, tmp_path: Path) -> None:
    """A late answer that holds one is kept without it."""
    keyring = open_keyring("", tmp_path / "encryption.key")
    remember(store, keyring, "c", "users", ["u1"], utc_now())
    stored = StoredNames(store, "c", lambda: load_forgotten(store, "c", lambda: keyring))
    stored.save({ANN: "Ann", BOB: "Bob"})

    assert stored.load([ANN, BOB]) == {BOB: "Bob"}


@pytest.mark.parametrize("extra", [{}, {"name": None, "project_name": 7, "client_id": None}])
def test_an_upgrade_fills_them_from_users_and_projects(store: Store, extra: dict[str, object]) -> None:
    """As far as the fields have the names of the shipped mapping."""
    rows = {
        ("users", "u1"): {"name": "Ann"} | extra,
        ("projects", "p1"): {"project_name": "Depot", "client_id": "k1", "client_name": "Client"} | extra,
        ("projects", "p2"): {"project_name": "Free", "client_id": None},
        ("projects", "p3"): {"project_name": "Bare"},
        ("time_entries", "e1"): {"name": "no name of anything"},
    }
    with store.writing() as tx:
        for (entity, key), fields in rows.items():
            row = {"connection": "c", "entity": entity, "source_id": key, "fields": json.dumps(fields)}
            tx.execute(insert(records).values(**row, fields_hash="h", observed_at=utc_now()))
        found = {(row["kind"], row["id"]): row["name"] for row in r0005._known_names(tx)}
        assert tx.execute(select(records.c.source_id)).all()

    free = {("project", "p2"): "Free", ("client_of", "p2"): "", ("project", "p3"): "Bare"}
    known = {ANN: "Ann", ("project", "p1"): "Depot", ("client", "k1"): "Client", ("client_of", "p1"): "k1"}
    assert found == free | (known if not extra else {("client_of", "p1"): ""})


def test_an_upgrade_keeps_a_name_with_a_nul(store: Store) -> None:
    """A version before may have stored one, in the JSON of its record; it is read unchanged."""
    fields = {"project_name": "a\0b", "client_id": "k\0", "client_name": "Client"}
    with store.writing() as tx:
        row = {"connection": "c", "entity": "projects", "source_id": "p1", "fields": json.dumps(fields)}
        tx.execute(insert(records).values(**row, fields_hash="h", observed_at=utc_now()))
        tx.execute(insert(names), list(r0005._known_names(tx)))

    assert of(store).load([("project", "p1")]) == {("project", "p1"): "a\0b"}


@pytest.mark.parametrize("name", ["a\0b", "half \ud800", "\x01json:x", "\\u0000"])
def test_a_name_that_postgresql_cannot_hold_as_text(store: Store, name: str) -> None:
    """It comes back unchanged from both databases, and is not written again; ids like that have no name."""
    of(store).save({ANN: name, BOB: "Bob", ("user", "u\0"): "Eve"})

    assert of(store).load([ANN, BOB, ("user", "u\0"), ("user", "\ud800")]) == {ANN: name, BOB: "Bob"}
