"""Objects, folders and fields: what a prepare step makes, and what is refused."""

from __future__ import annotations

from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.sandbox.highlevel.keys import AGENCY_TOKEN
from sync_pipeline_tests.sandbox.highlevel.agency import PROJECTS, Agency, Json


def an_object(name: str) -> Json:
    """The body that creates an object."""
    primary = {"key": f"custom_objects.{name}.title", "name": "Title", "dataType": "TEXT"}
    labels = {"singular": name, "plural": f"{name}s"}
    return {
        "locationId": HOME,
        "key": f"custom_objects.{name}",
        "labels": labels,
        "primaryDisplayPropertyDetails": primary,
    }


def a_field(name: str, key: str, folder: str, **more: object) -> Json:
    """The body that creates a field."""
    field = {"locationId": HOME, "objectKey": f"custom_object.{name}", "fieldKey": f"custom_object.{name}.{key}"}
    return field | {"parentId": folder, "name": key, "dataType": "TEXT", "showInForms": False} | more


def test_an_object_is_made_with_its_fields(agency: Agency) -> None:
    """Object, folder, field, searchable properties; then all of it is read."""
    made = agency.ask("POST", "/objects/", json=an_object("pet"))["object"]
    assert (made["key"], made["primaryDisplayProperty"]) == ("custom_objects.pet", "custom_objects.pet.title")
    folder = {"objectKey": "custom_object.pet", "name": "More", "locationId": HOME}
    parent = agency.ask("POST", "/custom-fields/folder", json=folder)["id"]
    field = agency.ask("POST", "/custom-fields/", json=a_field("pet", "born", parent, dataType="DATE"))["field"]
    searchable = {"locationId": HOME, "searchableProperties": ["custom_objects.pet.title", "custom_objects.pet.born"]}
    agency.ask("PUT", "/objects/custom_objects.pet", json=searchable)

    found = agency.ask("GET", "/objects/custom_objects.pet", params={"locationId": HOME, "fetchProperties": "true"})
    assert [one["fieldKey"] for one in found["fields"]] == ["custom_object.pet.title", "custom_object.pet.born"]
    listed = agency.ask("GET", "/custom-fields/object-key/custom_objects.pet", params={"locationId": HOME})
    assert (listed["fields"][1], listed["folders"][1]["id"]) == (field, parent)
    keys = [one["key"] for one in agency.ask("GET", "/objects/", params={"locationId": HOME})["objects"]]
    assert keys[:4] == ["contact", "opportunity", "business", "custom_objects.clockify_projects"]


def test_what_is_wrong_with_an_object_or_a_field_is_said(agency: Agency) -> None:
    """There is no way to mark a field as unique."""
    assert agency.refused("POST", "/objects/", json=an_object("clockify_projects"))[0] == 400
    assert agency.refused("POST", "/objects/", json=an_object("pet") | {"unique": True}) == (
        422, ["property unique should not exist"],
    )  # fmt: skip
    assert agency.refused("POST", "/objects/", json={"key": "custom_objects.pet"})[0] == 422
    listed = agency.ask("GET", f"/custom-fields/object-key/{PROJECTS}", params={"locationId": HOME})
    folder, name = listed["folders"][0]["id"], "clockify_projects"
    field = "/custom-fields/"
    assert agency.refused("POST", field, json=a_field(name, "note", folder))[0] == 400
    assert agency.refused("POST", field, json=a_field(name, "new", "none")) == (400, "Folder with id none not found")
    assert agency.refused("POST", field, json=a_field(name, "new", folder, dataType="BOOLEAN"))[0] == 422
    assert agency.refused("POST", field, json=a_field(name, "new", folder, unique=True))[0] == 422
    assert agency.refused("GET", "/objects/custom_objects.pet", params={"locationId": HOME})[0] == 400


def test_a_location_has_ten_objects_at_most(agency: Agency) -> None:
    """The three of a sync are among them."""
    for number in range(7):
        agency.ask("POST", "/objects/", json=an_object(f"pet_{number}"))
    status, message = agency.refused("POST", "/objects/", json=an_object("one_more"))
    assert (status, "up to 10" in message) == (400, True)


def test_objects_may_be_the_agencys_business(agency: Agency) -> None:
    """A switch, since documents and code disagree about whose token it takes."""
    agency.switch(schema_by="agency")
    assert agency.refused("POST", "/objects/", json=an_object("pet"))[0] == 401
    agency.ask("POST", "/objects/", AGENCY_TOKEN, json=an_object("pet"))
    agency.ask("GET", "/objects/custom_objects.pet", params={"locationId": HOME})
