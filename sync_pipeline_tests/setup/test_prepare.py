"""What the vendor's documents leave open, measured at the sandbox's HighLevel on the sandbox's clock."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from sync_pipeline.connectors.preparation import Measured
from sync_pipeline.setup import prepare
from sync_pipeline.setup.service import SetupService
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.setup.agency import OBJECTS, at_highlevel


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({"unique": True, "deleted_blocks": True, "index_lag": 3}, (True, True, 3.5)),
        ({"unique": True, "index_lag": 40}, (True, False, 60.5)),
        ({"index_lag": 100}, (False, None, None)),
    ],
)
def test_the_behaviour_is_measured_and_used(
    us: Team, setup: SetupService, switches: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """Unique keys, deleted records that block theirs, the lag of the search; the connector waits twice as long then."""
    us.changes |= at_highlevel(us)
    there = replace(setup, environ=us.environ)
    us.control("POST", "highlevel", {"prepare": True, **switches})

    async def sleep(seconds: float) -> None:
        us.control("POST", "clock", {"advance": seconds})

    found = {one.entity: one.facts for one in prepare.measure(there, sleep)}
    for facts in found.values():
        assert (facts["unique"], facts["deleted_blocks"], facts["index_lag"]) == expected
        assert (facts["merge"], facts["is_current"]) == (True, True)
        assert "not found" in facts["words"]["deleted"]
    if expected[0]:
        assert "A record with the same value" in found["users"]["words"]["same key"]
    assert [one.facts for one in prepare.measured(there)] == list(found.values())
    assert all(not us.control("GET", f"highlevel/records/{name}")["records"] for name in OBJECTS)
    with us.session() as session:
        lag = 60.0 if expected[2] is None else expected[2]
        assert session.snapshots.target(session.specs["users"]).find_lag == max(30.0, 2 * lag)  # type: ignore[union-attr]  # it assigns ids


def test_two_that_measure_do_not_disturb_each_other(us: Team, setup: SetupService) -> None:
    """The second one begins when the first has ended, and both find the same."""
    us.changes |= at_highlevel(us)
    there = replace(setup, environ=us.environ)
    us.control("POST", "highlevel", {"prepare": True, "unique": True, "index_lag": 3})
    second: list[Future[list[Measured]]] = []

    async def sleep(seconds: float) -> None:
        us.control("POST", "clock", {"advance": seconds})

    with ThreadPoolExecutor(1) as pool:

        async def begin_second(seconds: float) -> None:
            if not second:
                second.append(pool.submit(prepare.measure, there, sleep))
            await sleep(seconds)

        first = prepare.measure(there, begin_second)
        found = {one.entity: one.facts for one in second[0].result()}
    for one in first:
        assert (one.facts["unique"], one.facts["merge"]) == (True, True)
        assert {**found[one.entity], "words": {}} == {**one.facts, "words": {}}
    assert all(not us.control("GET", f"highlevel/records/{name}")["records"] for name in OBJECTS)
