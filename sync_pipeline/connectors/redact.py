"""Keeping keys and tokens out of everything a person or a log may see."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from sync_pipeline.errors import ConfigError

SHORTEST_SECRET = 4
HIDDEN = "***"


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret in it replaced, however often it occurs, also in the form it has in an address."""
    # The longest first: one that begins like another would leave its end behind.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN).replace(quote(secret, safe=""), HIDDEN)
    return text


def header_value(secret: str, setting: str) -> str:
    """The secret, fit for a header; raises ConfigError without showing it.

    Checked here because the HTTP library would print the value it refuses.
    """
    value = secret.strip()
    if not value or not value.isascii() or not value.isprintable():
        raise ConfigError(
            f"{setting} is empty or holds a character that no key has (a line break, a quote or an accent?).",
            fix="Copy the key again.",
        )
    return value
