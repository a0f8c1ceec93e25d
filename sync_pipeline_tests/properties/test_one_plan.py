"""One plan: what `preview` shows is what a sync then does, record by record, for every small case and for random ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given

from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.plan import PlanLine
from sync_pipeline.stages.preview import Preview, preview
from sync_pipeline.store.deliveries import recent
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline_tests.harness import Team, instant, morning, team
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.properties.life import LIVES, Action, live
from sync_pipeline_tests.properties.test_convergence import PATIENT
from sync_pipeline_tests.scenarios.mappings import write_mapping
from sync_pipeline_tests.scenarios.test_target_kinds import TASKS

pytestmark = pytest.mark.clock

FIGURES = ("extracted", "created", "adopted", "updated", "unchanged", "deleted", "rejected", "excluded", "waiting")
RECORDED = {"rename": "update"}
"""What the audit of writes records for an action of the plan."""
MOST_CHANGES = 5


def plan_of(us: Team, session: Session, entity: str, options: Options | None = None) -> tuple[Preview, list[PlanLine]]:
    """What a sync would do: one line a record at most."""
    spec, lines = session.specs[entity], list[PlanLine]()
    found = preview(session, spec, us.days if spec.partitioned else None, options, on_line=lines.append)
    twice = [key for key, times in Counter(line.source_id for line in lines).items() if times > 1]
    assert not twice, f"{entity}: planned twice: {twice}"
    return found, lines


def comes_true(us: Team, session: Session, entity: str, options: Options | None = None) -> None:
    """The sync has the figures of the preview, and does with each record what the plan states."""
    found, lines = plan_of(us, session, entity, options)
    last = max((row.id for row in recent(session.store, session.pair, entity=entity, limit=1)), default=0)
    done = us.sync_one(session, entity, options=options)
    figures = [{name: getattr(counts, name) for name in FIGURES} for counts in (found.counts, done)]
    assert figures[0] == figures[1], f"{entity}: {figures}"
    writes = [row for row in recent(session.store, session.pair, entity=entity, limit=None) if row.id > last]
    is_restored = {line.source_id for line in lines if line.action == "restore"}
    did = {row.source_id: row.kind for row in writes if row.outcome == "delivered"}
    did = {key: "restore" if key in is_restored and kind == "update" else kind for key, kind in did.items()}
    should = {line.source_id: RECORDED.get(line.action, line.action) for line in lines if line.writes}
    assert did == should, f"{entity}: {did.items() ^ should.items()}"


@PATIENT
@given(first=LIVES, second=LIVES)
def test_whatever_people_do_a_sync_does_what_the_preview_said(first: list[Action], second: list[Action]) -> None:
    """Counts and each record's action, for a first sync and for a later one."""
    with TemporaryDirectory() as directory, team(Path(directory)) as us:
        us.changes |= {"SYNC_MAX_REJECT_SHARE": "1", "SYNC_MAX_DELETE_SHARE": "1"}
        for actions in (first, second):
            live(us, actions)
            with us.session() as session:
                for entity in session.specs:
                    comes_true(us, session, entity, Options(allow_deletes=True))


DELETED = ""
NAMES = ("a", "b", "c", DELETED)
"""What a location is renamed to; deleted, or put back under its id, it is renamed as well."""
PLACES = ("Pa", "Pb", "Qa", "Qb", DELETED)
"""The project and the name that a location's task gets."""
NameState = tuple[str, str]


def reached(start: NameState, changes: int, names: Sequence[str] = NAMES) -> set[NameState]:
    """Every state that so many changes of one location or the other lead to."""
    states = {start}
    for _ in range(changes):
        states |= {(name, second) for _, second in states for name in names}
        states |= {(first, name) for first, _ in states for name in names}
    return states


def ways_from(start: NameState, names: Sequence[str]) -> set[tuple[NameState, NameState]]:
    """What one sync and the next one may find, of all sequences of changes."""
    return {
        (middle, end)
        for before in range(MOST_CHANGES + 1)
        for middle in reached(start, before, names)
        for end in reached(middle, MOST_CHANGES - before, names)
    }


