"""Rules on figures and subscriptions as forms: understood as a file of them is, stored in the set-up, exported as that file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sync_pipeline.alerts import destinations
from sync_pipeline.alerts.configuration import Configuration, stored_configuration
from sync_pipeline.alerts.figures import FigureReader, RulePreview, check_names, preview_of
from sync_pipeline.alerts.rules import COMPARISONS, LONGEST_NAME, NAME_CHARACTERS, Calendar, Rule, Scope, ready_made
from sync_pipeline.alerts.sending import wanted_by
from sync_pipeline.alerts.subscriptions import Subscription
from sync_pipeline.errors import ConfigError, MappingFileError, NotAllowed
from sync_pipeline.session.session import Session
from sync_pipeline.settings import ALERTS, Settings
from sync_pipeline.setup.document import edited, section_text
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.digests import begin, delivered_since
from sync_pipeline.store.figures import names_of
from sync_pipeline.store.project_months import ReportSettings
from sync_pipeline.yaml_source import read_file

RULES, SUBSCRIPTIONS = "rules", "subscriptions"
WORDS = {RULES: "rule", SUBSCRIPTIONS: "subscription"}
LOOKS_BACK = timedelta(days=7)
"""What the preview of a subscription is about."""
PREVIEWED = 5
"""Records that it names."""
_NUMBER = re.compile(r"-?\d{1,13}(\.\d{1,4})?", re.ASCII)


class BadField(ConfigError):
    """What was typed into one field of a form is not understood."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleForm:
    """A rule with the typed values."""

    name: str = ""
    figure: str = "hours"
    scope: str = "project"
    period: str = "month"
    comparison: str = "above"
    thresholds: str = ""
    severity: str = "warning"
    only: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """It as a file says it; of a ready-made rule what differs."""
        base = ready_made().get(self.name)
        usual = {} if base is None else form_of(base).all_keys
        return {key: value for key, value in self.all_keys.items() if key not in usual or usual[key] != value}

    @property
    def all_keys(self) -> dict[str, Any]:
        """It as a file says it, whatever is ready-made."""
        named = {"only": list(self.only), "except": list(self.ignored)}
        return {
            "figure": self.figure,
            "scope": self.scope,
            "period": self.period,
            self.comparison: _numbers(self.thresholds),
            "severity": self.severity,
            **{key: some for key, some in named.items() if some},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionForm:
    """A subscription with the typed values."""

    name: str = ""
    about: tuple[str, ...] = ()
    every: str = "daily"
    client: tuple[str, ...] = ()
    project: tuple[str, ...] = ()
    to: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """It as a file says it."""
        lists = {"client": list(self.client), "project": list(self.project), "to": list(self.to)}
        return {"about": list(self.about), "every": self.every, **{key: some for key, some in lists.items() if some}}


def form_of(rule: Rule) -> RuleForm:
    """A rule, to be changed."""
    return RuleForm(
        name=rule.name,
        figure=rule.figure,
        scope=rule.scope,
        period=rule.period,
        comparison=rule.comparison,
        thresholds=", ".join(str(int(each)) if each.is_integer() else str(each) for each in rule.thresholds),
        severity=rule.severity,
        only=tuple(each.text for each in rule.only),
        ignored=tuple(each.text for each in rule.ignored),
    )


def form_of_subscription(found: Subscription) -> SubscriptionForm:
    """A subscription, to be changed."""
    return SubscriptionForm(
        name=found.name,
        about=found.topics,
        every=found.every,
        client=tuple(each.text for each in found.clients),
        project=tuple(each.text for each in found.projects),
        to=tuple(each.text for each in found.to),
    )


def in_force(settings: Settings) -> str:
    """Which rules and subscriptions are in force, in words."""
    file = settings.alert_rules_file
    if file is None:
        return "The rules and subscriptions stored in the console are in force (Settings, Alerts)."
    is_unused = bool(section_text(settings.setup_document, ALERTS))
    unused = " What the console has stored is not in force." if is_unused else ""
    return f"The rules and subscriptions of the file {file} are in force (SYNC_ALERT_RULES_FILE).{unused}"


def export_rules(settings: Settings) -> str:
    """What is in force as a file for SYNC_ALERT_RULES_FILE."""
    if settings.alert_rules_file is not None:
        return read_file(settings.alert_rules_file)
    return section_text(settings.setup_document, ALERTS) or "rules: {}\n"


def refuse_file(settings: Settings) -> None:
    """Raise NotAllowed where a file is in force: what would be stored here would not be."""
    if settings.alert_rules_file is not None:
        raise NotAllowed(
            f"Nothing was changed: the file {settings.alert_rules_file} is in force (SYNC_ALERT_RULES_FILE).",
            fix="Change it there; or unset SYNC_ALERT_RULES_FILE to use what is stored here.",
        )


@dataclass(frozen=True, slots=True)
class AlertRules:
    """The rules and subscriptions of a set-up; each change is a version of it, and noted in the audit trail."""

    setup: SetupService
    session: Session | None
    """None while the set-up is not finished: names and figures are not known yet."""

    def rule(self, name: str) -> RuleForm | None:
        """A rule of the set-up or a ready-made one, people by their names."""
        found = {each.name: each for each in self._stored().rules}.get(name) or ready_made().get(name)
        return None if found is None else self._with_names(form_of(found))

    def subscription(self, name: str) -> SubscriptionForm | None:
        """A subscription of the set-up."""
        return next((form_of_subscription(each) for each in self._stored().subscriptions if each.name == name), None)

    def check_rule(self, entered: RuleForm, *, is_new: bool) -> tuple[Rule, Calendar]:
        """The rule that was typed, and the working days. BadField says what is wrong, and where."""
        self._check_name(RULES, entered.name, is_new=is_new)
        where = f"{RULES}.{entered.name}"
        found = self._understood({where: self._with_ids(entered).document}, where)
        rule = next(each for each in found.rules if each.name == entered.name)
        if self.session is not None:
            with _mistakes_of(where):
                check_names(_reader(self.session, found.calendar), rule)
        return rule, found.calendar

    def preview_rule(self, entered: RuleForm, *, is_new: bool) -> RulePreview | None:
        """The result of a rule with the current figures."""
        rule, calendar = self.check_rule(entered, is_new=is_new)
        return None if self.session is None else preview_of(_reader(self.session, calendar), rule)

    def save_rule(self, entered: RuleForm, *, is_new: bool, since: str | None = None) -> None:
        """Store a rule. BadField says what is wrong, and where."""
        rule, _ = self.check_rule(entered, is_new=is_new)
        self._change(RULES, entered.name, self._with_ids(entered).document, rule.said, since)

    def turn_on(self, name: str, *, since: str | None = None) -> None:
        """Store that a ready-made rule is in force, unchanged."""
        if name not in ready_made():
            raise ConfigError(f"There is no ready-made rule {name[:LONGEST_NAME]!r}.")
        self._change(RULES, name, {}, ready_made()[name].said, since)

    def check_subscription(self, entered: SubscriptionForm, *, is_new: bool) -> Subscription:
        """The subscription that was typed. BadField says what is wrong, and where."""
        self._check_name(SUBSCRIPTIONS, entered.name, is_new=is_new)
        where = f"{SUBSCRIPTIONS}.{entered.name}"
        found = self._understood({where: entered.document}, where)
        asked = next(each for each in found.subscriptions if each.name == entered.name)
        if self.session is not None:
            with _mistakes_of(where):
                wanted_by(self.session, asked, self.destinations)
        return asked

    def preview_subscription(self, entered: SubscriptionForm, *, is_new: bool) -> tuple[str, str] | None:
        """Title and text of a digest about the last days, empty where there is nothing."""
        asked = self.check_subscription(entered, is_new=is_new)
        if self.session is None:
            return None
        wanted = wanted_by(self.session, asked, self.destinations)
        since = self.session.now() - LOOKS_BACK
        found = delivered_since(self.session.store, self.session.pair, wanted, since, PREVIEWED)
        return asked.message(found) if found.counts else ("", "")

    def save_subscription(self, entered: SubscriptionForm, *, is_new: bool, since: str | None = None) -> None:
        """Store a subscription; it is about what is delivered from now on. BadField says what is wrong, and where."""
        asked = self.check_subscription(entered, is_new=is_new)
        self._change(SUBSCRIPTIONS, entered.name, entered.document, asked.said, since)
        if self.session is not None:
            begin(self.session.store, self.session.pair, entered.name, self.session.now())

    def remove(self, part: str, name: str, *, since: str | None = None) -> None:
        """Take a rule or a subscription out of the set-up."""
        refuse_file(self.setup.settings())
        if name not in self._names(part):
            raise ConfigError(f"There is no {WORDS[part]} {name[:LONGEST_NAME]!r} any more.")
        self.setup.change({f"{ALERTS}.{part}.{name}": None}, f"alert {WORDS[part]} removed", name, since=since)

    def save_days(self, days: Sequence[str], holidays: str, *, since: str | None = None) -> None:
        """Store which days are worked on. BadField says what is wrong, and where."""
        refuse_file(self.setup.settings())
        if not days:
            raise BadField("working_days", "No day is chosen.")
        free = sorted(set(_words(holidays)))
        values = {"working_days": list(days), "holidays": free or None}
        self._understood(values, ALERTS)
        detail = f"{', '.join(days)}{f'; {len(free)} holidays' if free else ''}"
        changes = {f"{ALERTS}.{key}": value for key, value in values.items()}
        self.setup.change(changes, "alert working days", detail, since=since)

    @property
    def destinations(self) -> list[str]:
        """The names of the destinations."""
        with self.setup.vault() as vault:
            return destinations.names(vault)

    def names_of(self, scope: Scope) -> Mapping[str, str]:
        """Projects, clients or people by their ids."""
        return {} if self.session is None else names_of(self.session.store, self.session.pair, scope)

    def _stored(self) -> Configuration:
        return stored_configuration(self.setup.settings().setup_document)

    def _names(self, part: str) -> set[str]:
        found = self._stored()
        return {each.name for each in (found.rules if part == RULES else found.subscriptions)}

    def _change(self, part: str, name: str, document: dict[str, Any], said: str, since: str | None) -> None:
        refuse_file(self.setup.settings())
        what = f"alert {WORDS[part]} {'changed' if name in self._names(part) else 'added'}"
        self._understood({f"{part}.{name}": document}, f"{part}.{name}")
        self.setup.change({f"{ALERTS}.{part}.{name}": document}, what, f"{name}: {said}", since=since)

    def _check_name(self, part: str, name: str, *, is_new: bool) -> None:
        if not name or set(name) - NAME_CHARACTERS or len(name) > LONGEST_NAME:
            raise BadField("name", f"Use up to {LONGEST_NAME} lowercase letters, digits, - and _, such as acme-hours.")
        if is_new and (name in self._names(part) or (part == RULES and name in ready_made())):
            raise BadField("name", f"There is a {WORDS[part]} {name} already. Choose another name, or change that one.")

    def _understood(self, values: Mapping[str, Any], where: str) -> Configuration:
        """What the set-up would say with these values below `alerts`."""
        values = {f"{ALERTS}.{key}": value for key, value in values.items()}
        document = edited(self.setup.settings().setup_document, values)
        with _mistakes_of(where):
            return stored_configuration(document)

    def _with_ids(self, entered: RuleForm) -> RuleForm:
        """People by their ids, so that no version of the set-up keeps a name of one."""
        if entered.scope != "person":
            return entered
        ids: dict[str, list[str]] = {}
        for id_, name in self.names_of("person").items():
            ids.setdefault(name, []).append(id_)
        only, ignored = (
            tuple(id_ for text in some for id_ in ids.get(text, [text])) for some in (entered.only, entered.ignored)
        )
        return replace(entered, only=only, ignored=ignored)

    def _with_names(self, entered: RuleForm) -> RuleForm:
        if entered.scope != "person":
            return entered
        names = self.names_of("person")
        only, ignored = (
            tuple(dict.fromkeys(names.get(text) or text for text in some)) for some in (entered.only, entered.ignored)
        )
        return replace(entered, only=only, ignored=ignored)


@contextmanager
def _mistakes_of(where: str) -> Iterator[None]:
    """A mistake below this key is one of a field of its form."""
    try:
        yield
    except MappingFileError as error:
        below = error.field.removeprefix(where)
        if below == error.field or below[:1] not in ("", "."):
            raise
        said = error.message.removeprefix(f"{error.file}:{error.line}: {error.field}: ")
        key = below.lstrip(".").partition(".")[0]
        place = {"": "thresholds", "except": "ignored"}.get(key, key)
        if key in COMPARISONS:
            place = "comparison" if said.startswith("does not fit") else "thresholds"
        begins_with_key = "_" in said.split(" ")[0]
        said = said if begins_with_key else f"{said[:1].upper()}{said[1:]}"
        raise BadField(place, f"{said} {error.fix}".strip()) from None


def _reader(session: Session, calendar: Calendar) -> FigureReader:
    return FigureReader(session.store, session.pair, ReportSettings.of(session.settings), session.now(), calendar)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,;\s]+", text) if word]


def _numbers(text: str) -> list[Any]:
    """Thresholds as numbers; what is none stays text, and is refused."""
    return [(float(word) if "." in word else int(word)) if _NUMBER.fullmatch(word) else word for word in _words(text)]
