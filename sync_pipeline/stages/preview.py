"""Preview: exactly what a sync would create, adopt, update and delete; nothing is sent.

Stored records are not changed. Only what a guard holds is noted, as a request for an approval, with the approval itself
where the options give it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from sync_pipeline.connectors.paging import Record
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.absence import look_up_absent
from sync_pipeline.stages.batch import Counts, Days, Options
from sync_pipeline.stages.check import Checking, CheckResult, checked
from sync_pipeline.stages.guards import HeldLines, Holding, hold, hold_rows
from sync_pipeline.stages.load import doubts_of, finish_moves, read_again
from sync_pipeline.stages.plan import REMOVALS, Missing, PlanLine, lines
from sync_pipeline.stages.process import processed_rows
from sync_pipeline.store.planned import Action
from sync_pipeline.store.staged_missing import DELETED, HELD, UNCONFIRMED
from sync_pipeline.store.staging import Staging

Shown = Literal["create", "adopt", "update", "delete", "unconfirmed"]
COUNTED: dict[str, str] = {
    "create": "created",
    "adopt": "adopted",
    **dict.fromkeys(("update", "restore", "rename"), "updated"),
    "wait": "waiting",
    "reject": "rejected",
}
"""The figure of ``Counts`` that a line adds to."""


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """One write a sync would send; ``fields`` maps each changed field to its (present, future) values.

    ``unconfirmed`` is no change: the record is missing at the source, and no second read has proven yet that it was
    deleted. A ``held`` change is not sent until it is approved.
    """

    action: Shown
    record: str
    fields: dict[str, tuple[Any, Any]]
    held: bool = False
    kind: Action = "update"
    """The action in the plan, which distinguishes a rename and a restore from other updates, and archiving from deleting."""
    label: str | None = None
    """What people call the record."""


@dataclass(slots=True)
class Preview:
    """What a sync of one entity would do."""

    entity: str
    counts: Counts
    checks: list[CheckResult]
    changes: list[PlannedWrite] = field(default_factory=list)
    """The first of them; ``total`` is how many there are."""
    total: int = 0
    held: tuple[HeldLines, ...] = ()
    """What the guards hold of it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What people call the records that the checks name."""

    @property
    def blocked(self) -> list[CheckResult]:
        """The checks that would block the load."""
        return [check for check in self.checks if check.blocks]


def preview(
    session: Session,
    spec: EntitySpec,
    days: Days | None,
    options: Options | None = None,
    *,
    keep: int | None = None,
    on_change: Callable[[PlannedWrite], object] | None = None,
    on_line: Callable[[PlanLine], object] | None = None,
) -> Preview:
    """Read, map and check one entity, and plan it, as a sync with these options would.

    Keeps the first ``keep`` changes, or all of them; passes each change to ``on_change``, and each line of the plan to
    ``on_line``.
    """
    options = options or Options()
    before = session.requests
    with checked(session, spec, days, options) as checking:
        staging = checking.staging
        unstaged = int(checking.notes["rows"]) - sum(staging.counts().values())
        holding = _settled(session, spec, checking, options)
        counts = _counts(staging, unstaged)
        ids = staging.missing.ids
        missing = Missing(ids(DELETED), ids(UNCONFIRMED, ~HELD), ids(HELD))
        counts.held_deletes, counts.unconfirmed = holding.deletes, len(missing.unconfirmed)
        result = Preview(spec.entity, counts, checking.results, held=holding.held)
        named = {str(row["record"]) for check in result.checks for row in check.rows if "record" in row}
        result.labels = staging.labels(named)
        is_blocked = bool(result.blocked)
        for line in lines(session, spec, staging, missing):
            _count(counts, line)
            if on_line is not None and not is_blocked:
                on_line(line)
            if (change := _change(line)) is not None:
                result.total += 1
                if keep is None or len(result.changes) < keep:
                    result.changes.append(change)
                if on_change is not None:
                    on_change(change)
    counts.requests = session.requests - before
    return result


def _settled(session: Session, spec: EntitySpec, checking: Checking, options: Options) -> Holding:
    """What a sync reads besides the batch before it merges it; nothing of it is stored."""
    staging, holding = checking.staging, checking.holding

    def stage(found: Mapping[str, Record], numbers: Mapping[str, int], *, by_id: bool) -> None:
        if found:
            staging.add_read(processed_rows(session, spec, found.values()), numbers, by_id=by_id)

    if not holding.everything:
        before = session.requests
        doubts = doubts_of(session, spec, checking.batch, staging)
        read_again(session, spec, staging, doubts, stage)
        if session.requests != before or any(doubts):
            holding = hold(session, spec, staging, options, remember=not options.dry_run)
    look_up_absent(session, spec, staging, holding, stage)
    if not holding.everything:
        finish_moves(session, spec, staging, stage)
    hold_rows(staging, holding)
    return holding


def _counts(staging: Staging, unstaged: int) -> Counts:
    """The figures that come from no line of the plan; rows without an id were rejected."""
    statuses = staging.counts()
    counts = Counts(extracted=sum(statuses.values()) + unstaged, rejected=statuses.get("rejected", 0) + unstaged)
    counts.excluded, counts.lagging = statuses.get("excluded", 0), statuses.get("kept", 0)
    # Waiting rows are only counted if what they wait for is not delivered: a sync delivers that first.
    counts.unchanged = staging.unchanged()
    return counts


def _count(counts: Counts, line: PlanLine) -> None:
    if line.action in REMOVALS:
        counts.deleted += not line.is_held
    elif line.is_checked:  # the others are counted with their checks, or as unconfirmed
        name = "held" if line.is_held else COUNTED[line.action]
        setattr(counts, name, getattr(counts, name) + 1)


def _change(line: PlanLine) -> PlannedWrite | None:
    """The line as a change, unless it waits or is rejected."""
    if line.action == "wait" and not line.is_checked:
        return PlannedWrite("unconfirmed", line.source_id, {}, kind="wait", label=line.label)
    if not line.writes:
        return None
    shown = {"restore": "update", "rename": "update", "archive": "delete"}.get(line.action, line.action)
    return PlannedWrite(cast("Shown", shown), line.source_id, line.fields, line.is_held, line.action, line.label)
