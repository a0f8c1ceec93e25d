"""`mapping` from the terminal: looking at fields, trying a change, making it, and taking it back."""

from __future__ import annotations

import pytest

from sync_pipeline_tests.cli.shell import Shell

SITE = ("--source", "customFields.'Site no.'", "--transform", "trim | prefix: 'S: '")


def test_fields(shell: Shell) -> None:
    """The source's fields with an example of each, as a table and as a document."""
    document = shell("mapping", "fields", "users", "--json", code=0).document
    assert document["note"] == ""
    email = next(field for field in document["source_fields"] if field["path"] == "email")
    assert email["type"] == "email"
    assert email["mapped_to"] == ["email"]
    assert email["example"] in {user["email"] for user in shell.team.users()}
    assert {"trim", "replace"} <= {transform["name"] for transform in document["transforms"]}
    shown = shell("mapping", "fields", "users", code=0)
    assert email["example"] in shown.out
    assert shown.err == ""


def test_set_drop_restore(shell: Shell) -> None:
    """Each change applies immediately to every command, and undoing it leaves nothing."""
    made = shell("mapping", "set", "time_entries", "site", *SITE, "--json", code=0).document
    assert made["field"]["transforms"] == ["trim", "prefix: 'S: '"]
    rows = shell("mapping", "show", "time_entries", "--json", code=0).document["time_entries"]
    (row,) = [row for row in rows if row["field"] == "site"]
    assert (row["source"], row["transform"]) == ("customFields.'Site no.'", "trim | prefix: 'S: '")
    assert shell("mapping", "validate", "--json", code=0).document["entities"]["time_entries"] == len(rows)
    assert "required" not in shell("mapping", "set", "time_entries", "site", "--required", code=0).out
    assert "S: " in shell.settings().setup_document
    assert "not delivered any more" in shell("mapping", "drop", "time_entries", "tags", code=0).out
    assert "as the mapping files say" in shell("mapping", "restore", "time_entries", "tags", code=0).out
    assert shell("mapping", "restore", "time_entries", "site", "--json", code=0).document["field"] is None
    assert "mappings" not in shell.settings().setup_document


def test_a_source_that_no_record_has(shell: Shell) -> None:
    """`set` and `validate` warn of it and name the nearest one; it may still appear, so both end with 0."""
    assert shell("mapping", "validate", code=0).warnings == []
    warnings = shell("mapping", "set", "users", "email", "--source", "emial", code=0).warnings
    assert warnings == ["users.email: no record that was looked at has the source 'emial'. Did you mean 'email'?"]
    assert shell("mapping", "validate", code=0).warnings == warnings
    warnings = shell("mapping", "set", "users", "email", "--source", "nosuch.path", code=0).warnings
    assert warnings == [
        "users.email: no record that was looked at has the source 'nosuch.path'. `sync-pipeline mapping fields users` "
        "shows what there is."
    ]
    assert shell("mapping", "set", "users", "email", "--source", "email", code=0).warnings == []


def test_a_changed_field_is_delivered(shell: Shell) -> None:
    """What `set` changed is what a sync delivers."""
    shell("mapping", "set", "projects", "project_name", "--transform", "upper", code=0)
    shell.sync("--entity", "projects")
    there = shell.team.at_snapshots("projects")
    assert {row["project_name"] for row in there.values()} == {p["name"].upper() for p in shell.team.projects()}


def test_a_constant_replaces_a_source(shell: Shell) -> None:
    """And a source replaces a constant; nothing is left over that would not go together."""
    shell("mapping", "set", "users", "name", "--constant", "somebody", code=0)
    form = shell("mapping", "set", "users", "name", "--source", "name", "--json", code=0).document["field"]["form"]
    assert (form["source"], form["constant"], form["transform"]) == ("name", "", "")


def test_samples_are_tests_of_the_mapping(shell: Shell) -> None:
    """The shipped ones pass; with a changed mapping those with another result are named, until the user's own replace them."""
    assert "All samples pass: locations (" in shell("mapping", "test", code=0).out
    shell("mapping", "set", "projects", "project_name", "--transform", "upper", code=0)
    found = shell("mapping", "test", "projects", "--json", code=1).document
    assert (found["passed"], set(found["samples"])) == (False, {"projects"})
    assert all(row["entity"] == "projects" and "project_name is" in row["difference"] for row in found["differences"])
    shown = shell("mapping", "test", code=1)
    assert "project_name is" in shown.out
    assert "SYNC_MAPPINGS_DIR" in shown.out
    assert shell("mapping", "test", "users", "--json", code=0).document["passed"] is True
    assert "There is no entity" in shell("mapping", "test", "nothing", code=2).err


def test_try(shell: Shell) -> None:
    """Five records before and after; nothing is changed by trying."""
    words = ("mapping", "try", "users", "--field", "name", "--transform", "upper", "--max-length", "2")
    found = shell(*words, "--json", code=0).document
    assert 0 < len(found) <= 5
    assert all(record["after"]["name"] == record["before"]["name"].upper() for record in found)
    assert all(record["problems"] for record in found)
    assert "more than 2 characters" in shell(*words, code=0).out
    assert "role" in shell("mapping", "try", "users", "--drop", "role", code=0).out
    assert shell.settings().setup_version == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("set", "users", "x", "--source", "a", "--transform", "trin"), "Did you mean 'trim'?"),
        (("set", "nobody", "x", "--source", "a"), "There is no entity 'nobody'"),
        (("set", "users", "<b>", "--source", "a"), "cannot be used"),
        (("drop", "users", "user_id"), "target.id knows a record by"),
        (("drop", "users", "nam"), "Did you mean 'name'?"),
        (("restore", "users", "nam"), "Did you mean 'name'?"),
        (("fields", "user"), "There is no entity 'user'. Did you mean 'users'?"),
        (("try", "users", "--field", "name", "--type", "txt"), "type: found 'txt'"),
    ],
)
def test_mistakes(shell: Shell, words: tuple[str, ...], expected: str) -> None:
    """One line that names what is wrong, exit code 2, and nothing stored."""
    ended = shell("mapping", *words, code=2)
    assert expected in ended.message
    assert ".yaml" not in ended.message
    assert shell.settings().setup_version == 0


def test_try_wants_a_field(shell: Shell) -> None:
    """A change without the field it is about is wrong usage, not a preview of nothing."""
    assert "--field" in shell("mapping", "try", "users", "--type", "id", code=2).err
