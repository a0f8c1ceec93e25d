"""Telling the destinations about alerts: one message when it opens, repeats, and one when it is resolved."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic

from sync_pipeline.alerts import destinations
from sync_pipeline.alerts.current import refresh_alerts
from sync_pipeline.alerts.kinds import DESTINATION_FAILING, KINDS, ORDER, path_of, title_of
from sync_pipeline.alerts.messenger import SECONDS, Answer, Message
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
from sync_pipeline.store.locks import lock_of

LASTING = {name: kind.lasting for name, kind in KINDS.items() if kind.lasting}
HEADS = {"opened": "NEW", "repeated": "STILL OPEN", "resolved": "RESOLVED"}
LEVELS = {"critical": "failure", "warning": "warning", "info": "info"}
LONGEST = 600.0
"""Seconds in which no more messages are begun."""
Send = Callable[[Vault, str, Message], Answer]


@dataclass(slots=True)
class Sent:
    """What was sent to which destination, and why others could not be reached."""

    notices: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        sent = [f"{count} alert{'s' * (count != 1)} sent to {name}" for name, count in self.notices.items()]
        failed = [f"{name} was not reached: {problem}" for name, problem in self.problems.items()]
        return "; ".join([*sent, *failed]) or "nothing to send"


def send_alerts(
    session: Session, *, console: str = "", within: float = LONGEST, send: Send = destinations.send_to
) -> Sent:
    """Open and resolve alerts by the facts, store the notices that are due, and send them; ``console`` is its address.

    One process at a time; another one that is sending leaves nothing to do. No message is begun that may not end ``within`` seconds
    but the first: what is left is for the next call.
    """
    refresh_alerts(session)
    vault, sent = Vault(session.store, session.settings), Sent()
    console = session.settings.console_url or console
    turn = lock_of(session.store, f"alerts\n{session.pair}", "alerts")
    if not (names := destinations.names(vault)) or not turn.take():
        return sent
    try:
        write_notices(session.store, session.pair, names, _rules(session), session.now())
        until = monotonic() + within - SECONDS
        for name, notices in waiting_notices(session.store, session.pair, session.now()).items():
            if (not sent.notices and not sent.problems) or monotonic() < until:
                _tell(session, vault, name, notices, sent, send, console)
    finally:
        turn.release()
    return sent


def _tell(
    session: Session, vault: Vault, name: str, notices: Sequence[Notice], sent: Sent, send: Send, console: str
) -> None:
    rows = {each.alert_id: alert_row(session.store, session.pair, each.alert_id) for each in notices}
    due = [(each, row) for each in notices if (row := rows[each.alert_id]) is not None]
    answer = send(vault, name, message_of(due, console))
    if answer.problem:
        note_not_sent(session.store, notices, answer.problem, session.now())
        sent.problems[name] = answer.problem
    else:
        note_sent(session.store, notices, session.now())
        sent.notices[name] = len(notices)


def message_of(due: Sequence[tuple[Notice, AlertRow]], console: str = "") -> Message:
    """One message about these notices, the worst first and what is resolved last; with links where the console's address is known."""
    ordered = sorted(due, key=lambda each: (each[0].event == "resolved", ORDER[each[1].kind], each[0].id))
    first, row = ordered[0]
    more = f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else ""
    title = f"sync_pipeline: {'resolved: ' if first.event == 'resolved' else ''}{title_of(row.key)}{more}"
    lines = [line for notice, alert in ordered for line in _lines(notice, alert, console)]
    level = "success" if first.event == "resolved" else LEVELS[KINDS[row.kind].severity]
    end = f"From {platform.node()}. `sync-pipeline alerts list` and the console's overview show what is open."
    return Message(title, "\n".join([*lines, end]), level)


def _lines(notice: Notice, row: AlertRow, console: str) -> list[str]:
    head = f"{HEADS[notice.event]}: {title_of(row.key)} (since {row.first_seen_at:%Y-%m-%d %H:%M} UTC)"
    if notice.event == "resolved":
        return [f"{head}, resolved {row.resolved_at:%Y-%m-%d %H:%M} UTC", ""]
    link = [f"{console.rstrip('/')}{path_of(row.key)}"] if console else []
    return [head, row.detail, *link, ""]


def _rules(session: Session) -> Rules:
    settings = session.settings
    return Rules(
        window=timedelta(seconds=settings.alert_group_seconds),
        repeat=timedelta(hours=settings.alert_repeat_hours),
        lasting=LASTING,
        about_a_destination=DESTINATION_FAILING,
    )
