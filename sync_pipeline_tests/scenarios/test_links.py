"""``link`` in a mapping: a project knows the location that its client comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.mapping.load import load_specs, specs_of, switched_on
from sync_pipeline.store.records import Records
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.invariants import changes_nothing
from sync_pipeline_tests.scenarios.mappings import write_mapping
from sync_pipeline_tests.stages.planning import apply_plan, differing, write_plan

LINKED = """
entity: projects
fields:
  location_id: {source: clientId, link: locations, type: id}
"""


def located(us: Team) -> dict[str, str | None]:
    """The location of each project at the target, by the project's name."""
    return {row["project_name"]: row.get("location_id") for row in us.at_snapshots("projects").values()}


def a_project(us: Team, name: str, client: str) -> str:
    """A project of a client that people made in Clockify."""
    made = us.clockify("POST", "/clients", {"name": client})["id"]
    return str(us.clockify("POST", "/projects", {"name": name, "clientId": made})["id"])


def test_a_project_knows_its_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is made later arrives with the next run, one that ends is null; both sides agree, nothing is written twice."""
    asked: list[int] = []
    owners = Records.owners

    def counted(self: Records, target_ids: list[str], *, existing: bool = False) -> dict[str, str]:
        asked.extend([len(target_ids)] if existing else [])
        return owners(self, target_ids, existing=existing)

    monkeypatch.setattr(Records, "owners", counted)
    with team(tmp_path, entries=0, locations=0, clients=0, projects=0) as us:
        write_mapping(us, "projects.yaml", LINKED)
        a_project(us, "Beams", "Oak")
        a_project(us, "Cones", "Fir")
        us.clockify("POST", "/projects", {"name": "Nobody's"})
        us.put_location("loc-oak", location_name="Oak")
        us.sync()
        assert located(us) == {"Beams": "loc-oak", "Cones": None, "Nobody's": None}
        assert asked == [2]  # once for all of them
        us.put_location("loc-fir", location_name="Fir")
        us.forget_stats()
        us.sync()
        assert located(us)["Cones"] == "loc-fir"
        assert us.writes()["projects"] == 1, "nothing of the other projects changed"
        assert all(verdict.in_sync for verdict in us.verify().values())
        changes_nothing(us)
        us.snapshots("DELETE", "/locations/loc-oak")
        us.sync()
        assert located(us) == {"Beams": None, "Cones": "loc-fir", "Nobody's": None}
        assert all(verdict.in_sync for verdict in us.verify().values())
        changes_nothing(us)


def test_a_plan_with_links_is_applied_as_shown(tmp_path: Path) -> None:
    """What a preview shows of a link is written; when the link is another one by then, nothing is, and it is named."""
    with team(tmp_path, entries=0, locations=0, clients=0, projects=0) as us:
        write_mapping(us, "projects.yaml", LINKED)
        key = a_project(us, "Beams", "Oak")
        us.sync()
        us.put_location("loc-oak", location_name="Oak")
        us.sync("locations")
        path = write_plan(us, "projects")
        us.snapshots("DELETE", "/locations/loc-oak")
        us.put_location("loc-oak-2", location_name="Oak")
        us.sync("locations")
        assert differing(apply_plan(us, path)) == {key: "ledger"}
        assert located(us) == {"Beams": None}
        assert apply_plan(us, write_plan(us, "projects")).written == 1
        assert located(us) == {"Beams": "loc-oak-2"}
        changes_nothing(us)


def test_what_a_link_names_comes_first_where_it_is_switched_on(tmp_path: Path) -> None:
    """In Dagster, too; where it is switched off, the entity does without it."""
    with team(tmp_path, entries=0) as us:
        write_mapping(us, "projects.yaml", LINKED)
        specs = specs_of(us.settings())
        assert list(specs).index("locations") < list(specs).index("projects")
        assert switched_on(specs, ()).get("projects", specs["users"]).depends_on == ("locations",)
        assert switched_on(specs, ("projects",))["projects"].depends_on == ()
        assert specs["projects"].fingerprint != load_specs()["projects"].fingerprint


def test_a_profile_may_bring_mappings_of_its_own() -> None:
    """Projects of HighLevel have their location; with any other profile the mappings are unchanged."""
    assert load_specs(profile="highlevel")["projects"].field("location_id").link == "locations"
    assert load_specs(profile="generic") == load_specs()
    dropped = "mappings: {projects: {fields: {location_id: drop}}}"
    assert load_specs(None, dropped, profile="highlevel")["projects"].links == {}
