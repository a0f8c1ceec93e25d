"""The user's own files: what they may change, and the message when they are not understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sync_pipeline.connectors.clockify.target import TARGETS
from sync_pipeline.errors import ConfigError, MappingFileError
from sync_pipeline.mapping.canonical import canonical_rows
from sync_pipeline.mapping.load import load_specs, records_of
from sync_pipeline.mapping.samples import known_keys, load_samples
from sync_pipeline.mapping.systems import SYSTEMS
from sync_pipeline.settings import load_settings
from sync_pipeline.yaml_source import read_yaml
from sync_pipeline_tests.mapping.frames_of import SPECS, checked, entry, overridden, problems

TAGS = """\
entity: tags
description: A label of the workspace.
source: {system: clockify, list: "/workspaces/{workspace}/tags", item: "/workspaces/{workspace}/tags/{id}", id: id}
target: {system: snapshots, id: tag_id, delete: archive}
fields:
  tag_id: {source: id, type: id, required: true, unique: true}
  name: {source: name, required: true, max_length: 100}
  archived: {source: archived, type: bool}
"""


def test_one_key_of_one_field_is_overridden(tmp_path: Path) -> None:
    """What the user does not mention stays as shipped."""
    spec = overridden(tmp_path, "projects", "fields:\n  project_name: {transform: upper}\n")
    assert spec.field("project_name").source == ("name",)
    assert spec.field("project_name").max_length == 250
    assert [f.name for f in spec.fields] == [f.name for f in SPECS["projects"].fields]
    assert checked(spec, {"id": "p", "name": "relaunch"})["project_name"].tolist() == ["RELAUNCH"]


@pytest.mark.parametrize("nothing", ["null", "~", "drop", ""])
def test_a_field_is_removed(tmp_path: Path, nothing: str) -> None:
    """Null or drop takes a shipped field away."""
    spec = overridden(tmp_path, "users", f"fields:\n  time_zone: {nothing}\n")
    assert "time_zone" not in {f.name for f in spec.fields}


def test_another_origin_replaces_the_inherited_one(tmp_path: Path) -> None:
    """A new source is not put through the old transform; a constant needs no source any more."""
    spec = overridden(tmp_path, "users", "fields: {role: {source: title, one_of: null}, status: {constant: x}}")
    frame = checked(spec, {"id": "u", "title": "Boss", "status": "ACTIVE"})
    assert frame["role"].tolist() == ["Boss"]
    assert frame["status_"].tolist() == ["x"]


def test_top_level_keys_are_overridden(tmp_path: Path) -> None:
    """`source` and `target` merge by key; lists replace lists."""
    spec = overridden(
        tmp_path, "projects", "target: {delete: archive}\nowners: [team:me]\nsource: {params: {hydrated: true}}"
    )
    assert (spec.target.delete, spec.target.id, spec.owners) == ("archive", "project_id", ("team:me",))
    assert spec.source.params == {"hydrated": "true"}
    assert spec.source.list == SPECS["projects"].source.list
    spec = overridden(
        tmp_path, "users", "webhooks: {accept: null, subscribe: {USER_UPDATED: 7}, only_named: [USER_UPDATED]}"
    )
    assert (spec.webhooks.events, spec.webhooks.id) == (("USER_UPDATED",), "id")


def test_a_fifth_entity_is_one_file_and_its_samples(tmp_path: Path) -> None:
    """A new YAML file is a new entity, with its samples known, in dependency order."""
    (tmp_path / "tags.yaml").write_text(TAGS)
    source = {"id": "t1", "name": "remote", "workspaceId": "w", "archived": False}
    target = {"tag_id": "t1", "name": "remote", "archived": False}
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "tags.json").write_text(json.dumps([{"source": source, "target": target}]))
    overridden(tmp_path, "time_entries", "depends_on: [users, projects, tags]")
    specs = load_specs(tmp_path)
    assert list(specs).index("tags") < list(specs).index("time_entries")
    (sample,) = load_samples("tags", tmp_path)
    assert json.loads(canonical_rows(specs["tags"], checked(specs["tags"], sample.source))[0][0]) == sample.target
    assert known_keys("tags", tmp_path) == set(source)
    assert known_keys("users", tmp_path) == known_keys("users")
    assert load_samples("nothing", tmp_path) == []


def test_the_id_fields_of_both_sides(tmp_path: Path) -> None:
    """As a sandbox receives them; while a file has a mistake there are none, and the mistake is reported elsewhere."""
    settings = load_settings({"SYNC_MAPPINGS_DIR": str(tmp_path)}, root=tmp_path)
    (tmp_path / "tags.yaml").write_text(TAGS)
    found = records_of(settings)
    assert {("clockify", "tags", "id"), ("snapshots", "tags", "tag_id")} <= set(found)
    assert {("snapshots", "locations", "location_id"), ("clockify", "locations", "id")} <= set(found)
    assert len(found) == 10
    (tmp_path / "tags.yaml").write_text(f"{TAGS}strange: key")
    assert records_of(settings) == ()


def test_an_empty_directory_changes_nothing(tmp_path: Path) -> None:
    """Other files next to the mappings are of no interest."""
    (tmp_path / "README.md").write_text("notes")
    assert load_specs(tmp_path) == SPECS


FUNCTIONS = """
from dataclasses import dataclass

