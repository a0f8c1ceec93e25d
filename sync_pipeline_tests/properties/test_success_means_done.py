"""Law 9: exit code 0, a green day and a closed event state that the records they cover are done."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline_tests.properties.overlaps import history_of, stage

SEEDS = [*range(1, 25), 321404419]
"""In the last one a run is killed between storing that a record has moved and delivering it."""
TOGETHER = 5


@pytest.mark.parametrize("seeds", [SEEDS[at : at + TOGETHER] for at in range(0, len(SEEDS), TOGETHER)], ids=str)
def test_what_says_that_it_is_done_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: list[int]) -> None:
    """25 fixed histories of overlapping, held and killed runs; `make laws` tries random ones."""
    with stage(tmp_path / "stage", monkeypatch) as here:
        for history in map(history_of, seeds):
            broken = here.play(history)
            assert not broken, "\n".join([str(history), *broken])
        assert here.done["held"] >= TOGETHER // 2, here.done
        assert here.done["claims"] > TOGETHER * 3, here.done
