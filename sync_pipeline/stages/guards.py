"""Guards against disasters: how much of what is known a run may delete or rewrite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sync_pipeline.errors import CheckFailed
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings
from sync_pipeline.stages.session import Session, is_first_contact
from sync_pipeline.store.staging import Staging, stage
from sync_pipeline.store.syncs import loaded_otherwise

if TYPE_CHECKING:
    from sync_pipeline.stages.check import Options

HARMLESS = 5
"""Up to this many deletes are no suspicious share - each is still confirmed by a second read before it is sent."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The figures the volume check judges: of ``known`` records, how many are absent and how many would change.

    ``nothing_left``: no record of the entity would remain, nor did the read meet any other. ``mapping_changed``: some were loaded under another
    mapping; ``rewritten`` counts only those.
    """

    known: int = 0
    absent: int = 0
    nothing_left: bool = False
    rewritten: int = 0
    mapping_changed: bool = False

    def problem(self, spec: EntitySpec, settings: Settings, options: Options) -> str:
        """Why the batch is blocked, with the fix; empty when it is not."""
        if self.too_many_absent(settings) and not options.allow_deletes:
            moved = " If they were moved to other days, sync those days in the same run." if spec.partitioned else ""
            much = f"more than {settings.max_delete_share:.0%}" if not self.nothing_left else "all there are"
            return (
                f"{self.absent} of {self.known} known {spec.entity} are gone from the source, {much}: nothing is loaded. "
                f"If that is right, run it again with --allow-deletes.{moved}"
            )
        if self.rewritten > settings.max_rewrite_share * self.known and not options.accept_rewrite:
            return (
                f"The mapping of {spec.entity} changed and {self.rewritten} of {self.known} records would be rewritten, "
                f"more than {settings.max_rewrite_share:.0%}: nothing is loaded. Look at `sync-pipeline preview`, then "
                "run it again with --accept-rewrite."
            )
        return ""

    def too_many_absent(self, settings: Settings) -> bool:
        """Whether more records vanished than a run may delete without a word from somebody."""
        return self.nothing_left or self.absent > max(HARMLESS, settings.max_delete_share * self.known)


def guard_first_contact(session: Session, spec: EntitySpec) -> None:
    """Raise CheckFailed at the first contact with real accounts, when nobody said that it may begin."""
    if is_first_contact(session):
        raise CheckFailed(
            f"Nothing was ever delivered to these accounts, so {spec.entity} are not loaded without a word.",
            fix="Look at `sync-pipeline preview`, then run `sync-pipeline sync --yes` - or launch it with "
            "`first_contact: true`.",
        )


def refuses_deletes(session: Session, spec: EntitySpec, count: int) -> str:
    """Why a run that asks for a few records by id may not delete this many of them; empty when it may."""
    with stage(session.store, session.connection, spec.entity) as staging:
        known = staging.known()
    if not Guard(known, count, nothing_left=0 < known <= count).too_many_absent(session.settings):
        return ""
    return (
        f"{count} of {known} known {spec.entity} read as gone, more than a run may delete: they stay as they are. "
        f"If that is right, run `sync-pipeline sync --entity {spec.entity} --allow-deletes`."
    )


def guard_volume(session: Session, spec: EntitySpec, staging: Staging) -> Guard:
    """Count what the staged batch would delete and rewrite."""
    known, absent = staging.known(), staging.count_absent(again=deletes(spec))
    otherwise = loaded_otherwise(session.store, session.connection, spec.entity, spec.fingerprint, staging.scope)
    return Guard(
        known=known,
        absent=absent,
        nothing_left=0 < known <= absent and staging.witness() is None and staging.known(everywhere=True) <= known,
        rewritten=staging.rewritten(otherwise) if otherwise else 0,
        mapping_changed=bool(otherwise),
    )


def deletes(spec: EntitySpec) -> bool:
    """Whether records that are gone at the source are deleted - or archived - at the target at all."""
    return spec.target.delete != "keep"