def test_every_sequence_of_changes_of_two_names_has_one_plan_and_converges(tmp_path: Path) -> None:
    """Renames, exchanges, deletes, restores and clashes of two locations, up to five of them, with a sync anywhere.

    A sync sees what changes lead to, so each state is changed into each other one once, all of them in one account; of
    two ways that are the same but for which location is which, one is left out.
    """
    start: NameState = ("a", "b")
    ways = ways_from(start, NAMES)
    assert len(ways) == len(NAMES) ** 4
    cases = dict(enumerate(_one_of_each_pair(ways)))
    with team(tmp_path, locations=0, clients=0, entries=0, users=1, projects=0) as us:
        us.changes |= {"SYNC_MAX_REJECT_SHARE": "1", "SYNC_MAX_DELETE_SHARE": "1", "SYNC_MAX_CONFIRMATIONS": "1000"}
        us.control("POST", "snapshots", {"rate_per_second": None})
        with us.session() as session:
            now: dict[int, NameState] = dict.fromkeys(cases, (DELETED, DELETED))
            for states in (dict.fromkeys(cases, start), *({k: way[n] for k, way in cases.items()} for n in (0, 1))):
                _rename(us, now, states)
                now = states
                comes_true(us, session, "locations", Options(allow_deletes=True))
            _, lines = plan_of(us, session, "locations", Options(allow_deletes=True))
            assert [line for line in lines if line.writes] == []
            _names_are_right(us, session, now)
        assert us.verify("locations")["locations"].in_sync


def test_every_sequence_of_changes_of_two_tasks_has_one_plan_and_converges(tmp_path: Path) -> None:
    """The same of two locations that are tasks, and change project and name."""
    start: NameState = ("Pa", "Qb")
    ways = ways_from(start, PLACES)
    assert len(ways) == len(PLACES) ** 4
    cases = dict(enumerate(_one_of_each_pair(ways)))
    with team(tmp_path, locations=0, clients=0, entries=0, users=1, projects=0) as us:
        us.changes |= {"SYNC_MAX_REJECT_SHARE": "1", "SYNC_MAX_DELETE_SHARE": "1", "SYNC_MAX_CONFIRMATIONS": "1000"}
        us.control("POST", "snapshots", {"rate_per_second": None})
        write_mapping(us, "locations.yaml", TASKS % "source: customer")
        projects = {name: us.clockify("POST", "/projects", {"name": f"Project {name}"})["id"] for name in "PQ"}
        with us.session() as session:
            now: dict[int, NameState] = dict.fromkeys(cases, (DELETED, DELETED))
            for states in (dict.fromkeys(cases, start), *({k: way[n] for k, way in cases.items()} for n in (0, 1))):
                _rename(us, now, states, projects)
                now = states
                comes_true(us, session, "locations", Options(allow_deletes=True))
            _, lines = plan_of(us, session, "locations", Options(allow_deletes=True))
            assert [line for line in lines if line.writes] == []
            _tasks_are_right(us, session, now, projects)
        assert us.verify("locations")["locations"].in_sync


def _tasks_are_right(us: Team, session: Session, now: dict[int, NameState], projects: dict[str, str]) -> None:
    """Each location has the one active task of its place, or is rejected with its reason; no other task is active."""
    rejected = {reject.source_id for reject in list_rejects(session.store, session.pair, limit=1000)}
    linked = {key: task for task, key in session.ledger("locations").linked().items()}
    active = {
        f"{project}/{task['id']}": f"{name}{task['name']}"
        for name, project in projects.items()
        for task in us.clockify("GET", f"/projects/{project}/tasks", **{"page-size": 5000})
        if task["status"] == "ACTIVE"
    }
    for case, state in now.items():
        for which, place in enumerate(state):
            key = f"{case}-{which}"
            wanted = f"{place[0]}{case} {place[1:]}" if place else None
            assert active.pop(linked.get(key, ""), None) == wanted or key in rejected, f"{key}: {state}"
    assert active == {}


def _one_of_each_pair(ways: set[tuple[NameState, NameState]]) -> list[tuple[NameState, NameState]]:
    """One of each way and its mirror image, alternately the lower and the higher: ids have an order, too."""
    mirror = str.maketrans("abPQ", "baQP")
    pairs = {
        frozenset([way, tuple((second.translate(mirror), first.translate(mirror)) for first, second in way)])
        for way in ways
    }
    lower = sorted(sorted(pair) for pair in pairs)
    return [pair[number % len(pair)] for number, pair in enumerate(lower)]  # type: ignore[misc]  # pairs of pairs