@dataclass
class Rule:
    word: str

def clean(value):
    if value == "boom":
        raise RuntimeError("no booms")
    return value.replace("Design", "D.")

def whole(record):
    record["userId"] = "changed"
    return f"{record['id']}/{record['description']}"

def strange(value):
    return {1, 2}

number = 7
"""


def test_a_function_of_the_users_is_called_for_each_value(tmp_path: Path) -> None:
    """`function: my_functions.clean` gets each value; what it raises concerns that record alone."""
    (tmp_path / "my_functions.py").write_text(FUNCTIONS)
    spec = overridden(tmp_path, "time_entries", "fields: {description: {function: my_functions.clean}}")
    frame = checked(spec, entry(), entry(id="e2", description="boom"), entry(id="e3", description=None))
    assert frame["status"].tolist() == ["accepted", "rejected", "accepted"]
    assert frame["description"].iat[0] == "D. review"
    (problem,) = problems(frame, 1)
    assert problem["message"] == "my_functions.clean raised RuntimeError: no booms"
    assert (problem["field"], problem["rule"], problem["value"]) == ("description", "valid_values", "boom")


def test_a_function_without_source_gets_the_record(tmp_path: Path) -> None:
    """It sees the whole record, and what it does to its copy stays there."""
    (tmp_path / "my_functions.py").write_text(FUNCTIONS)
    yaml = "fields: {label: {function: my_functions.whole}, user_again: {source: userId, type: id}}"
    frame = checked(overridden(tmp_path, "time_entries", yaml), entry())
    assert frame["label"].tolist() == ["e1/Design review"]
    assert frame["user_again"].tolist() == ["u1"]


def test_a_record_too_deep_to_copy_is_a_problem_of_that_record(tmp_path: Path) -> None:
    """Nesting near the parser's limit neither raises nor harms its neighbour."""
    (tmp_path / "my_functions.py").write_text(FUNCTIONS)
    spec = overridden(tmp_path, "time_entries", "fields: {label: {function: my_functions.whole}}")
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    assert checked(spec, entry(deep=deep), entry())["status"].tolist() == ["rejected", "accepted"]


def test_a_function_that_returns_something_strange_is_a_problem_of_the_record(tmp_path: Path) -> None:
    """The type of the field is checked after the function, like any value."""
    (tmp_path / "my_functions.py").write_text(FUNCTIONS)
    spec = overridden(tmp_path, "time_entries", "fields: {description: {function: my_functions.strange}}")
    assert problems(checked(spec, entry()))[0]["message"] == "is a set, expected text"


