"""Live syncing keeps the laws: whatever gets lost, doubled, mixed up or killed, the next reconciliation finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings

from sync_pipeline_tests.properties.histories import HISTORIES, Round, office

HISTORIES_EACH = 50
SEEDS = (1, 2, 3, 4)
MANY = settings(
    max_examples=HISTORIES_EACH,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("number", SEEDS)
def test_after_any_history_a_reconciliation_makes_both_sides_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """200 histories in all; after each both sides agree, nothing exists twice, and what is still open ends."""
    with office(tmp_path / "office", monkeypatch) as here:
        tried: list[int] = []

        @seed(number)
        @MANY
        @given(history=HISTORIES)
        def holds(history: list[Round]) -> None:
            note(f"seed {number}")
            tried.append(len(history))
            here.holds(history)

        holds()
        assert len(tried) >= HISTORIES_EACH
        assert all(here.done[what] > 0 for what in ("asked for", "failed", "killed")), here.done
