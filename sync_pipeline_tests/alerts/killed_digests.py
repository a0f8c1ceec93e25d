"""A program that makes and sends digests and is killed, by SIGKILL, at each of its steps in turn; then it continues without that.

Run by ``test_subscriptions.py``.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from datetime import timedelta
from functools import partial
from itertools import count

from sync_pipeline.alerts.destinations import PLACE
from sync_pipeline.alerts.messenger import Message, MessageResult
from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.session.secrets import Vault
from sync_pipeline.session.session import Session
from sync_pipeline.store import credentials
from sync_pipeline_tests.alerts import killed
from sync_pipeline_tests.alerts.subscribed import deliver

HOUR = timedelta(hours=1)


def main() -> None:
    """Rounds, each of which is killed one step later; prints how many there were."""
    killed.post = post  # the same, with the number of the message
    killed.in_process(begin, 0)
    for number in count(1):
        was_killed = killed.in_process(partial(news, number=number), 0, kill_at=number)
        killed.in_process(killed.nothing, 0)
        if not was_killed:
            sys.stdout.write(str(number))
            return


def begin(session: Session) -> None:
    """A destination; the first tick is where the subscription begins."""
    vault = Vault(session.store, session.settings)
    credentials.put(vault.store, vault.keyring, PLACE, "ops", {"address": "", "service": ""}, session.now())


def news(session: Session, number: int) -> None:
    """Two entries are new, a little ago."""
    with clock_from(utc_now() - HOUR):
        deliver(session, 2, f"round{number}-")


def post(vault: Vault, name: str, message: Message) -> MessageResult:  # noqa: ARG001  # as destinations.send_to
    """Send it to the sink."""
    killed.step()
    body = json.dumps({"title": message.title, "message": message.body}).encode()
    request = urllib.request.Request(os.environ["SINK"], body, {"Idempotency-Key": message.key})  # ours
    urllib.request.urlopen(request).close()
    killed.step()
    return MessageResult()


if __name__ == "__main__":
    main()
