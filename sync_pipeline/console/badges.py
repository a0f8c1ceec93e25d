"""What the header counts: open problems and rejected records; counted anew after a form, or when some seconds have passed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sync_pipeline.alerts.current import open_alerts
from sync_pipeline.clock import has_passed
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.references import WAITS
from sync_pipeline.store.rejects import rejected_records

KEPT = timedelta(seconds=10)


class Badge(NamedTuple):
    """A number beside a place of the header."""

    number: int
    what: str


@dataclass(slots=True)
class Badges:
    """The numbers that all pages of a console show."""

    counted: dict[str, Badge] | None = None
    at: datetime | None = None

    def forget(self) -> None:
        """Count anew for the next page."""
        self.counted = None

    def read(self, setup: SetupService) -> dict[str, Badge]:
        """The numbers by the address of their place; of what is not known none."""
        now = setup.now()
        if self.counted is None or has_passed(self.at, KEPT, now):
            try:
                self.counted, self.at = _count(setup), now
            except SyncError:  # the set-up is not finished, or our own database: the page itself says so
                self.counted, self.at = {}, now
        return self.counted


def _count(setup: SetupService) -> dict[str, Badge]:
    with setup.reading() as session:
        alerts = [alert for alert in open_alerts(session) if alert.acknowledged_at is None and alert.severity != "info"]
        found = rejected_records(session.store, session.pair, without=WAITS)
        rejected = sum(each.count for entity, each in found.items() if entity in session.specs)
    problems = Badge(len(alerts), "open problem" if len(alerts) == 1 else "open problems")
    return {"/": problems, "/records": Badge(rejected, "rejected record" if rejected == 1 else "rejected records")}
