"""What a spec states about itself: fields, order, fingerprint, description."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.spec import describe
from sync_pipeline_tests.mapping.frames_of import SPECS, overridden


def test_entities_come_after_what_they_depend_on() -> None:
    """The order of the specs is an order in which they can be synced."""
    names = list(SPECS)
    assert set(names) == {"locations", "users", "projects", "time_entries"}
    assert names.index("time_entries") > max(names.index("users"), names.index("projects"))


@pytest.mark.parametrize(
    ("entity", "seed"),
    [
        ("users", {"user_id", "email", "role"}),
        ("projects", {"project_id", "project_name"}),
        ("time_entries", {"time_entry_id", "start_time", "end_time", "task_id", "project_id"}),
    ],
)
def test_the_defaults_give_the_seed_fields(entity: str, seed: set[str]) -> None:
    """The fields the Snapshots contract names are all mapped."""
    assert seed <= {field.name for field in SPECS[entity].fields}


def test_locations_read_their_seed_fields() -> None:
    """A location's id, name and address are what a client is made of."""
    assert set(SPECS["locations"].source_columns) == {"location_id", "location_name", "address"}


def test_only_ids_start_and_end_are_required_of_an_entry() -> None:
    """Task and project of an entry may be null."""
    required = {field.name for field in SPECS["time_entries"].fields if field.required}
    assert required == {"time_entry_id", "start_time", "end_time"}


def test_references_and_ownership() -> None:
    """An entry refers to its project and user; a client's note is the person's once written."""
    assert SPECS["time_entries"].references == {"project_id": "projects", "user_id": "users"}
    assert "note" not in {field.name for field in SPECS["locations"].owned_fields}
    assert SPECS["locations"].field("note").owner == "target"
    assert SPECS["time_entries"].partitioned
    assert not SPECS["users"].partitioned
    with pytest.raises(KeyError):
        SPECS["users"].field("nothing")


@pytest.mark.parametrize(
    "yaml",
    [
        "fields: {email: {description: other words}}",
        "fields: {email: {personal: false}}",
        "fields: {email: {transform: [trim]}}",
        "fields: {role: {one_of: [MEMBER, OWNER, WORKSPACE_ADMIN, TEAM_MANAGER, PROJECT_MANAGER]}}",
        "fields: {name: {required: false}}",
        "description: other\nowners: [team:x]\ngroup: other\nkinds: [a]",
        "target: {delete: keep}",
        "# nothing but a comment\nentity: users",
    ],
)
def test_the_fingerprint_stays_when_the_output_stays(tmp_path: Path, yaml: str) -> None:
    """Wording, order and spelling of the same mapping are the same mapping."""
    assert overridden(tmp_path, "users", yaml).fingerprint == SPECS["users"].fingerprint


@pytest.mark.parametrize(
    "yaml",
    [
        "fields: {email: {source: mail}}",
        "fields: {email: {transform: lower}}",
        "fields: {email: {type: text}}",
        "fields: {email: {required: true}}",
        "fields: {email: {owner: target}}",
        "fields: {email: {default: a@b.co}}",
        "fields: {email: {constant: a@b.co}}",
        "fields: {email: {max_length: 10}}",
        "fields: {name: {one_of: [Ana]}}",
        "fields: {name: drop}",
        "fields: {extra: {source: extra}}",
        "fields: {since: {source: since, type: instant}}\nexclude: [{before_start_date: since}]",
    ],
)
def test_the_fingerprint_changes_when_the_output_can(tmp_path: Path, yaml: str) -> None:
    """Everything that can change what is delivered, or whether, changes the fingerprint."""
    assert overridden(tmp_path, "users", yaml).fingerprint != SPECS["users"].fingerprint


def test_the_fingerprint_knows_what_a_record_is_known_by(tmp_path: Path) -> None:
    """Another id at the source is another mapping, of an entity no one points at."""
    other = overridden(tmp_path, "time_entries", "source: {id: other}")
    assert other.fingerprint != SPECS["time_entries"].fingerprint


def test_the_fingerprint_follows_the_users_code(tmp_path: Path) -> None:
    """Another function is another mapping; a comment in it is not."""

    def fingerprint(code: str) -> str:
        (tmp_path / "mine.py").write_text(code)
        return overridden(tmp_path, "users", "fields: {name: {function: mine.clean}}").fingerprint

    first = fingerprint("def clean(v):\n    return v.upper()\n")
    assert fingerprint("# why\ndef clean(v):\n\n    return v.upper()  # so\n") == first
    assert fingerprint("def clean(v):\n    return v.lower()\n") != first


def test_the_shipped_fingerprints_do_not_depend_on_the_process() -> None:
    """Loaded twice, the same files give the same fingerprints: no run sees a change that is none."""
    assert {n: s.fingerprint for n, s in load_specs().items()} == {n: s.fingerprint for n, s in SPECS.items()}


def test_describe_has_a_row_for_each_field() -> None:
    """`mapping show` prints where each field comes from and what happens to it."""
    rows = {row["field"]: row for row in describe(SPECS["locations"])}
    assert list(rows) == [field.name for field in SPECS["locations"].fields]
    assert rows["note"] == {
        "field": "note",
        "source": "location_id",
        "transform": "prefix: 'location_id: '",
        "type": "text",
        "required": False,
        "references": "",
        "owner": "target",
        "description": "Where the client came from, written when it is created.",
    }
    assert rows["archived"]["source"] == "= false"
