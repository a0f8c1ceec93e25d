"""Approvals: one open request for what is held, bound to exactly that, for seven days and for one use."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sync_pipeline.errors import ConfigError, NotAllowed
from sync_pipeline.store import approvals
from sync_pipeline.store.approvals import Approval, Line
from sync_pipeline.store.engine import Store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline_tests.store.batch import HERE, THERE, at, here, there

DAY, NEXT_DAY = "2024-03-01", "2024-03-02"


def line(source_id: str, before: str | None = "v1", day: str = DAY) -> Line:
    """A delete of one record."""
    return Line(source_id, "delete", before, None, day)


def ask(store: Store, *lines: Line, day: str | None = None, hour: int = 1) -> Approval | None:
    """A run - of everything, or of one day - holds these deletes."""
    return here(store).approvals.request_lines("deletes", lines, lambda held: day in (None, held.partition), at(hour))


def asked(store: Store, *lines: Line, day: str | None = None) -> Approval:
    """The same, where something is held."""
    found = ask(store, *lines, day=day)
    assert found is not None
    return found


def decided(store: Store, *lines: Line, hour: int = 2) -> dict[str, str]:
    """What counts for these lines."""
    found = here(store).approvals.decisions("deletes", lines, at(hour))
    return {source_id: str(approval.decision) for source_id, approval in found.items()}


def ask_rewrite(store: Store, shown: int, fingerprint: str = "f1") -> Approval:
    """A run holds so many rewrites."""
    found = here(store).approvals.request_configuration(
        "rewrite", fingerprint, shown, [Line("a", "update", "v1", "v2")], at(1)
    )
    assert found is not None
    return found


def ids_of(store: Store, approval: Approval) -> list[str]:
    """The records a request names."""
    return [held.source_id for held in approvals.lines_of(store, approval.id, 100)]


def test_the_same_set_is_one_request_and_another_set_takes_its_place(store: Store) -> None:
    """Asked again nothing is written; of a set that changed only the new request is left; of an empty one none."""
    first = asked(store, line("a"), line("b"))
    assert (first.kind, first.guard, first.shown, first.state(at(1))) == ("records", "deletes", 2, "open")
    assert ask(store, line("b"), line("a"), hour=5) == first
    second = asked(store, line("a"), line("b"), line("c"))
    assert (second.id != first.id, second.shown, ids_of(store, second)) == (True, 3, ["a", "b", "c"])
    assert approvals.approval_of(store, HERE, first.id) is None
    assert asked(store, line("a", "v2")).id not in (first.id, second.id)
    assert ask(store) is None
    assert approvals.list_approvals(store, HERE, at(1), limit=10, every=True) == []


def test_a_run_of_one_day_leaves_what_is_held_of_others(store: Store) -> None:
    """It only replaces what it looked at."""
    asked(store, line("a"), line("b", day=NEXT_DAY))
    found = asked(store, line("c"), day=DAY)
    assert ids_of(store, found) == ["b", "c"]
    assert ids_of(store, asked(store, day=DAY)) == ["b"]
    assert ask(store, day=NEXT_DAY) is None


def test_a_request_may_name_more_records_than_are_read_together(store: Store) -> None:
    """The same set is the same request, and a set with one more takes over what it held of another day."""
    lines = [line(f"{nr:05}") for nr in range(2 * approvals.PAGE + 1)]
    first = asked(store, *lines, line("z", day=NEXT_DAY))
    assert asked(store, *reversed(lines), day=DAY) == first
    second = asked(store, *lines, line("more"), day=DAY)
    assert (second.id > first.id, second.shown) == (True, len(lines) + 2)
    last = approvals.lines_of(store, second.id, 10, after=lines[-1].source_id)
    assert [held.source_id for held in last] == ["more", "z"]
    moved = asked(store, line("z"), day=DAY)
    assert (moved.shown, ids_of(store, moved)) == (1, ["z"])


def test_what_was_allowed_counts_while_the_record_is_unchanged(store: Store) -> None:
    """A line that changed drops out alone; a new one was never allowed; another connection knows nothing of it."""
    request = asked(store, line("a"), line("b"), line("c"))
    assert decided(store, line("a")) == {}
    allowed = approvals.decide(store, HERE, request.id, "allowed", "ann", at(2))
    assert (allowed.state(at(2)), allowed.by, allowed.expires_at) == ("allowed", "ann", at(2) + timedelta(days=7))
    lines = [line("a"), line("b", "v2"), line("d"), Line("c", "archive", "v1", None, DAY)]
    assert decided(store, *lines) == {"a": "allowed"}
    assert there(store).approvals.decisions("deletes", lines, at(2)) == {}
    assert Ledger(store, HERE, "users").approvals.decisions("deletes", lines, at(2)) == {}


def test_a_line_is_used_up_when_its_outcome_is_recorded(store: Store) -> None:
    """A killed run's rest stays allowed; when nothing is left the approval is used."""
    request = asked(store, line("a"), line("b"))
    approvals.decide(store, HERE, request.id, "allowed", "ann", at(2))
    with store.writing() as tx:
        here(store).approvals.use_lines(tx, ["a", "x"], at(3))
    assert decided(store, line("a"), line("b")) == {"b": "allowed"}
    with store.writing() as tx:
        here(store).approvals.use_lines(tx, ["b"], at(3))
        here(store).approvals.use_lines(tx, ["b"], at(4))
    found = approvals.approval_of(store, HERE, request.id)
    assert found is not None
    assert (found.used, found.state(at(3))) == (2, "used")
    assert approvals.list_approvals(store, HERE, at(3), limit=10) == []
    assert approvals.list_approvals(store, HERE, at(3), limit=10, every=True) == [found]
    with pytest.raises(NotAllowed, match=f"Request {request.id} is used"):
        approvals.decide(store, HERE, request.id, "declined", "ann", at(3))


