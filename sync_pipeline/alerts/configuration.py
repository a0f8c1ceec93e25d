"""Your rules on figures and your subscriptions: those of the file that the environment names, else those of the set-up."""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipeline.alerts.rules import Calendar, Rule, parsed_calendar, parsed_rules
from sync_pipeline.alerts.subscriptions import Subscription, parsed_subscriptions
from sync_pipeline.mapping.section import Section
from sync_pipeline.private_files import require_trusted
from sync_pipeline.settings import ALERTS, SETUP, Settings
from sync_pipeline.yaml_source import Node, read_text, read_yaml

KEYS = ("rules", "subscriptions", "working_days", "holidays")


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that is in force."""

    rules: tuple[Rule, ...] = ()
    calendar: Calendar = Calendar()
    subscriptions: tuple[Subscription, ...] = ()


def configured(settings: Settings) -> Configuration:
    """What is in force; MappingFileError names place, line and fix of the first mistake."""
    file = settings.alert_rules_file
    if file is None:
        return stored_configuration(settings.setup_document)
    require_trusted(file)
    return _parsed(read_yaml(file), "file")


def stored_configuration(document: str, place: str = SETUP) -> Configuration:
    """What a set-up says, whether it is in force or not; ``place`` is what errors call it."""
    section = _section(document, place)
    return Configuration() if section is None else _parsed(section, ALERTS)


def _section(document: str, place: str) -> Node | None:
    if ALERTS not in document:  # most have none, and each page asks
        return None
    section: Node | None = read_text(document, place).value.get(ALERTS)
    return None if section is None or section.value is None else section


def _parsed(node: Node, where: str) -> Configuration:
    section = Section(node, where, KEYS)
    return Configuration(parsed_rules(section), parsed_calendar(section), parsed_subscriptions(section))
