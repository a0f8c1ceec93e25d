"""The fields of an entity: seen, changed, dropped, restored - against the real sandbox and the real file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, MappingFileError
from sync_pipeline.mapping.load import load_specs, specs_of
from sync_pipeline.mapping.spec import FIELD_TYPES
from sync_pipeline.mapping.transforms import TRANSFORMS
from sync_pipeline.setup.field_form import FieldForm, form_of
from sync_pipeline.setup.fields import (
    TargetField,
    change_field,
    check_drop,
    check_field,
    drop_field,
    entity_fields,
    field_form,
    preview_records,
    restore_field,
    target_fields,
)
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.audit import changes
from sync_pipeline_tests.harness import ENTITIES, Team
from sync_pipeline_tests.setup.fields.conftest import setup_of
from sync_pipeline_tests.setup.services import write_document

SITE = FieldForm("site", source="customFields.'Site no.'", transform="trim | prefix: S-")


def field(setup: SetupService, entity: str, name: str) -> TargetField:
    """One target field."""
    (found,) = [field for field in target_fields(setup, entity) if field.name == name]
    return found


def write(setup: SetupService, text: str) -> None:
    """Store a set-up as a person writes it."""
    write_document(setup.settings(), text)


def read(setup: SetupService) -> str:
    """The set-up."""
    return setup.settings().setup_document


@pytest.mark.parametrize("entity", ENTITIES)
def test_live_examples(us: Team, setup: SetupService, entity: str) -> None:
    """Every path of real records with a type and an example, for two requests at most."""
    found = entity_fields(setup, entity)
    assert found.note == ""
    paths = {source.path: source for source in found.source_fields}
    assert {f.source for f in found.target_fields if f.source} <= set(paths)
    assert all(len(source.example) <= 80 for source in found.source_fields)
    assert sum(us.requests().values()) <= 2
    again = entity_fields(setup, entity)
    assert again == found
    assert sum(us.requests().values()) <= 2


def test_types_and_examples(setup: SetupService) -> None:
    """The type is guessed from the values, a list of objects is shown as one, and targets are next to their sources."""
    paths = {source.path: source for source in entity_fields(setup, "time_entries").source_fields}
    assert paths["timeInterval.start"].type == "instant"
    assert paths["timeInterval.start"].mapped_to == ("start_time",)
    assert paths["timeInterval.duration"].type == "int"
    assert paths["timeInterval"].type == "object"
    assert paths["id"].type == "id"
    assert paths["billable"].type == "bool"
    assert paths["tags"].type == "objects"
    assert paths["tags"].example.endswith("with id, name")
    assert {source.path: source.type for source in entity_fields(setup, "users").source_fields}["email"] == "email"


def test_samples_when_nothing_can_be_read(us: Team) -> None:
    """Without an answer the shipped samples are shown, and why; nothing is tried for long."""
    us.fault("status", status=500)
    found = entity_fields(setup_of(us), "projects")
    assert "samples" in found.note
    assert {source.path for source in found.source_fields} >= {"id", "name"}
    us.no_faults()
    assert entity_fields(setup_of(us), "projects").note == "", "the next look is real again"


def test_the_budget_is_kept(us: Team) -> None:
    """On the Free plan the last requests of the hour are left to the runs: samples are shown instead."""
    setup = setup_of(us, CLOCKIFY_PLAN="free")
    notes = []
    for number in range(25):  # each from a home of its own in memory, so that nothing is remembered
        changed = setup_of(us, CLOCKIFY_PLAN="free", SNAPSHOTS_ACCOUNT=str(number))
        notes.append(entity_fields(changed, "projects").note)
    assert notes[0] == ""
    assert "budget" in notes[-1]
    assert sum(us.requests().values()) < 30
    assert entity_fields(setup, "locations").note == "", "the other side has a budget of its own"


def test_add_change_restore(setup: SetupService) -> None:
    """A field is added, changed and taken out again; each is a line of the audit trail, and the file is as before."""
    setup.change({"mappings.users.fields.name.max_length": 200}, "test", "so that there is a file")
    before = read(setup)
    change_field(setup, "time_entries", SITE, since=setup.revision())
    assert field(setup, "time_entries", "site").transforms == ("trim", "prefix: S-")
    assert specs_of(setup.settings())["time_entries"].field("site").source == ("customFields", "Site no.")
    change_field(setup, "time_entries", replace(SITE, type="id", transform=""), since=setup.revision())
    assert field(setup, "time_entries", "site").form == replace(SITE, type="id", transform="")
    restore_field(setup, "time_entries", "site", since=setup.revision())
    assert read(setup) == before
    with setup.store() as store:
        trail = changes(store)
    assert [line.what for line in trail[:3]] == ["mapping changed"] * 3
    assert trail[2].detail.startswith("time_entries.site: source: ")
    assert {line.by for line in trail} == {"Ana (test)"}


def test_a_shipped_field_is_changed_by_what_differs(setup: SetupService) -> None:
    """Only what differs is written, so the rest of the shipped mapping stays in force."""
    form = field_form(setup, "users", "name")
    change_field(setup, "users", replace(form, max_length="100"), since=None)
    assert "max_length: 100" in read(setup)
    assert "source" not in read(setup)
    assert field(setup, "users", "name").form == replace(form, max_length="100")
    change_field(setup, "users", form, since=None)
    assert not field(setup, "users", "name").is_own


def test_dropping(setup: SetupService) -> None:
    """A dropped shipped field is shown as dropped, and comes back; a custom one is removed."""
    drop_field(setup, "users", "time_zone", since=None)
    found = field(setup, "users", "time_zone")
    assert found.dropped
    assert found.is_own
    assert "time_zone: drop" in read(setup)
    restore_field(setup, "users", "time_zone", since=None)
    assert not field(setup, "users", "time_zone").dropped
    change_field(setup, "users", FieldForm("more", source="more"), since=None)
    drop_field(setup, "users", "more", since=None)
    assert "more" not in {field.name for field in target_fields(setup, "users")}


def test_what_a_person_wrote_stays(setup: SetupService) -> None:
    """Comments, order and other fields of the file survive a change of one field."""
    write(
        setup,
        """\