def test_a_decision_counts_for_seven_days_and_can_be_taken_back(store: Store) -> None:
    """The newest decision counts; an expired one can only be asked for again."""
    request = asked(store, line("a"))
    approvals.decide(store, HERE, request.id, "declined", "ann", at(2))
    assert decided(store, line("a")) == {"a": "declined"}
    approvals.decide(store, HERE, request.id, "allowed", "bob", at(3))
    assert decided(store, line("a"), hour=3 + 7 * 24 - 1) == {"a": "allowed"}
    assert decided(store, line("a"), hour=3 + 7 * 24) == {}
    with pytest.raises(NotAllowed, match="is expired"):
        approvals.decide(store, HERE, request.id, "allowed", "ann", at(3 + 7 * 24))
    with pytest.raises(ConfigError, match=r"There is no request .*approvals list"):
        approvals.decide(store, HERE, request.id + 1, "allowed", "ann", at(4))


def test_another_connections_request_is_out_of_reach(store: Store) -> None:
    """It is neither seen nor decided from here."""
    request = asked(store, line("a"))
    assert approvals.approval_of(store, THERE, request.id) is None
    with pytest.raises(ConfigError):
        approvals.decide(store, THERE, request.id, "allowed", "ann", at(2))


def test_a_configuration_is_allowed_for_a_tenth_more_than_was_shown(store: Store) -> None:
    """Of this fingerprint alone, until that many were loaded."""
    request = ask_rewrite(store, 100)
    assert (request.kind, request.fingerprint, ids_of(store, request)) == ("configuration", "f1", ["a"])

    def covers(count: int, fingerprint: str = "f1") -> str | None:
        found = here(store).approvals.decided_configuration("rewrite", fingerprint, count, at(3))
        return found.decision if found else None

    assert covers(1) is None
    approvals.decide(store, HERE, request.id, "allowed", "ann", at(2))
    assert (covers(110), covers(111), covers(1, "f2")) == ("allowed", None, None)
    with store.writing() as tx:
        approvals.use_configuration(tx, request.id, 60)
    assert (covers(50), covers(51)) == ("allowed", None)
    with store.writing() as tx:
        approvals.use_configuration(tx, request.id, 40)
    found = approvals.approval_of(store, HERE, request.id)
    assert found is not None
    assert found.state(at(3)) == "used"


def test_about_the_same_number_is_the_same_request(store: Store) -> None:
    """A few records more are; many more, or another mapping, are another request; withdrawn there is none."""
    first = ask_rewrite(store, 100)
    assert ask_rewrite(store, 110) == ask_rewrite(store, 3) == first
    second = ask_rewrite(store, 111)
    assert second.shown == 111
    third = ask_rewrite(store, 111, "f2")
    assert len({first.id, second.id, third.id}) == 3
    assert [found.id for found in approvals.list_approvals(store, HERE, at(1), limit=10)] == [third.id]
    approvals.withdraw(store, first.id)
    assert here(store).approvals.open_request("rewrite") == third
    approvals.withdraw(store, third.id)
    assert approvals.list_approvals(store, HERE, at(1), limit=10) == []


def test_a_delete_whose_answer_never_came_keeps_its_yes(store: Store) -> None:
    """Killed on the wire: what is at the target is unknown, and the line is still the one that was allowed."""
    first = asked(store, line("a"), line("b"))
    approvals.decide(store, HERE, first.id, "allowed", "ann", at(2))
    assert decided(store, line("a", "sent"), line("b", "sent:new")) == {"a": "allowed", "b": "allowed"}
    assert decided(store, line("a", "v2")) == {}


def test_a_later_no_takes_an_older_yes_back_whatever_the_record_looked_like(store: Store) -> None:
    """The old yes does not come back when the record looks as it did then."""
    first = asked(store, line("a"), line("b"))
    approvals.decide(store, HERE, first.id, "allowed", "ann", at(2))
    second = asked(store, line("a", "v2"))
    approvals.decide(store, HERE, second.id, "declined", "bob", at(3))
    assert decided(store, line("a"), line("b"), hour=4) == {"b": "allowed"}
    assert decided(store, line("a", "v2"), hour=4) == {"a": "declined"}
