"""Changes of the mappings that are not published: gathered in a draft, previewed, published whole or discarded.

While live syncing is on, the mapping pages and commands change the draft, and syncing continues with what is published.
Otherwise there is nothing to protect, and a change takes effect immediately.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, NotAllowed
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.settings import MAPPINGS, Settings
from sync_pipeline.setup.document import differences, with_changes
from sync_pipeline.setup.service import SetupService, revision_of
from sync_pipeline.setup.switching import undecided, would_pause
from sync_pipeline.setup.transfer import SettingDifference, compared
from sync_pipeline.setup.trial import kind_for
from sync_pipeline.store import approvals
from sync_pipeline.store.audit import note_in
from sync_pipeline.store.requests import WorkScope
from sync_pipeline.store.setup import (
    CHANGED,
    LOOK_AGAIN,
    SetupChange,
    SetupVersion,
    list_versions,
    put_current_in,
    put_draft,
    remove_draft_in,
    version_in,
    version_of,
)
from sync_pipeline.store.switches import move_in
from sync_pipeline.store.trials import Trial, last_trial, pass_in

RESTORED = (MAPPINGS, "entities", "start_date")
"""What going back to a version changes; accounts stay, since their secrets are not part of a version."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The changes that wait, who made the last of them and when."""

    id: int
    by: str
    at: datetime
    changes: tuple[SettingDifference, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """What is still needed before a draft can be published."""

    is_live: bool
    """Whether live syncing is on with what is published, so that the draft has to be previewed."""
    trial: Trial | None
    """The newest preview of just this draft."""
    rewrites: dict[str, int]
    """Records that it rewrites, for each entity that needs an approval for it."""
    obstacle: str
    """Why it cannot be published; "" when it can, once its rewrites are approved."""


@dataclass(frozen=True, slots=True)
class _Published:
    """What is published."""

    former: str
    """The configuration that is live; "" when none is."""
    trial: Trial | None
    changed: list[EntitySpec]
    """The entities with a changed mapping."""
    kept: dict[str, int] | None
    """How many of their records keep the form they have until they change at the source; None: all are rewritten."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version that is or was current, and what it changed."""

    version: SetupVersion
    changes: tuple[SettingDifference, ...]


def mapping_setup(setup: SetupService, entity: str = "") -> SetupService:
    """The service that changes of this entity's mapping go through: that of the draft while live syncing is on."""
    drafted = setup.on_draft()
    return drafted if drafted.settings().setup_draft or would_pause(setup, entity) else setup


def read_draft(setup: SetupService) -> Draft | None:
    """The draft; None when nothing waits."""
    with setup.store() as store:
        found = version_in(store, setup.given().setup_name, "draft")
    if found is None:
        return None
    changes = compared(setup.settings().setup_document, setup.on_draft().settings().setup_document)
    return Draft(found.id, found.by, found.at, tuple(changes))


def read_publication(setup: SetupService) -> Publication:
    """How far the draft is on its way."""
    is_live = would_pause(setup)
    with setup.on_draft().reading() as session:
        kept = session.store, session.pair, session.fingerprint
        trial = last_trial(*kept, kind_for(session.settings)) if is_live else last_trial(*kept)
        held = undecided(session, trial) if trial is not None else []
        rewrites = {one["entity"]: _rewritten(session, one["entity"]) for one in held if one["guard"] == "rewrite"}
        others = [one["reason"] for one in held if one["guard"] != "rewrite"]
    return Publication(is_live, trial, rewrites, _obstacle(trial, others) if is_live else "")


class PublishedVersion(NamedTuple):
    """What publishing a draft made."""

    number: int
    """Of the version."""
    requests: tuple[int, ...] = ()
    """The requests that rewrite what was delivered before."""


def publish(
    setup: SetupService, *, since: str | None, accept_rewrite: bool = False, only_changed: bool = False
) -> PublishedVersion:
    """Make the draft current, in one transaction with the switch of live syncing.

    With ``only_changed`` a record gets the new mapping when it changes at the source. Otherwise, while live syncing is on,
    the daemon is asked to rewrite the others.

    NotAllowed says what is in the way; ChangedMeanwhile when the set-up is not the one that was looked at.
    """
    way = read_publication(setup)
    drafted, now = setup.on_draft(), setup.settings()
    settings = drafted.settings()
    if not settings.setup_draft or (since is not None and since != revision_of(settings)):
        raise ChangedMeanwhile(CHANGED, fix=LOOK_AGAIN)
    if way.obstacle:
        raise NotAllowed(f"The changes cannot be published: {way.obstacle}")
    if way.rewrites and not (accept_rewrite or only_changed):
        some = ", ".join(f"{count:,} {entity}" for entity, count in way.rewrites.items())
        raise NotAllowed(
            f"Publishing rewrites {some}.",
            fix="Publish and accept that, publish for new and changed records only, or discard the changes.",
        )
    former = _fingerprint(setup) if way.is_live else ""
    with drafted.reading() as session:
        changed = _changed(session, setup)
        if not only_changed:
            _allow_rewrites(session, setup, way.rewrites)
        kept = {spec.entity: _rewritten(session, spec.entity) for spec in changed} if only_changed else None
        number = _publish(session, setup, now, _Published(former, way.trial, changed, kept))
        is_rewriting = way.is_live and not only_changed
        requests = _ask_for_rewrites(session, setup, changed) if is_rewriting else []
    return PublishedVersion(number, tuple(requests))


def discard(setup: SetupService, *, since: str | None) -> None:
    """Forget the draft; nothing else changes."""
    settings = setup.on_draft().settings()
    with setup.store() as store, store.writing() as tx:
        stale = since is not None and since != revision_of(settings)
        if stale or not remove_draft_in(tx, settings.setup_name, settings.setup_draft):
            raise ChangedMeanwhile(CHANGED, fix=LOOK_AGAIN)
    setup.note("draft discarded", "the mappings are as published")


def versions(setup: SetupService, limit: int = 50) -> list[Version]:
    """The versions, newest first, each with what it changed."""
    with setup.store() as store:
        found = list_versions(store, setup.given().setup_name, limit + 1)
    before = [*(one.document for one in found[1:]), ""]
    return [Version(one, tuple(compared(old, one.document))) for one, old in zip(found, before, strict=False)][:limit]


def go_back(setup: SetupService, number: int, *, since: str | None) -> Draft | None:
    """Make a draft from an earlier version's entities, start date and mappings; None when nothing differs."""
    drafted = setup.on_draft()
    settings = drafted.settings()
    if since is not None and since != revision_of(settings):
        raise ChangedMeanwhile(CHANGED, fix=LOOK_AGAIN)
    current = setup.settings()
    with setup.store() as store:
        found = version_of(store, settings.setup_name, number)
        if found is None or found.state == "draft":
            raise ConfigError(
                f"There is no version {number}.",
                fix="*Versions* in the console or `sync-pipeline setup versions` lists them.",
            )
        wanted = differences(current.setup_document, found.document)
        changes = {path: value for path, value in wanted.items() if path[0] in RESTORED}
        if changes:
            document = with_changes(current.setup_document, changes)
            change = SetupChange(setup.by, setup.now(), f"as in version {number}")
            base, draft = current.setup_version or None, settings.setup_draft or None
            put_draft(store, settings.setup_name, document, change, base_id=base, expected=draft)
    if not changes:
        return None
    setup.note("draft", f"as in version {number}")
    return read_draft(setup)


def _obstacle(trial: Trial | None, others: list[str]) -> str:
    if trial is None:
        return "they have not been previewed yet."
    if trial.outcome is None:
        return "their preview has not ended yet."
    if trial.outcome not in ("passed", "held"):
        return "their preview did not pass. Correct what it found and preview them again."
    return " ".join(others)


def _rewritten(session: Session, entity: str) -> int:
    """The records that were delivered under another mapping: what an approval covers."""
    fingerprint = session.spec(entity).fingerprint
    return session.ledger(entity).loads.delivered_otherwise(fingerprint, None)


def _allow_rewrites(session: Session, setup: SetupService, rewrites: dict[str, int]) -> None:
    for entity, count in rewrites.items():
        fingerprint, at = session.spec(entity).fingerprint, setup.now()
        asked = session.ledger(entity).approvals.request_configuration("rewrite", fingerprint, count, (), at)
        if asked is not None:
            approvals.decide(session.store, session.pair, asked.id, "allowed", setup.by, at)


def _changed(session: Session, setup: SetupService) -> list[EntitySpec]:
    """The entities that were synced before and have a changed mapping."""
    now = specs_of(setup.settings())
    return [spec for name, spec in session.specs.items() if name in now and now[name].fingerprint != spec.fingerprint]


def _choose_former(tx: Connection, session: Session, what: _Published, by: str, at: datetime) -> None:
    """Choose for each entity with a changed mapping whether records at the target keep their form until the source changes."""
    for spec in what.changed:
        asked = session.ledger(spec).approvals
        if what.kept is None:
            asked.end_former_in(tx)
        else:
            asked.keep_former_in(tx, spec.fingerprint, what.kept[spec.entity], by, at)


def _ask_for_rewrites(session: Session, setup: SetupService, changed: list[EntitySpec]) -> list[int]:
    """Have the daemon read the entities again, with all of their days; returns the requests."""
    # Here, not above: they load pandas, which commands that look at a draft do without.
    from sync_pipeline.setup.requests import ask_for
    from sync_pipeline.stages.batch import whole_range

    days = whole_range(session.settings, session.now().astimezone(UTC).date(), 0).keys
    asked = [
        ask_for(setup, "backfill", WorkScope(spec.entity, days[0], days[-1]))
        if spec.partitioned
        else ask_for(setup, "sync", WorkScope(spec.entity))
        for spec in changed
    ]
    return [request.id for request, _ in asked]


def _fingerprint(setup: SetupService) -> str:
    with setup.reading() as session:
        return session.fingerprint


def _publish(session: Session, setup: SetupService, now: Settings, what: _Published) -> int:
    """Store the version and keep the switch on for it, with what was chosen for the records at the target."""
    former, trial = what.former, what.trial
    drafted, at = session.settings, setup.now()
    detail = "; ".join(one.key for one in compared(now.setup_document, drafted.setup_document))[:300]
    with session.store.writing() as tx:
        moved = not former or move_in(tx, session.pair, former, session.fingerprint, by=setup.by, at=at)
        if not moved or not remove_draft_in(tx, drafted.setup_name, drafted.setup_draft):
            raise ChangedMeanwhile(CHANGED, fix=LOOK_AGAIN)
        if former and trial is not None:
            pass_in(tx, trial.id)
        _choose_former(tx, session, what, setup.by, at)
        change = SetupChange(setup.by, at, f"published: {detail}")
        number = put_current_in(tx, drafted.setup_name, drafted.setup_document, change, expected=now.setup_version)
        note_in(tx, setup.by, "mapping published", f"version {number}: {detail}", at)
    return number
