"""A target that is an operation: what is understood, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sync_pipeline.errors import ConfigError, MappingFileError
from sync_pipeline.mapping.load import load_automations, load_specs, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.operations.catalogue import known, operation, operations
from sync_pipeline.settings import load_settings

GOOD = """\
entity: made
source: {system: snapshots, list: locations, id: location_id}
target:
  system: clockify
  operation: projects.create
  once: true
  find: {operation: projects.list, with: {name: name}, same: [name]}
fields:
  name: {source: location_name, required: true}
"""
TASK = """\
entity: made
source: {system: clockify, list: "/workspaces/{workspace}/clients", id: id}
target:
  system: snapshots
  operation: contacts.tasks.create
  once: true
  find: {operation: contacts.tasks.list, same: [title]}
fields:
  contactId: {constant: abc, type: id, required: true}
  title: {source: name, required: true}
  dueDate: {source: at, type: instant, required: true}
  completed: {constant: false, type: bool, required: true}
"""


def made(directory: Path, text: str) -> EntitySpec:
    """The automation of this file."""
    (directory / "made.yaml").write_text(text)
    return load_specs(directory, automations=["made"])["made"]


def test_what_is_shipped_is_off_until_it_is_named(tmp_path: Path) -> None:
    """The entities are what they were; named ones come after those that their links are looked up in."""
    settings = load_settings({"SYNC_HOME": str(tmp_path)}, root=tmp_path)
    assert load_automations(settings).keys() == {"starter_projects", "won_opportunities"}
    assert set(load_specs()) == {"locations", "users", "projects", "time_entries"}
    on = load_specs(automations=["won_opportunities"])
    assert switched_on(on, ["locations"]).keys() == {"locations", "won_opportunities"}
    with pytest.raises(ConfigError, match="without a value of templateProjectId"):
        load_specs(automations=["starter_projects"])
    with pytest.raises(ConfigError, match="no automation 'locations'"):
        load_specs(automations=["locations"])


def test_it_is_made_once_and_found_by_what_it_names(tmp_path: Path) -> None:
    """Another operation or another way to find it is another meaning; how many a run may make is none."""
    spec = made(tmp_path, GOOD)
    assert (spec.target.operation, spec.target.delete, spec.target.at_most) == ("clockify.projects.create", "keep", 25)
    assert spec.target.find is not None
    assert (spec.target.find.operation, spec.target.find.same) == ("clockify.projects.list", ("name",))
    assert made(tmp_path, GOOD.replace("once: true", "once: true\n  at_most: 3")).fingerprint == spec.fingerprint
    other = made(tmp_path, GOOD.replace("same: [name]}", "same: [name]}").replace("with: {name: name}, ", ""))
    assert other.fingerprint != spec.fingerprint
    below = made(tmp_path, TASK).target.find
    assert below is not None
    assert below.inputs == (("contactId", "contactId"),)


@pytest.mark.parametrize("name", known()["once"])
def test_each_operation_that_can_be_done_once_makes_a_record(name: str) -> None:
    """It is a write with a sentence of ours that is not held back, and is found again, repeatable or listed."""
    one = operation(name)
    assert (one.kind, one.method, one.held, one.runs) == ("write", "POST", "", True)
    listed = any(
        each.kind == "read" and each.name.startswith(name.rpartition(".")[0]) for each in operations().values()
    )
    assert one.find or name in known()["repeatable"] or listed


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("projects.create", "projects.creat", 5, "not in the catalogue"),
        ("projects.create", "users.create", 5, "held back"),
        ("projects.create", "projects.update", 5, "not among the operations that make a record"),
        ("projects.create", "tags.delete", 5, "deletes"),
        ("projects.create", "contacts.upsert", 5, "not in the catalogue"),
        ("once: true", "once: false", 6, "never again"),
        ("once: true", "once: true\n  delete: archive", 7, "never deleted"),
        ("once: true", "once: true\n  kind: projects", 7, "beside target.operation"),
        ("find: {operation: projects.list, with: {name: name}, same: [name]}", "id: id", 3, "after a lost answer"),
        ("projects.list", "projects.lists", 7, "no list of the catalogue"),
        ("with: {name: name}", "with: {nam: name}", 7, "no input of clockify.projects.list"),
        ("same: [name]", "same: [note]", 8, "compares note"),
        ("name: {source: location_name", "title: {source: location_name", 9, "no input of clockify.projects.create"),
        ("required: true}", "required: true}\n  billable: {source: b}", 10, "takes boolean"),
        ("required: true}", "required: true}\n  hourlyRate: {source: b, type: json}", 10, "held back"),
        ("required: true}", "required: true}\n  workspaceId: {source: b}", 10, "set by the connection"),
        (", required: true}", "}", 9, "may be empty"),
        ("fields:", "partition_by: name\nfields:", 8, "partition_by"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    """File and line of the fault, and what is expected there."""
    assert old in GOOD
    with pytest.raises(MappingFileError, match=said) as refused:
        made(tmp_path, GOOD.replace(old, new))
    assert f"made.yaml:{line}" in str(refused.value)


def test_what_it_is_found_again_by_is_always_there(tmp_path: Path) -> None:
    """A record without it would be made again after a lost answer."""
    text = GOOD.replace("same: [name]}", "same: [name, note]}") + "  note: {source: note}\n"
    with pytest.raises(MappingFileError, match="could be made twice") as refused:
        made(tmp_path, text)
    assert "made.yaml:10" in str(refused.value)
    assert made(tmp_path, text.replace("note}\n", "note, required: true}\n")).target.find is not None


def test_an_entity_that_is_kept_in_sync_has_no_keys_of_an_operation(tmp_path: Path) -> None:
    """`once` alone does not make an automation."""
    (tmp_path / "projects.yaml").write_text(yaml.safe_dump({"entity": "projects", "target": {"once": True}}))
    with pytest.raises(MappingFileError, match=r"without target\.operation"):
        load_specs(tmp_path)
