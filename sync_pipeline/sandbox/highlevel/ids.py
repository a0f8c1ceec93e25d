"""Ids as HighLevel assigns them: letters and digits for most things, 24 hex digits for records and what describes them."""

from __future__ import annotations

import hashlib
import re

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
RECORD_ID = re.compile(r"[0-9a-f]{24}")
COMPANY, HOME = "sandboxCompany000001", "sandboxHomeLocation1"


def letters(*parts: object) -> str:
    """Twenty letters and digits, the same for the same parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:20])
