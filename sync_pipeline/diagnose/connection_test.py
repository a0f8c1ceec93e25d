"""Diagnose: can we reach both systems, may we do what a sync does, and what is in the way; nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace

from sync_pipeline.diagnose.clockify import ClockifyProbes
from sync_pipeline.diagnose.finding import Finding, Status, run
from sync_pipeline.diagnose.snapshots import SnapshotsProbes
from sync_pipeline.errors import StoreError
from sync_pipeline.session.session import Session
from sync_pipeline.session.systems import facts_place
from sync_pipeline.settings import SYSTEMS, Settings
from sync_pipeline.store.health import note_names, note_test

PROBES: dict[str, type[ClockifyProbes | SnapshotsProbes]] = {"clockify": ClockifyProbes, "snapshots": SnapshotsProbes}
"""What is asked of each system, in this order."""


def without_retries(settings: Settings) -> Settings:
    """The settings of a session to diagnose with: it reports the present state, so nothing is tried again."""
    return replace(settings, max_attempts=1)


def diagnose(session: Session, systems: Collection[str] = SYSTEMS) -> Iterator[Finding]:
    """Everything a sync needs of these systems, finding by finding. Open the session with settings ``without_retries``.

    Nothing is written at the systems, and Clockify is asked for less than ten answers. What was found is kept, as a fact
    about each system.
    """
    yield Finding(Status.OK, f"ready ({session.store.dialect})", what="Database")
    yield from _in_clear(session, systems)
    for system in (system for system in PROBES if system in systems):
        there = PROBES[system](session)
        yield from _kept(session, system, run(there.probes()))
        with suppress(StoreError):  # the findings are reported even if they cannot be stored
            note_names(session.store, facts_place(session.settings, system), there.account, there.workspace)


def _kept(session: Session, system: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings, which are kept at the end; not where the request budget was used up: such a test says nothing."""
    found = []
    for finding in findings:
        found.append(finding)
        yield finding
    if not any(finding.busy for finding in found):
        documents = [finding.stored() for finding in found]
        with suppress(StoreError):
            note_test(session.store, facts_place(session.settings, system), documents, session.now())


def _in_clear(session: Session, systems: Collection[str]) -> Iterator[Finding]:
    """Not an error where it was allowed; where it was not, nothing is sent, and the probes report that."""
    for name in session.settings.in_clear:
        if name.partition("_")[0].lower() in systems:
            fix = "Use https:// unless every network in between is yours."
            detail = "plain http to another machine: your keys are sent unencrypted."
            yield Finding(Status.WARNING, detail, "Anyone in between can read them.", fix, what=name)