# our mapping
mappings:
  users:
    fields:
      name:  # as they sign
        transform: [trim, upper]   # loud
        max_length: 90
      # not wanted
      time_zone: drop
  projects:
    fields:
      colour: {source: color, transform: [{replace: {"#000000": black, "yes": "no"}}, lower]}
""",
    )
    assert field(setup, "projects", "colour").form.transform == "replace: {'#000000': black, 'yes': 'no'} | lower"
    change_field(setup, "users", replace(field_form(setup, "users", "name"), max_length="80"), since=None)
    text = read(setup)
    for kept in ("# our mapping", "# as they sign", "# loud", "# not wanted", "max_length: 80", '"yes": "no"'):
        assert kept in text
    assert field(setup, "users", "time_zone").dropped


@pytest.mark.parametrize("entity", ENTITIES)
def test_nothing_is_changed_by_looking(setup: SetupService, entity: str) -> None:
    """The form of every shipped field, stored unchanged, leaves no trace."""
    for found in target_fields(setup, entity):
        assert check_field(setup, entity, found.form) == ""
        change_field(setup, entity, found.form, since=None)
    assert not any(found.is_own for found in target_fields(setup, entity))


@pytest.mark.parametrize(
    ("entity", "form", "expected"),
    [
        ("users", FieldForm("x", source="a", transform="trin"), "transform: there is no transform 'trin'. Did you mean 'trim'?"),
        ("users", FieldForm("x", source="a", transform="prefix: 5"), "transform.prefix: found a whole number 5, expected text."),
        ("users", FieldForm("x", source="a", transform="trim | "), "transform: step 2 is empty."),
        ("users", FieldForm("x", source="a", type="txt"), "type: found 'txt', expected one of"),
        ("users", FieldForm("x", source="a", max_length="ten"), "max_length: found text 'ten', expected a whole number"),
        ("users", FieldForm("x", source="a", references="projcts"), "references: names 'projcts', but there is no such entity. Did you mean 'projects'?"),
        ("users", FieldForm("x", source="a", references="time_entries"), "is circular"),
        ("users", FieldForm("x"), "source: is missing"),
        ("users", FieldForm("x", source="a", constant="b"), "is given beside"),
        ("users", FieldForm("x", source="a..b"), "source: the path 'a..b' has an empty step"),
        ("users", FieldForm("x", source="a", function="mine.f"), "there is no mappings directory"),
        ("users", FieldForm("x", constant="five", type="int"), "constant"),
        ("users", FieldForm("", source="a"), "The field has no name"),
        ("users", FieldForm("<script>alert(1)</script>", source="a"), "cannot be used"),
        ("users", FieldForm("a.b", source="a"), "cannot be used"),
        ("users", FieldForm("x" * 65, source="a"), "cannot be used"),
        ("users", FieldForm("x", source="a" * 5000), "source: it has more than 4,000 characters"),
        ("users", FieldForm("x", source="a", description="\ud800"), "description: it contains a character that cannot be stored"),
        ("users", FieldForm("x", source="a", description="\0"), "description: it contains a character that cannot be stored"),
        ("users", FieldForm("user_id", source="email", type="id", required=True), "time_entries.user_id points at users by it"),
        ("users", FieldForm("user_id", source="id", type="id", transform="lower"), "time_entries.user_id points at users by it"),
        ("locations", FieldForm("site", source="a"), "site is not a field of Clockify's clients."),
        ("time_entries", FieldForm("start_time", source="timeInterval.start"), "rules.before: compares text with instant"),
        ("nothing", FieldForm("x", source="a"), "There is no entity 'nothing'"),
    ],
)  # fmt: skip
def test_instant_validation(setup: SetupService, entity: str, form: FieldForm, expected: str) -> None:
    """One sentence states what is wrong, without file and line; nothing is stored, not even when it is insisted on."""
    found = check_field(setup, entity, form)
    assert expected in found
    assert ".yaml" not in found
    with pytest.raises(ConfigError) as error:
        change_field(setup, entity, form, since=None)
    assert str(error.value) == found
    assert setup.revision() == ""
    assert [path.name for path in setup.settings().home.iterdir() if path.suffix == ".yaml"] == []


@pytest.mark.parametrize(
    ("entity", "name", "expected"),
    [
        ("users", "user_id", "user_id is dropped, but it is what target.id knows a record by."),
        ("locations", "name", "a client cannot be without a name"),
        ("time_entries", "end_time", "rules.before: names 'end_time', which is dropped."),
        ("users", "nam", "users has no field 'nam'. Did you mean 'name'?"),
    ],
)
def test_what_must_not_be_dropped(setup: SetupService, entity: str, name: str, expected: str) -> None:
    """A field that something else needs stays, and the reason is shown."""
    found = check_drop(setup, entity, name)
    assert expected in found
    with pytest.raises(ConfigError) as error:
        drop_field(setup, entity, name, since=None)
    assert str(error.value) == found
    assert setup.revision() == ""


def test_two_people(us: Team, setup: SetupService) -> None:
    """A change made on what is no more the present state is refused; the first one's stays."""
    other, seen = setup_of(us, "Ben (test)"), setup.revision()
    change_field(setup, "users", FieldForm("first", source="a"), since=seen)
    with pytest.raises(ChangedMeanwhile):
        change_field(other, "users", FieldForm("second", source="b"), since=seen)
    with pytest.raises(ChangedMeanwhile):
        drop_field(other, "users", "time_zone", since=seen)
    assert {f.name for f in target_fields(setup, "users") if f.is_own} == {"first"}


