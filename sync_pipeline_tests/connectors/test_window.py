"""Windows: half-open spans in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipeline.connectors.window import Window, instant_text

pytestmark = pytest.mark.clock

DAYS = st.dates(date(2000, 1, 1), date(2050, 1, 1))


@given(DAYS, st.integers(0, 800), st.integers(1, 40))
def test_slices_cover_the_window_exactly(first: date, length: int, days: int) -> None:
    """Slices follow each other without gap or overlap, and none is longer than asked for."""
    window = Window.of_days(first, first + timedelta(days=length))
    slices = list(window.slices(days))
    assert (slices[0].start, slices[-1].end) == (window.start, window.end)
    assert all(a.end == b.start for a, b in pairwise(slices))
    assert all(piece.end - piece.start <= timedelta(days=days) for piece in slices)


def test_ends_are_half_open_and_in_utc() -> None:
    """The start belongs to a window, the end does not, whatever zone they are written in."""
    window = Window.of_days(date(2026, 3, 1), date(2026, 3, 1))
    berlin = timezone(timedelta(hours=1))
    assert datetime(2026, 3, 1, 1, tzinfo=berlin) in window
    assert datetime(2026, 3, 2, 1, tzinfo=berlin) not in window
    assert str(Window(datetime(2026, 3, 1, 1, tzinfo=berlin), window.end)) == str(window)
    assert instant_text(datetime(2026, 3, 1, 1, tzinfo=berlin)) == "2026-03-01T00:00:00Z"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(2026, 1, 1), datetime(2026, 1, 2)),  # noqa: DTZ001 - the mistake under test
        (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
    ],
    ids=["no zone", "empty"],
)
def test_senseless_windows_are_refused(start: datetime, end: datetime) -> None:
    """A window needs aware instants in order."""
    with pytest.raises(ValueError, match="window"):
        Window(start, end)
