"""Random histories of what reports are made of: time, people, projects and money in both systems, and the settings of reports."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import text

from sync_pipeline.clock import clock_from
from sync_pipeline.reporting.revenue import refresh_revenue
from sync_pipeline.sandbox.snapshots.analytics import store_figures
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Options
from sync_pipeline.store.project_months import ReportSettings, differences, recompute
from sync_pipeline_tests.harness import Json, Team, instant, rows, team
from sync_pipeline_tests.properties.drawing import drawn
from sync_pipeline_tests.properties.report_invariants import reports_are_right
from sync_pipeline_tests.properties.report_oracle import Wanted, World
from sync_pipeline_tests.properties.saved import Database, Saved, SavedFile

NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)
EDGES = [
    NOW.replace(month=month, day=day, hour=hour)
    for month, day, hour in ((10, 25, 1), (10, 26, 0), (11, 1, 0), (11, 1, 6))
]
"""The clocks of Europe and America go back, a week begins, a month begins."""
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Asia/Kathmandu", "America/Havana")
ROUNDINGS = ("", "up 15", "down 15", "nearest 15", "nearest 7", "up 6")
SMALLEST = {"users": 3, "projects": 3, "clients": 2, "locations": 0, "entries": 8, "days": 6}
CURRENCIES = ("64a687e29ae1f428e7ebe301", "64a687e29ae1f428e7ebe302")
PARTS_OF_REVENUE = (("revenue", 4), ("budget", 5), ("cost", 10), ("margin", -8))
STORED = ("project_months", "project_weeks", "project_people")
ALLOWED = Options(allow_deletes=True)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person does."""

    kind: str
    which: int
    other: int
    start: datetime
    seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """What people do before a sync, and how the reports are set then; None leaves them unchanged."""

    actions: tuple[Action, ...]
    wanted: Wanted | None


def _pick(rows: list[Json], number: int) -> Json | None:
    return rows[number % len(rows)] if rows else None


def _user(us: Team, number: int) -> Json:
    users = us.users()
    return users[number % len(users)]


def _editable(us: Team) -> list[Json]:
    projects = {project["id"] for project in us.projects()}
    return [each for each in us.entries() if each["timeInterval"]["end"] and each["projectId"] in {*projects, None}]


def _log(us: Team, action: Action) -> None:
    project = _pick([*us.projects(), {"id": None}], action.other)
    assert project is not None
    fields = {"projectId": project["id"], "billable": action.which % 3 > 0}
    us.add_entry(_user(us, action.which)["id"], action.start, action.seconds / 3600, **fields)


def _start_timer(us: Team, action: Action) -> None:
    us.clockify("POST", f"/user/{_user(us, action.which)['id']}/time-entries", {"start": instant(action.start)})


def _stop_timer(us: Team, action: Action) -> None:
    for entry in us.entries():
        if not entry["timeInterval"]["end"]:
            began = datetime.fromisoformat(entry["timeInterval"]["start"])
            end = {"end": instant(began + timedelta(seconds=action.seconds))}
            us.clockify("PATCH", f"/user/{entry['userId']}/time-entries", end)
            return


def _move(us: Team, action: Action) -> None:
    if entry := _pick(_editable(us), action.which):
        end = action.start + timedelta(seconds=action.seconds)
        us.change_entry(entry, start=instant(action.start), end=instant(end))


def _reassign(us: Team, action: Action) -> None:
    entry, project = _pick(_editable(us), action.which), _pick(us.projects(), action.other)
    if entry and project:
        us.change_entry(entry, projectId=project["id"], taskId=None, billable=not entry["billable"])


def _split(us: Team, action: Action) -> None:
    """The first part ends where the second one begins."""
    if entry := _pick(_editable(us), action.which):
        first, last = (datetime.fromisoformat(entry["timeInterval"][name]) for name in ("start", "end"))
        middle = first + (last - first) // 3
        us.change_entry(entry, end=instant(middle))
        kept = {name: entry[name] for name in ("projectId", "taskId", "tagIds", "billable")}
        us.add_entry(entry["userId"], middle, (last - middle) / timedelta(hours=1), **kept)


def _delete(us: Team, action: Action) -> None:
    if entry := _pick(us.entries(), action.which):
        us.clockify("DELETE", f"/time-entries/{entry['id']}")


