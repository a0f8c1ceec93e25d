"""Targeted sync: a few records by id, without any conclusion about what else exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice

import pandas as pd

from sync_pipeline.connectors.paging import Record
from sync_pipeline.errors import ApiError, SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch, Counts
from sync_pipeline.stages.deliver import PAGE, deliver_deletes, deliver_pending, pages
from sync_pipeline.stages.guards import deletes, guard_first_contact, refuses_deletes
from sync_pipeline.stages.judge import judge
from sync_pipeline.stages.references import find, listed
from sync_pipeline.stages.seal import staged_rows
from sync_pipeline.stages.session import Progress, Session
from sync_pipeline.store.locks import loader_lock
from sync_pipeline.store.records import Known, lookup, mark_deleted, mark_observed, mark_unconfirmed, scan
from sync_pipeline.store.scope import Scope
from sync_pipeline.store.staging import Staging, stage
from sync_pipeline.store.syncs import TARGETED, begin, finish

WITNESSES = 3
"""Of so many records that should live one has to be readable: one of them may be gone as well, without a word."""
UNBELIEVABLE = (
    "It reads as gone, but so does whatever is known to live: it stays as it is. Check CLOCKIFY_WORKSPACE_ID and the "
    "rights of CLOCKIFY_API_KEY, or let the next full read decide."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a targeted sync did."""

    counts: Counts
    left: dict[str, str]
    """The records it could not deal with, by id, and why: they are to be tried again."""


def sync_ids(session: Session, spec: EntitySpec, ids: Collection[str], *, run_id: str) -> Answer:
    """Read these records again and make the target what they are now; what is gone follows the delete policy.

    A record that cannot be read holds up no other. Raises ApiError when none can be, or a system fails; what was
    delivered until then is remembered. Raises CheckFailed at the first contact with real accounts.
    """
    guard_first_contact(session, spec)
    with loader_lock(session.store, session.connection, spec.entity, on_wait=lambda note: _say(session, spec, note)):
        return _Targeted(session, spec, sorted(set(ids)), run_id).run()


def sync_by_id(session: Session, spec: EntitySpec, ids: list[str]) -> set[str]:
    """Fetch, map, check and deliver these records; returns the ids that are at the target afterwards."""
    observed_at = session.now()
    rows = staged_rows(judge(session, spec, find(session, spec, ids).values(), ids, run_id=None))
    with (
        loader_lock(session.store, session.connection, spec.entity),
        stage(session.store, session.connection, spec.entity, None) as staging,
    ):
        staging.add(rows)
        staging.merge(observed_at)
        deliver_pending(session, spec, staging, Counts(), sync_id=None)
    known = lookup(session.store, session.connection, spec.entity, ids)
    return {source_id for source_id, record in known.items() if record.is_delivered}


