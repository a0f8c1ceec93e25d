"""Settings, alerts: forms for rules on figures, subscriptions and working days, with a preview of their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.responses import Response

from sync_pipeline.alerts.rules import COMPARISONS, FIGURES, SCOPES, SEVERITIES, Scope, ready_made
from sync_pipeline.alerts.subscriptions import EVERY, TOPICS
from sync_pipeline.console.alerts import HERE, show
from sync_pipeline.console.request_context import RequestContext, download
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.alert_rules import (
    RULES,
    SUBSCRIPTIONS,
    AlertRules,
    BadField,
    RuleForm,
    SubscriptionForm,
    export_rules,
)

MOST_OFFERED = 1_000
"""Names that a list offers; others can be typed."""
MORE = "more:"
"""What buttons of the form begin with that only add a row."""
COMPARED = {
    "above": "is above",
    "below": "is below",
    "changed_by": "changed by more than (%), up or down",
    "missing_since": "is missing for (working days)",
}
OPTIONS: dict[str, list[tuple[str, str]]] = {
    "figure": [
        (name, f"{kind.said[:1].upper()}{kind.said[1:]}{' (%)' if kind.unit == '%' else ''}")
        for name, kind in FIGURES.items()
    ],
    "scope": [(name, f"each {name}") for name in SCOPES],
    "period": [("month", "a month"), ("week", "a week"), ("total", "all time")],
    "comparison": [(name, COMPARED[name]) for name in COMPARISONS],
    "severity": [(name, name) for name in SEVERITIES],
}
EACH = {"at_once": "Immediately, collected for a minute", "hourly": "Hourly", "daily": "Daily", "weekly": "Weekly"}
ABOUT = [(name, f"{topic.many[:1].upper()}{topic.many[1:]}") for name, topic in TOPICS.items()]


def new_rule(context: RequestContext) -> Response:
    """GET /settings/alerts/new-rule."""
    return _of_file(context) or _rule_page(context, RuleForm(), is_new=True)


def rule(context: RequestContext) -> Response:
    """GET /settings/alerts/rules/{name}."""
    name = context.param("name")
    with _rules(context) as rules:
        found = rules.rule(name)
    if found is None:
        return context.go(HERE, f"There is no rule {name[:40]} any more.")
    return _of_file(context) or _rule_page(context, found, is_new=False)


def save_rule(context: RequestContext) -> Response:
    """POST /settings/alerts/new-rule or /settings/alerts/rules/{name}: save, look, remove, or switch a ready-made one on."""
    is_new, action = "name" not in context.request.path_params, context.form.text("action")
    name = context.form.text("name") if is_new else context.param("name")
    if action == "on":
        return _do(context, lambda rules: rules.turn_on(name, since=context.since), f"The rule {name} is on.")
    if action == "remove":
        done = f"The rule {name} is off." if name in ready_made() else f"The rule {name} is removed."
        return _do(context, lambda rules: rules.remove(RULES, name, since=context.since), done)
    entered = _entered_rule(context, name)
    with _rules(context) as rules:
        if action == "look":
            return _rule_page(
                context, entered, is_new=is_new, **_looked(context, lambda: rules.preview_rule(entered, is_new=is_new))
            )
        if not action.startswith(MORE) and _tried(
            context, lambda: rules.save_rule(entered, is_new=is_new, since=context.since)
        ):
            return context.go(HERE, f"The rule {name} is saved. The daemon evaluates it within two minutes.")
    return _rule_page(context, entered, is_new=is_new)


def new_subscription(context: RequestContext) -> Response:
    """GET /settings/alerts/new-subscription."""
    return _of_file(context) or _subscription_page(context, SubscriptionForm(), is_new=True)


def subscription(context: RequestContext) -> Response:
    """GET /settings/alerts/subscriptions/{name}."""
    name = context.param("name")
    with _rules(context) as rules:
        found = rules.subscription(name)
    if found is None:
        return context.go(HERE, f"There is no subscription {name[:40]} any more.")
    return _of_file(context) or _subscription_page(context, found, is_new=False)


def save_subscription(context: RequestContext) -> Response:
    """POST /settings/alerts/new-subscription or /settings/alerts/subscriptions/{name}: save, look or remove."""
    is_new, action = "name" not in context.request.path_params, context.form.text("action")
    name = context.form.text("name") if is_new else context.param("name")
    if action == "remove":
        done = f"The subscription {name} is removed."
        return _do(context, lambda rules: rules.remove(SUBSCRIPTIONS, name, since=context.since), done)
    form = context.form
    entered = SubscriptionForm(
        name=name,
        about=form.all("about"),
        every=form.text("every"),
        client=_filled(context, "client"),
        project=_filled(context, "project"),
        to=form.all("to"),
    )
    with _rules(context) as rules:
        if action == "look":
            found = _looked(context, lambda: rules.preview_subscription(entered, is_new=is_new))
            return _subscription_page(context, entered, is_new=is_new, **found)
        if not action.startswith(MORE) and _tried(
            context, lambda: rules.save_subscription(entered, is_new=is_new, since=context.since)
        ):
            return context.go(HERE, f"The subscription {name} is saved. It covers what is delivered from now on.")
    return _subscription_page(context, entered, is_new=is_new)


def save_days(context: RequestContext) -> Response:
    """POST /settings/alerts/days: which days are worked on."""
    days, holidays = context.form.all("working_days"), context.form.text("holidays")
    with _rules(context) as rules:
        if _tried(context, lambda: rules.save_days(days, holidays, since=context.since)):
            return context.go(HERE, "The working days are saved.")
    return show(context, days=days, holidays=holidays)


def export(context: RequestContext) -> Response:
    """GET /settings/alerts/rules.yaml: what is in force as a file."""
    return download("alert-rules.yaml", export_rules(context.setup.settings()), "application/yaml")


def _of_file(context: RequestContext) -> Response | None:
    """To the list, where a file is in force: there is nothing to fill in."""
    return context.go(HERE) if context.setup.settings().alert_rules_file else None


def _entered_rule(context: RequestContext, name: str) -> RuleForm:
    form = context.form
    chosen = {key: form.text(key) for key in ("figure", "scope", "period", "comparison", "thresholds", "severity")}
    return RuleForm(name=name, **chosen, only=_filled(context, "only"), ignored=_filled(context, "ignored"))


def _filled(context: RequestContext, name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, context.form.all(name))))


@contextmanager
def _rules(context: RequestContext) -> Iterator[AlertRules]:
    context.settings()
    with context.reading() as session:
        yield AlertRules(context.setup, session)


def _tried(context: RequestContext, act: Callable[[], object]) -> bool:
    """Whether it was done; what is wrong is shown beside its field, and what was typed stays."""
    try:
        act()
    except BadField as error:
        context.problems.add(error.place, str(error))
    except SyncError as error:
        context.went_wrong(error)
    return not context.problems


def _looked(context: RequestContext, look: Callable[[], object]) -> dict[str, Any]:
    """What a preview shows."""
    found: list[object] = []
    is_done = _tried(context, lambda: found.append(look()))
    return {"looked": is_done, "preview": found[0] if is_done else None}


def _do(context: RequestContext, act: Callable[[AlertRules], None], done: str) -> Response:
    with _rules(context) as rules:
        if _tried(context, lambda: act(rules)):
            return context.go(HERE, done)
    return show(context)


def _rule_page(context: RequestContext, entered: RuleForm, *, is_new: bool, **more: Any) -> Response:
    title = "Add a rule" if is_new else f"Rule {entered.name}"
    with _rules(context) as rules:
        offered = {scope: _offered(rules, scope) for scope in SCOPES}
    return context.page(
        "alert_rule.html",
        title,
        entered=entered,
        is_new=is_new,
        is_ready_made=entered.name in ready_made() and not is_new,
        options=OPTIONS,
        offered=offered,
        focus=context.form.text("action").removeprefix(MORE),
        **{"preview": None, "looked": False, **more},
    )


def _subscription_page(context: RequestContext, entered: SubscriptionForm, *, is_new: bool, **more: Any) -> Response:
    title = "Add a subscription" if is_new else f"Subscription {entered.name}"
    with _rules(context) as rules:
        offered = {"client": _offered(rules, "client"), "project": _offered(rules, "project")}
        known = rules.destinations
    return context.page(
        "subscription.html",
        title,
        entered=entered,
        is_new=is_new,
        about=ABOUT,
        every=[(name, EACH[name]) for name in EVERY],
        offered=offered,
        destinations=[*known, *(name for name in entered.to if name not in known)],
        focus=context.form.text("action").removeprefix(MORE),
        **{"preview": None, "looked": False, **more},
    )


def _offered(rules: AlertRules, scope: Scope) -> list[tuple[str, str]]:
    """What to type, and its name: the id where several have that name."""
    names = rules.names_of(scope)
    count = Counter(names.values())
    offered = [(id_ if not name or count[name] > 1 else name, name or id_) for id_, name in names.items()]
    return sorted(offered, key=lambda each: (each[1].casefold(), each[0]))[:MOST_OFFERED]
