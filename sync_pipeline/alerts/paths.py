"""Where an alert leads in the console: one on a figure to the dashboard of what it is about, in its period."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from urllib.parse import urlencode

from sync_pipeline.alerts.configuration import configured
from sync_pipeline.alerts.kinds import FIGURES_PATH, path_of
from sync_pipeline.alerts.rules import Rule
from sync_pipeline.errors import ConfigError
from sync_pipeline.settings import Settings
from sync_pipeline.store.alerts import FIGURE, AlertKey

Paths = Callable[[AlertKey], str]
_PERIOD = re.compile(r"(?P<month>\d{4}-\d\d)|week-(?P<week>\d{4}-\d\d-\d\d)|total")
_CURRENCY = re.compile(r"[A-Z]{3}")


def paths_of(settings: Settings) -> Paths:
    """The page of each alert, by the rules that are in force."""
    try:
        rules = {rule.name: rule for rule in configured(settings).rules}
    except ConfigError:
        rules = {}

    def path(key: AlertKey) -> str:
        rule = rules.get(key.entity)
        return path_of(key) if key.kind != FIGURE or rule is None else _dashboard(rule, key)

    return path


def _dashboard(rule: Rule, key: AlertKey) -> str:
    of, period = key.system.rpartition("/")[0], {}
    before, _, last = of.rpartition("/")
    if before and (found := _PERIOD.fullmatch(last)):
        of, period = before, _months(found)
    before, _, last = of.rpartition("/")
    if before and rule.kind.by_currency and _CURRENCY.fullmatch(last):
        of = before
    return f"{FIGURES_PATH}?{urlencode({rule.scope: of, **period})}"


def _months(found: re.Match[str]) -> dict[str, str]:
    """The months that hold a period; none for all time, which the dashboard does not show."""
    if found["month"]:
        return {"from": found["month"], "to": found["month"]}
    if not found["week"]:
        return {}
    first = date.fromisoformat(found["week"])
    return {"from": f"{first:%Y-%m}", "to": f"{first + timedelta(days=6):%Y-%m}"}