class _Targeted:
    """One run over a few ids, under the entity's lock."""

    def __init__(self, session: Session, spec: EntitySpec, ids: list[str], run_id: str) -> None:
        self._session, self._spec, self._ids, self._run_id = session, spec, ids, run_id
        self._key = (session.store, session.connection, spec.entity)
        self._observed_at = session.now()
        self._counts = Counts()
        self._left: dict[str, str] = {}

    def run(self) -> Answer:
        """Read, settle what is gone, deliver; the row in ``syncs`` makes no partition look complete."""
        before, at = self._session.requests, self._observed_at
        sync_id = begin(*self._key, run_id=self._run_id, observed_at=at, at=at, targeted=True)
        try:
            found = self._read()
            gone = self._settle_gone(found)
            with stage(*self._key) as staging:
                self._deliver(found, gone, staging, sync_id)
        finally:
            self._counts.requests = self._session.requests - before
            counts, requests = asdict(self._counts), self._counts.requests
            finish(self._session.store, sync_id, TARGETED, counts, requests, at=self._session.now())
        return Answer(self._counts, self._left)

    def _read(self) -> dict[str, Record]:
        """What the source has of these now."""
        if not self._session.can_fetch(self._spec):
            return listed(self._session, self._spec, self._ids)
        read: dict[str, Record | None] = {}
        failed: dict[str, ApiError] = {}
        for source_id in self._ids:
            try:
                read[source_id] = self._session.fetch(self._spec, source_id)
            except ApiError as error:
                failed[source_id] = error
        if failed and not read:
            raise next(iter(failed.values()))  # no record's fault, as far as anybody can tell
        self._left = {source_id: str(error) for source_id, error in failed.items()}
        self._ids = sorted(read)
        return {source_id: record for source_id, record in read.items() if record is not None}

    def _settle_gone(self, found: dict[str, Record]) -> set[str]:
        """Mark what is proven gone as deleted and return it; what cannot be proven stays, and is shown as unconfirmed."""
        missing = [source_id for source_id in self._ids if source_id not in found]
        asked = [known.source_id for known in lookup(*self._key, missing).values() if self._may_stand(known)]
        if not asked:
            return set()
        refused = refuses_deletes(self._session, self._spec, len(asked))
        gone = set[str]() if refused else self._confirmed(asked, found)
        unconfirmed = [source_id for source_id in asked if source_id not in gone and source_id not in found]
        self._left |= dict.fromkeys(unconfirmed, refused or UNBELIEVABLE)
        mark_deleted(*self._key, sorted(gone), self._observed_at)
        mark_unconfirmed(*self._key, unconfirmed, self._session.now())
        self._counts.unconfirmed += len(unconfirmed)
        return gone

    def _may_stand(self, known: Known) -> bool:
        """Whether the record lives as far as we know - or was proven gone, but still stands at the target."""
        return known.deleted_at is None or (known.delivered_hash is not None and deletes(self._spec))

    def _confirmed(self, missing: list[str], found: dict[str, Record]) -> set[str]:
        """Those of the missing ids that a second, independent look proves gone.

        The id of another workspace's record reads like a deleted one, and a plain member does not see what is not
        theirs: reads by id are believed when a record known to live could be read in the same run. What a second list
        does hold is added to ``found``.
        """
        session, spec = self._session, self._spec
        if spec.source.system == "clockify":
            session.call(session.clockify.prove_admin)
        if not session.can_fetch(spec):
            again = listed(session, spec, missing)
            found.update(again)
            return set(missing) - again.keys()
        witnesses = islice(self._witnesses(missing), WITNESSES)
        believable = found or any(session.fetch(spec, witness) is not None for witness in witnesses)
        return set(missing) if believable else set()

    def _witnesses(self, missing: Collection[str]) -> Iterator[str]:
        """Records that should be readable, those of the same days first: what was read lately is likely to live."""
        days = {known.partition for known in lookup(*self._key, missing).values() if known.partition}
        scopes: list[Scope] = [*((day, day) for day in sorted(days, reverse=True)), None]
        others = {*self._ids, *self._left}
        for known in (known for scope in scopes for page in scan(*self._key, scope) for known in page):
            if known.deleted_at is None and known.unconfirmed_at is None and known.source_id not in others:
                others.add(known.source_id)
                yield known.source_id

    def _deliver(self, found: dict[str, Record], gone: set[str], staging: Staging, sync_id: int) -> None:
        session, spec, counts = self._session, self._spec, self._counts
        sealed = judge(session, spec, found.values(), self._ids, run_id=self._run_id)
        rows = staged_rows(sealed, self._deliver_references(sealed))
        staging.add(rows)
        staging.merge(self._observed_at)
        mark_observed(*self._key, found, self._observed_at)
        statuses = Counter(row[4] for row in rows)
        counts.extracted = len(rows)
        counts.rejected, counts.excluded, counts.waiting = (statuses[s] for s in ("rejected", "excluded", "waiting"))
        counts.rejected += staging.refused()
        try:
            deliver_pending(session, spec, staging, counts, sync_id)
            deliver_deletes(session, spec, gone, counts, sync_id)
        except BaseException:  # Ctrl-C, too
            with suppress(SyncError):  # a broken store cannot count: what broke it is what matters
                counts.waiting += sum(map(len, pages(staging, PAGE)))  # not sent: pending, not unchanged
            raise
        finally:
            sent = counts.created + counts.adopted + counts.updated
            counts.unchanged = counts.extracted - sent - counts.rejected - counts.excluded - counts.waiting

    def _deliver_references(self, sealed: pd.DataFrame) -> frozenset[tuple[str, str]]:
        from sync_pipeline.stages.load import deliver_references

        waiting = int((sealed["status"] == "waiting").sum())
        return deliver_references(self._session, Batch([sealed], {"waiting": waiting}))


def _say(session: Session, spec: EntitySpec, note: str) -> None:
    session.report(Progress(spec.entity, "wait", note=note))
