"""Telling the destinations about alerts - one message when it opens, repeats, and one when it is resolved - and of digests that are due."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from time import monotonic

from sync_pipeline.alerts import destinations
from sync_pipeline.alerts.configuration import configured
from sync_pipeline.alerts.current import Paths, paths_of, refresh_alerts
from sync_pipeline.alerts.figures import ids_named, superseded
from sync_pipeline.alerts.kinds import DESTINATION_FAILING, KINDS, order_of, path_of, severity_of, title_of_row
from sync_pipeline.alerts.messenger import SECONDS, Message, MessageResult
from sync_pipeline.alerts.rules import Named, Scope
from sync_pipeline.alerts.subscriptions import SHOWN, Subscription
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.health import SUBSCRIPTIONS, note_evaluated, note_finding
from sync_pipeline.session.secrets import Vault
from sync_pipeline.session.session import Session
from sync_pipeline.store.alert_notices import (
    Notice,
    Rules,
    note_not_sent,
    note_sent,
    waiting_notices,
    write_notices,
)
from sync_pipeline.store.alerts import AlertRow, alert_row
from sync_pipeline.store.digests import (
    Digest,
    DigestContent,
    DigestScope,
    Gathering,
    forget_subscriptions,
    gather,
    note_digest_not_sent,
    note_digest_sent,
    waiting_digests,
)
from sync_pipeline.store.figures import names_of
from sync_pipeline.store.locks import lock_of
from sync_pipeline.store.project_months import ReportSettings
from sync_pipeline.yaml_source import closest, refuse

LASTING = {name: kind.lasting for name, kind in KINDS.items() if kind.lasting}
HEADS = {"opened": "NEW", "repeated": "STILL OPEN", "resolved": "RESOLVED"}
LEVELS = {"critical": "failure", "warning": "warning", "info": "info"}
LONGEST = 600.0
"""Seconds after which no more messages are started."""
Send = Callable[[Vault, str, Message], MessageResult]


@dataclass(slots=True)
class SentMessages:
    """What was sent to which destination, and why others could not be reached."""

    notices: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    digests: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        sent = [
            f"{count} {what}{'s' * (count != 1)} sent to {name}"
            for what, some in (("alert", self.notices), ("digest", self.digests))
            for name, count in some.items()
        ]
        failed = [f"{name} was not reached: {problem}" for name, problem in self.problems.items()]
        return "; ".join([*sent, *failed]) or "nothing to send"


def send_alerts(
    session: Session, *, console: str = "", within: float = LONGEST, send: Send = destinations.send_to
) -> SentMessages:
    """Open and resolve alerts by the facts, store what is due - notices and digests - and send it; ``console`` is its address.

    One process at a time; another one that is sending leaves nothing to do. No message is started that may not end ``within`` seconds
    except the first: what is left is for the next call.
    """
    refresh_alerts(session)
    note_evaluated(session)
    console = session.settings.console_url or console
    round_ = _Round(
        session,
        Vault(session.store, session.settings),
        send,
        console,
        paths_of(session.settings),
        monotonic() + within - SECONDS,
    )
    turn = lock_of(session.store, f"alerts\n{session.pair}", "alerts")
    if not (names := destinations.names(round_.vault)) or not turn.take():
        return round_.sent
    try:
        write_notices(session.store, session.pair, names, _rules(session), session.now())
        gather_digests(session, names, console)
        for name, notices in waiting_notices(session.store, session.pair, session.now()).items():
            round_.send_notices(name, notices)
        for digest in waiting_digests(session.store, session.pair, session.now()):
            round_.deliver(digest)
    finally:
        turn.release()
    return round_.sent


@dataclass(slots=True)
class _Round:
    """One round of sending."""

    session: Session
    vault: Vault
    send: Send
    console: str
    paths: Paths
    until: float
    sent: SentMessages = field(default_factory=SentMessages)

    def send_notices(self, name: str, notices: Sequence[Notice]) -> None:
        """Send the messages about alerts that are due at a destination."""
        if not self._may_begin(name):
            return
        session = self.session
        rows = {each.alert_id: alert_row(session.store, session.pair, each.alert_id) for each in notices}
        due = [(each, row) for each in notices if (row := rows[each.alert_id]) is not None]
        key = f"alerts-{name}-{notices[0].id}-{notices[-1].id}"
        answer = self.send(self.vault, name, replace(message_of(due, self.console, self.paths), key=self._key(key)))
        if answer.problem:
            note_not_sent(session.store, notices, answer.problem, session.now())
            self.sent.problems[name] = answer.problem
        else:
            note_sent(session.store, notices, session.now())
            self.sent.notices[name] = len(notices)

    def deliver(self, digest: Digest) -> None:
        """Send a digest."""
        name, session = digest.destination, self.session
        if not self._may_begin(name):
            return
        answer = self.send(self.vault, name, Message(digest.title, digest.body, key=self._key(f"digest-{digest.id}")))
        if answer.problem:
            note_digest_not_sent(session.store, digest, answer.problem, session.now())
            self.sent.problems[name] = answer.problem
        else:
            note_digest_sent(session.store, digest)
            self.sent.digests[name] = self.sent.digests.get(name, 0) + 1

    def _may_begin(self, name: str) -> bool:
        is_first = not (self.sent.notices or self.sent.digests or self.sent.problems)
        return name not in self.sent.problems and (is_first or monotonic() < self.until)

    def _key(self, name: str) -> str:
        """What names a message of this pair, the same each time it is sent."""
        return sha256(f"{self.session.pair}\n{name}".encode()).hexdigest()[:32]


def message_of(due: Sequence[tuple[Notice, AlertRow]], console: str = "", paths: Paths = path_of) -> Message:
    """One message about these notices, the worst first and what is resolved last; with links where the console's address is known."""
    ordered = sorted(due, key=lambda each: (each[0].event == "resolved", order_of(each[1]), each[0].id))
    first, row = ordered[0]
    more = f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else ""
    title = f"sync_pipeline: {'resolved: ' if first.event == 'resolved' else ''}{title_of_row(row)}{more}"
    lines = [line for notice, alert in ordered for line in _lines(notice, alert, console, paths)]
    level = "success" if first.event == "resolved" else LEVELS[severity_of(row)]
    end = f"From {platform.node()}. `sync-pipeline alerts list` and the console's overview show what is open."
    return Message(title, "\n".join([*lines, end]), level)


