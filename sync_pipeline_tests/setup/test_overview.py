"""Where an installation is, in one sentence: each state from its facts, the worst first; and when an entity is read again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from sync_pipeline.setup.overview import SetupFacts, State, next_turn, situation_of
from sync_pipeline.setup.switching import Pause

AT = datetime(2026, 11, 26, 13, 0, tzinfo=UTC)
LIVE = SetupFacts(is_connected=True, is_live=True, has_passed=True, records=1_998)
CASES: list[tuple[str, SetupFacts, str, str]] = [
    ("sandbox", SetupFacts(is_connected=True, is_sample=True, is_live=True), "sample data", "/setup/clockify"),
    ("not connected", SetupFacts(is_connected=False), "Not connected", "/setup/clockify"),
    (
        "stopped",
        replace(LIVE, refused="snapshots", refused_name="The Snapshots API", problems=2),
        "The Snapshots API refuses its key",
        "/connections/snapshots",
    ),
    ("ready to preview", SetupFacts(is_connected=True), "nothing has been written yet", "/setup/preview"),
    ("ready to go live", SetupFacts(is_connected=True, has_passed=True), "the preview has passed", "/setup/live"),
    (
        "paused",
        SetupFacts(is_connected=True, pause=Pause(AT, "Ana", "mapping changed", is_off=False)),
        "was changed",
        "/setup/preview",
    ),
    ("off", SetupFacts(is_connected=True, pause=Pause(AT, "Ana", "")), "is off", "/setup/live"),
    (
        "by hand",
        SetupFacts(is_connected=True, why="SYNC_MODE is dry_run: nothing is written."),
        "SYNC_MODE",
        "/activity",
    ),
    ("not running", replace(LIVE, silent="No daemon has reported yet."), "nothing is running", "/help"),
    ("needs you", replace(LIVE, problems=1), "Live, but one problem needs attention", "#attention"),
    ("catching up", replace(LIVE, left=1_758), "240 of 1,998 are at the target", "/records?state=pending"),
    ("live", LIVE, "Everything is up to date", "/activity?changes=1"),
]


@pytest.mark.parametrize(("state", "facts", "words", "path"), CASES)
def test_each_state_has_a_sentence_and_one_action(state: str, facts: SetupFacts, words: str, path: str) -> None:
    """It states the situation, and leads to the fix."""
    found = situation_of(facts)
    assert (found.state, found.path) == (state, path)
    assert words in found.sentence
    assert found.sentence.endswith(".")
    assert found.action


def test_no_state_is_missing() -> None:
    """The list is closed."""
    assert {state for state, *_ in CASES} == set(get_args(State))


@pytest.mark.parametrize(
    ("worse", "than"),
    [
        ({"refused": "clockify"}, {"silent": "No daemon."}),
        ({"silent": "No daemon."}, {"problems": 3}),
        ({"problems": 3}, {"left": 5}),
    ],
)
def test_the_worst_comes_first(worse: dict[str, Any], than: dict[str, Any]) -> None:
    """Of two that are there at a time."""
    assert situation_of(replace(LIVE, **worse, **than)).state == situation_of(replace(LIVE, **worse)).state


def test_a_pause_that_has_passed_its_preview_leads_to_the_switch() -> None:
    """What is left to do is to turn it on."""
    pause = Pause(AT, "Ana", "mapping changed", is_off=False)
    assert situation_of(SetupFacts(is_connected=True, has_passed=True, pause=pause)).path == "/setup/live"


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("17 * * * *", (26, 13, 17)),
        ("0 * * * *", (26, 14, 0)),
        ("17 */6 * * *", (26, 18, 17)),
        ("2 2 * * *", (27, 2, 2)),
    ],
)
def test_the_next_turn(cron: str, expected: tuple[int, int, int]) -> None:
    """The first minute after now; this very minute is not next."""
    day, hour, minute = expected
    assert next_turn(cron, AT) == datetime(2026, 11, day, hour, minute, tzinfo=UTC)
