"""Law 9: exit code 0, a green day and a closed event state that the records they cover are done."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline_tests.properties.overlaps import history_of, stage

pytestmark = pytest.mark.clock

HISTORIES = {
    0: [1, 2, 3, 4, 5],
    1: [6, 7, 8, 9, 10],
    2: [11, 12, 13, 14, 15],
    3: [21, 22, 23, 24, 321404419],
    4: [16, 17, 18, 19, 20],
}
"""Days after the usual date, since the sandbox has fewer entries of weekends: the seeds played on them.

In the last one of day 3, a run is killed between storing that a record has moved and delivering it, while another one still
sends it for its former day.
"""


@pytest.mark.parametrize(("later", "seeds"), HISTORIES.items(), ids=str)
def test_what_says_that_it_is_done_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: int, seeds: list[int]
) -> None:
    """25 fixed histories of overlapping, held and killed runs; `make laws` tries random ones."""
    with clock_from(utc_now() + timedelta(days=later)), stage(tmp_path / "stage", monkeypatch) as here:
        for history in map(history_of, seeds):
            broken = here.play(history)
            assert not broken, "\n".join([str(history), *broken])
        assert here.done["held"] >= len(seeds) // 2, here.done
        assert here.done["claims"] > len(seeds) * 3, here.done