def test_a_broken_set_up_is_named(setup: SetupService) -> None:
    """A mistake is reported with its line."""
    write(setup, "mappings:\n  users:\n    fields:\n      name: {transform: nope}\n")
    with pytest.raises(MappingFileError, match=r"set-up:4: fields\.name\.transform"):
        target_fields(setup, "users")


def test_preview(us: Team, setup: SetupService) -> None:
    """Five real records before and after; what is different and what is wrong is shown for each."""
    form = replace(field_form(setup, "users", "name"), transform="trim | upper", max_length="3")
    found = preview_records(setup, "users", form)
    assert 0 < len(found) <= 5
    people = {user["id"]: user for user in us.users()}
    for record in found:
        assert record.is_real
        assert record.source["name"] == people[record.record]["name"]
        assert record.before["name"] == people[record.record]["name"].strip()
        assert record.after["name"] == people[record.record]["name"].strip().upper()
        assert record.changed == ("name",)
        assert record.problems_before == ()
        assert record.problems[0].startswith("name has more than 3 characters")
    assert setup.revision() == ""
    assert all(record.changed == ("role",) for record in preview_records(setup, "users", None, drop="role"))
    assert all(record.changed == () for record in preview_records(setup, "time_entries", None))


def test_personal_data_stays_out_of_the_store(us: Team, setup: SetupService, caplog: pytest.LogCaptureFixture) -> None:
    """What was shown of real people is neither in the database nor in a log."""
    caplog.set_level("DEBUG")
    entity_fields(setup, "users")
    form = replace(field_form(setup, "users", "email"), transform="trim | lower")
    preview_records(setup, "users", form)
    change_field(setup, "users", form, since=None)
    emails = [user["email"] for user in us.users() if user["email"]]
    kept = b"".join(path.read_bytes() for path in us.home.rglob("*") if path.is_file())
    assert emails
    assert not [email for email in emails if email.encode() in kept or email in caplog.text]


