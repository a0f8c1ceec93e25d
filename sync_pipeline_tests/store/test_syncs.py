"""What was read when, whether it was loaded, and how it ended."""

from __future__ import annotations

from sync_pipeline.store import syncs
from sync_pipeline.store.engine import Store
from sync_pipeline_tests.store.batch import ENTITY, HERE, THERE, at, here


def _begin(store: Store, hour: int, **more: object) -> int:
    arguments = {"observed_at": at(hour), "at": at(hour), **more}
    return here(store).syncs.begin(**arguments)  # type: ignore[arg-type]  # passed through


def test_a_sync_is_kept_with_its_figures(store: Store) -> None:
    """What is stored is returned, by run."""
    sync = _begin(store, 1, partitions=("2024-03-01", "2024-03-02"), run_id="r1", fingerprint="f1", read_no=4)
    here(store).syncs.finish(sync, "success", {"created": 3, "updated": 0}, 7, at(2))
    _begin(store, 3, run_id="r2")

    (found,) = syncs.by_run(store, ["r1", "unknown"])
    assert found == syncs.Sync(
        id=sync,
        connection=HERE,
        entity=ENTITY,
        run_id="r1",
        partitions=("2024-03-01", "2024-03-02"),
        fingerprint="f1",
        read_no=4,
        observed_at=at(1),
        begun_at=at(1),
        loaded_at=at(2),
        finished_at=at(2),
        outcome="success",
        counts={"created": 3, "updated": 0},
        requests=7,
        reason=None,
    )
    assert [found.id for found in syncs.by_run(store, ["r2", "r1"])] == [sync, sync + 1]


def test_status_shows_the_last_sync_and_the_last_success(store: Store) -> None:
    """A dry run is not a sync."""
    first = _begin(store, 1)
    here(store).syncs.finish(first, "success", {}, 1, at(1))
    second = _begin(store, 2)
    here(store).syncs.finish(second, "blocked", {}, 1, at(2))
    here(store).syncs.finish(_begin(store, 3), "dry_run", {}, 1, at(3))

    (entity, found) = next(iter(syncs.status(store, HERE).items()))
    assert (entity, found.last.id, found.last.outcome) == (ENTITY, second, "blocked")
    assert found.last_success is not None
    assert found.last_success.id == first
    assert syncs.status(store, THERE) == {}


def test_what_was_not_done_says_why(store: Store) -> None:
    """The reason is one sentence for people; it ends with the sync."""
    here(store).syncs.finish(_begin(store, 1, run_id="r1"), "incomplete", {}, 1, at(2), reason="Two days are missing.")

    assert [(found.outcome, found.reason) for found in syncs.by_run(store, ["r1"])] == [
        ("incomplete", "Two days are missing.")
    ]
