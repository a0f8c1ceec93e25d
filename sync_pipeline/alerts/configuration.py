"""Your file of rules on figures and of subscriptions."""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipeline.alerts.rules import Calendar, Rule, parsed_calendar, parsed_rules
from sync_pipeline.alerts.subscriptions import Subscription, parsed_subscriptions
from sync_pipeline.mapping.section import Section
from sync_pipeline.private_files import require_trusted
from sync_pipeline.settings import Settings
from sync_pipeline.yaml_source import read_yaml


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything in the file."""

    rules: tuple[Rule, ...] = ()
    calendar: Calendar = Calendar()
    subscriptions: tuple[Subscription, ...] = ()


def configured(settings: Settings) -> Configuration:
    """What the file says; MappingFileError names file, line and fix of the first mistake."""
    file = settings.alert_rules_file
    if file is None:
        return Configuration()
    require_trusted(file)
    section = Section(read_yaml(file), "file", ("rules", "subscriptions", "working_days", "holidays"))
    return Configuration(parsed_rules(section), parsed_calendar(section), parsed_subscriptions(section))
