"""Which read of each day is loaded, and what is left to do."""

from __future__ import annotations

from sync_pipeline.store import loads
from sync_pipeline.store.engine import Store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.scope import draw
from sync_pipeline_tests.store.batch import HERE, THERE, at, here, there

MARCH = ("2024-03-01", "2024-03-31")


def load(
    store: Store, read_no: int, first: str, last: str | None = None, *, done: bool = True, mapping: str = "f"
) -> None:
    """Some days of March, or the whole entity, as one load leaves them."""
    days = loads.days_in((f"2024-{first}", f"2024-{last or first}")) if first else loads.days_in(None)
    loading = loads.Loading(days, read_no, mapping, read_no, f"run-{read_no}", at(read_no))
    with store.writing() as tx:
        here(store).loads.note(tx, loading)
    if done:
        here(store).loads.mark_done(days, read_no, at(read_no))


def test_numbers_only_rise(store: Store) -> None:
    """No two reads share a number, and a later one is higher."""
    drawn = [draw(store) for _ in range(5)]

    assert drawn == sorted(set(drawn))


def test_the_days_of_a_newer_read_are_named(store: Store) -> None:
    """Only days that overlap, of this entity over this connection, and only those read later."""
    load(store, 5, "03-10", "03-12")
    load(store, 7, "03-12", done=False)

    newer = here(store).loads.newer(MARCH, 4)
    assert [(day, found.read_no, found.run_id) for day, found in newer.items()] == [
        ("2024-03-10", 5, "run-5"),
        ("2024-03-11", 5, "run-5"),
        ("2024-03-12", 7, "run-7"),
    ]
    assert (newer["2024-03-10"].done_at, newer["2024-03-12"].done_at) == (at(5), None)
    assert list(here(store).loads.newer(MARCH, 5)) == ["2024-03-12"]
    assert here(store).loads.newer(("2024-03-01", "2024-03-09"), 4) == {}
    assert there(store).loads.newer(MARCH, 4) == {}
    assert Ledger(store, HERE, "users").loads.newer(MARCH, 4) == {}
    assert (here(store).loads.any_newer(6), here(store).loads.any_newer(7)) == (True, False)


def test_an_older_read_never_takes_a_day_back(store: Store) -> None:
    """The day stays with the newer one; the end of another load does not mark it done."""
    load(store, 7, "03-12", done=False)
    load(store, 5, "03-12")

    assert here(store).loads.newer(MARCH, 0)["2024-03-12"][1:5:3] == (7, at(7))
    assert here(store).loads.not_done(("2024-03-12", "2024-03-12")) == [("2024-03-12", "2024-03-12")]


def test_what_was_never_loaded_or_not_to_its_end_is_left_to_do(store: Store) -> None:
    """A day that was done and is loaded again is left to do until that is done, too."""
    load(store, 1, "03-02", "03-20")
    load(store, 2, "03-10", done=False)

    assert here(store).loads.not_done(MARCH) == [
        ("2024-03-01", "2024-03-01"),
        ("2024-03-10", "2024-03-10"),
        ("2024-03-21", "2024-03-31"),
    ]
    assert here(store).loads.not_done() == [None]
    load(store, 3, "")
    assert here(store).loads.not_done() == []
    assert here(store).loads.done_since(("2024-03-02", "2024-03-03"), 0) == {"2024-03-02", "2024-03-03"}
    assert here(store).loads.done_since(MARCH, 1) == set()


def test_days_that_hold_another_mapping(store: Store) -> None:
    """A few days loaded under the new one mean nothing for the others; what was never loaded is none of them."""
    for number, (mapping, first, last) in enumerate(
        [("old", "03-01", "03-20"), ("new", "03-05", "03-06"), ("new", "03-20", "03-25"), ("old", "03-06", "03-06")], 1
    ):
        load(store, number, first, last, mapping=mapping)

    assert here(store).loads.loaded_otherwise("new", MARCH) == [
        ("2024-03-01", "2024-03-04"),
        ("2024-03-06", "2024-03-19"),
    ]
    assert here(store).loads.loaded_otherwise("new", ("2024-03-20", "2024-03-31")) == []
    assert there(store).loads.loaded_otherwise("new", MARCH) == []
    assert here(store).loads.loaded_otherwise("new") == []
    load(store, 9, "", mapping="old")
    assert here(store).loads.loaded_otherwise("new") == [None]
    assert here(store).loads.loaded_otherwise("old") == []


def test_first_contact_ends_with_the_first_load(store: Store) -> None:
    """Also with one that was not delivered to its end."""
    assert loads.first_contact(store, HERE)
    load(store, 1, "", done=False)

    assert not loads.first_contact(store, HERE)
    assert loads.first_contact(store, THERE)
