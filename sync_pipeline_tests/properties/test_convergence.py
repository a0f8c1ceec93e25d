"""Laws 1, 2 and 4: after a sync the target is the map of the source, a second one does nothing, nothing is lost."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from sync_pipeline.stages.batch import Options
from sync_pipeline_tests.harness import team
from sync_pipeline_tests.highlevel import VENDORS
from sync_pipeline_tests.properties.invariants import adds_up, changes_nothing, converged
from sync_pipeline_tests.properties.life import LIVES, Action, live

pytestmark = pytest.mark.clock

PATIENT = settings(
    max_examples=4,
    deadline=None,
    database=None,
    derandomize=True,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],  # an example takes seconds: shrinking it would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


HURRIED = settings(PATIENT, max_examples=1)
"""For another vendor in the same place; `make laws` plays many more of its histories."""


@PATIENT
@given(first=LIVES, second=LIVES)
def test_whatever_people_do_a_sync_makes_both_sides_agree_and_a_second_one_does_nothing(
    first: list[Action], second: list[Action]
) -> None:
    """Laws 1, 2 and 4 hold after a first sync of any history, and after a later sync of any further edits."""
    _agrees("generic", first, second)


@HURRIED
@given(first=LIVES, second=LIVES)
def test_the_same_with_records_of_custom_objects_in_highlevel(first: list[Action], second: list[Action]) -> None:
    """Its ids are its own, and it takes one record a request."""
    _agrees("highlevel", first, second)


def _agrees(vendor: str, first: list[Action], second: list[Action]) -> None:
    with TemporaryDirectory() as directory, team(Path(directory), **VENDORS[vendor]) as us:
        for actions in (first, second):
            us.changes["SYNC_MAX_REJECT_SHARE"] = "1"  # when a batch is blocked is another test's question
            live(us, actions)
            for counts in us.sync(options=Options(allow_deletes=True)).values():
                adds_up(counts)
            converged(us)
            changes_nothing(us)
