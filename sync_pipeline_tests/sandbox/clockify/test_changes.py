"""Entity changes, as documented and as people have met them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sync_pipeline_tests.sandbox.clockify.conftest import Api

HOUR = {"start": "2025-03-03T08:00:00Z", "end": "2025-03-03T09:00:00Z"}


def text(moment: datetime) -> str:
    """An instant as Clockify wants it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def window(api: Api, before: float = 60, after: float = 1) -> dict[str, str]:
    """From some seconds before now to some seconds after."""
    now = api.sandbox.world.clock.now()
    return {"start": text(now - timedelta(seconds=before)), "end": text(now + timedelta(seconds=after))}


def ids(api: Api, feed: str, **query: Any) -> list[str]:
    """Ids in one of the three feeds."""
    return [record["id"] for record in api.get(f"entities/{feed}", type="TIME_ENTRY", limit=500, **query)]


def test_created_records_carry_real_instants(api: Api) -> None:
    """A new entry is in /created with its audit data, and nowhere else."""
    entry = api.send("POST", "time-entries", HOUR, expect=201)
    [record] = api.get("entities/created", type="TIME_ENTRY", **window(api, before=1))
    assert (record["id"], record["documentType"]) == (entry["id"], "TIME_ENTRY")
    assert record["auditMetadata"]["createdAt"] == record["auditMetadata"]["updatedAt"]
    assert record["timeInterval"]["zonedStart"] == "2025-03-03T09:00:00+01:00"
    assert ids(api, "updated", **window(api)) == []


def test_created_and_updated_in_one_window_is_only_created(api: Api) -> None:
    """An edit shows in /updated only for windows that begin after the creation."""
    entry = api.send("POST", "time-entries", HOUR, expect=201)["id"]
    api.sandbox.world.clock.advance(3600)
    api.send("PUT", f"time-entries/{entry}", HOUR | {"description": "edited"})
    assert ids(api, "updated", **window(api)) == [entry]
    assert ids(api, "updated", **window(api, before=7200)) == []
    assert entry in ids(api, "created", **window(api, before=7200))


def test_deletions_appear_a_minute_late(api: Api) -> None:
    """A deletion is in /deleted after about a minute, with the whole document."""
    entry = api.get(f"user/{api.me}/time-entries", page_size=5)[-1]["id"]
    api.send("DELETE", f"time-entries/{entry}", expect=204)
    query = window(api, before=10)
    assert ids(api, "deleted", **query) == []
    api.sandbox.world.clock.advance(61)
    [record] = api.get("entities/deleted", type="TIME_ENTRY", **query)
    assert record["document"]["id"] == entry
    assert record["document"]["timeInterval"]["end"]


def test_created_and_deleted_in_one_window_is_nowhere(api: Api) -> None:
    """What a window saw come and go is in neither feed."""
    entry = api.send("POST", "time-entries", HOUR, expect=201)["id"]
    api.send("DELETE", f"time-entries/{entry}", expect=204)
    query = window(api, before=10)
    api.sandbox.world.clock.advance(61)
    assert ids(api, "created", **query) == ids(api, "deleted", **query) == []


def test_pages_are_numbered_from_the_configured_base(api: Api) -> None:
    """Pages count from 0 unless the sandbox is set to 1; the parameter is ``limit``."""
    whole = ids(api, "created")
    pages = [api.get("entities/created", type="TIME_ENTRY", page=page, limit=10) for page in (0, 1)]
    assert [record["id"] for page in pages for record in page] == whole[:20]
    api.sandbox.world.options.entity_changes_page_base = 1
    assert api.get("entities/created", type="TIME_ENTRY", page=1, limit=10) == pages[0]


def test_several_types_together(api: Api) -> None:
    """``type`` repeats; unknown ones are refused."""
    api.send("POST", "tags", {"name": "brand new"}, expect=201)
    client = api.send("POST", "clients", {"name": "Newcomer"}, expect=201)
    records = api.get("entities/created", type=["TAGS", "CLIENTS", "BALANCE"], **window(api, before=5))
    assert [record["documentType"] for record in records] == ["TAGS", "CLIENTS"]
    assert records[1]["id"] == client["id"]
    assert api.refused("GET", "entities/created?type=PARTIES") == (400, 3000)


def test_flaky_mode_loses_records(api: Api) -> None:
    """In flaky mode some created records are missing, updates never show, deleted documents are truncated."""
    whole = ids(api, "created")
    deleted = api.get(f"user/{api.me}/time-entries", page_size=50)[20:40]
    for entry in deleted:
        api.send("DELETE", f"time-entries/{entry['id']}", expect=204)
    query = window(api, before=10)
    api.sandbox.world.clock.advance(61)
    api.sandbox.world.options.entity_changes = "flaky"
    assert 0 < len(ids(api, "created")) < len(whole) - len(deleted)
    assert ids(api, "updated") == []
    for record in api.get("entities/deleted", type="TIME_ENTRY", **query):
        assert "timeInterval" not in record["document"]
