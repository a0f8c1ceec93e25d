"""Law 5: only mapped fields change on the target; what a person typed into other fields survives."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.properties.test_convergence import PATIENT

pytestmark = pytest.mark.clock

THEIRS = ("email", "ccEmails", "currencyId", "note")
EURO = "64a687e29ae1f428e7ebe302"


def write_to(us: Team, client: Json, **fields: object) -> Json:
    """A person edits a client in Clockify's own pages, which send every field."""
    body = {name: client[name] for name in ("name", "address", "archived", *THEIRS)}
    changed: Json = us.clockify("PUT", f"/clients/{client['id']}", {**body, **fields})
    return changed


@PATIENT
@given(
    email=st.sampled_from([None, "desk@customer.example"]),
    copies=st.sampled_from([None, [], ["a@b.example"], ["a@b.example", "c@d.example"]]),
    note=st.sampled_from([None, "", "Ring twice", "ü" * 3000]),
    address=st.sampled_from([None, "New street 1"]),
)
def test_what_a_person_typed_into_a_client_survives_every_kind_of_update(
    email: str | None, copies: list[str] | None, note: str | None, address: str | None
) -> None:
    """E-mail, copies, currency and the note survive a rename, a swap of names, archiving and coming back."""
    with TemporaryDirectory() as directory, team(Path(directory), locations=2, entries=0) as us:
        us.sync("locations")
        a, b = us.at_snapshots("locations").values()
        mine = us.client(a["location_name"])
        typed = write_to(us, mine, email=email, ccEmails=copies, currencyId=EURO, note=note)

        def survives() -> None:
            (now,) = [client for client in us.clients() if client["id"] == mine["id"]]
            assert {name: now[name] for name in THEIRS} == {name: typed[name] for name in THEIRS}

        us.put_location(a["location_id"], location_name="Renamed", address=address)
        us.sync("locations")
        survives()
        us.put_location(a["location_id"], location_name=b["location_name"])
        us.put_location(b["location_id"], location_name="Renamed")
        us.sync("locations")
        survives()
        us.snapshots("DELETE", f"/locations/{a['location_id']}")
        us.sync("locations")
        survives()
        us.put_location(a["location_id"], location_name="Back again", address=address)
        us.sync("locations")
        survives()
        assert us.client("Back again")["id"] == mine["id"]
        us.sync()
        converged(us)


def test_fields_we_do_not_map_survive_at_the_snapshots_side(tmp_path: Path) -> None:
    """What a person keeps in fields of their own stays through updates and a repair."""
    with team(tmp_path) as us:
        us.sync()
        user, project = us.users()[1], us.projects()[0]
        entry = next(e for e in us.entries() if e["timeInterval"]["end"])
        us.snapshots("PUT", f"/users/{user['id']}", {"favourite_colour": "green"})
        us.snapshots("PUT", f"/projects/{project['id']}", {"cost_centre": 7})
        us.snapshots("PUT", f"/time_entries/{entry['id']}", {"invoice": "2026-1", "user_name": "Written by hand"})
        us.clockify("PUT", f"/users/{user['id']}", {"status": "INACTIVE"})
        us.clockify("PUT", f"/projects/{project['id']}", {"name": "Renamed", "archived": False})
        us.change_entry(entry, description="edited", taskId=None)
        us.sync()
        us.snapshots("PUT", f"/projects/{project['id']}", {"project_name": "Changed behind our back"})
        assert us.verify("projects", repair=True)["projects"].in_sync

        assert us.at_snapshots("users")[user["id"]]["favourite_colour"] == "green"
        assert us.at_snapshots("projects")[project["id"]]["cost_centre"] == 7
        kept = us.at_snapshots("time_entries")[entry["id"]]
        assert (kept["invoice"], kept["user_name"], kept["description"]) == ("2026-1", "Written by hand", "edited")
        converged(us)
        changes_nothing(us)


def test_a_field_the_target_owns_is_written_once(tmp_path: Path) -> None:
    """``owner: target`` at an upsert target: sent when the record is created, never again, and no drift."""
    mappings = tmp_path / "mappings"
    mappings.mkdir()
    (mappings / "projects.yaml").write_text("entity: projects\nfields:\n  note: {source: note, owner: target}\n")
    with team(tmp_path) as us:
        us.changes["SYNC_MAPPINGS_DIR"] = str(mappings)
        project = us.projects()[0]
        us.clockify("PUT", f"/projects/{project['id']}", {"note": "first", "archived": False})
        us.sync("projects")
        assert us.at_snapshots("projects")[project["id"]]["note"] == "first"
        us.snapshots("PUT", f"/projects/{project['id']}", {"note": "the target's own words"})
        us.clockify("PUT", f"/projects/{project['id']}", {"note": "second", "name": "Renamed", "archived": False})
        us.sync("projects")
        us.snapshots("PUT", f"/projects/{project['id']}", {"project_name": "Changed behind our back"})
        assert us.verify("projects", repair=True)["projects"].in_sync

        now = us.at_snapshots("projects")[project["id"]]
        assert (now["note"], now["project_name"]) == ("the target's own words", "Renamed")
