"""Ownership, safe deletes and stories with records of HighLevel: the tests of the generic profile on another team."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sync_pipeline_tests.highlevel import HighLevelTeam, highlevel_team
from sync_pipeline_tests.properties import test_ownership as ownership
from sync_pipeline_tests.properties import test_safe_deletes as deletes
from sync_pipeline_tests.properties.saved import Database, SavedFile
from sync_pipeline_tests.scenarios import test_stories as stories

STORIES = 3
"""Stories of one history."""
THEIRS = {
    "users": {"favourite_colour": "TEXT"},
    "projects": {"cost_centre": "NUMERICAL"},
    "time_entries": {"invoice": "TEXT", "user_name": "TEXT", "origin": "TEXT"},
}
"""Fields that a person or a mapping of these tests adds: HighLevel takes no unknown ones."""
_SAME: tuple[Callable[[Path], None], ...] = (
    ownership.test_fields_we_do_not_map_survive_at_the_snapshots_side,
    ownership.test_a_field_the_target_owns_is_written_once,
    deletes.test_more_deletes_than_a_run_may_send_are_held_until_someone_allows_them,
    deletes.test_a_moved_entry_is_moved_and_not_deleted,
    deletes.test_what_leaves_the_scope_is_excluded_and_not_deleted,
    deletes.test_a_record_a_policy_keeps_is_never_deleted,
    deletes.test_a_delete_that_failed_needs_a_new_proof,
    deletes.test_what_was_excluded_and_is_missing_is_deleted,
    stories.test_a_mapping_change_that_would_rewrite_most_of_the_target_is_held,
    stories.test_a_field_dropped_from_the_mapping_is_left_unchanged,
    stories.test_an_older_batch_never_replaces_a_newer_one,
)
SAME = {test.__name__.removeprefix("test_"): test for test in _SAME}


def drawn_stories(seed: int) -> list[str]:
    """The stories of a seed."""
    return Random(seed).sample(list(SAME), STORIES)


def play_story(root: Path, patch: pytest.MonkeyPatch, name: str, made: Database = SavedFile) -> None:
    """One story on an empty database; AssertionError when it ends differently."""

    @contextmanager
    def team(place: Path, **options: Any) -> Iterator[HighLevelTeam]:
        with highlevel_team(place, **options) as us:
            made(us)
            for entity, fields in THEIRS.items():
                for field, kind in fields.items():
                    us.add_field(entity, field, kind)
            yield us

    root.mkdir(exist_ok=True)
    with patch.context() as here:
        here.setattr(sys.modules[SAME[name].__module__], "team", team)
        SAME[name](root)