def test_a_function_of_the_users(us: Team, tmp_path: Path) -> None:
    """A function of the mappings directory can be chosen, alone or on a source, and taken off again."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text("def clean(value):\n    return 'cleaned'\n")
    setup = setup_of(us, SYNC_MAPPINGS_DIR=str(tmp_path / "own"))
    form = field_form(setup, "users", "name")
    for changed in (
        replace(form, function="mine.clean"),
        replace(form, source="", transform="", function="mine.clean"),
    ):
        change_field(setup, "users", changed, since=None)
        assert field(setup, "users", "name").form == changed
        assert preview_records(setup, "users", None)[0].after["name"] == "cleaned"
    change_field(setup, "users", form, since=None)
    assert not field(setup, "users", "name").is_own


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=15)
ARGUMENTS = {
    "none": st.none(),
    "text": TEXTS,
    "int": st.integers(1, 99),
    "number": st.floats(-1e6, 1e6) | st.integers(-9, 9),
    "mapping": st.dictionaries(TEXTS, TEXTS | st.integers(0, 9) | st.booleans(), min_size=1, max_size=3),
}


@st.composite
def files(draw: st.DrawFn) -> dict[str, object]:
    """What a person may write for a field: every key of the language."""
    names = draw(st.lists(st.sampled_from(sorted(TRANSFORMS)), max_size=4))
    steps = [n if (a := draw(ARGUMENTS[TRANSFORMS[n].argument])) is None else {n: a} for n in names]
    kind = draw(st.sampled_from(["text", "json", "list"]))
    value = draw(TEXTS if kind != "list" else st.lists(TEXTS, max_size=3))
    origin: dict[str, object] = {"constant": value}
    if draw(st.booleans()):
        path = draw(st.lists(TEXTS, min_size=1, max_size=3))
        origin = {"source": path, "transform": steps, "default": value}
    rest = {
        "required": draw(st.booleans()),
        "unique": draw(st.booleans()),
        "personal": draw(st.booleans()),
        "owner": draw(st.sampled_from(["source", "target"])),
        "max_length": draw(st.none() | st.integers(1, 999)),
        "one_of": draw(st.lists(TEXTS, max_size=3)),
        "description": draw(TEXTS),
        "references": draw(st.sampled_from([None, "projects"])),
    }
    if kind == "text" and "source" in origin and draw(st.booleans()):
        rest |= {"references": None, "unique": False, "link": "locations"}
        origin.pop("default")
    return {"type": kind, **origin, **rest}


SMALL = {"type": "json", "source": ["scaled"], "transform": [{"scale": 5e-324}]}  # with an exponent, but no point


@settings(max_examples=60, deadline=None)
@example(SMALL, "extra")
@given(files(), st.sampled_from(["extra", "name", "status"]))
def test_every_form_comes_back(written: dict[str, object], name: str) -> None:
    """Whatever a file holds: as a form, stored through the form, and read again it is the same field."""
    with TemporaryDirectory() as directory:
        setup = SetupService("test", root=Path(directory), environ={"SYNC_HOME": directory})
        document = yaml.safe_dump({"mappings": {"users": {"fields": {name: written}}}})
        by_hand = load_specs(None, document)["users"].field(name)
        form = form_of(by_hand)
        assert check_field(setup, "users", form) == ""
        change_field(setup, "users", form, since="")
        assert specs_of(setup.settings())["users"].field(name) == by_hand
        assert field(setup, "users", name).form == form
        change_field(setup, "users", form, since=None)
        assert specs_of(setup.settings())["users"].field(name) == by_hand


def test_the_types_offered_are_the_languages(setup: SetupService) -> None:
    """A guess is a type a field may have, but for what holds other values."""
    for entity in ENTITIES:
        guesses = {source.type for source in entity_fields(setup, entity).source_fields}
        assert guesses <= {*FIELD_TYPES, "object", "objects", ""}
