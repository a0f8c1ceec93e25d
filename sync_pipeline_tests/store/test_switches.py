"""The switch: one a connection, on for one configuration."""

from __future__ import annotations

from sync_pipeline.store.engine import Store
from sync_pipeline.store.switches import Switch, read_switch, turn, turn_all_off
from sync_pipeline_tests.store.batch import HERE, THERE, at


def test_a_switch_that_was_never_turned(store: Store) -> None:
    """There is none."""
    assert read_switch(store, HERE) is None


def test_on_and_off(store: Store) -> None:
    """The last hand counts; another connection's switch is another one."""
    turn(store, HERE, "f1", on=True, by="ann", at=at(1))
    turn(store, THERE, "f1", on=True, by="ann", at=at(1))
    assert read_switch(store, HERE) == Switch("f1", True, "ann", at(1))
    turn(store, HERE, "f2", on=False, by="bob", at=at(2))
    assert read_switch(store, HERE) == Switch("f2", False, "bob", at(2))
    assert read_switch(store, THERE) == Switch("f1", True, "ann", at(1))


def test_it_is_on_for_one_configuration(store: Store) -> None:
    """A changed configuration finds it off, and the old one finds it on again."""
    turn(store, HERE, "f1", on=True, by="ann", at=at(1))
    found = read_switch(store, HERE)
    assert found is not None
    assert found.is_on_for("f1")
    assert not found.is_on_for("f2")
    turn(store, HERE, "f1", on=False, by="ann", at=at(2))
    assert not (found := read_switch(store, HERE)) or not found.is_on_for("f1")


def test_all_of_them_are_turned_off(store: Store) -> None:
    """Those that are on; who turned another one off before is still reported."""
    turn(store, HERE, "f1", on=True, by="ann", at=at(1))
    turn(store, THERE, "f2", on=False, by="ann", at=at(1))
    turn_all_off(store, by="bob", at=at(2))
    assert read_switch(store, HERE) == Switch("f1", False, "bob", at(2))
    assert read_switch(store, THERE) == Switch("f2", False, "ann", at(1))