ENDLESS = {
    "brackets": ("a: " + "[" * 100_000, 1, "more than 5,000 lists and mappings"),
    "braces": ("a: " + "{a: [" * 50_000, 1, "more than 5,000 lists and mappings"),
    "dashes": ("a: 1\n" + "- " * 50_000, 2, "more than 500 dashes on one line"),
    "questions": ("? " * 50_000, 1, "more than 500 dashes on one line"),
    "characters": ("a: " + "x" * 1_000_000, 1, "more than 1,000,000 characters"),
    "values": ("a: [" + "1, " * 30_000 + "1]", 1, "more than 20,000 values"),
    "aliases": ("a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 26)), 1, "20,000 values"),
    "merges": ("a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 26)), 1, "values"),
}  # fmt: skip
BROKEN = [
    # (yaml, line, field, part of the message, part of the fix)
    ("fields: [", 1, "file", "is not YAML", "indentation"),
    ("fields:\n\trole: x\n", 2, "file", "is not YAML", "no tabs"),
    ("a: 'b\nc: d\n", 2, "file", "is not YAML", ""),
    ("", 1, "file", "is empty", ""),
    ("- a\n- b\n", 1, "file", "no mapping", ""),
    ("fields: *nowhere\n", 1, "file", "undefined alias", ""),
    ("fields: !!python/object:os.system {}\n", 1, "fields", "found the tag", ""),
    ("a: &x\n  b: *x\n", 1, "a.b", "without end", ""),
    ("fields:\n  role: {source: roles}\n  role: {source: x}\n", 3, "role", "twice, first on line 2", ""),
    ("fields:\n  yes: {source: roles}\n", 2, "fields", "the key", "quotes"),
    ("description: 7\n", 1, "description", "a whole number 7, expected text", ""),
    ("description: 2024-99-99\n", 1, "description", "which is no value", "Quote"),
    ("feilds: {}\n", 1, "feilds", "is not a key", "Did you mean 'fields'?"),
    ("\nentity: user\n", 2, "entity", "'user' in a file named users.yaml", ""),
    ("source: clockify\n", 1, "source", "text 'clockify', expected a mapping", ""),
    ("source:\n  system: clokify\n", 2, "source.system", "'clokify', expected one of", "Did you mean 'clockify'?"),
    ("source: {reader: x, list: y}\n", 1, "source.list", "beside source.reader", "Keep one"),
    ("source: {params: [1]}\n", 1, "source.params", "a list, expected a mapping", ""),
    ("source: {params: {a: [1]}}\n", 1, "source.params.a", "a list, expected text or a number", ""),
    ("source: {id: ''}\n", 1, "source.id", "is empty", ""),
    ('source: {parent: project, list: "/{parent}/x"}', 1, "source.parent", "there is no such entity", "Did you mean 'projects'?"),
    ('source: {parent: locations, list: "/{parent}/x"}', 1, "source.parent", "not a plain list of the same", ""),
    (
        'source: {parent: projects, list: "/{parent}/x", item: "/{parent}/x/{id}"}',
        1,
        "source.parent",
        "not exactly one field refers to it",
        "references: projects",
    ),
    (
        'source: {parent: projects, list: "/{parent}/x", item: "/{parent}/x/{id}"}\n'
        "fields:\n  project: {source: p, type: id, references: projects, transform: trim}\n",
        1,
        "source.parent",
        "not exactly one field refers to it",
        "only its `source` and `type`",
    ),
    ('source: {list: "/{parent}/x"}', 1, "source.list", "has {parent}, but source.parent is missing", "both or"),
    ('source: {parent: projects, list: "/x"}', 1, "source.list", "lacks {parent}, but", "both or neither"),
    ("source: {lst: x}\n", 1, "source.lst", "is not a key of source", "Did you mean 'list'?"),
    ("target: {delete: remove}\n", 1, "target.delete", "'remove', expected one of delete, archive, keep", ""),
    ("target: {delete: archived}\n", 1, "target.delete", "'archived'", "Did you mean 'archive'?"),
    ("depends_on: [project]\n", 1, "depends_on", "'project', but there is no such entity", "Did you mean 'projects'?"),
    ("depends_on: [time_entries]\n", 1, "depends_on", "circular: ", ""),
    ("depends_on: [7]\n", 1, "depends_on", "a whole number 7, expected text", ""),
    ("webhooks: [USER_UPDATED]\n", 1, "webhooks", "a list, expected a mapping", ""),
    ("webhooks: {events: {}}\n", 1, "webhooks.events", "is not a key of webhooks", ""),
    ("webhooks:\n  subscribe: {USER_UPDATED: first}\n", 2, "webhooks.subscribe.USER_UPDATED", "a whole number", ""),
    ("webhooks:\n  subscribe: {USER_UPDATED: 0}\n", 2, "webhooks.subscribe.USER_UPDATED", "above zero", ""),
    ("webhooks:\n  subscribe: {USER_UPDATED: }\n", 2, "webhooks.subscribe.USER_UPDATED", "is missing", ""),
    ("webhooks:\n  subscribe: [USER_UPDATED]\n", 2, "webhooks.subscribe", "a list, expected a mapping", ""),
    ("webhooks:\n  accept: [user-updated]\n", 1, "webhooks", "'user-updated', expected the name of an event", ""),
    ("webhooks:\n  only_named: [USER_UPDATE]\n", 2, "webhooks.only_named", "neither in", "Did you mean 'USER_UPDATED'?"),
    ("webhooks: {accept: [NEW_PROJECT]}\n", 1, "webhooks", "an event of projects already", "one of the two"),
    ("label: [7]\n", 1, "label", "a whole number 7, expected text", ""),
    ("label: name..first\n", 1, "label", "expected a path", ""),
    ("label: {personal: true}\n", 1, "label.source", "is missing", "Add `source"),
    ("label: {source: name, private: true}\n", 1, "label.private", "is not a key of label", ""),
    ("facts: person_facts\n", 1, "facts", "text 'person_facts', expected a mapping", ""),
    ("facts: {table: people, columns: {name: name}}\n", 1, "facts.table", "'people', expected one of", ""),
    ("facts: {table: person_facts}\n", 1, "facts.columns", "is missing", ""),
    ("facts: {table: person_facts, columns: {}}\n", 1, "facts.columns", "expected a mapping of columns", ""),
    (
        "facts:\n  table: person_facts\n  columns:\n    nmae: name\n",
        4,
        "facts.columns.nmae",
        "is not a key",
        "Did you mean 'name'?",
    ),
    ("facts:\n  table: person_facts\n  columns:\n    name: \n", 3, "facts.columns.name", "is missing", ""),
    ("facts:\n  table: person_facts\n  columns: {name: 7}\n", 3, "facts.columns.name", "expected text", ""),
    ("partition_by: email\n", 1, "partition_by", "type email, expected type instant", ""),
    ("partition_by: emial\n", 1, "partition_by", "not a field", "Did you mean 'email'?"),
    ("fields: 7\n", 1, "fields", "a whole number 7, expected a mapping", ""),
    ("fields:\n  role: roles\n", 2, "fields.role", "text 'roles', expected a mapping, null or drop", "source"),
    ("fields:\n  role:\n    sorce: roles\n", 3, "fields.role.sorce", "is not a key", "Did you mean 'source'?"),
    ("fields:\n  x: {type: text}\n", 2, "fields.x.source", "is missing", "Add `source"),
    ("fields:\n  x: {source: a, constant: b}\n", 2, "fields.x.source", "beside fields.x.constant", ""),
    ("fields:\n  x: {source: a..b}\n", 2, "fields.x.source", "'a..b', expected a path", ""),
    ("fields:\n  x: {source: 7}\n", 2, "fields.x.source", "a whole number 7, expected text", ""),
    ("fields:\n  x:\n    source: a\n    type: instnat\n", 4, "fields.x.type", "'instnat'", "Did you mean 'instant'?"),
    ("fields:\n  x: {source: a, required: 'yes'}\n", 2, "fields.x.required", "text 'yes', expected true", ""),
    ("fields:\n  x: {source: a, max_length: 0}\n", 2, "fields.x.max_length", "above zero", ""),
    ("fields:\n  x: {source: a, max_length: long}\n", 2, "fields.x.max_length", "expected a whole number", ""),
    ("fields:\n  x: {source: a, owner: me}\n", 2, "fields.x.owner", "'me', expected one of source, target", ""),
    ("fields:\n  x: {source: a, one_of: [1]}\n", 2, "fields.x.one_of", "a whole number 1, expected text", ""),
    ("fields:\n  x: {source: a, references: usres}\n", 2, "fields.x.references", "'usres'", "Did you mean 'users'?"),
    ("fields:\n  x: {source: a, type: id, link: locatons}\n", 2, "fields.x.link", "'locatons'", "Did you mean 'locations'?"),
    ("fields:\n  x: {source: a, type: id, link: users}\n", 2, "fields.x.link", "there are no links", "`references: users`"),
    ("fields:\n  x: {source: a, type: int, link: locations}\n", 2, "fields.x.link", "the type is int", "`type: id`"),
    ("fields:\n  x: {source: a, link: locations, default: b}\n", 2, "fields.x.default", "beside `link`", "Keep one"),
    ("fields:\n  user_id: {link: locations, unique: false}\n", 2, "fields.user_id.link", "knows a record", "of its own"),
    ("fields:\n  x: {source: a, transform: trimm}\n", 2, "fields.x.transform", "no transform", "Did you mean 'trim'?"),
    ("fields:\n  x: {source: a, transform: 7}\n", 2, "fields.x.transform", "a whole number 7", ""),
    ("fields:\n  x: {source: a, transform: prefix}\n", 2, "fields.x.transform.prefix", "expected text", ""),
    ("fields:\n  x: {source: a, transform: {trim: 1}}\n", 2, "fields.x.transform.trim", "takes no argument", ""),
    ("fields:\n  x: {constant: soon, type: instant}\n", 2, "fields.x.constant", "is not an instant", ""),
    ("fields:\n  x: {constant: [a], type: text}\n", 2, "fields.x.constant", "is a list, expected text", ""),
    ("fields:\n  x: {source: a, default: b, type: int}\n", 2, "fields.x.default", "expected a whole number", ""),
    ("fields: {status_: {source: a}}\n", 1, "fields.status_", "clashes", "Rename"),
    ("rules: [{before: [email]}]\n", 1, "rules.before", "found 1 fields, expected two", ""),
    ("rules: [{before: [email, nme]}]\n", 1, "rules.before", "'nme'", "Did you mean 'name'?"),
    ("rules: [{before: [email, name]}]\n", 1, "rules.before", "compares email with text", ""),
    ("rules: [{after: [email, name]}]\n", 1, "rules.after", "is not a key", ""),
    ("exclude: [runing]\n", 1, "exclude", "text 'runing'", "Did you mean 'running'?"),
    ("exclude: [running]\n", 1, "exclude.running", "names no field", ""),
    ("exclude: [{running: end}]\n", 1, "exclude.running", "'end', which is not a field", ""),
    ("fields:\n  x: {source: a, function: my_functions.claen}\n", 2, "fields.x.function", "no function 'claen'",
     "Did you mean 'clean'?"),
    ("fields:\n  x: {source: a, function: my_function.clean}\n", 2, "fields.x.function", "names my_function.py",
     "Did you mean 'my_functions'?"),
    ("fields:\n  x: {source: a, function: clean}\n", 2, "fields.x.function", "expected module.function", ""),
    ("fields:\n  x: {source: a, function: ../x.clean}\n", 2, "fields.x.function", "expected module.function", ""),
    ("fields:\n  x: {source: a, function: my_functions.number}\n", 2, "fields.x.function", "is no function", ""),
    ("fields:\n  x: {source: a, function: broken.f}\n", 2, "fields.x.function", "on line 2", ""),
    ("fields:\n  x: {source: a, function: raising.f}\n", 2, "fields.x.function", "ZeroDivisionError", ""),
]  # fmt: skip


@pytest.mark.parametrize(("yaml", "line", "field", "message", "fix"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_broken_file_is_refused_with_its_place(
    tmp_path: Path, yaml: str, line: int, field: str, message: str, fix: str
) -> None:
    """File, line, field, what was found, what was expected, and the nearest known word."""
    (tmp_path / "my_functions.py").write_text(FUNCTIONS)
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "raising.py").write_text("x = 1\ny = x / 0\n")
    with pytest.raises(MappingFileError) as caught:
        overridden(tmp_path, "users", yaml)
    error = caught.value
    assert (error.file, error.line, error.field) == (str(tmp_path / "users.yaml"), line, field)
    assert message in error.message
    assert fix in error.fix
    assert str(error).startswith(f"{error.file}:{line}: {field}: ")


UNWORKABLE = [
    ("users", "fields:\n  user_id: null\n", 2, "fields.user_id", "is dropped, but it is what target.id knows a record"),
    ("users", "target: {id: key}\n", 1, "fields.key", "is missing, but it is what target.id knows a record by."),
    ("locations", "fields: {name: null}\n", 1, "fields.name", "is dropped, but a client cannot be without a name."),
    ("locations", "fields:\n  note: null\n  name: drop\n", 3, "fields.name", "is dropped, but a client cannot be"),
    (
        "locations",
        "fields:\n  email: {source: mail}\n  adress: {source: address}\n",
        3,
        "fields.adress",
        "is not a field of Clockify's clients. Did you mean 'address'?",
    ),
]


@pytest.mark.parametrize(("entity", "yaml", "line", "field", "expected"), UNWORKABLE)
def test_fields_the_target_cannot_work_with_are_refused(
    tmp_path: Path, entity: str, yaml: str, line: int, field: str, expected: str
) -> None:
    """Without what a record is known by, or with what a client has no place for, nothing could ever be delivered."""
    with pytest.raises(MappingFileError) as caught:
        overridden(tmp_path, entity, yaml)
    assert (caught.value.field, expected in str(caught.value)) == (field, True), str(caught.value)
    # A field that is not there at all has no line of its own.
    assert caught.value.line == line or "missing" in expected


def test_every_field_of_a_client_may_be_mapped(tmp_path: Path) -> None:
    """What may be mapped to a client, or to another kind of record, is what its adapter writes."""
    for kind, facts in SYSTEMS["clockify"].kinds.items():
        assert set(facts.fields) == set(TARGETS[kind].replaced)
    spec = overridden(tmp_path, "locations", "fields: {note: null, address: drop, email: {source: mail}}\n")
    assert {f.name for f in spec.fields} == {"name", "archived", "email"}


def test_a_misspelt_file_name_is_distinguished_from_a_new_entity(tmp_path: Path) -> None:
    """Half a file for an unknown entity is most likely meant for a shipped one."""
    with pytest.raises(MappingFileError, match=r"source: is missing.*Did you mean 'users'\?"):
        overridden(tmp_path, "user", "fields: {name: drop}")


def test_a_new_entity_must_say_how_it_is_read(tmp_path: Path) -> None:
    """A Clockify entity without a list path cannot be read."""
    with pytest.raises(MappingFileError, match=r"source\.list: is missing"):
        overridden(tmp_path, "tags", TAGS.replace('list: "/workspaces/{workspace}/tags", ', ""))


def test_an_entity_name_is_an_identifier(tmp_path: Path) -> None:
    """The name becomes an asset key and a table value: no spaces, no capitals."""
    with pytest.raises(MappingFileError, match="expected small letters"):
        overridden(tmp_path, "My Tags", TAGS.replace("entity: tags", "entity: My Tags"))


def test_all_fields_dropped_is_refused(tmp_path: Path) -> None:
    """An entity of which nothing is delivered is a mistake."""
    with pytest.raises(MappingFileError, match="nothing would be delivered"):
        overridden(tmp_path, "tags", TAGS.partition("fields:")[0] + "fields: {name: drop}")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """A spreadsheet saved under the wrong name is not a mapping."""
    (tmp_path / "users.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MappingFileError, match=r"is not UTF-8 text\. Save it as UTF-8\."):
        load_specs(tmp_path)


def test_control_characters_are_refused(tmp_path: Path) -> None:
    """YAML allows no control characters."""
    with pytest.raises(MappingFileError, match="is not YAML"):
        overridden(tmp_path, "users", "description: a\0b")


def test_a_missing_mappings_directory_is_a_wrong_setting(tmp_path: Path) -> None:
    """The message names the directory and the variable."""
    with pytest.raises(ConfigError, match=r"does not exist.*SYNC_MAPPINGS_DIR"):
        load_specs(tmp_path / "nowhere")


def test_two_files_of_one_entity_are_refused(tmp_path: Path) -> None:
    """No one should have to guess whether .yaml or .yml wins."""
    (tmp_path / "users.yml").write_text("description: a")
    with pytest.raises(ConfigError, match=r"users.yaml and users.yml"):
        overridden(tmp_path, "users", "description: b")


def test_a_sample_file_that_is_no_list_of_pairs_is_refused(tmp_path: Path) -> None:
    """Samples are data tests: half a pair proves nothing."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "users.json").write_text('[{"source": {}}]')
    with pytest.raises(ConfigError, match="is not a JSON list"):
        load_samples("users", tmp_path)


def test_yaml_anchors_may_be_used(tmp_path: Path) -> None:
    """`<<: *anchor` merges as in any YAML file; the field's own key wins."""
    yaml = "fields:\n  a: &base {source: name, max_length: 5}\n  b: {<<: *base, max_length: 6}\n"
    spec = overridden(tmp_path, "users", yaml)
    assert (spec.field("b").source, spec.field("b").max_length) == (("name",), 6)


@pytest.mark.parametrize("what", ENDLESS)
def test_a_file_that_would_never_end_is_refused(tmp_path: Path, what: str) -> None:
    """Before it is read in full: libyaml ends the process at what is nested too deep, and needs minutes for it."""
    file = tmp_path / "users.yaml"
    text, line, words = ENDLESS[what]
    file.write_text(text)
    with pytest.raises(MappingFileError, match=words) as caught:
        read_yaml(file)
    assert caught.value.line == line
    assert len(str(caught.value)) < 1_000
