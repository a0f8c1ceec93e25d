"""Subscriptions: digests about new and changed records, which are no alerts. What they are about, and what a digest says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sync_pipeline.alerts.rules import Named, named, names_in
from sync_pipeline.mapping.section import Section
from sync_pipeline.printable import one_line
from sync_pipeline.store.digests import DigestContent
from sync_pipeline.store.project_months import WEEKDAYS, ReportSettings, midnight
from sync_pipeline.yaml_source import Node, closest, refuse

MOST = 50
SHOWN, LONGEST = 50, 200
"""Records that a digest names, and characters of a name in it."""
EVERY = ("at_once", "hourly", "daily", "weekly")


class Topic(NamedTuple):
    """What a subscription can be about: an entity, and a kind of delivery."""

    entity: str
    kind: str
    one: str
    many: str
    of: tuple[str, ...] = ("client",)
    """What a record is shown with: the names of its project and client."""
    has_project: bool = True
    """Whether its records are of a project, so that some of them can be chosen by it."""


TOPICS: Mapping[str, Topic] = {
    "new_entries": Topic("time_entries", "create", "new time entry", "new time entries", ("project", "client")),
    "new_projects": Topic("projects", "create", "new project", "new projects"),
    "new_locations": Topic("locations", "create", "new location", "new locations", has_project=False),
    "changed_locations": Topic("locations", "update", "changed location", "changed locations", has_project=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One subscription."""

    name: str
    topics: tuple[str, ...]
    every: str
    to: tuple[Named, ...] = ()
    """Destinations; none = all."""
    clients: tuple[Named, ...] = ()
    projects: tuple[Named, ...] = ()

    @property
    def said(self) -> str:
        """It in words."""
        limits = [f"of {', '.join(each.text for each in some)}" for some in (self.clients, self.projects) if some]
        return " ".join([", ".join(TOPICS[each].many for each in self.topics), *limits])

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """Entities and kinds of delivery."""
        return [TOPICS[each][:2] for each in self.topics]

    def due_since(self, now: datetime, settings: ReportSettings) -> datetime | None:
        """When the current hour, day or week began: a digest is due unless one was made since. None for `at_once`."""
        if self.every == "at_once":
            return None
        if self.every == "hourly":
            return now.replace(minute=0, second=0, microsecond=0)
        zone = ZoneInfo(settings.time_zone)
        day: date = now.astimezone(zone).date()
        back = (day.weekday() - WEEKDAYS.index(settings.week_start)) % 7 if self.every == "weekly" else 0
        return midnight(day - timedelta(days=back), zone)

    def message(self, found: DigestContent, console: str = "") -> tuple[str, str]:
        """Title and text of a digest: the first records by name, and how many more there are."""
        topics = {topic[:2]: topic for topic in TOPICS.values()}
        counts = [f"{count:,} {_noun(topics[key], count)}" for key, count in sorted(found.counts.items())]
        lines = []
        for each in found.first:
            topic = topics[each.entity, each.kind]
            of = ", ".join(one_line(name, LONGEST) for one in topic.of if (name := getattr(each, one)))
            lines.append(
                f"{topic.one}: {one_line(each.label or each.source_id, LONGEST)}{f' ({of})' if of else ''}, {each.at:%Y-%m-%d %H:%M} UTC"
            )
        if (more := sum(found.counts.values()) - len(lines)) > 0:
            lines.append(f"... and {more:,} more")
        lines += ["", f"{console.rstrip('/')}/activity?changes=1"] if console else [""]
        return f"sync_pipeline: {', '.join(counts)}", "\n".join(
            [*lines, f"Subscription `{self.name}`, {self.every.replace('_', ' ')}."]
        )


def _noun(topic: Topic, count: int) -> str:
    return topic.one if count == 1 else topic.many


def parsed_subscriptions(section: Section) -> tuple[Subscription, ...]:
    """The subscriptions of the file."""
    return tuple(_subscription(name, node) for name, node in named(section, "subscriptions", MOST).items())


def _subscription(name: str, node: Node) -> Subscription:
    section = Section(node, f"subscriptions.{name}", ("about", "every", "to", "client", "project"))
    section.need("about")
    topics = names_in(section, "about")
    for each in topics:
        if each.text not in TOPICS:
            raise refuse(each.node, each.where, f"found {each.text!r}.", closest(each.text, TOPICS))
    if not topics:
        raise refuse(section.need("about"), section.path("about"), "is empty.", f"Known: {', '.join(TOPICS)}.")
    found = Subscription(
        name=name,
        topics=tuple(dict.fromkeys(each.text for each in topics)),
        every=section.word("every", EVERY, "daily"),
        to=names_in(section, "to"),
        clients=names_in(section, "client"),
        projects=names_in(section, "project"),
    )
    unfit = next((TOPICS[each].entity for each in found.topics if not TOPICS[each].has_project), None)
    if found.projects and unfit:
        fix = "Leave `project` out, or make two subscriptions."
        raise refuse(
            section.need("project"), section.path("project"), f"does not fit {unfit}: they have no project.", fix
        )
    return found
