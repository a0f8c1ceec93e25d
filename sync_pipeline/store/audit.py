"""Who changed what of the set-up: append-only, in words, never with a secret."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, not_, select

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import audit


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of the audit trail."""

    at: datetime
    by: str
    what: str
    detail: str


_LINES = select(audit.c.at, audit.c.by, audit.c.what, audit.c.detail)


def note(store: Store, by: str, what: str, detail: str, at: datetime) -> None:
    """Add a line."""
    with store.writing() as tx:
        note_in(tx, by, what, detail, at)


def note_in(tx: Connection, by: str, what: str, detail: str, at: datetime) -> None:
    """Add a line within the caller's transaction."""
    tx.execute(audit.insert().values(at=at, by=by, what=what, detail=detail))


def changes(store: Store, limit: int = 200) -> list[AuditLine]:
    """The newest lines, newest first."""
    with store.reading() as tx:
        return [AuditLine(*row) for row in tx.execute(_LINES.order_by(audit.c.id.desc()).limit(limit))]


def first_change(store: Store, since: datetime, besides: Sequence[str] = ()) -> AuditLine | None:
    """The first line from this instant on, without those that begin with one of these words."""
    others = [not_(audit.c.what.startswith(word)) for word in besides]
    with store.reading() as tx:
        row = tx.execute(_LINES.where(audit.c.at >= since, *others).order_by(audit.c.id).limit(1)).one_or_none()
    return None if row is None else AuditLine(*row)


def system_user() -> str:
    """``user@host``: the user the process runs as, not what LOGNAME says, and this machine."""
    return f"{_user()}@{platform.node()}"


def _user() -> str:
    try:
        import pwd
    except ImportError:  # Windows
        return os.environ.get("USERNAME", "unknown user")
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers run as users without a name
        return f"uid {os.getuid()}"
