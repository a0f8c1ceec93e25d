"""The records that a read did not find: counted, marked and paged by the database, whatever their number."""

from __future__ import annotations

from sync_pipeline.store.engine import Store
from sync_pipeline.store.records import Absent
from sync_pipeline.store.references import Reference, referenced_ids
from sync_pipeline.store.staged_missing import (
    ASKED,
    BY_ID,
    DELETABLE,
    DELETED,
    HELD,
    MOVED,
    PAGE,
    UNCONFIRMED,
    WAITS,
    StagedMissing,
    asked_or_found,
)
from sync_pipeline_tests.store.batch import ENTITY, HERE, at, deliver, here, row
from sync_pipeline_tests.store.test_references import put
from sync_pipeline_tests.store.test_staging import missing_ids


def missing(source_id: str, delivered: str | None = "v1", day: str | None = None) -> Absent:
    """A record that was not found."""
    return Absent(source_id, day, delivered, None)


def test_more_than_a_page_comes_back_in_order(store: Store) -> None:
    """Also while the records are marked from page to page."""
    names = [f"{nr:06}" for nr in range(2 * PAGE + 1)]
    with store.holding() as held:
        staged = StagedMissing(held)
        staged.add(missing(name, "v1" if nr % 2 else None) for nr, name in enumerate(names))
        pages = []
        for page in staged.pages(DELETABLE):
            pages.append(len(page))
            staged.hold([known.source_id for known in page], "waits")
        assert (pages, staged.count(WAITS), staged.first(2, HELD)) == ([PAGE], PAGE, names[1:4:2])
        assert list(staged.ids()) == names
        assert staged.among([names[1], names[2], "x"], HELD) == {names[1]}
        assert (names[1] in staged.ids(HELD), names[2] in staged.ids(HELD)) == (True, False)
        staged.release()
        assert len(staged.ids(HELD)) == 0


def test_what_a_second_read_proves_is_noted(store: Store) -> None:
    """Each outcome with the number of its read; the days are those of what is still looked for."""
    with store.holding() as held:
        staged = StagedMissing(held)
        staged.add([missing("a", day="2024-03-01"), missing("b", day="2024-03-05"), missing("c"), missing("d")])
        staged.mark_all("asked")
        assert staged.days(ASKED) == ("2024-03-01", "2024-03-05")
        staged.mark("moved", {"a": 7})
        staged.mark("deleted", {"b": 8}, by_id=True)
        assert (staged.days(ASKED), list(staged.ids(asked_or_found(7)))) == (None, ["a", "c", "d"])
        staged.mark_all("deleted", ASKED, read_no=9)
        (found,) = staged.pages(DELETED)
        assert [(each.source_id, each.read_no, each.by_id) for each in found] == [
            ("b", 8, True),
            ("c", 9, False),
            ("d", 9, False),
        ]
        assert (list(staged.ids(DELETED, BY_ID)), list(staged.ids(MOVED)), staged.count(UNCONFIRMED)) == (
            ["b"],
            ["a"],
            0,
        )


def test_what_others_refer_to_is_not_deletable(store: Store) -> None:
    """The ids come from the mapped fields of other records, so that there may be any number of them."""
    put(store, "an entry", user_id="kept")
    put(store, "another one", user_id=None)
    with store.holding() as held:
        staged = StagedMissing(held)
        staged.add([missing("kept"), missing("free"), missing("not there", None)])
        staged.keep(referenced_ids(store, HERE, [Reference(ENTITY, "user_id"), Reference(ENTITY, "project_id")]))
        assert list(staged.ids(DELETABLE)) == ["free"]


def test_nothing_is_asked_of_an_empty_table(store: Store) -> None:
    """As nearly always: then there is no table."""
    with store.holding() as held:
        staged = StagedMissing(held)
        staged.mark_all("unconfirmed")
        staged.hold(["a"], "waits")
        staged.release()
        assert (staged.count(), list(staged.ids()), staged.among(["a"]), staged.first(1), staged.days()) == (
            0, [], set(), [], None,
        )  # fmt: skip


def test_only_what_is_missing_since_is_found_again(store: Store) -> None:
    """After another look nothing of the one before is left."""
    deliver(store, [row("a"), row("b")])
    ledger = here(store)
    with ledger.staging(read_no=9) as staging:
        staging.add([row("a")])
        assert missing_ids(staging) == ["b"]
        staging.missing.hold(["b"], "waits")
        assert staging.keep_missing_since() == 0
        deliver(store, [row("c")])
        assert (missing_ids(staging), staging.missing.count(HELD), staging.missing.total) == (["b", "c"], 0, 2)
        ledger.mark_deleted({"b": 9, "c": 9}, at(3))
        assert missing_ids(staging) == []


def test_what_is_missing_since_is_kept(store: Store) -> None:
    """Another run has stored it after the batch was compared with what is stored."""
    deliver(store, [row("b")])
    with here(store).staging(read_no=9) as staging:
        assert missing_ids(staging) == ["b"]
        deliver(store, [row("c"), row("d")])
        staging.miss({"d": 12})
        assert staging.keep_missing_since() == 1
        assert (staging.doubtful(), staging.counts()) == ({"c": "unlisted"}, {"kept": 1})
        assert (staging.unread_days(), list(staging.met())) == ({"2024-03-01"}, [[("c", row("c").fields)]])
