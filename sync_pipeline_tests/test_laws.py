"""What `make laws` plays at random: a few histories of each kind on each database."""

from __future__ import annotations

import pytest

from sync_pipeline_tests.laws import DATABASES, LAWS, played

SEEDS = (11, 12)
TURNS = [
    (law, on)
    for law in LAWS
    for on in DATABASES
    if law not in ("ranges", "stories_highlevel") and not (law.endswith("highlevel") and on == DATABASES[1])
]
"""All but the slowest, which `make laws` has as well, and the stories, which are tests of their own; and but for runs side by side,
whose order no seed decides."""
FOUND = (("overlaps", "sqlite", 531845130), ("overlaps", "sqlite", 86359127), ("live", "postgresql", 86359277))
"""Histories in which something was wrong once, in the product or in how it was judged."""


@pytest.mark.parametrize(("law", "database"), TURNS)
def test_the_laws_hold_on_each_database(law: str, database: str) -> None:
    """The same seeds everywhere."""
    verdicts = played(law, database, [(seed, LAWS[law].history(seed)) for seed in SEEDS])
    assert [one.wrong for one in verdicts] == [""] * len(SEEDS)


@pytest.mark.parametrize(("law", "database", "seed"), FOUND)
def test_what_was_found_at_random_stays_right(law: str, database: str, seed: int) -> None:
    """An entry moved while a list lagged, and a newer sync of the day that the list showed did not meet it; and two false alarms.

    An entry was deleted before the read of the day to which it had moved; a run was killed a moment before all was read again.
    """
    (verdict,) = played(law, database, [(seed, LAWS[law].history(seed))])
    assert verdict.wrong == ""


@pytest.mark.parametrize("law", LAWS)
def test_a_history_can_be_made_smaller_until_nothing_is_left(law: str) -> None:
    """Each step leaves out one thing, and none of them comes back."""
    history, sizes = LAWS[law].history(SEEDS[0]), []
    while smaller := list(LAWS[law].smaller(history)):
        history = smaller[0]
        sizes.append(len(str(history)))
    assert sizes
    assert sizes == sorted(sizes, reverse=True)
