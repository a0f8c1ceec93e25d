"""Lists: cursors, windows and updated_since show every record exactly once."""

from __future__ import annotations

import pytest

from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox, entry


def _ids(pages: list[list[dict[str, str]]]) -> list[str]:
    return [record["time_entry_id"] for page in pages for record in page]


def test_cursor_walks_through_every_record_once(sandbox: Sandbox) -> None:
    """The pages of a list put together are the list, and the last page states that it is."""
    sandbox.batch("time_entries", *(entry(number) for number in range(25)))
    pages = sandbox.pages("time_entries", limit=10)
    assert [len(page) for page in pages] == [10, 10, 5]
    assert _ids(pages) == [f"t{number:05d}" for number in range(25)]
    assert [len(page) for page in sandbox.pages("time_entries", limit=25)] == [25]


def test_empty_list(sandbox: Sandbox) -> None:
    """A list without records is one empty page."""
    assert sandbox.api.get("time_entries").json() == {"data": [], "next_cursor": None}


def test_default_limit_is_a_hundred(sandbox: Sandbox) -> None:
    """Without a limit a page has a hundred."""
    sandbox.batch("time_entries", *(entry(number) for number in range(101)))
    assert len(sandbox.api.get("time_entries").json()["data"]) == 100


def test_window_is_half_open(sandbox: Sandbox) -> None:
    """start_from is included, start_before is not, and pages inside a window work as well."""
    sandbox.batch("time_entries", *(entry(number) for number in range(10)))
    window = {"start_from": "2026-01-05T10:02:00+01:00", "start_before": "2026-01-05T09:07:00Z"}
    assert _ids(sandbox.pages("time_entries", limit=2, **window)) == [f"t{number:05d}" for number in range(2, 7)]
    assert _ids(sandbox.pages("time_entries", start_from="2026-01-05T09:08:00Z")) == ["t00008", "t00009"]
    assert _ids(sandbox.pages("time_entries", start_before="2026-01-05T09:01:00Z")) == ["t00000"]


def test_updated_since_shows_what_changed(sandbox: Sandbox) -> None:
    """Only records written since the instant, oldest change first."""
    sandbox.batch("time_entries", *(entry(number) for number in range(5)))
    now = sandbox.control.post("clock", json={"advance": 3600}).json()["now"]
    sandbox.batch("time_entries", entry(3, description="edited"), entry(4), entry(9))
    sandbox.control.post("clock", json={"advance": 60})
    sandbox.batch("time_entries", entry(0, description="edited"))
    since = {"updated_since": now}
    assert _ids(sandbox.pages("time_entries", limit=1, **since)) == ["t00003", "t00009", "t00000"]
    assert _ids(sandbox.pages("time_entries", start_before="2026-01-05T09:01:00Z", **since)) == ["t00000"]


def test_record_deleted_between_pages_hides_no_other(sandbox: Sandbox) -> None:
    """A cursor names a position by value, so a list that shrinks meanwhile skips nothing."""
    sandbox.batch("time_entries", *(entry(number) for number in range(6)))
    first = sandbox.api.get("time_entries", params={"limit": 3}).json()
    sandbox.api.delete("time_entries/t00002")
    second = sandbox.api.get("time_entries", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert _ids([second["data"]]) == ["t00003", "t00004", "t00005"]


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "many"},
        {"limit": "-1"},
        {"cursor": "garbage"},
        {"cursor": "e30"},
        {"updated_since": "yesterday"},
        {"start_from": "2026-01-05"},
        {"start_before": "2026-01-05T09:00:00"},
    ],
)
def test_unusable_parameters_are_named(sandbox: Sandbox, params: dict[str, str]) -> None:
    """A wrong parameter is a 400 that names it, never a guess."""
    answer = sandbox.api.get("time_entries", params=params)
    assert (answer.status_code, answer.json()["parameter"]) == (400, next(iter(params)))


def test_cursor_of_another_list_is_refused(sandbox: Sandbox) -> None:
    """A cursor continues the kind of list it came from and no other."""
    sandbox.batch("time_entries", *(entry(number) for number in range(3)))
    cursor = sandbox.api.get("time_entries", params={"limit": 1}).json()["next_cursor"]
    crossed = {"cursor": cursor, "start_from": "2026-01-01T00:00:00Z"}
    assert sandbox.api.get("time_entries", params=crossed).json()["code"] == "invalid_parameter"


def test_seeded_locations_are_realistic(sandbox: Sandbox) -> None:
    """As many as asked for, with distinct names, an address nearly always, some of them not in ASCII."""
    locations = [record for page in sandbox.pages("locations") for record in page]
    names = {record["location_name"] for record in locations}
    assert len(locations) == len(names) == 12
    assert any(not name.isascii() for name in names)
    assert sum(record["address"] is not None for record in locations) >= 8
