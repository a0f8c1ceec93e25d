"""What each rule finds in the figures: a value of each project, client or person, and the thresholds that it passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sync_pipeline.alerts.rules import Calendar, Named, Rule
from sync_pipeline.printable import one_line
from sync_pipeline.store.alerts import FIGURE, AlertKey, AlertState
from sync_pipeline.store.engine import Store
from sync_pipeline.store.figures import (
    GROUPS,
    Figures,
    Period,
    ProjectBudget,
    budgets,
    last_logged,
    names_of,
    running_since,
    sums_of_entries,
    sums_of_months,
)
from sync_pipeline.store.period_figures import OF_CLIENT, PeriodFigures, Project, project_of
from sync_pipeline.store.project_months import WEEKDAYS, ReportSettings, midnight
from sync_pipeline.store.revenue import Revenue, sums_of_revenue
from sync_pipeline.yaml_source import closest, refuse

EXPECTED = timedelta(days=28)
"""Who has logged nothing for so long before is not expected to."""
MOST = 500
"""Alerts of one rule; the farthest beyond their threshold come first."""
NEAREST = 5
"""Values that a preview shows."""
LONGEST_FIX = 200
"""Characters: a list of all names helps no one."""


class FigureValue(NamedTuple):
    """The value of a figure."""

    id: str
    name: str
    value: float
    currency: str = ""
    before: float | None = None
    """That of the period before, where it is compared with that."""


class NamedPeriod(NamedTuple):
    """A period: its name, and its beginning and end; None has no limit."""

    name: str
    first: date | None = None
    end: date | None = None


@dataclass
class FigureReader:
    """Reads the figures of one pair, each only once."""

    store: Store
    pair: str
    settings: ReportSettings
    now: datetime
    calendar: Calendar
    _sums: dict[tuple[str, str], list[Figures]] = field(default_factory=dict)

    @cached_property
    def today(self) -> date:
        """The day in the time zone of the reports."""
        return self.now.astimezone(self._zone).date()

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.settings.time_zone)

    def span(self, rule: Rule, back: int = 0) -> NamedPeriod:
        """The period that a rule looks at, or that many before it: the current one for what rises, else the last complete one."""
        back += rule.comparison in ("below", "changed_by") and not rule.figure.endswith(("_share", "_used"))
        if rule.period == "total":
            return NamedPeriod("total")
        if rule.period == "month":
            months = self.today.year * 12 + self.today.month - 1 - back
            first, end = (date(each // 12, each % 12 + 1, 1) for each in (months, months + 1))
            return NamedPeriod(f"{first:%Y-%m}", first, end)
        start = self.today - timedelta(days=(self.today.weekday() - WEEKDAYS.index(self.settings.week_start)) % 7)
        first = start - timedelta(weeks=back)
        return NamedPeriod(f"week of {first}", first, first + timedelta(weeks=1))

    def readings(self, rule: Rule) -> Iterator[FigureValue]:
        """The value of each project, client or person."""
        if rule.figure == "running_hours":
            for since in running_since(self.store, self.pair, rule.scope):
                yield FigureValue(since.id, since.name or since.id, (self.now - since.at) / timedelta(hours=1))
        elif rule.comparison == "missing_since":
            yield from self._missing(rule)
        else:
            before = self._values(rule, 1) if rule.comparison == "changed_by" else {}
            for key, each in self._values(rule).items():
                yield each._replace(before=before[key].value if key in before else None)

    def _missing(self, rule: Rule) -> Iterator[FigureValue]:
        """How many working days each has had no entry, of those who had one in the weeks before and were not deleted since."""
        days, known = self._worked_days(int(rule.thresholds[-1])), names_of(self.store, self.pair, rule.scope)
        deadlines = [midnight(day, self._zone) for day in days]
        for each in last_logged(self.store, self.pair, rule.scope, deadlines[-1] - EXPECTED):
            if not known or each.id in known:
                missed = sum(each.at < deadline for deadline in deadlines)
                yield FigureValue(each.id, each.name or each.id, missed)

    def _worked_days(self, count: int) -> list[date]:
        """So many complete working days, the newest first."""
        found, day = [], self.today
        for _ in range(400):
            day -= timedelta(days=1)
            found += [day] if self.calendar.is_worked(day) else []
            if len(found) == count:
                break
        return found or [day]

    def _values(self, rule: Rule, back: int = 0) -> Mapping[tuple[str, str], FigureValue]:
        if rule.figure.startswith("revenue"):
            return self._earned(rule, self.span(rule, back))
        key, name = GROUPS[rule.scope][:2]
        by_key: dict[tuple[str, str], list[Figures]] = defaultdict(list)
        for line in self._lines(rule.scope, self.span(rule, back)):
            if line.group[key] is not None:
                by_key[line.group[key] or "", (line.currency or "") if rule.kind.by_currency else ""].append(line)
        found = {}
        for (id_, currency), lines in by_key.items():
            value = self._value(rule.figure, id_, currency, lines)
            if value is not None:
                found[id_, currency] = FigureValue(id_, lines[0].group[name] or id_, value, currency)
        return found

    def _earned(self, rule: Rule, span: NamedPeriod) -> Mapping[tuple[str, str], FigureValue]:
        """What the Snapshots API says that each project or client earns; nothing where it says nothing."""
        months = _months(span)
        by_key: dict[tuple[str, str], list[Revenue]] = defaultdict(list)
        names: dict[str, str | None] = {}
        for (project_id, currency), revenue in sums_of_revenue(self.store, self.pair, months, "project_id").items():
            group = project_of(self._projects, project_id).named(project_id)
            key, name = GROUPS[rule.scope][:2]
            if (id_ := group[key]) and not id_.startswith(OF_CLIENT):  # of several projects together: of no project
                names[id_] = group[name]
                by_key[id_, currency].append(revenue)
        found = {}
        for (id_, currency), lines in by_key.items():
            earned, margin = (_known(getattr(line, name) for line in lines) for name in ("revenue", "margin"))
            values = {"revenue": _money(earned), "revenue_margin": _money(margin)}
            value = values[rule.figure] if rule.figure in values else _percent(margin, earned)
            if value is not None:
                found[id_, currency] = FigureValue(id_, names[id_] or id_, value, currency)
        return found

    @cached_property
    def _projects(self) -> Mapping[str, Project]:
        return PeriodFigures(self.store, self.pair).projects()

    def _lines(self, scope: str, span: NamedPeriod) -> list[Figures]:
        if (scope, span.name) not in self._sums:
            self._sums[scope, span.name] = self._read(scope, span)
        return self._sums[scope, span.name]

    def _read(self, scope: str, span: NamedPeriod) -> list[Figures]:
        is_whole = span.first is None or (span.first.day == 1 and not span.name.startswith("week"))
        if scope != "person" and is_whole:
            return sums_of_months(self.store, self.pair, scope, *_months(span))
        first, end = (None if each is None else midnight(each, self._zone) for each in span[1:])
        return sums_of_entries(self.store, self.pair, [scope], Period(first, end), by_currency=True)

    @cached_property
    def _budgets(self) -> Mapping[tuple[str | None, str | None], ProjectBudget]:
        return budgets(self.store, self.pair, "9999")

    def _value(self, figure: str, id_: str, currency: str, lines: list[Figures]) -> float | None:
        seconds, billable = sum(line.seconds for line in lines), sum(line.billable_seconds for line in lines)
        amount, cost = (_known(getattr(line, name) for line in lines) for name in ("amount", "cost"))
        margin = None if amount is None or cost is None else amount - cost
        limits = self._budgets.get((id_, currency or lines[0].currency)) if figure.endswith("_used") else None
        values: dict[str, float | None] = {
            "hours": seconds / 3_600,
            "billable_hours": billable / 3_600,
            "unbilled_hours": (seconds - billable) / 3_600,
            "billable_share": _percent(billable, seconds),
            "entries": float(sum(line.entries for line in lines)),
            "amount": _money(amount),
            "cost": _money(cost),
            "margin": _money(margin),
            "margin_share": _percent(margin, amount),
            "budget_used": _percent(amount, limits.budget if limits else None),
            "estimate_used": _percent(seconds, limits.estimate_seconds if limits else None),
        }
        return values[figure]


class Passed(NamedTuple):
    """A threshold that a value has passed."""

    key: AlertKey
    state: AlertState
    excess: float


def passed(reader: FigureReader, rule: Rule) -> list[Passed]:
    """Each threshold that is passed now, of at most ``MOST`` alerts. MappingFileError where a rule names what is not there."""
    is_wanted = _filter(reader, rule)
    found = [
        each
        for reading in reader.readings(rule)
        if is_wanted(reading.id)
        for each in _thresholds(reader, rule, reading)
    ]
    return sorted(found, key=lambda each: (-each.excess, each.key))[:MOST]


def superseded(keys: Iterable[AlertKey]) -> set[AlertKey]:
    """The alerts that an open alert about a farther threshold supersedes."""
    found: dict[tuple[str, str, str], list[tuple[float, AlertKey]]] = defaultdict(list)
    for key in keys:
        of, _, last = key.system.rpartition("/")
        comparison, _, threshold = last.partition("=")
        farther = -float(threshold) if comparison == "below" else float(threshold)
        found[key.entity, of, comparison].append((farther, key))
    return {key for some in found.values() for _, key in sorted(some)[:-1]}


def _thresholds(reader: FigureReader, rule: Rule, reading: FigureValue) -> Iterator[Passed]:
    value = _compared(rule, reading)
    if value is None:
        return
    span = "" if rule.comparison == "missing_since" or rule.figure == "running_hours" else reader.span(rule).name
    of = "/".join(filter(None, (reading.id, reading.currency, span.replace("week of ", "week-"))))
    for threshold in rule.thresholds:
        excess = _excess(rule, value, threshold)
        if excess > 0 or (excess == 0 and rule.comparison != "below"):
            title, detail = _words(rule, reading, value, threshold, span)
            state = AlertState(reader.now, None, 1, detail, title, rule.severity)
            yield Passed(AlertKey(FIGURE, rule.name, f"{of}/{rule.comparison}={threshold:g}"), state, excess)


def _compared(rule: Rule, reading: FigureValue) -> float | None:
    """What is compared with the thresholds; None where there is nothing to compare with."""
    if rule.comparison != "changed_by":
        return reading.value
    return 100 * (reading.value - reading.before) / abs(reading.before) if reading.before else None


def _excess(rule: Rule, value: float, threshold: float) -> float:
    """How far a value is beyond a threshold; below zero where it is not."""
    if rule.comparison == "below":
        return threshold - value
    return (abs(value) if rule.comparison == "changed_by" else value) - threshold


class RulePreview(NamedTuple):
    """What a rule says now."""

    found: list[AlertState]
    nearest: list[tuple[str, str]]
    """Names and values, the one that is nearest to its threshold or farthest beyond it first."""


def preview_of(reader: FigureReader, rule: Rule) -> RulePreview:
    """What a rule opens now, and what it looks at. MappingFileError where it names what is not there."""
    found = passed(reader, rule)
    weaker = superseded(each.key for each in found)
    is_wanted = _filter(reader, rule)
    values = [
        (
            max(_excess(rule, value, threshold) for threshold in rule.thresholds),
            each.name,
            _value_text(rule, each, value),
        )
        for each in reader.readings(rule)
        if is_wanted(each.id) and (value := _compared(rule, each)) is not None
    ]
    nearest = [(name, text) for _, name, text in sorted(values, key=lambda each: (-each[0], each[1]))[:NEAREST]]
    return RulePreview([each.state for each in found if each.key not in weaker], nearest)


def check_names(reader: FigureReader, rule: Rule) -> None:
    """MappingFileError where a rule names what is not there."""
    _filter(reader, rule)


def _value_text(rule: Rule, reading: FigureValue, value: float) -> str:
    if rule.comparison == "missing_since":
        return f"{value:g} working day{'s' * (value != 1)}"
    if rule.comparison == "changed_by":
        return f"{value:+,.0f} %"
    return f"{value:,.1f}{_unit(rule, reading)}"


def _unit(rule: Rule, reading: FigureValue) -> str:
    return {"%": " %", "h": " h", "": f" {reading.currency}" if reading.currency else ""}[rule.kind.unit]


def _words(rule: Rule, reading: FigureValue, value: float, threshold: float, span: str) -> tuple[str, str]:
    """What the alert is called, and its cause in one sentence."""
    by = f" (rule `{rule.name}`)"
    name = one_line(reading.name, 80)
    if rule.comparison == "missing_since":
        days = f"{threshold:g} working day{'s' * (threshold != 1)}"
        return f"{name}: no time logged for {days}", f"{name} has no time entry of the last {days}{by}."
    if rule.figure == "running_hours":
        title = f"{name}: a timer has been running for more than {threshold:g} hours"
        return title, f"A timer of {name} has been running for {value:.1f} hours{by}."
    unit = _unit(rule, reading)
    during = "" if span == "total" else f" in {span}" if rule.period == "month" else f" in the {span}"
    if rule.comparison == "changed_by":
        title = f"{name}: {rule.kind.said}{during} changed by more than {threshold:g} %"
        detail = f"{name}: {rule.kind.said} went from {reading.before:,.1f} to {reading.value:,.1f}{unit}, {value:+.0f} %{by}."
        return title, detail
    title = f"{name}: {rule.kind.said}{during} {rule.comparison} {threshold:g}{unit}"
    return title, f"{name}: {rule.kind.said}{during}: {value:,.1f}{unit}{by}."


class _Filter(NamedTuple):
    """Which projects, clients or people a rule is about."""

    only: Collection[str]
    ignored: Collection[str]

    def __call__(self, id_: str) -> bool:
        return (not self.only or id_ in self.only) and id_ not in self.ignored


def _filter(reader: FigureReader, rule: Rule) -> _Filter:
    if not (rule.only or rule.ignored):
        return _Filter((), ())
    return _Filter(*(ids_named(reader.store, reader.pair, rule.scope, some) for some in (rule.only, rule.ignored)))


def ids_named(store: Store, pair: str, scope: str, wanted: Iterable[Named]) -> set[str]:
    """The ids of what is named; MappingFileError where there is nothing of a name. While nothing is known at all, names are ids."""
    names = names_of(store, pair, scope)
    found: set[str] = set()
    for each in wanted:
        ids = {id_ for id_, name in names.items() if each.text in (id_, name)}
        if names and not ids:
            fix = closest(each.text, {name for name in names.values() if name}) if len(names) <= 1_000 else ""
            fix = fix if len(fix) <= LONGEST_FIX else ""
            raise refuse(each.node, each.where, f"names {each.text!r}, but there is no such {scope}.", fix)
        found |= ids or {each.text}
    return found


def _months(span: NamedPeriod) -> tuple[str, str]:
    """The first and the last month of a period of whole ones."""
    return ("0000", "9999") if span.first is None else (span.name, span.name)


def _known(values: Iterable[int | None]) -> int | None:
    found = [each for each in values if each is not None]
    return sum(found) if found else None


def _money(hundredths: int | None) -> float | None:
    return None if hundredths is None else hundredths / 100


def _percent(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else 100 * part / whole