def _tag(us: Team, action: Action) -> None:
    if entry := _pick(_editable(us), action.which):
        tags = [tag["id"] for tag in us.clockify("GET", "/tags") if not tag["archived"]]
        us.change_entry(entry, tagIds=tags[: action.other % 4])


def _change_project(us: Team, number: int, **changes: Any) -> None:
    if project := _pick(us.projects(), number):
        kept = {name: project[name] for name in ("name", "billable", "archived", "clientId")}
        us.clockify("PUT", f"/projects/{project['id']}", {**kept, **changes})


def _rename_project(us: Team, action: Action) -> None:
    if all(action.text != project["name"] for project in us.projects()):
        _change_project(us, action.which, name=action.text)


def _give_to_client(us: Team, action: Action) -> None:
    client = _pick([*us.clients(), {"id": ""}], action.other)
    assert client is not None
    _change_project(us, action.which, clientId=client["id"])


def _delete_project(us: Team, action: Action) -> None:
    """Its entries stay."""
    if project := _pick(us.projects()[1:], action.which):
        us.delete_project(project["id"])


def _rename_user(us: Team, action: Action) -> None:
    us.control("POST", "users", {"id": _user(us, action.which)["id"], "name": action.text})


def _set_rate(us: Team, action: Action) -> None:
    kind = ("hourly-rate", "cost-rate")[action.other % 2]
    us.clockify("PUT", f"/users/{_user(us, action.which)['id']}/{kind}", {"amount": action.seconds % 9_000})


def _set_project_rate(us: Team, action: Action) -> None:
    _change_project(
        us, action.which, **{("hourlyRate", "costRate")[action.other % 2]: {"amount": action.seconds % 9_000}}
    )


def _estimate(us: Team, action: Action) -> None:
    if project := _pick(us.projects(), action.which):
        time = {"estimate": f"PT{action.seconds % 9}H", "type": "MANUAL", "active": True}
        budget = None if action.other % 3 == 0 else {"estimate": action.seconds, "type": "MANUAL", "active": True}
        body = {"timeEstimate": time, "budgetEstimate": budget}
        us.clockify("PATCH", f"/projects/{project['id']}/estimate", body)


def _set_currency(us: Team, action: Action) -> None:
    """All that was and is tracked for a client is in its currency."""
    if client := _pick(us.clients(), action.which):
        body = {name: client[name] for name in ("name", "address", "note", "email", "archived", "ccEmails")}
        us.clockify("PUT", f"/clients/{client['id']}", {**body, "currencyId": CURRENCIES[action.other % 2]})


def _hide_rates(us: Team, action: Action) -> None:
    us.control("POST", "options", {"rates_hidden": action.other % 2 == 0})


def _earn(us: Team, action: Action) -> None:
    """The Snapshots side computes another revenue, perhaps in another currency, or of a project that is nowhere else."""
    project = _pick([*us.projects(), {"id": "elsewhere", "name": "Elsewhere"}], action.which)
    assert project is not None
    figure = {
        "project_id": project["id"],
        "project_name": project["name"],
        "month": f"{action.start:%Y-%m}",
        "currency": ("EUR", "USD")[action.other % 2],
        **{name: round(action.seconds / part, 2) for name, part in PARTS_OF_REVENUE},
    }
    store_figures(us.sandbox.world.db, [figure])
    us.sandbox.world.db.commit()


OF_ENTRIES: dict[str, Callable[[Team, Action], None]] = {
    "log": _log,
    "start a timer": _start_timer,
    "stop a timer": _stop_timer,
    "move": _move,
    "give to another project": _reassign,
    "split": _split,
    "delete": _delete,
    "tag": _tag,
}
"""What changes at most an entry, and a timer that it stops."""
ACTIONS = OF_ENTRIES | {
    "rename a project": _rename_project,
    "give a project to another client": _give_to_client,
    "delete a project": _delete_project,
    "rename a person": _rename_user,
    "set a person's rate": _set_rate,
    "set a project's rate": _set_project_rate,
    "estimate": _estimate,
    "set a client's currency": _set_currency,
    "hide rates": _hide_rates,
    "earn": _earn,
}
WANTED = st.builds(
    Wanted,
    zone=st.sampled_from(ZONES),
    week_start=st.sampled_from(["monday", "sunday", "wednesday"]),
    currency=st.sampled_from(["", "EUR", "USD"]),
    rounding=st.sampled_from(ROUNDINGS),
)
LIFE = st.builds(
    Action,
    kind=st.sampled_from(sorted(OF_ENTRIES)) | st.sampled_from(sorted(ACTIONS)),
    which=st.integers(0, 40),
    other=st.integers(0, 7),
    start=st.builds(lambda edge, by: edge + timedelta(minutes=by), st.sampled_from(EDGES), st.integers(-900, 900)),
    seconds=st.sampled_from([0, 1, 209, 210, 449, 450, 900, 3_600, 40_000, 100_000]),
    text=st.sampled_from(["Löwen", "=1+1", " spaced  out ", "x" * 90]),
)
PARTS = st.builds(Part, st.lists(LIFE, min_size=1, max_size=5).map(tuple), st.none() | WANTED)
HISTORIES = st.lists(PARTS, min_size=1, max_size=4)


