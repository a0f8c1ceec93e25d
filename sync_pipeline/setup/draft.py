"""A draft: settings as a form would make them, checked before anything is stored or sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import count
from typing import Any, TypeVar

from anyio.from_thread import start_blocking_portal

from sync_pipeline import setting_types as kind
from sync_pipeline.connectors.guard import RequestGuard
from sync_pipeline.connectors.http import OnResult, RetryPolicy
from sync_pipeline.connectors.policy import Origin
from sync_pipeline.connectors.transport import Limits
from sync_pipeline.errors import ConfigError
from sync_pipeline.sandbox.embedded import embedded
from sync_pipeline.session.progress import Progress, reporting, silent
from sync_pipeline.session.secrets import Slot, place
from sync_pipeline.settings import SETTINGS, Settings
from sync_pipeline.setup.service import SetupService

T = TypeVar("T")
LONGEST_NAME, LONGEST_URL = 200, 1000
ONE_ATTEMPT = RetryPolicy(attempts=2, longest_wait=2.0, longest_retry_after=5.0, total_wait=10.0)
"""A person waits at a form: a system that is busy or unreachable is reported soon."""


def plain(text: str, what: str, most: int = LONGEST_NAME) -> str:
    """A name or id that was typed, in one short line; it becomes part of keys in our database."""
    text = " ".join(text.split())
    if len(text) > most or not text.isprintable():
        raise ConfigError(f"{what} is longer than {most} characters or not plain text.", fix="Copy it again.")
    return text


def base_url(text: str, what: str) -> str:
    """A base URL that was typed; ConfigError says what one looks like."""
    try:
        return kind.url(plain(text, what, LONGEST_URL))
    except ValueError as error:
        raise ConfigError(f"{what} is not {error}.", fix="Copy it from the system's own documentation.") from None


def refuse_given(setup: SetupService, values: Mapping[str, object]) -> None:
    """Raise ConfigError for a setting (by its field) that the environment holds at another value: that one would win."""
    now = setup.settings()
    for spec in SETTINGS:
        if spec.name not in values or not setup.is_given(spec.metadata["env"]):
            continue
        if getattr(now, spec.name) != values[spec.name]:
            raise ConfigError(
                f"{spec.metadata['env']} is set in the environment, which takes precedence, to another value.",
                fix="Unset it there, or choose what it says.",
            )


def secret_for(setup: SetupService, draft: Settings, slot: Slot, typed: str, what: str, *, is_known: bool) -> str:
    """The secret to use at the draft's address: the one typed, of the environment, or stored for just this address.

    One of the environment is not sent to an address that was only typed here (not ``is_known``). "" when
    there is none.
    """
    if setup.is_given(slot.variable):
        return _given(setup, draft, slot, typed, what, is_known=is_known)
    if typed:
        return clean_secret(typed, what)
    with setup.vault(draft) as vault:
        found = vault.get(slot)
    return found.value if found else ""


def _given(setup: SetupService, draft: Settings, slot: Slot, typed: str, what: str, *, is_known: bool) -> str:
    if typed:
        raise ConfigError(
            f"{slot.variable} is set in the environment, which takes precedence, so another one cannot be entered here.",
            fix=f"Unset {slot.variable}, or leave {what} empty.",
        )
    now = setup.settings()
    if not is_known and place(draft, slot.system) != place(now, slot.system):
        raise ConfigError(
            f"{slot.variable} is set in the environment and would be sent to an address that was only entered here.",
            fix=f"Set {slot.system.upper()}_BASE_URL beside it, or unset {slot.variable} and enter the key here.",
        )
    return str(getattr(now, slot.setting))


def origin_of(setup: SetupService, slot: Slot, typed: str) -> Origin:
    """Where the secret came from that ``secret_for`` gave."""
    if setup.is_given(slot.variable):
        return Origin.ENVIRONMENT
    return Origin.TYPED if typed else Origin.STORED


@contextmanager
def sandbox_if(needed: bool, settings: Settings) -> Iterator[None]:
    """The embedded sandbox runs meanwhile, where it is needed."""
    with embedded(settings.sandbox_port, settings.home / "sandbox.db") if needed else nullcontext():
        yield


def looking(settings: Settings, *, on_sandbox: bool) -> RequestGuard:
    """Looking at an account never writes, and at the sandbox's never leaves this machine."""
    limits = Limits.of(settings)
    return RequestGuard(only_loopback=on_sandbox, writes=False, why="it is only looked at", limits=limits)


def counting(system: str) -> OnResult:
    """Reports how many requests were answered, for a person who waits for all of them."""
    report, answers = reporting.get(silent), count(1)
    return lambda _: report(Progress(system, "answers", next(answers)))


def ask(work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run one coroutine of a connector to its end."""
    with start_blocking_portal() as portal:
        return portal.call(work, *args)


AROUND = " \t\r\n\v\f\u00a0\u200b\u200c\u200d\u2060\ufeff\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"
"""Spaces, invisible marks and quotes: no key begins or ends with them."""
LONGEST = 8192
SHORTEST = 4


def clean_secret(text: str, what: str) -> str:
    """The secret without what is around it; ConfigError, without showing it, for what no key looks like."""
    secret = text.strip(AROUND)
    trouble = _trouble(secret)
    if trouble:
        raise ConfigError(f"{what} {trouble}.", fix="Copy it again, and nothing else with it.")
    return secret


def _trouble(secret: str) -> str:
    if len(secret) < SHORTEST:
        return "is empty" if not secret else "is too short for a key"
    if len(secret) > LONGEST:
        return "is too long for a key"
    if len(secret.split()) > 1:
        return "has a space or a line break in its middle"
    if not secret.isascii() or not secret.isprintable():
        return "holds a character that no key has (an accent, a curly quote or something invisible)"
    return ""
