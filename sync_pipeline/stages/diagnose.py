"""Diagnose: can we reach both systems, may we do what a sync does, and does the plan setting fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.session import Session


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``sync-pipeline check``; one that is ``ok`` and has a ``fix`` is a warning."""

    what: str
    ok: bool
    detail: str
    fix: str = ""


def diagnose(session: Session) -> Iterator[Finding]:
    """Look at everything a sync needs, one request or two each; nothing is written."""
    yield Finding("Database", True, f"ready ({session.store.dialect})")
    yield from _in_clear(session)
    yield _look("Clockify key", lambda: _key(session))
    yield _look("Clockify workspace", lambda: str(session.call(session.clockify.workspace)["name"]))
    yield _plan(session)
    for spec in session.specs.values():
        yield _look(f"Read {spec.entity} ({spec.source.system})", partial(_first, session, spec))
    for spec in session.specs.values():
        yield _look(f"Write {spec.entity} ({spec.target.system})", partial(_may_write, session, spec))


def _in_clear(session: Session) -> Iterator[Finding]:
    """Not an error: within one's own network it may be meant."""
    for name in session.settings.in_clear:
        fix = "Use https:// unless every network in between is yours."
        yield Finding(name, True, "plain http to another machine, so your keys travel in clear.", fix)


def _look(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except SyncError as error:
        return Finding(what, False, error.message, error.fix)


def _key(session: Session) -> str:
    me = session.call(session.clockify.me)
    return f"{me.get('name') or 'a user'} <{me.get('email')}>"


def _first(session: Session, spec: EntitySpec) -> str:
    if spec.source.system == "snapshots":
        session.call(session.snapshots.probe, spec.entity)
        return "allowed"
    now = session.now().date()
    with closing(session.read(spec, Window.of_days(now, now) if spec.partitioned else None)) as pages:
        rows = next(pages, [])
    return f"allowed ({len(rows)} on the first page)"


def _may_write(session: Session, spec: EntitySpec) -> str:
    """Nothing is written: Snapshots is asked, and whom Clockify lets write its clients follows from the role."""
    if spec.target.system == "clockify":
        session.call(session.clockify.prove_admin)
        return "allowed (an admin or owner)"
    session.call(session.snapshots.may_write, spec.entity)
    return "allowed"


def _plan(session: Session) -> Finding:
    """Whether CLOCKIFY_PLAN is what the workspace says of itself: too generous meets 429s, too modest is slow."""
    try:
        workspace = session.call(session.clockify.workspace)
    except SyncError as error:
        return Finding("Clockify plan", False, error.message, error.fix)
    said, configured = str(workspace.get("featureSubscriptionType") or "unknown"), session.settings.clockify_plan
    free = said.upper() in {"FREE", "UNKNOWN"}
    if free and configured == "paid":
        fix = "Set CLOCKIFY_PLAN=free, unless you know better: a Free workspace has 30 requests an hour."
        return Finding(
            "Clockify plan", said.upper() == "UNKNOWN", f"the workspace says {said}, the setting says paid", fix
        )
    if not free and configured == "free":
        fix = "Set CLOCKIFY_PLAN=paid: 50 requests a second instead of 30 an hour."
        return Finding("Clockify plan", True, f"the workspace says {said}, the setting says free", fix)
    return Finding("Clockify plan", True, f"{said} (CLOCKIFY_PLAN={configured})")
