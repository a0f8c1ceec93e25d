"""What was read when, whether it was loaded, and how it ended."""

from __future__ import annotations

import pytest

from sync_pipeline.store import syncs
from sync_pipeline.store.engine import Store
from sync_pipeline_tests.store.batch import ENTITY, HERE, THERE, at


def _begin(store: Store, hour: int, **more: object) -> int:
    arguments = {"observed_at": at(hour), "at": at(hour), **more}
    return syncs.begin(store, HERE, ENTITY, **arguments)  # type: ignore[arg-type]  # passed through


def test_a_sync_is_kept_with_its_figures(store: Store) -> None:
    """What goes in comes out, by run."""
    sync = _begin(store, 1, partitions=("2024-03-01", "2024-03-02"), run_id="r1", fingerprint="f1")
    syncs.finish(store, sync, "success", {"created": 3, "updated": 0}, 7, at(2))
    _begin(store, 3, run_id="r2")

    (found,) = syncs.by_run(store, ["r1", "unknown"])
    assert found == syncs.Sync(
        id=sync,
        connection=HERE,
        entity=ENTITY,
        run_id="r1",
        partitions=("2024-03-01", "2024-03-02"),
        fingerprint="f1",
        observed_at=at(1),
        begun_at=at(1),
        loaded_at=at(2),
        finished_at=at(2),
        outcome="success",
        counts={"created": 3, "updated": 0},
        requests=7,
    )
    assert [found.id for found in syncs.by_run(store, ["r2", "r1"])] == [sync, sync + 1]


@pytest.mark.parametrize(
    ("scope", "stale"),
    [
        (None, True),
        (("2024-03-01", "2024-03-10"), True),
        (("2024-03-20", "2024-04-10"), True),
        (("2024-03-12", "2024-03-12"), True),
        (("2024-03-01", "2024-03-09"), False),
        (("2024-03-21", "2024-03-31"), False),
    ],
)
def test_a_loaded_read_makes_older_reads_of_its_days_stale(
    store: Store, scope: tuple[str, str] | None, stale: bool
) -> None:
    """Only an overlapping scope counts."""
    syncs.mark_loaded(store, _begin(store, 5, partitions=("2024-03-10", "2024-03-20")), at(6))

    assert syncs.newest_observed(store, HERE, ENTITY, scope) == (at(5) if stale else None)
    assert syncs.newest_observed(store, THERE, ENTITY, scope) is None
    assert syncs.newest_observed(store, HERE, "users", scope) is None


def test_a_read_without_days_overlaps_everything(store: Store) -> None:
    """A full read makes older reads of any day stale."""
    syncs.finish(store, _begin(store, 5), "success", {}, 0, at(6))

    assert syncs.newest_observed(store, HERE, ENTITY, ("2024-03-01", "2024-03-01")) == at(5)


def test_what_was_never_loaded_makes_nothing_stale(store: Store) -> None:
    """Dry runs, blocked syncs and failures before loading do not count; a failure after loading does."""
    outcomes: list[syncs.SyncOutcome] = ["dry_run", "blocked", "failed", "stale"]
    for hour, outcome in enumerate(outcomes, 5):
        syncs.finish(store, _begin(store, hour, fingerprint="f"), outcome, {}, 0, at(hour))
    assert syncs.newest_observed(store, HERE, ENTITY) is None
    assert syncs.loaded_otherwise(store, HERE, ENTITY, "new") == []
    assert syncs.first_contact(store, HERE)

    loaded = _begin(store, 4, fingerprint="f4")
    syncs.mark_loaded(store, loaded, at(4))
    syncs.finish(store, loaded, "failed", {}, 0, at(9))

    assert syncs.newest_observed(store, HERE, ENTITY) == at(4)
    assert syncs.loaded_otherwise(store, HERE, ENTITY, "f4") == []
    assert syncs.loaded_otherwise(store, HERE, ENTITY, "new") == [None]
    assert not syncs.first_contact(store, HERE)
    assert syncs.first_contact(store, THERE)


def test_days_that_were_last_loaded_under_another_mapping(store: Store) -> None:
    """A few days loaded under the new one say nothing about the others; what was never loaded is no day of these."""
    for hour, (mapping, first, last) in enumerate(
        [("old", "03-01", "03-20"), ("new", "03-05", "03-06"), ("new", "03-20", "03-25"), ("old", "03-06", "03-06")], 1
    ):
        loaded = _begin(store, hour, fingerprint=mapping, partitions=(f"2024-{first}", f"2024-{last}"))
        syncs.finish(store, loaded, "success", {}, 0, at(hour))

    march = ("2024-03-01", "2024-03-31")
    assert syncs.loaded_otherwise(store, HERE, ENTITY, "new", march) == [
        ("2024-03-01", "2024-03-04"),
        ("2024-03-06", "2024-03-19"),
    ]
    assert syncs.loaded_otherwise(store, HERE, ENTITY, "new", ("2024-03-20", "2024-03-31")) == []
    assert syncs.loaded_otherwise(store, THERE, ENTITY, "new", march) == []


def test_status_tells_the_last_sync_and_the_last_success(store: Store) -> None:
    """A dry run is not a sync."""
    first = _begin(store, 1)
    syncs.finish(store, first, "success", {}, 1, at(1))
    second = _begin(store, 2)
    syncs.finish(store, second, "blocked", {}, 1, at(2))
    syncs.finish(store, _begin(store, 3), "dry_run", {}, 1, at(3))

    (entity, found) = next(iter(syncs.status(store, HERE).items()))
    assert (entity, found.last.id, found.last.outcome) == (ENTITY, second, "blocked")
    assert found.last_success is not None
    assert found.last_success.id == first
    assert syncs.status(store, THERE) == {}
