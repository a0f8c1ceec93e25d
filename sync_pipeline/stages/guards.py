"""Guards against disasters: how much of what is known a run may delete or rewrite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings
from sync_pipeline.stages.session import Session
from sync_pipeline.store.staging import Staging, stage
from sync_pipeline.store.syncs import last_fingerprint

if TYPE_CHECKING:
    from sync_pipeline.stages.check import Options

HARMLESS = 5
"""Up to this many deletes never trip the guard - each is still confirmed by a second read before it is sent."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The figures the volume check judges: of ``known`` records, how many are absent and how many would change."""

    known: int = 0
    absent: int = 0
    rewritten: int = 0
    mapping_changed: bool = False

    def problem(self, entity: str, settings: Settings, options: Options) -> str:
        """Why the batch is blocked, with the fix; empty when it is not."""
        if self.too_many_absent(settings) and not options.allow_deletes:
            return (
                f"{self.absent} of {self.known} known {entity} are gone from the source, more than "
                f"{settings.max_delete_share:.0%}: nothing is loaded. If that is right, run it again with --allow-deletes."
            )
        rewrites = self.mapping_changed and self.rewritten > max(HARMLESS, settings.max_rewrite_share * self.known)
        if rewrites and not options.accept_rewrite:
            return (
                f"The mapping of {entity} changed and {self.rewritten} of {self.known} records would be rewritten, more than "
                f"{settings.max_rewrite_share:.0%}: nothing is loaded. Look at `sync-pipeline preview`, then run it "
                "again with --accept-rewrite."
            )
        return ""

    def too_many_absent(self, settings: Settings) -> bool:
        """Whether more records vanished than a run may delete."""
        return self.absent > max(HARMLESS, settings.max_delete_share * self.known)


def may_delete(session: Session, spec: EntitySpec, count: int) -> bool:
    """Whether a run that asks for a few records by id may delete this many of them."""
    if count <= HARMLESS:
        return True
    with stage(session.store, session.connection, spec.entity) as staging:
        return not Guard(known=staging.known(), absent=count).too_many_absent(session.settings)


def guard_volume(session: Session, spec: EntitySpec, staging: Staging, notes: dict[str, Any]) -> Guard:
    """Count what the staged batch would delete and rewrite."""
    del notes
    fingerprint = last_fingerprint(session.store, session.connection, spec.entity)
    return Guard(
        known=staging.known(),
        absent=staging.count_absent(),
        rewritten=staging.rewritten(),
        mapping_changed=fingerprint is not None and fingerprint != spec.fingerprint,
    )
