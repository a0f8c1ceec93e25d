"""Your rules on figures, as a YAML file says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from sync_pipeline.alerts.kinds import Severity
from sync_pipeline.mapping.section import Section, shown
from sync_pipeline.store.project_months import WEEKDAYS
from sync_pipeline.yaml_source import Node, closest, read_yaml, refuse

Scope = Literal["project", "client", "person"]
Comparison = Literal["above", "below", "changed_by", "missing_since"]

SCOPES: tuple[Scope, ...] = ("project", "client", "person")
PERIODS = ("month", "week", "total")
COMPARISONS: tuple[Comparison, ...] = ("above", "below", "changed_by", "missing_since")
SEVERITIES = ("critical", "warning", "info")
READY_MADE = Path(__file__).parent / "ready_made.yaml"
MOST_RULES, MOST_THRESHOLDS, MOST_NAMES = 100, 10, 200
NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyz0123456789_-")
LONGEST_NAME = 40


class FigureKind(NamedTuple):
    """One figure that rules can be about."""

    unit: str
    said: str
    """In a sentence: `Website has ...`."""
    by_currency: bool = False
    scopes: tuple[Scope, ...] = SCOPES
    comparisons: tuple[Comparison, ...] = ("above", "below", "changed_by")
    periods: tuple[str, ...] = PERIODS


_EARNED = FigureKind("", "revenue", True, ("project", "client"), periods=("month", "total"))
FIGURES: Mapping[str, FigureKind] = {
    "hours": FigureKind("h", "hours"),
    "billable_hours": FigureKind("h", "billable hours"),
    "unbilled_hours": FigureKind("h", "hours that are not billable"),
    "billable_share": FigureKind("%", "billable share of hours", comparisons=("above", "below")),
    "entries": FigureKind("", "time entries", comparisons=COMPARISONS),
    "amount": FigureKind("", "billed amount", by_currency=True),
    "cost": FigureKind("", "cost", by_currency=True),
    "margin": FigureKind("", "margin", by_currency=True),
    "margin_share": FigureKind(
        "%", "margin as a share of the billed amount", by_currency=True, comparisons=("above", "below")
    ),
    "revenue": _EARNED,
    "revenue_margin": _EARNED._replace(said="revenue less cost"),
    "revenue_margin_share": _EARNED._replace(
        unit="%", said="revenue less cost as a share of the revenue", comparisons=("above", "below")
    ),
    "budget_used": FigureKind(
        "%", "use of the budget", by_currency=True, scopes=("project",), comparisons=("above", "below")
    ),
    "estimate_used": FigureKind("%", "use of the estimated hours", scopes=("project",), comparisons=("above", "below")),
    "running_hours": FigureKind("h", "hours of a running timer", comparisons=("above",)),
}


@dataclass(frozen=True, slots=True)
class Named:
    """What a rule names: a name or an id, and where it says so."""

    text: str
    node: Node
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: a figure, of what, compared with which thresholds."""

    name: str
    figure: str
    scope: Scope
    period: str
    comparison: Comparison
    thresholds: tuple[float, ...]
    severity: Severity
    only: tuple[Named, ...] = ()
    ignored: tuple[Named, ...] = ()

    @property
    def kind(self) -> FigureKind:
        """Its figure."""
        return FIGURES[self.figure]

    @property
    def said(self) -> str:
        """It in words."""
        many = ", ".join(f"{each:g}" for each in self.thresholds)
        if self.comparison == "missing_since":
            return f"no time entry of a {self.scope} for {many} working days"
        unit = " %" if self.comparison == "changed_by" else f" {self.kind.unit}".rstrip()
        during = "" if self.figure == "running_hours" else f" ({self.period})"
        return f"{self.kind.said} of a {self.scope}{during}: {self.comparison.replace('_', ' ')} {many}{unit}"


@dataclass(frozen=True, slots=True)
class Calendar:
    """Which days are worked on."""

    days: frozenset[int] = frozenset(range(5))
    """0 is Monday."""
    holidays: frozenset[date] = frozenset()

    def is_worked(self, day: date) -> bool:
        """Whether it is a working day."""
        return day.weekday() in self.days and day not in self.holidays


@cache
def ready_made() -> Mapping[str, Rule]:
    """The rules that a file needs only to name."""
    return {name: _rule(name, node) for name, node in _ready_made().items()}


@cache
def _ready_made() -> Mapping[str, Node]:
    nodes: Mapping[str, Node] = read_yaml(READY_MADE).value["rules"].value
    return nodes


def parsed_rules(section: Section) -> tuple[Rule, ...]:
    """The rules of the file, each laid over the ready-made one of its name."""
    rules = named(section, "rules", MOST_RULES)
    return tuple(_rule(name, _over(name, each)) for name, each in rules.items())


def named(section: Section, key: str, most: int) -> dict[str, Node]:
    """The children of a mapping with names as keys that people choose; none when absent."""
    node = section.get(key)
    if node is None:
        return {}
    if not isinstance(node.value, dict):
        raise refuse(node, key, f"found {shown(node.value)}, expected a mapping of names to {key}.")
    for name, child in node.value.items():
        if not name or set(name) - NAME_CHARACTERS or len(name) > LONGEST_NAME:
            fix = f"Use up to {LONGEST_NAME} lowercase letters, digits, - and _."
            raise refuse(child, f"{key}.{name}", "is no name.", fix)
    if len(node.value) > most:
        raise refuse(node, key, f"holds {len(node.value)}, more than {most}.")
    return dict(node.value)


