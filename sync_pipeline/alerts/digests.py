"""Making the digests of the subscriptions that are due."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from sync_pipeline.alerts.configuration import configured
from sync_pipeline.alerts.figures import ids_named
from sync_pipeline.alerts.rules import Named, Scope
from sync_pipeline.alerts.subscriptions import SHOWN, Subscription
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.health import SUBSCRIPTIONS, note_finding
from sync_pipeline.session.session import Session
from sync_pipeline.store.digests import Found, Gathering, Wanted, forget_subscriptions, gather
from sync_pipeline.store.figures import names_of
from sync_pipeline.store.project_months import ReportSettings
from sync_pipeline.yaml_source import closest, refuse


def gather_digests(session: Session, destinations: Sequence[str], console: str) -> None:
    """Write the digests that are due; a subscription with a mistake is passed over, and its mistake is an alert."""
    try:
        subscriptions = configured(session.settings).subscriptions
    except ConfigError:
        return  # the evaluation of the rules reports it
    forget_subscriptions(session.store, session.pair, [each.name for each in subscriptions])
    problem = ""
    for each in subscriptions:
        try:
            gather(session.store, session.pair, _gathering(session, each, destinations, console), session.now())
        except ConfigError as error:
            problem = problem or str(error)
    note_finding(session, SUBSCRIPTIONS, problem)


def _gathering(session: Session, asked: Subscription, destinations: Sequence[str], console: str) -> Gathering:
    wanted = wanted_by(session, asked, destinations)

    def message(found: Found) -> tuple[str, str]:
        return asked.message(found, console)

    return Gathering(
        name=asked.name,
        destinations=[each.text for each in asked.to] or destinations,
        wanted=wanted,
        since=asked.due_since(session.now(), ReportSettings.of(session.settings)),
        window=session.now() - timedelta(seconds=session.settings.alert_group_seconds),
        shown=SHOWN,
        message=message,
    )


def wanted_by(session: Session, asked: Subscription, destinations: Collection[str]) -> Wanted:
    """What a subscription is about. MappingFileError where it names what is not there."""
    for each in asked.to:
        if each.text not in destinations:
            fix = f"`sync-pipeline alerts add {each.text}` adds it. {closest(each.text, destinations)}"
            raise refuse(each.node, each.where, f"names the destination {each.text!r}, which there is not.", fix)
    clients = _ids(session, "client", asked.clients)
    # A location is known by its name before a project of it is.
    names = {name for id_, name in names_of(session.store, session.pair, "client").items() if id_ in clients}
    return Wanted(
        kinds=asked.kinds,
        projects=_ids(session, "project", asked.projects),
        clients=clients | names | {each.text for each in asked.clients},
    )


def _ids(session: Session, scope: Scope, some: Collection[Named]) -> set[str]:
    return ids_named(session.store, session.pair, scope, some) if some else set()
