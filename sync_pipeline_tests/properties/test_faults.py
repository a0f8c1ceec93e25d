"""Laws 1 and 4 while a fifth of all requests go wrong."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipeline.errors import RetryableApiError
from sync_pipeline.stages.batch import Options
from sync_pipeline_tests.harness import ENTITIES, Team, team
from sync_pipeline_tests.highlevel import VENDORS
from sync_pipeline_tests.properties.invariants import adds_up, changes_nothing, converged
from sync_pipeline_tests.properties.life import LIVES, Action, live
from sync_pipeline_tests.properties.test_convergence import HURRIED, PATIENT

pytestmark = pytest.mark.clock

ATTEMPTS = 8


def small_pages(us: Team) -> None:
    """Lists of several pages, so that pages can repeat and shift; small batches, so that several can be cut off."""
    name = us.environ.get("SNAPSHOTS_PROFILE", "generic")
    facts = files("sync_pipeline.connectors.profiles").joinpath(f"{name}.yaml").read_text("utf-8")
    profile = us.home.parent / "small.yaml"
    for old, new in (
        ("page_size: 1000", "page_size: 10"),
        ("size: 500", "size: 10"),
        ("page_size: 100\n", "page_size: 10\n"),
    ):
        facts = facts.replace(old, new)
    profile.write_text(facts, "utf-8")
    us.changes |= {"CLOCKIFY_PAGE_SIZE": "10", "SNAPSHOTS_PROFILE": str(profile)}


def spoil(us: Team, seed: int) -> None:
    """A fifth of all requests go wrong, in every way there is; lists also repeat, shift and lose rows."""
    kinds: list[dict[str, Any]] = [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "2"}, "body": ""},
        {"kind": "cut_before"},
        {"kind": "cut_after"},
        {"kind": "truncated_json"},
    ]
    for number, kind in enumerate(kinds):
        us.fault(**{"rate": 0.2 / len(kinds), "seed": seed * 100 + number, **kind})
    us.fault("duplicate_page", "GET /snapshots/*", rate=0.2, seed=seed)
    us.fault("duplicate_page", "POST /highlevel/*/search", rate=0.2, seed=seed)
    us.fault("shifted_page", "POST /clockify/report/*", rate=0.2, seed=seed)
    us.fault("shifted_page", "GET /clockify/*", rate=0.2, seed=seed, drop=True)


def sync_until_done(us: Team) -> None:
    """A sync that gives up is run again, as a schedule would; what it delivered stays delivered."""
    for entity in ENTITIES:
        for _ in range(ATTEMPTS):
            try:
                adds_up(us.sync(entity, options=Options(allow_deletes=True))[entity])
                break
            except RetryableApiError:
                continue
        else:
            raise AssertionError(f"{entity} never went through")


@PATIENT
@given(first=LIVES, second=LIVES, seed=st.integers(0, 1000))
def test_when_a_fifth_of_all_requests_go_wrong_nothing_is_lost_and_nothing_exists_twice(
    first: list[Action], second: list[Action], seed: int
) -> None:
    """Laws 1 and 4 hold after syncs through errors, cut connections, broken JSON and lists that shift."""
    _agrees_in_the_end("generic", first, second, seed)


@HURRIED
@given(first=LIVES, second=LIVES, seed=st.integers(0, 1000))
def test_the_same_where_no_create_is_safe_to_repeat(first: list[Action], second: list[Action], seed: int) -> None:
    """With records of HighLevel: whether a create arrived is looked up before it is sent again."""
    _agrees_in_the_end("highlevel", first, second, seed)


def _agrees_in_the_end(vendor: str, first: list[Action], second: list[Action], seed: int) -> None:
    with TemporaryDirectory() as directory, team(Path(directory), **VENDORS[vendor]) as us:
        us.changes["SYNC_MAX_REJECT_SHARE"] = "1"
        small_pages(us)
        for actions in (first, second):
            live(us, actions)
            spoil(us, seed)
            sync_until_done(us)
            us.no_faults()
            converged(us)
        changes_nothing(us)