def _over(name: str, node: Node) -> Node:
    """A rule laid over the ready-made one of its name."""
    base = _ready_made().get(name)
    if node.value is None:
        if base is None:
            fix = f"Ready-made are {', '.join(_ready_made())}. {closest(name, _ready_made())}"
            raise refuse(node, f"rules.{name}", "is empty, and no ready-made rule has that name.", fix)
        return Node(base.value, node.file, node.line)
    if base is None or not isinstance(node.value, dict):
        return node
    compared = set(node.value) & set(COMPARISONS)
    kept = {key: each for key, each in base.value.items() if not (compared and key in COMPARISONS)}
    return Node({**kept, **node.value}, node.file, node.line)


def _rule(name: str, node: Node) -> Rule:
    where = f"rules.{name}"
    section = Section(node, where, ("figure", "scope", "period", *COMPARISONS, "severity", "only", "except"))
    section.needed_text("figure")
    figure = section.word("figure", tuple(FIGURES), "")
    kind = FIGURES[figure]
    section.needed_text("scope")
    scope = section.word("scope", SCOPES, "")
    if scope not in kind.scopes:
        fix = f"Its scope can be {' or '.join(kind.scopes)}."
        raise refuse(section.need("scope"), section.path("scope"), f"{figure} is not available for a {scope}.", fix)
    period = section.word("period", PERIODS, "month")
    if period not in kind.periods:
        fix = f"Its period can be {' or '.join(kind.periods)}."
        raise refuse(section.need("period"), section.path("period"), f"{figure} is not known by {period}.", fix)
    comparison = _comparison(section, figure)
    return Rule(
        name=name,
        figure=figure,
        scope=scope,
        period=period,
        comparison=comparison,
        thresholds=_thresholds(section, comparison),
        severity=section.word("severity", SEVERITIES, "warning"),
        only=names_in(section, "only"),
        ignored=names_in(section, "except"),
    )


def _comparison(section: Section, figure: str) -> Comparison:
    found = [each for each in COMPARISONS if section.get(each) is not None]
    if len(found) != 1:
        what = "has no comparison" if not found else f"has {len(found)} comparisons: {', '.join(found)}"
        raise refuse(section.node, section.where, f"{what}.", f"Give one of {', '.join(FIGURES[figure].comparisons)}.")
    if found[0] not in FIGURES[figure].comparisons:
        fix = f"{figure} takes {', '.join(FIGURES[figure].comparisons)}."
        raise refuse(section.need(found[0]), section.path(found[0]), f"does not fit {figure}.", fix)
    return found[0]


def _thresholds(section: Section, comparison: Comparison) -> tuple[float, ...]:
    node, where = section.need(comparison), section.path(comparison)
    items = node.value if isinstance(node.value, list) else [node]
    for item in items:
        is_number = type(item.value) in (int, float) and abs(item.value) <= 1e12
        if not is_number or (comparison in ("changed_by", "missing_since") and item.value <= 0):
            raise refuse(item, where, f"found {shown(item.plain)}, expected a number or a list of numbers.")
        if comparison == "missing_since" and (type(item.value) is not int or item.value > 20):
            raise refuse(item, where, f"found {item.value}, expected working days, from 1 to 20.")
    if not 0 < len(items) <= MOST_THRESHOLDS:
        raise refuse(node, where, f"holds {len(items)} thresholds.", f"Give 1 to {MOST_THRESHOLDS}.")
    return tuple(sorted({float(item.value) for item in items}))


def names_in(section: Section, key: str) -> tuple[Named, ...]:
    """The names in a list, or one."""
    section.texts(key)  # raises where something is no text
    node = section.get(key)
    items = [] if node is None else node.value if isinstance(node.value, list) else [node]
    if node is not None and len(items) > MOST_NAMES:
        raise refuse(node, section.path(key), f"holds {len(items)} names, more than {MOST_NAMES}.")
    return tuple(Named(item.value, item, section.path(key)) for item in items)


def parsed_calendar(section: Section) -> Calendar:
    """The working days of the file."""
    days, node = section.texts("working_days"), section.get("working_days")
    for each in days:
        if node is not None and each not in WEEKDAYS:
            raise refuse(
                node, section.path("working_days"), f"found {each!r}, expected a day.", closest(each, WEEKDAYS)
            )
    holidays = set()
    for item in names_in(section, "holidays"):
        try:
            holidays.add(date.fromisoformat(item.text))
        except ValueError:
            raise refuse(item.node, item.where, f"found {item.text!r}, expected a day such as 2026-12-25.") from None
    numbers = frozenset(map(WEEKDAYS.index, days)) if node is not None else Calendar().days
    if not numbers:
        raise refuse(
            section.need("working_days"), section.path("working_days"), "names no day.", "Name one, or leave it out."
        )
    return Calendar(numbers, frozenset(holidays))