def drawn_history(number: int) -> list[Part]:
    """The history of a seed."""
    return drawn(HISTORIES, number)


@dataclass(slots=True)
class Office:
    """A team whose reports are right; each history begins as everything was then."""

    us: Team
    saved: sqlite3.Connection
    database: Saved
    wanted: Wanted = field(default_factory=Wanted)

    def begin(self) -> None:
        """Back to the state at the beginning."""
        world = self.us.sandbox.world
        self.saved.backup(world.db)
        world.db.execute("UPDATE temp.versions SET n = n + 1")  # what the sandbox keeps in memory is out of date
        world.options.rates_hidden = False
        shutil.rmtree(self.us.home, ignore_errors=True)
        self.us.home.mkdir()
        self.database.restore()
        self.wanted = Wanted()
        self.us.changes |= self.wanted.environ()

    def holds(self, history: list[Part]) -> None:
        """After each part every report is what the oracle computes; in the end a rebuild changes no byte."""
        self.begin()
        for part in history:
            for action in part.actions:
                ACTIONS[action.kind](self.us, action)
            is_set = part.wanted is not None and part.wanted != self.wanted
            self.wanted = part.wanted or self.wanted
            self.us.changes |= self.wanted.environ()
            self.us.sync("users", "projects", "time_entries", options=ALLOWED)
            with self.us.session() as session:
                self._compute(session, part, is_set=is_set)
                reports_are_right(session, World(self.us, self.wanted))
        with self.us.session() as session:
            stored = {table: sorted(rows(session, table)) for table in STORED}
            with session.store.writing() as tx:
                tx.execute(text("DELETE FROM report_settings"))
            assert recompute(session.store, session.pair, ReportSettings.of(session.settings)).all_new
            assert {table: sorted(rows(session, table)) for table in STORED} == stored, "a rebuild changes the tables"

    def _compute(self, session: Session, part: Part, *, is_set: bool) -> None:
        with session.store.writing() as tx:
            tx.execute(text("DELETE FROM revenue_reads"))
        assert "were read" in refresh_revenue(session)
        done = recompute(session.store, session.pair, ReportSettings.of(session.settings))
        if not is_set and {action.kind for action in part.actions} <= OF_ENTRIES.keys():
            most = sum({"start a timer": 1, "split": 3}.get(action.kind, 2) for action in part.actions)
            assert done.keys <= most, f"{done.keys} projects and months are computed again, not at most {most}"
        assert differences(session.store, session.pair) == []


@contextmanager
def report_office(root: Path, database: Database = SavedFile) -> Iterator[Office]:
    """One sandbox for many histories."""
    with clock_from(NOW), team(root, **SMALLEST) as us:
        us.changes |= {"SYNC_MAX_REJECT_SHARE": "1", "SYNC_MAX_DELETE_SHARE": "1"}
        us.changes["SYNC_ENTITIES"] = "users,projects,time_entries"
        store = database(us)
        us.sync()
        with us.session() as session:
            recompute(session.store, session.pair, ReportSettings.of(session.settings))
        store.keep()
        with sqlite3.connect(":memory:", check_same_thread=False) as saved:
            us.sandbox.world.db.backup(saved)
        yield Office(us, saved, store)
        saved.close()


def fewer(history: list[Part]) -> Iterator[list[Part]]:
    """The histories that lack one thing each."""
    for number, one in enumerate(history):
        before, after = history[:number], history[number + 1 :]
        yield [*before, *after]
        if one.wanted is not None:
            yield [*before, replace(one, wanted=None), *after]
        for action in range(len(one.actions)):
            yield [*before, replace(one, actions=one.actions[:action] + one.actions[action + 1 :]), *after]
