"""What is rejected, why, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, event, text

from sync_pipeline.store.deliveries import Refused
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.rejects import Reject, count_rejects, list_rejects
from sync_pipeline.store.schema import rejects
from sync_pipeline_tests.store.batch import ENTITY, HERE, at, commits, content, here, merge, row, size, there
from sync_pipeline_tests.store.conftest import Server

MARCH = ("2024-03-01", "2024-03-31")
BAD = Reject("a", "email", "valid_values", "not an e-mail address", "jane@", "2024-03-02")


def test_check_rejects_are_judged_anew(store: Store) -> None:
    """What is fine now disappears, what is new appears, what stays keeps its row and its first time."""
    other = Reject("b", None, "required_fields", "no start", None, "2024-03-03")
    here(store).rejects.replace(MARCH, [BAD, other], "r1", at(1))
    (first, _) = list_rejects(store, HERE)
    new = Reject("c", "end", "valid_values", "ends before it starts", {"end": 1}, "2024-03-04")

    assert here(store).rejects.replace(MARCH, [BAD, new], "r2", at(2)) == 2

    kept, came = list_rejects(store, HERE)
    assert kept == first
    assert (came.source_id, came.value, came.run_id, came.at) == ("c", '{"end": 1}', "r2", at(2))
    assert [reject.source_id for reject in list_rejects(store, HERE, after=kept.id)] == ["c"]
    assert [reject.source_id for reject in list_rejects(store, HERE, run_id="r1")] == ["a"]


def test_the_same_rejects_write_nothing(store: Store) -> None:
    """A second read of the same bad data commits nothing."""
    batch = [BAD, Reject(None, "id", "required_fields", "no id"), Reject(None, "id", "required_fields", "no id")]
    here(store).rejects.replace(MARCH, batch, "r1", at(1))
    with commits(store) as count:
        before = count()

        assert here(store).rejects.replace(MARCH, batch, "r2", at(2)) == 3
        assert count() == before


def test_records_without_an_id_are_counted_one_by_one(store: Store) -> None:
    """Nothing is lost: two equal nameless records are two rejects."""
    batch = [Reject(None, "id", "required_fields", "no id")] * 2 + [BAD, BAD]
    here(store).rejects.replace(None, batch, None, at(1))

    assert size(store, rejects) == 3
    assert count_rejects(store, HERE) == {ENTITY: 3}


def test_only_the_scope_that_was_read_is_judged(store: Store) -> None:
    """Other days keep their rejects; a record without a day belongs to the first day of its read."""
    april = Reject("b", None, "rule", "why", None, "2024-04-01")
    undated = Reject("c", "start", "required_fields", "no start")
    here(store).rejects.replace(None, [april], None, at(1))
    here(store).rejects.replace(MARCH, [BAD, undated], None, at(1))
    here(store).rejects.replace(("2024-03-02", "2024-03-02"), [], None, at(2))
    assert [reject.source_id for reject in list_rejects(store, HERE)] == ["b", "c"]

    here(store).rejects.replace(MARCH, [], None, at(3))

    assert [reject.source_id for reject in list_rejects(store, HERE)] == ["b"]


def test_what_the_target_refused_is_not_judged_by_our_checks(store: Store) -> None:
    """A read without problems leaves the target's refusals."""
    merge(store, [row("a")], 1)
    here(store).mark_refused([Refused("a", "v1", "create", "no")], None, at(1))
    here(store).rejects.replace(None, [BAD], None, at(2))
    here(store).rejects.replace(None, [], None, at(3))

    assert [reject.origin for reject in list_rejects(store, HERE)] == ["target"]
    assert list_rejects(store, HERE, origin="check") == []


def test_all_reasons_of_one_record_are_shown(store: Store) -> None:
    """``show`` is about one record of one entity."""
    reasons = [BAD, Reject("a", "role", "valid_values", "unknown role", "KING"), Reject("b", None, "x", "y")]
    here(store).rejects.replace(None, reasons, None, at(1))

    assert [reject.field for reject in here(store).rejects.show("a")] == ["email", "role"]
    assert Ledger(store, HERE, "users").rejects.show("a") == there(store).rejects.show("a") == []
    assert count_rejects(store, HERE) == {ENTITY: 2}


def test_any_value_can_be_kept(store: Store) -> None:
    """Huge values are cut; characters that no database takes are replaced."""
    evil = "\0\ud800" + "x" * 10_000_000
    here(store).rejects.replace(None, [Reject("a", "description", "max_length", "too\0long", evil)], None, at(1))

    (kept,) = list_rejects(store, HERE, entity=ENTITY)
    assert kept.value == "\N{REPLACEMENT CHARACTER}?" + "x" * 198
    assert kept.reason == "too\N{REPLACEMENT CHARACTER}long"


def test_other_connections_keep_their_rejects(store: Store) -> None:
    """The same rejects over another connection are other rows."""
    here(store).rejects.replace(None, [BAD], None, at(1))
    before = content(store, rejects)
    there(store).rejects.replace(None, [BAD], None, at(2))
    there(store).rejects.replace(None, [], None, at(3))

    assert content(store, rejects) == before


WAITERS = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.mark.parametrize("second", [["a", "b", "c"], ["c", "b", "a"]])
def test_two_runs_may_note_the_same_rejects_in_parallel(postgres: Server, second: Sequence[str]) -> None:
    """The second one has compared before the first one commits, in whatever order it found them: both end well."""
    url = postgres.emptied()
    one, other = open_store(url), open_store(url)
    found = {name: Reject(name, "email", "valid_values", "not an e-mail address") for name in "abc"}
    answers: list[Future[int]] = []

    with ThreadPoolExecutor(1) as pool:

        @event.listens_for(one.engine, "commit")
        def before_commit(connection: Connection) -> None:
            if connection.get_execution_options().get("writes") and not answers:
                late = [found[name] for name in second]
                answers.append(pool.submit(Ledger(other, HERE, ENTITY).rejects.replace, None, late, "r2", at(2)))
                while not answers[0].done() and not connection.scalar(WAITERS):
                    pass

        assert Ledger(one, HERE, ENTITY).rejects.replace(None, list(found.values()), "r1", at(1)) == 3
        assert answers[0].result() == 3

    assert [(reject.source_id, reject.run_id) for reject in list_rejects(one, HERE)] == [(n, "r1") for n in "abc"]
    one.close()
    other.close()
