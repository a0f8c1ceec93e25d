"""A program that sends one message through Apprise: ``python -m sync_pipeline.alerts.messenger``, asked on stdin.

A process of its own: whatever a service answers, and whatever a library logs about an address, stays in it, and it ends in time.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from sync_pipeline.settings import PREFIXES

SECONDS = 30.0
"""How long one message may take."""
MEMORY = 2 << 30
"""Bytes of address space: an endless answer ends the process, not the machine."""
WEBHOOKS = ("json", "jsons", "form", "forms", "xml", "xmls")
"""How addresses of webhooks begin that take any header."""
UNKNOWN = "Apprise does not know this address"
SIGNS = (
    ("refused", "nothing answers there: the connection was refused"),
    ("timed out", "no answer came in time"),
    ("not known", "there is no such host"),
    ("resolution", "there is no such host"),
    ("getaddrinfo", "there is no such host"),
    ("certificate", "its TLS certificate is not valid"),
    ("auth", "it does not accept the credentials"),
)
"""What a library logs -> what is reported: never its own words, which name the address."""
STATUS = re.compile(r"\berror=([1-5]\d\d)\b|\(([45]\d\d), b?['\"]")


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent."""

    title: str
    body: str
    kind: str = "info"
    """info | success | warning | failure, as Apprise names them."""
    key: str = ""
    """The same each time this message is sent; webhooks get it in the header Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class MessageResult:
    """Which service an address leads to, and why a message did not reach it; empty when it did."""

    service: str = ""
    problem: str = ""


def send(address: str, message: Message | None) -> MessageResult:
    """Send a message; without one, look only whether the address is one. It may take ``SECONDS``."""
    asked = {
        "address": _with_key(address, message),
        "message": None if message is None else [message.title, message.body, message.kind],
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    try:
        ended = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-m", __name__],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
            env=environ,
        )
        return MessageResult(*json.loads(ended.stdout))
    except subprocess.TimeoutExpired:
        return MessageResult(problem="no answer came in time")
    except (OSError, ValueError, TypeError):
        return MessageResult(problem="the program that sends messages did not work")


def _with_key(address: str, message: Message | None) -> str:
    if message is None or not message.key or address.partition("://")[0].lower() not in WEBHOOKS:
        return address
    return f"{address}{'&' if '?' in address else '?'}+Idempotency-Key={message.key}"


def main() -> None:
    """Answer what is asked on stdin, in one line of JSON."""
    _limit_memory()
    asked = json.load(sys.stdin)
    heard = _Heard()
    logging.basicConfig(level=logging.DEBUG, handlers=[heard])
    answer = _answer(asked["address"], asked["message"], heard)
    sys.stdout.write(json.dumps([answer.service, answer.problem]))


def _answer(address: str, message: list[str] | None, heard: _Heard) -> MessageResult:
    import apprise  # takes a second, and only this process needs it

    service = apprise.Apprise.instantiate(address)
    if not isinstance(service, apprise.NotifyBase):
        return MessageResult(problem=UNKNOWN)
    name = str(service.service_name)
    if message is None:
        return MessageResult(name)
    title, body, kind = message
    sender: Any = apprise.Apprise()
    sender.add(service)
    if sender.notify(title=title, body=body, notify_type=kind, body_format=apprise.NotifyFormat.TEXT):
        return MessageResult(name)
    return MessageResult(name, heard.problem)


class _Heard(logging.Handler):
    """What was logged while a message was sent, kept as one of a few sentences."""

    problem = "it did not accept the message"

    def emit(self, record: logging.LogRecord) -> None:
        """Take one line; a status says more than anything else."""
        line = record.getMessage()
        if record.levelno < logging.WARNING and "xception" not in line:
            return
        if found := STATUS.search(line):
            self.problem = f"it answered {found[1] or found[2]}"
        elif not self.problem.startswith("it answered"):
            self.problem = next((said for sign, said in SIGNS if sign in line.lower()), self.problem)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    main()