def _rename(
    us: Team, before: dict[int, NameState], after: dict[int, NameState], projects: Mapping[str, str] | None = None
) -> None:
    """Make the one state of each case the other; of tasks, a state names one of the projects, too."""
    changed = [
        (f"{case}-{which}", new, f"{case} {new[-1:]}")
        for case in after
        for which, (old, new) in enumerate(zip(before[case], after[case], strict=True))
        if new != old
    ]
    for key, new, _ in changed:
        if new == DELETED:
            us.snapshots("DELETE", f"/locations/{key}")
    customers = projects or {}
    items = [
        {"location_id": key, "location_name": name} | ({"customer": customers[new[0]]} if customers else {})
        for key, new, name in changed
        if new
    ]
    for first in range(0, len(items), 500):
        us.snapshots("POST", "/locations/batch", {"items": items[first : first + 500]})


def _names_are_right(us: Team, session: Session, now: dict[int, NameState]) -> None:
    """Each location has one client of its name that is not archived, or is rejected with its reason."""
    rejected = {reject.source_id for reject in list_rejects(session.store, session.pair, limit=1000)}
    names = Counter(client["name"] for client in us.clients() if not client["archived"])
    for case, state in now.items():
        for which, name in enumerate(state):
            right = names[f"{case} {name}"] == 1 if name else True
            assert right or f"{case}-{which}" in rejected, f"{case}-{which}: {state}"
        missing = set(NAMES[:-1]) - {*state}
        rejects = rejected & {f"{case}-0", f"{case}-1"}
        assert rejects or not any(names[f"{case} {name}"] for name in missing), f"{case}: {state}"


TEXTS, DAYS = ("x", "y"), (2, 3)
EntryState = tuple[str, int] | None
STATES: list[EntryState] = [*product(TEXTS, DAYS), None]
"""Text and day of an entry, or deleted: what any sequence of edits, moves and deletes of one leads to."""


def test_every_sequence_of_edits_moves_and_deletes_of_two_entries_has_one_plan_and_converges(tmp_path: Path) -> None:
    """Two entries, each edited, moved to another day, moved back or deleted, up to five times, with a sync anywhere."""
    start: EntryState = (TEXTS[0], DAYS[0])
    ways = [(one, two) for one in STATES for two in STATES if one is not None or two is None]
    cases = [(first, second) for first in ways for second in ways if _changes(start, first, second) <= MOST_CHANGES]
    with team(tmp_path, locations=0, clients=0, entries=0, users=1, projects=0) as us:
        us.changes |= {"SYNC_MAX_DELETE_SHARE": "1", "SYNC_MAX_CONFIRMATIONS": "2000"}
        us.control("POST", "snapshots", {"rate_per_second": None})
        user = us.users()[0]["id"]
        entries = [us.add_entry(user, morning(DAYS[0], which), description=TEXTS[0]) for _ in cases for which in (6, 9)]
        with us.session() as session:
            for entity in ("users", "projects"):
                us.sync_one(session, entity)
            comes_true(us, session, "time_entries")
            now: list[EntryState] = [start] * len(entries)
            for window in (0, 1):
                states = [way[window] for case in cases for way in case]
                for entry, before, after in zip(entries, now, states, strict=True):
                    _edit(us, entry, before, after)
                now = states
                comes_true(us, session, "time_entries", Options(allow_deletes=True))
            _, lines = plan_of(us, session, "time_entries", Options(allow_deletes=True))
            assert lines == []
        converged(us)


def _changes(start: EntryState, *ways: tuple[EntryState, EntryState]) -> int:
    """How many changes it takes at least."""
    steps = [(start, way[0]) for way in ways] + list(ways)
    return sum(
        (new is None) if old is None or new is None else (old[0] != new[0]) + (old[1] != new[1])
        for old, new in steps
        if old != new
    )


def _edit(us: Team, entry: dict[str, object], before: EntryState, after: EntryState) -> None:
    if after == before:
        return
    if after is None:
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
        return
    at = morning(after[1], 8)
    us.change_entry(entry, description=after[0], start=instant(at), end=instant(morning(after[1], 9)))
