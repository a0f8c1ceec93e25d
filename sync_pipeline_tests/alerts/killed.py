"""A program that sends alerts and is killed, by SIGKILL, at each of its steps in turn; then it continues without that.

A step is a moment before a commit, or before or after a message is sent. Run by ``test_killed.py``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import count

from sqlalchemy import Engine, delete, event

from sync_pipeline.alerts.destinations import PLACE
from sync_pipeline.alerts.messenger import Message, MessageResult
from sync_pipeline.alerts.sending import send_alerts
from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.session.secrets import Vault
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import load_settings
from sync_pipeline.store import credentials
from sync_pipeline.store.health import note_failure, note_ok
from sync_pipeline.store.schema import alert_notices, alerts

HOUR = timedelta(hours=1)


def main() -> None:
    """Rounds, each of which is killed one step later; prints how many there were."""
    for number in count(1):
        opening = in_process(partial(begin, number=number), 0, kill_at=number)
        in_process(nothing, 0)
        resolving = in_process(accept, 3, kill_at=number)
        in_process(nothing, 3)
        if not (opening or resolving):
            sys.stdout.write(str(number))
            return


def begin(session: Session, number: int) -> None:
    """Nothing was ever sent, and a key is refused."""
    with session.store.writing() as tx:
        tx.execute(delete(alert_notices))
        tx.execute(delete(alerts))
    vault = Vault(session.store, session.settings)
    credentials.put(vault.store, vault.keyring, PLACE, "ops", {"address": "", "service": ""}, session.now())
    note_failure(session.store, session.pair, "clockify", "key refused", f"Round {number}.")


def ticks(session: Session, hour: int) -> None:
    """Two ticks, so far apart that the second one sends what the first one found."""
    for after in (hour, hour + 1):
        with clock_from(utc_now() + after * HOUR):
            send_alerts(session, send=post)


def post(vault: Vault, name: str, message: Message) -> MessageResult:  # noqa: ARG001  # as destinations.send_to
    """Send it to the sink."""
    step()
    body = json.dumps({"title": message.title, "message": message.body}).encode()
    urllib.request.urlopen(urllib.request.Request(os.environ["SINK"], body)).close()  # ours
    step()
    return MessageResult()


_left = 0


def step() -> None:
    """One moment at which this process may be killed."""
    global _left  # noqa: PLW0603  # of one process
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def nothing(_session: Session) -> None:
    """It goes on after it was killed."""


def accept(session: Session) -> None:
    """The key is accepted again."""
    note_ok(session.store, session.pair, "clockify")


def in_process(first: Callable[[Session], None], hour: int, kill_at: int = 0) -> bool:
    """Do that, then two ticks, in a process of its own that is killed at that step of them; returns whether it was."""
    global _left  # noqa: PLW0603
    child = os.fork()
    if child == 0:
        event.listen(Engine, "commit", lambda _connection: step())
        with open_session(load_settings()) as session:
            first(session)
            _left = kill_at
            ticks(session, hour)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    main()
