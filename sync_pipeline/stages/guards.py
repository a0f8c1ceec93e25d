"""Guards against disasters: how much of what is known a run may delete or rewrite, and what is held beyond it.

What is held waits for an approval, a person's yes; everything else of the batch is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session, is_first_contact
from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.plan import delete_lines, deletes
from sync_pipeline.stages.references import mark_kept
from sync_pipeline.store.approvals import (
    EXAMPLES,
    Approval,
    GuardName,
    Line,
    approval_of,
    decide,
    kept_former,
    withdraw,
)
from sync_pipeline.store.audit import system_user
from sync_pipeline.store.records import Absent, Known, RecordCounts
from sync_pipeline.store.scope import Scope
from sync_pipeline.store.staged_missing import DELETABLE, HELD, WAITS, StagedMissing, Which
from sync_pipeline.store.staging import Staging

HARMLESS = 5
"""Up to this many deletes are no suspicious share - each is still confirmed by a second read before it is sent."""
NAMED = 20
"""Held records that a message or a report names; the approval names all."""
ASKED = ", and the mapping says `deletes: approve`"
FLAGS: dict[GuardName, tuple[str, str]] = {
    "deletes": ("--allow-deletes", "allow_deletes"),
    "rewrite": ("--accept-rewrite", "accept_rewrite"),
    "first_contact": ("--yes", "first_contact"),
}
"""What allows it in one step: the option of the command line, and the one of a Dagster run. Creates have none."""
_ADVICE = re.compile(r"Look at `sync-pipeline approvals show (\d+)`, then allow it with [^.]*\.")
"""How a message about what is held ends while no one has decided: see ``_way_on``."""


class Use(NamedTuple):
    """An approval that allows rows of a batch to be loaded."""

    approval: int
    guard: GuardName
    scopes: Sequence[Scope] = ()
    """Of a rewrite: the days that hold a load of another mapping."""


@dataclass(frozen=True, slots=True)
class VolumeFigures:
    """The figures for the volume check: of ``known`` records, how many are absent and how many would change.

    ``nothing_left``: no record of the entity would remain, nor did the read find any other. ``mapping_changed``: some were loaded under another
    mapping; ``rewritten`` counts only those.
    """

    known: int = 0
    absent: int = 0
    nothing_left: bool = False
    rewritten: int = 0
    mapping_changed: bool = False

    def too_many_absent(self, settings: Settings) -> bool:
        """Whether more records are missing than a run may delete without an approval."""
        return self.nothing_left or self.absent > max(HARMLESS, settings.max_delete_share * self.known)

    def too_many_rewritten(self, settings: Settings) -> bool:
        """Whether a changed mapping would rewrite more than a run may without an approval."""
        return self.rewritten > settings.max_rewrite_share * self.known


@dataclass(frozen=True, slots=True)
class HeldLines:
    """What one guard holds of an entity."""

    entity: str
    guard: GuardName
    count: int
    reason: str
    """What is held, why, and how to go on; a sentence for people."""
    records: tuple[str, ...]
    """The first of them, by source id."""
    approval: int | None = None
    """The request that waits for a decision, or was declined; None where nothing may be remembered."""

    @property
    def is_delete(self) -> bool:
        """Whether deletes are held: these keep no day from being done."""
        return self.guard == "deletes"


@dataclass(frozen=True, slots=True)
class Holding:
    """What the guards hold of one batch; everything else is loaded."""

    guard: VolumeFigures = VolumeFigures()
    missing: int = 0
    """How many records the read did not find; ``Staging.missing`` lists them."""
    held: tuple[HeldLines, ...] = ()
    everything: bool = False
    """At first contact nothing at all is written."""
    deletes: int = 0
    """How many of the missing records stay at the target until their delete is allowed."""
    rewritten: tuple[Scope, ...] = ()
    """The days with held rewrites."""
    creates: bool = False
    """Whether the rows that would be created are held."""
    former: bool = False
    """Whether rows that only a changed mapping would rewrite keep the form they have."""
    uses: tuple[Use, ...] = ()
    """The approvals that are used by loading this batch."""


def hold(session: Session, spec: EntitySpec, staging: Staging, options: Options, *, remember: bool = True) -> Holding:
    """What the guards hold of the staged batch, less what was approved.

    With ``remember``, what is held is a request for an approval, and what ``options`` allow is one that was allowed.
    """
    former = leave_former(session, spec, staging, options, remember=remember)
    asking = _Asking(session, spec, staging, options, _measure(session, spec, staging), remember=remember)
    # Where nothing may be written, the first contact is approved by turning live syncing on.
    if session.mode.writes and is_first_contact(session, spec.entity):
        return asking.first_contact()
    return replace(asking.creates(asking.rewrite(asking.deletes())), former=former)


def hold_named(
    session: Session, spec: EntitySpec, staging: Staging, ids: Collection[str], window: Scope, options: Options
) -> dict[str, str]:
    """Mark those of the staged records of a plan file that a sync of its days (``window``) would hold if it found only these.

    Returns why they are held, by id; what allows the others is used up by their merge. Deletes are held by ``hold_deletes``.
    """
    asking = _Asking(session, spec, staging, options, _measure_named(session, spec, staging, ids, window))
    is_first = is_first_contact(session, spec.entity)
    holding = asking.first_contact() if is_first else asking.creates(asking.rewrite(Holding()))
    if holding.everything:
        staging.keep(ids)
        return dict.fromkeys(ids, holding.held[0].reason)
    reasons = dict.fromkeys(staging.held_among(ids), "")
    for held in holding.held:
        hold_rows(staging, replace(holding, creates=held.guard == "creates"))
        reasons |= dict.fromkeys(staging.held_among(ids) - reasons.keys(), held.reason)
    use_approvals(staging, holding.uses)
    return {key: why for key, why in reasons.items() if why}


def leave_former(
    session: Session, spec: EntitySpec, staging: Staging, options: Options | None = None, *, remember: bool = False
) -> bool:
    """Leave unchanged the rows that only the mapping changes, if that was chosen when the mapping was published.

    A run that accepts rewrites writes them, and ends that where ``remember`` says so.
    """
    if session.former is None:
        session.former = kept_former(session.store, session.pair)
    if (spec.entity, spec.fingerprint) not in session.former:
        return False
    if options is not None and options.accept_rewrite:
        if remember:
            session.ledger(spec).approvals.end_former()
            session.former -= {(spec.entity, spec.fingerprint)}
        return False
    staging.leave_former()
    return True


@dataclass(frozen=True, slots=True)
class _Volume:
    """What a batch would do, as the guards look at it."""

    figures: VolumeFigures
    otherwise: Sequence[Scope]
    """The days of it that hold a load of another mapping."""
    is_whole: bool = True
    """Whether it is all that there is of its days; else it does not show that nothing is held any more."""


def _measure(session: Session, spec: EntitySpec, staging: Staging) -> _Volume:
    """Measure what a read of the entity or of some days would do."""
    otherwise = session.ledger(spec).loads.loaded_otherwise(spec.fingerprint, staging.scope)
    staging.find_missing(again=deletes(spec))
    return _Volume(_volume(staging, _count_deletes(session, spec, staging.missing), otherwise), otherwise)


def _measure_named(
    session: Session, spec: EntitySpec, staging: Staging, ids: Collection[str], window: Scope
) -> _Volume:
    """Measure what a few records would do, beside all that are known of the window."""
    otherwise = _loaded_otherwise(session, spec, ids)
    with session.ledger(spec).staging(window) as whole:
        known = whole.known()
    rewritten = staging.count_rewrites(otherwise) if otherwise else 0
    figures = VolumeFigures(known, rewritten=rewritten, mapping_changed=bool(otherwise))
    return _Volume(figures, otherwise, is_whole=False)


class _Asking:
    """Asks for approvals of what one batch would do."""

    def __init__(
        self,
        session: Session,
        spec: EntitySpec,
        staging: Staging,
        options: Options,
        volume: _Volume,
        *,
        remember: bool = True,
    ) -> None:
        self._session, self._spec, self._staging, self._options = session, spec, staging, options
        self._volume, self._remember = volume, remember
        self._ledger = session.ledger(spec)
        self._otherwise, self._guard = volume.otherwise, volume.figures
        self._missing = staging.missing

    def first_contact(self) -> Holding:
        """Hold everything until a user approves the first sync, which makes as many once as any other sync."""
        holding = self._first_contact()
        return self.creates(holding) if self._spec.target.once and not holding.everything else holding

    def _first_contact(self) -> Holding:
        """Hold everything until a user approves the first sync; what was stored before was allowed by then."""
        count = self._staging.count_new()
        approval = self._configuration("first_contact", self._session.fingerprint, count, count)
        if approval is None and self._options.first_contact:
            return Holding(self._guard, self._missing.total)
        if approval is not None and approval.decision == "allowed":
            return Holding(self._guard, self._missing.total, uses=self._uses(approval))
        what = f"{_nothing_of(self._session, self._spec)} was ever delivered to these accounts, so all {count} {self._spec.entity} are held"
        held = self._held("first_contact", count, f"{what}: nothing is written", self._staging.first(NAMED), approval)
        return Holding(self._guard, held=(held,), everything=True)

    def deletes(self) -> Holding:
        """The deletes, where there are too many."""
        guard, spec, scope, missing = self._guard, self._spec, self._staging.scope, self._missing
        holding = Holding(guard, missing.total)
        within: Callable[[Line], bool] = lambda line: scope is None or scope[0] <= (line.partition or "") <= scope[1]  # noqa: E731
        is_much = deletes(spec) and guard.too_many_absent(self._session.settings)
        is_asked = is_much or spec.target.asks_for_deletes
        declined = _hold_deletes(self._session, spec, missing, is_asked=is_asked).declined
        request = _ask_deletes(
            self._session, spec, missing, within, allow=self._options.allow_deletes, remember=self._remember
        )
        if not (waits := missing.count(HELD)):
            return holding
        moved = " If they were moved to other days, sync those days in the same run." if spec.partitioned else ""
        much = (
            f", more than {self._session.settings.max_delete_share:.0%}"
            if not guard.nothing_left
            else ", all there are"
        )
        much = much if is_much else ASKED if spec.target.asks_for_deletes else ""
        some = "" if waits == guard.absent else f" {waits} of"
        what = (
            f"{guard.absent} of {guard.known} known {spec.entity} are missing at the source{much}:{some} these deletes "
            f"are held, everything else is loaded.{moved}"
        )
        names = missing.first(NAMED, HELD)
        held = self._held("deletes", waits, what.removesuffix("."), names, request or declined)
        return replace(holding, held=(*holding.held, held), deletes=waits)

    def rewrite(self, holding: Holding) -> Holding:
        """The rows that a changed mapping would rewrite, where there are too many."""
        guard, spec, settings = self._guard, self._spec, self._session.settings
        if not guard.too_many_rewritten(settings):
            self._withdraw_rewrite()
            return replace(holding, uses=(*holding.uses, *self._few("rewrite", guard.rewritten)))
        elsewhere = self._elsewhere() if self._staging.scope else 0
        approval = self._configuration("rewrite", spec.fingerprint, guard.rewritten, guard.rewritten + elsewhere)
        if approval is None and self._options.accept_rewrite:
            return holding
        if approval is not None and approval.decision == "allowed":
            return replace(holding, uses=(*holding.uses, *self._uses(approval)))
        what = (
            f"The mapping of {spec.entity} changed and {guard.rewritten} of {guard.known} records would be rewritten, more "
            f"than {settings.max_rewrite_share:.0%}: these are held, everything else is loaded"
        )
        what += f". Of other days up to {elsewhere:,} more would be" if elsewhere else ""
        names = [line.source_id for line in self._staging.rewrites(self._otherwise, NAMED)]
        held = self._held("rewrite", guard.rewritten, what, names, approval)
        return replace(holding, held=(*holding.held, held), rewritten=tuple(self._otherwise))

    def creates(self, holding: Holding) -> Holding:
        """The rows that would be created, where there are more than the user has set."""
        spec = self._spec
        most, limit = most_creates(self._session, spec)
        if most is None:
            return holding
        count = self._staging.count_creates()
        if count <= most:
            self._withdraw("creates")
            return replace(holding, uses=(*holding.uses, *self._few("creates", count)))
        approval = self._configuration("creates", spec.fingerprint, count, count)
        if approval is not None and approval.decision == "allowed":
            return replace(holding, uses=(*holding.uses, *self._uses(approval)))
        what = f"{count:,} {spec.entity} would be created, more than {limit} ({most:,}): these are held, everything else is loaded"
        names = [line.source_id for line in self._staging.creates(NAMED)]
        held = self._held("creates", count, what, names, approval)
        return replace(holding, held=(*holding.held, held), creates=True)

    def _withdraw(self, guard: GuardName) -> None:
        """Withdraw the open request when a read of all its days finds nothing to hold."""
        approvals = self._ledger.approvals
        asked = approvals.open_request(guard) if self._remember and self._volume.is_whole else None
        if asked is not None and approvals.is_within(asked.id, self._staging.scope):
            withdraw(self._session.store, asked.id)

    def _few(self, guard: GuardName, count: int) -> tuple[Use, ...]:
        """What so few records, which need no approval, use of one that was given for more of them."""
        if not count:
            return ()
        found = self._ledger.approvals.decided_configuration(guard, self._spec.fingerprint, count, self._session.now())
        return self._uses(found) if found is not None and found.decision == "allowed" else ()

    def _elsewhere(self) -> int:
        """Records of other days that the present mapping would rewrite, at most: what a request is about, too."""
        return self._ledger.loads.delivered_otherwise(self._spec.fingerprint, self._staging.scope)

    def _withdraw_rewrite(self) -> None:
        """Withdraw the open request when the mapping has changed or was applied everywhere."""
        asked = self._ledger.approvals.open_request("rewrite") if self._remember else None
        fingerprint = self._spec.fingerprint
        if asked is None or (
            asked.fingerprint == fingerprint and self._ledger.loads.delivered_otherwise(fingerprint, None)
        ):
            return
        withdraw(self._session.store, asked.id)

    def _uses(self, approval: Approval) -> tuple[Use, ...]:
        use = Use(approval.id, cast("GuardName", approval.guard), self._otherwise)
        return (use,) if self._remember else ()

    def _configuration(self, guard: GuardName, fingerprint: str, count: int, shown: int) -> Approval | None:
        """The decision that counts, or the request that waits for one; None where nothing may be remembered."""
        session, now = self._session, self._session.now()
        found = self._ledger.approvals.decided_configuration(guard, fingerprint, count, now)
        allow = guard in FLAGS and getattr(self._options, FLAGS[guard][1])
        if found is not None and (found.decision == "allowed" or not allow):
            return found
        if not self._remember:
            return None
        asked = self._ledger.approvals.request_configuration(guard, fingerprint, shown, self._examples(guard), now)
        if allow and asked is not None:
            return decide(session.store, session.pair, asked.id, "allowed", actor(guard), now)
        return asked

    def _examples(self, guard: GuardName) -> Sequence[Line]:
        if guard == "first_contact":
            return [Line(source_id, "create", None, None) for source_id in self._staging.first(EXAMPLES)]
        if guard == "rewrite":
            return self._staging.rewrites(self._otherwise, EXAMPLES)
        # Those of the first and the last day show which days it is about.
        lines = [*self._staging.creates(EXAMPLES), *self._staging.outermost_creates()]
        return list({line.source_id: line for line in lines}.values())

    def _held(
        self, guard: GuardName, count: int, what: str, records: Sequence[str], approval: Approval | None
    ) -> HeldLines:
        reason = f"{what}. {_way_on(self._session, guard, approval)}"
        return HeldLines(self._spec.entity, guard, count, reason, tuple(records), approval.id if approval else None)


class _Candidates(NamedTuple):
    """Deletes that need an approval: how many, and the decision about the first that was declined."""

    total: int
    declined: Approval | None


@dataclass(frozen=True, slots=True)
class _DeleteLines:
    """The lines of held deletes, read a page at a time."""

    spec: EntitySpec
    missing: StagedMissing
    which: Sequence[Which]

    def __len__(self) -> int:
        return self.missing.count(*self.which)

    def __iter__(self) -> Iterator[Line]:
        return (line for page in self.missing.pages(*self.which) for line in delete_lines(self.spec, page))


def _hold_deletes(session: Session, spec: EntitySpec, missing: StagedMissing, *, is_asked: bool) -> _Candidates:
    """Hold the deletes that no one has allowed: with ``is_asked`` all of them, else only those that an earlier run has held."""
    approvals, now = session.ledger(spec).approvals, session.now()
    total, declined = 0, None
    for page in missing.pages(DELETABLE) if deletes(spec) else ():
        lines = delete_lines(spec, page)
        if not is_asked:
            asked = approvals.asked_about("deletes", lines)
            lines = [line for line in lines if line.source_id in asked]
        decided = approvals.decisions("deletes", lines, now) if lines else {}
        missing.hold([line.source_id for line in lines if line.source_id not in decided], "waits")
        refused = [line.source_id for line in lines if _is_declined(decided.get(line.source_id))]
        missing.hold(refused, "declined")
        total += len(lines)
        declined = declined or next((decided[source_id] for source_id in refused), None)
    return _Candidates(total, declined)


def _is_declined(decision: Approval | None) -> bool:
    return decision is not None and decision.decision != "allowed"


def _ask_deletes(
    session: Session,
    spec: EntitySpec,
    missing: StagedMissing,
    replaces: Callable[[Line], bool],
    *,
    allow: bool,
    remember: bool,
) -> Approval | None:
    """The request for the held deletes; with ``allow`` they are allowed, and no longer held."""
    if not remember:
        if allow:
            missing.release()
        return None
    lines, now = _DeleteLines(spec, missing, [HELD if allow else WAITS]), session.now()
    request = session.ledger(spec).approvals.request_lines("deletes", lines, replaces, now)
    if allow and request is not None and lines:
        decide(session.store, session.pair, request.id, "allowed", actor("deletes"), now)
        missing.release()
    return request


def hold_deletes(session: Session, spec: EntitySpec, asked: Sequence[Known]) -> tuple[frozenset[str], str]:
    """Those of a few records, read by id as missing, that may not be deleted without an approval; and why."""
    with session.ledger(spec).staging() as staging:
        known, missing = staging.known(), staging.missing
        missing.add(Absent(each.source_id, each.partition, each.delivered_hash, each.deleted_at) for each in asked)
        count = _count_deletes(session, spec, missing)
        guard = VolumeFigures(known, count, nothing_left=0 < known <= count)
        is_much = guard.too_many_absent(session.settings)
        candidates = _hold_deletes(session, spec, missing, is_asked=is_much or spec.target.asks_for_deletes)
        if not candidates.total:
            return frozenset(), ""
        ids = {each.source_id for each in asked}
        request = _ask_deletes(session, spec, missing, lambda line: line.source_id in ids, allow=False, remember=True)
        held = frozenset(missing.ids(HELD))
    if not held:
        return held, ""
    much = ", more than a run may delete" if is_much else ASKED if spec.target.asks_for_deletes else ""
    return held, (
        f"{count} of {known} known {spec.entity} read as missing{much}: deleting "
        f"{len(held)} of them is held. {_way_on(session, 'deletes', request or candidates.declined)}"
    )


def hold_rewrites(session: Session, spec: EntitySpec, staging: Staging, ids: Collection[str]) -> dict[str, str]:
    """Hold the records, of a few read by id, whose rewrite by a changed mapping waits for approval; returns why, by id.

    Where it is allowed, their merge uses the approval up.
    """
    approvals = session.ledger(spec).approvals
    newest, now = approvals.newest("rewrite", spec.fingerprint), session.now()
    if newest is not None and newest.state(now) == "allowed":
        use_approvals(staging, [Use(newest.id, "rewrite", _loaded_otherwise(session, spec, ids))])
    if newest is None or not newest.waits(now):
        return {}
    staging.hold(_loaded_otherwise(session, spec, ids))
    why = f"The mapping of {spec.entity} changed: rewriting it is held. {_way_on(session, 'rewrite', newest)}"
    return dict.fromkeys(staging.held_among(ids), why)


def _loaded_otherwise(session: Session, spec: EntitySpec, ids: Collection[str]) -> list[Scope]:
    """The days of these records that hold a load of another mapping."""
    ledger = session.ledger(spec)
    days = {known.partition for known in ledger.lookup(ids).values()}
    scopes: list[Scope] = [(day, day) if day is not None else None for day in sorted(days, key=str)]
    return [scope for scope in scopes if ledger.loads.loaded_otherwise(spec.fingerprint, scope)]


def hold_creates(session: Session, spec: EntitySpec, staging: Staging, ids: Collection[str]) -> dict[str, str]:
    """Hold those of a few records, read by id, that would be created while creates wait; returns why, by id.

    Where they are allowed, their merge uses the approval up.
    """
    approvals, now, most = session.ledger(spec).approvals, session.now(), most_creates(session, spec)[0]
    if spec.target.once and most is not None and staging.count_creates() > most:
        _Asking(session, spec, staging, Options(), _measure_named(session, spec, staging, ids, None)).creates(Holding())
    newest = approvals.newest("creates", spec.fingerprint) if most is not None else None
    if newest is not None and newest.state(now) == "allowed":
        use_approvals(staging, [Use(newest.id, "creates")])
    if newest is None or not newest.waits(now):
        return {}
    before = staging.held_among(ids)
    staging.hold_creates()
    why = f"Too many {spec.entity} would be created: these are held. {_way_on(session, 'creates', newest)}"
    return dict.fromkeys(staging.held_among(ids) - before, why)


def most_creates(session: Session, spec: EntitySpec) -> tuple[int | None, str]:
    """How many records a run may create without an approval, and what says so."""
    most = session.settings.max_creates
    if spec.target.once and (most is None or spec.target.at_most < most):
        return spec.target.at_most, "its `at_most`"
    return most, "SYNC_MAX_CREATES"


def waits_for_creates(session: Session, spec: EntitySpec) -> bool:
    """Whether creates are held and not allowed."""
    if most_creates(session, spec)[0] is None:
        return False
    return session.ledger(spec).approvals.is_waiting("creates", spec.fingerprint, session.now())


def refuse_first_contact(session: Session, spec: EntitySpec) -> str:
    """Why a few records may not be synced by id: nothing was ever delivered to these accounts; empty when they may."""
    if not is_first_contact(session, spec.entity):
        return ""
    return (
        f"{_nothing_of(session, spec)} was ever delivered to these accounts, so these {spec.entity} are held. Look at `sync-pipeline preview`, "
        "then allow it with `sync-pipeline sync --yes` - or launch it with `first_contact: true`."
    )


def hold_first_contact(session: Session, spec: EntitySpec) -> str:
    """Why nothing of a plan file is written yet; empty when a first contact is allowed, or was made before."""
    why = "" if may_begin(session, spec) else refuse_first_contact(session, spec)
    request = session.ledger(spec).approvals.newest("first_contact", session.fingerprint) if why else None
    if request is None:
        return why
    what = f"{_nothing_of(session, spec)} was ever delivered to these accounts, so these {spec.entity} are held"
    return f"{what}. {_way_on(session, 'first_contact', request)}"


def first_contact_is_held(session: Session, spec: EntitySpec) -> bool:
    """Whether the first delivery of this entity is held and not allowed."""
    asked = session.ledger(spec).approvals.was_asked("first_contact") and is_first_contact(session, spec.entity)
    return asked and not may_begin(session, spec)


def _nothing_of(session: Session, spec: EntitySpec) -> str:
    return "Nothing" if is_first_contact(session) else f"None of the {spec.entity}"


def may_begin(session: Session, spec: EntitySpec) -> bool:
    """Whether the first contact with this entity is allowed."""
    approvals = session.ledger(spec).approvals
    found = approvals.decided_configuration("first_contact", session.fingerprint, 0, session.now())
    return found is not None and found.decision == "allowed"


def waits_for_rewrite(session: Session, spec: EntitySpec) -> bool:
    """Whether rewrites by the current mapping are held and not allowed."""
    return session.ledger(spec).approvals.is_waiting("rewrite", spec.fingerprint, session.now())


def hold_rows(staging: Staging, holding: Holding) -> None:
    """Mark the rows that are held."""
    if holding.former:
        staging.leave_former()
    staging.hold(holding.rewritten)
    if holding.creates:
        staging.hold_creates()


def use_approvals(staging: Staging, uses: Iterable[Use]) -> None:
    """Let the merge count, in the transaction that stores them, the records that are loaded on the strength of approvals."""
    for use in uses:
        staging.use_approval(use.approval, use.guard, use.scopes)


def _count_deletes(session: Session, spec: EntitySpec, missing: StagedMissing) -> int:
    """How many missing records would be deleted: they are at the target, and no policy keeps them."""
    if not deletes(spec):
        return 0
    mark_kept(session, spec, missing)
    return missing.count(DELETABLE)


def _volume(staging: Staging, absent: int, otherwise: Sequence[Scope]) -> VolumeFigures:
    """Count what the staged batch would delete and rewrite."""
    known = staging.known()
    nothing_left = (
        absent > 0
        and staging.witness() is None
        and 0 < known <= staging.count_absent()
        and staging.known(everywhere=True) <= known
    )
    return VolumeFigures(
        known=known,
        absent=absent,
        nothing_left=nothing_left,
        rewritten=staging.count_rewrites(otherwise) if otherwise else 0,
        mapping_changed=bool(otherwise),
    )


def to_delete(spec: EntitySpec, state: RecordCounts) -> int:
    """How many records are to be deleted at the target; others that are deleted at the source are kept there."""
    return state.pending_deletes if spec.target.delete in {"delete", "archive"} else 0


def actor(guard: GuardName) -> str:
    """Who allows it by an option of a run."""
    return f"{system_user()} ({FLAGS[guard][0]})"


def _way_on(session: Session, guard: GuardName, approval: Approval | None) -> str:
    """What lets a person go on from what is held."""
    option, config = FLAGS.get(guard, ("", ""))
    if approval is None and not option:
        return "`sync-pipeline preview` asks for an approval; `sync-pipeline approvals list` shows it."
    if approval is None:
        command = "sync" if session.mode.writes else "preview"
        return f"To allow it, run `sync-pipeline {command} {option}`."
    allow = f"`sync-pipeline approvals allow {approval.id}`"
    if approval.decision == "declined":
        return _decided(approval)
    look = f"`sync-pipeline approvals show {approval.id}`"
    if not option:
        return f"Look at {look}, then allow it with {allow} or in the console."
    return f"Look at {look}, then allow it with {allow}, in the console, or by {option} (in Dagster `{config}: true`)."


def as_decided(session: Session, reason: str) -> str:
    """The reason of a sync that held something, with what was decided since in place of the advice to decide."""
    asked = [approval_of(session.store, session.pair, int(number)) for number in _ADVICE.findall(reason)]
    for approval in asked:
        reason = with_decision(reason, approval) if approval is not None else reason
    return reason


def with_decision(reason: str, approval: Approval) -> str:
    """A reason with this decision in place of the advice to make it."""

    def now(advice: re.Match[str]) -> str:
        return _decided(approval) if approval.decision is not None and int(advice[1]) == approval.id else advice[0]

    return _ADVICE.sub(now, reason)


def without_advice(reason: str) -> str:
    """A reason without the advice to decide, for a page that has buttons for that beside it."""
    return _ADVICE.sub("", reason).replace("  ", " ").strip()


def _decided(approval: Approval) -> str:
    """Who decided when, and what happens next."""
    at, until = (f"{each:%Y-%m-%d %H:%M} UTC" for each in (approval.decided_at, approval.expires_at) if each)
    if approval.decision == "allowed":
        return f"{approval.by} allowed it at {at}: the next sync carries it out."
    return (
        f"{approval.by} declined it at {at}: what is held stays unchanged at the target until {until}, then a sync asks "
        f"again. `sync-pipeline approvals allow {approval.id}` allows it after all."
    )
