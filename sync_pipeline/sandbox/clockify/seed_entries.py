"""Invent time entries: working days in each person's own zone, written as fast as SQLite takes them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify import seed_names as names
from sync_pipeline.sandbox.clockify.entry_rows import INSERT
from sync_pipeline.sandbox.clockify.http import Json
from sync_pipeline.sandbox.clockify.seed_model import Person, Project, Seeder
from sync_pipeline.sandbox.clockify.times import utc_text, zone

Row = tuple[Any, ...]
WORKDAY = 8 * 3600
RUNNING_SHARE = 6


def seed_entries(seeder: Seeder, people: list[Person], tags: list[str], fields: list[Json]) -> None:
    """Spread the wished-for number of entries over the days that end today, and start a few timers."""
    total = seeder.world.options.entries
    active = [person for person in people if person.status == "ACTIVE"]
    running = active[: min(total, len(active), max(1, len(active) // RUNNING_SHARE))] if total else []
    writer = _Writer(seeder, tags, fields)
    rows = writer.rows(_slots(seeder, people), total - len(running))
    seeder.db.executemany(INSERT, rows)
    seeder.db.executemany(INSERT, (writer.timer(person) for person in running))
    for table, tracked in (("projects", writer.project_seconds), ("tasks", writer.task_seconds)):
        seeder.db.executemany(
            f"UPDATE {table} SET tracked = ? WHERE id = ?", ((seconds, key) for key, seconds in tracked.items())
        )


def _slots(seeder: Seeder, people: list[Person]) -> list[tuple[date, Person, int, int]]:
    """(day, person, start, seconds) of all working days, oldest first."""
    today = datetime.fromtimestamp(seeder.now, UTC).date()
    days = [today - timedelta(days=back) for back in range(max(1, seeder.world.options.days) - 1, -1, -1)]
    left = days[len(days) // 2]
    slots = []
    for day in days:
        for person in people:
            if person.status == "PENDING" or (person.status == "INACTIVE" and day > left):
                continue
            if day.weekday() > 4 and seeder.rng.random() > 0.06:
                continue
            begin = datetime(day.year, day.month, day.day, 8, tzinfo=zone(person.zone)).timestamp()
            start = int(begin) + seeder.rng.randrange(0, 5400, 300)
            seconds = min(WORKDAY, seeder.now - start)
            if seconds >= 3600:
                slots.append((day, person, start, seconds))
    if not slots:
        # A single day before all working hours: the owner worked at night.
        slots.append((today, people[0], seeder.now - 7200, 3600))
    return slots


class _Writer:
    """Builds the rows; what repeats is serialised once."""

    def __init__(self, seeder: Seeder, tags: list[str], fields: list[Json]) -> None:
        self.seeder = seeder
        self.rng = seeder.rng
        self.project_seconds: dict[str, int] = {}
        self.task_seconds: dict[str, int] = {}
        self._texts = [orjson.dumps(text).decode() for text in ("", *names.WORK, *names.WORK)]
        self._tags = _tag_choices(seeder.rng, tags)
        self._field = fields[0] if fields else None
        self._values = ["null", *(orjson.dumps(value).decode() for value in names.COST_CENTRES)]
        self._recent = seeder.now - seeder.world.options.days * 86_400 // 3

    def rows(self, slots: list[tuple[date, Person, int, int]], total: int) -> Iterator[Row]:
        """Exactly ``total`` finished entries, dealt evenly over the slots."""
        each, extra = divmod(total, len(slots))
        lucky = set(self.rng.sample(range(len(slots)), extra))
        for number, (_, person, start, seconds) in enumerate(slots):
            count = each + (number in lucky)
            if count:
                yield from islice(self._day(person, start, seconds, count), count)

    def _day(self, person: Person, start: int, seconds: int, count: int) -> Iterator[Row]:
        step = seconds / count
        at = float(start)
        for _ in range(count):
            length = max(1, int(step * (0.7 + 0.3 * self.rng.random())))
            if step > 1200:
                length = max(300, length // 300 * 300)
            yield self._row(person, int(at), int(at) + length)
            at += step

    def timer(self, person: Person) -> Row:
        """A running entry."""
        return self._row(person, self.seeder.now - self.rng.randrange(300, 14_400), None)

    def _row(self, person: Person, started: int, ended: int | None) -> Row:
        random_ = self.rng.random
        project = self._project(person, started, random_)
        task = project.tasks[int(random_() * len(project.tasks))] if project and project.tasks else None
        if task and random_() < 0.3:
            task = None
        rate = person.rate if project is None or project.rate is None else project.rate
        billable = random_() < 0.75
        born = started if ended is None else min(ended + int(random_() * 240), self.seeder.now)
        entry_id = self.seeder.ids.at(born)
        if ended is not None:
            self._track(project, task, ended - started)
        project_id = None if project is None else project.id
        shared = (
            f'"description":{self._texts[int(random_() * len(self._texts))]},"userId":"{person.id}",'
            f'"billable":{"true" if billable else "false"},"projectId":{_quoted(project_id)},"taskId":{_quoted(task)},'
            '"type":"REGULAR"'
        )
        span = f'"start":"{utc_text(started)}","end":{"null" if ended is None else _quoted(utc_text(ended))}'
        tags = self._tags[int(random_() * len(self._tags))]
        custom = f"[{self._custom(entry_id, random_())}]"
        searched = (entry_id, person.id, project_id, task, started, ended, billable)
        return (*searched, shared, span, tags, custom, rate, person.rate // 2)

    def _project(self, person: Person, started: int, random_: Any) -> Project | None:
        if not person.projects or random_() < 0.07:
            return None
        project = person.projects[int(random_() * len(person.projects))]
        # No one works on archived projects any more; older entries are on them, too.
        return None if project.archived and started > self._recent else project

    def _track(self, project: Project | None, task: str | None, seconds: int) -> None:
        if project is not None:
            self.project_seconds[project.id] = self.project_seconds.get(project.id, 0) + seconds
        if task is not None:
            self.task_seconds[task] = self.task_seconds.get(task, 0) + seconds

    def _custom(self, entry_id: str, luck: float) -> str:
        if self._field is None:
            return ""
        value = self._values[int(luck * len(self._values))]
        return (
            f'{{"customFieldId":"{self._field["id"]}","timeEntryId":"{entry_id}","value":{value},'
            f'"name":"{self._field["name"]}","type":"{self._field["type"]}"}}'
        )


def _tag_choices(rng: random.Random, tags: list[str]) -> list[str]:
    usable = tags[:-1]
    pairs = [orjson.dumps(rng.sample(usable, 2)).decode() for _ in range(10)]
    return ["null"] * 12 + ["[]"] * 6 + [f'["{tag}"]' for tag in usable] + pairs


def _quoted(value: str | None) -> str:
    return "null" if value is None else f'"{value}"'