def _lines(notice: Notice, row: AlertRow, console: str, paths: Paths) -> list[str]:
    head = f"{HEADS[notice.event]}: {title_of_row(row)} (since {row.first_seen_at:%Y-%m-%d %H:%M} UTC)"
    if notice.event == "resolved":
        return [f"{head}, resolved {row.resolved_at:%Y-%m-%d %H:%M} UTC", ""]
    link = [f"{console.rstrip('/')}{paths(row.key)}"] if console else []
    return [head, row.detail, *link, ""]


def _rules(session: Session) -> Rules:
    settings = session.settings
    return Rules(
        window=timedelta(seconds=settings.alert_group_seconds),
        repeat=timedelta(hours=settings.alert_repeat_hours),
        lasting=LASTING,
        about_a_destination=DESTINATION_FAILING,
        superseded=superseded,
    )


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

    def message(found: DigestContent) -> tuple[str, str]:
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


def wanted_by(session: Session, asked: Subscription, destinations: Collection[str]) -> DigestScope:
    """What a subscription is about. MappingFileError where it names what is not there."""
    for each in asked.to:
        if each.text not in destinations:
            fix = f"`sync-pipeline alerts add {each.text}` adds it. {closest(each.text, destinations)}"
            raise refuse(each.node, each.where, f"names the destination {each.text!r}, which does not exist.", fix)
    clients = _ids(session, "client", asked.clients)
    # A location is known by its name before a project of it is.
    names = {name for id_, name in names_of(session.store, session.pair, "client").items() if id_ in clients}
    return DigestScope(
        kinds=asked.kinds,
        projects=_ids(session, "project", asked.projects),
        clients=clients | names | {each.text for each in asked.clients},
    )


def _ids(session: Session, scope: Scope, some: Collection[Named]) -> set[str]:
    return ids_named(session.store, session.pair, scope, some) if some else set()
