"""Ownership, safe deletes and stories again with records of HighLevel; `make laws` has them on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline_tests.properties.stories import SAME, play_story

pytestmark = pytest.mark.clock


@pytest.mark.parametrize("name", SAME)
def test_the_same_with_highlevel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each as for the generic profile."""
    play_story(tmp_path, monkeypatch, name)
