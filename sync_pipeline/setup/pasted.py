"""Secrets as people paste them: freed of what copying adds, or refused with a sentence."""

from __future__ import annotations

from sync_pipeline.errors import ConfigError

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
