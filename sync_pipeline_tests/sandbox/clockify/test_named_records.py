"""Clients, projects, tasks, tags, custom fields and groups: life cycles and traps."""

from __future__ import annotations

import pytest

from sync_pipeline_tests.sandbox.clockify.conftest import Api


def test_clients_are_archived_before_they_are_deleted(api: Api) -> None:
    """Active clients cannot be deleted; archived ones can, and their name is free again."""
    client = api.send("POST", "clients", {"name": "Brand new"}, expect=201)
    path = f"clients/{client['id']}"
    assert api.refused("DELETE", path) == (400, 501)
    api.send("PUT", path, {"name": "Brand new", "archived": True})
    assert api.refused("POST", "clients", {"name": "Brand new"}) == (400, 501)
    assert api.send("DELETE", path)["id"] == client["id"]
    api.send("POST", "clients", {"name": "Brand new"}, expect=201)


def test_creating_a_client_drops_what_it_does_not_know(api: Api) -> None:
    """Copies, currency and unknown fields are ignored on create; the default currency is given."""
    body = {"name": "Çelik A.Ş.", "ccEmails": ["a@b.example"], "currencyId": "x", "address": "Street 1", "colour": 3}
    client = api.send("POST", "clients", body, expect=201)
    assert (client["ccEmails"], client["currencyCode"], client["address"]) == (None, "USD", "Street 1")
    assert "colour" not in client


def test_updating_a_client_clears_what_is_left_out(api: Api) -> None:
    """PUT replaces: e-mail, address, note and copies are cleared; the currency stays."""
    client = api.send("POST", "clients", {"name": "K", "email": "k@k.example", "note": "n", "address": "a"}, expect=201)
    path = f"clients/{client['id']}"
    with_copies = api.send("PUT", path, {"name": "K", "ccEmails": ["c@c.example"]})
    assert with_copies["ccEmails"] == ["c@c.example"]
    plain = api.send("PUT", path, {"name": "K"})
    assert [plain[name] for name in ("email", "address", "note", "ccEmails")] == [None] * 4
    assert plain["currencyId"] == client["currencyId"]


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": "x" * 101}, {"name": "x", "email": "nope"}, {"name": "x", "address": "y" * 3001}],
)
def test_bad_clients_are_refused(shared: Api, body: dict[str, str]) -> None:
    """Lengths and e-mail addresses are checked."""
    assert shared.refused("POST", "clients", body) == (400, 501)


def test_archiving_a_client_can_archive_its_projects(api: Api) -> None:
    """The two query flags carry the archiving on to projects and tasks."""
    client = api.send("POST", "clients", {"name": "Chain"}, expect=201)
    project = api.send("POST", "projects", {"name": "Link", "clientId": client["id"]}, expect=201)
    task = api.send("POST", f"projects/{project['id']}/tasks", {"name": "t"}, expect=201)
    query = "?archive-projects=true&mark-tasks-as-done=true"
    api.send("PUT", f"clients/{client['id']}{query}", {"name": "Chain", "archived": True})
    assert api.get(f"projects/{project['id']}")["archived"] is True
    assert api.get(f"projects/{project['id']}/tasks/{task['id']}")["status"] == "DONE"


@pytest.mark.parametrize("path", ["clients", "projects", "tags"])
def test_archived_left_out_returns_both(shared: Api, path: str) -> None:
    """Without ``archived`` lists hold active and archived records together."""
    both, active, archived = (
        {r["id"] for r in shared.get(path, page_size=500, **query)}
        for query in ({}, {"archived": "false"}, {"archived": "true"})
    )
    assert both == active | archived
    assert not active & archived


def test_projects_without_a_client_say_so_with_an_empty_string(api: Api) -> None:
    """Fields clientId and clientName are empty strings, never null, and follow the client's name."""
    client = api.send("POST", "clients", {"name": "Before"}, expect=201)
    free = api.send("POST", "projects", {"name": "Alone"}, expect=201)
    bound = api.send("POST", "projects", {"name": "Alone", "clientId": client["id"]}, expect=201)
    assert (free["clientId"], free["clientName"]) == ("", "")
    api.send("PUT", f"clients/{client['id']}", {"name": "After"})
    assert api.get(f"projects/{bound['id']}")["clientName"] == "After"
    assert api.refused("POST", "projects", {"name": "Alone"}) == (400, 501)


def test_updating_a_project_resets_two_flags(api: Api) -> None:
    """Left-out isPublic and billable fall back to false; note, colour, archived and client are kept."""
    body = {"name": "Keep me", "note": "n", "color": "#123456", "isPublic": True, "billable": True}
    project = api.send("POST", "projects", body, expect=201)
    changed = api.send("PUT", f"projects/{project['id']}", {"name": "Keep me"})
    assert (changed["public"], changed["billable"]) == (False, False)
    assert (changed["note"], changed["color"]) == ("n", "#123456")


def test_projects_are_archived_before_they_are_deleted(api: Api) -> None:
    """Deleting an active project is refused; an archived one is returned in its last state."""
    project = api.send("POST", "projects", {"name": "Doomed"}, expect=201)
    path = f"projects/{project['id']}"
    assert api.refused("DELETE", path) == (400, 501)
    api.send("PUT", path, {"name": "Doomed", "archived": True})
    assert api.send("DELETE", path)["name"] == "Doomed"
    assert api.refused("GET", path) == (400, 501)


def test_project_members_are_added_and_replaced(api: Api) -> None:
    """POST adds or removes members, PATCH replaces them all."""
    users = [user["id"] for user in api.get("users")][:3]
    path = f"projects/{api.send('POST', 'projects', {'name': 'Team'}, expect=201)['id']}/memberships"
    api.send("POST", path, {"userIds": users})
    members = api.send("PATCH", path, {"memberships": [{"userId": users[0]}]})["memberships"]
    assert [member["userId"] for member in members] == [users[0]]
    assert api.send("POST", path, {"userIds": users, "remove": True})["memberships"] == []


def test_a_project_is_made_from_a_template(api: Api) -> None:
    """Settings, members and tasks come along; client, colour and visibility may be others. Names are unique in a client."""
    (template,) = api.get("projects", is_template="true")
    api.send("POST", f"projects/{template['id']}/tasks", {"name": "Kick-off", "estimate": "PT2H"}, expect=201)
    client = api.send("POST", "clients", {"name": "Harbour House"}, expect=201)["id"]
    asked = {"name": "Retainer", "templateProjectId": template["id"], "clientId": client, "color": "#123456"}
    made = api.send("POST", "projects/from-template", asked | {"isPublic": False})
    kept = ("billable", "hourlyRate", "estimate", "budgetEstimate", "note")
    assert {name: made[name] for name in kept} == {name: template[name] for name in kept}
    assert (made["clientId"], made["color"], made["public"]) == (client, "#123456", False)
    assert (made["template"], made["archived"], made["duration"]) == (False, False, "PT0S")
    members = [[one["userId"] for one in each["memberships"]] for each in (made, template)]
    assert members[0] == members[1]
    assert {one["targetId"] for one in made["memberships"]} == {made["id"]}
    tasks = [api.get(f"projects/{each['id']}/tasks") for each in (made, template)]
    assert [(one["name"], one["estimate"]) for one in tasks[0]] == [(one["name"], one["estimate"]) for one in tasks[1]]
    assert {one["id"] for one in tasks[0]}.isdisjoint({one["id"] for one in tasks[1]})

    assert api.refused("POST", "projects/from-template", asked) == (400, 501)
    assert api.send("POST", "projects/from-template", asked | {"clientId": None})["clientId"] == ""
    assert api.refused("POST", "projects/from-template", asked | {"templateProjectId": made["id"]}) == (400, 501)
    api.send("PUT", f"projects/{made['id']}", {"name": "Retainer", "archived": True})
    found = [
        api.get("projects", name=name, strict_name_search="true", clients=client) for name in ("Retainer", "Retain")
    ]
    assert [[one["id"] for one in each] for each in found] == [[made["id"]], []]
    api.sandbox.world.options.plan = "free"
    assert api.refused("POST", "projects/from-template", asked | {"name": "Other"})[0] == 403


def test_project_filters(shared: Api) -> None:
    """Name, strict name, client and hydration do what they are documented to do."""
    whole = shared.get("projects", page_size=500)
    owned = next(project for project in whole if project["clientId"])
    by_client = shared.get("projects", clients=owned["clientId"])
    assert {project["clientId"] for project in by_client} == {owned["clientId"]}
    strict = shared.get("projects", name=owned["name"], strict_name_search="true")
    assert owned["id"] in {project["id"] for project in strict}
    hydrated = shared.get(f"projects/{owned['id']}", hydrated="true")
    assert hydrated["client"]["id"] == owned["clientId"]
    assert isinstance(hydrated["tasks"], list)


def test_tasks_are_done_before_they_are_deleted(api: Api) -> None:
    """Active tasks cannot be deleted, and a task belongs to its own project only."""
    first, second = (api.send("POST", "projects", {"name": name}, expect=201)["id"] for name in ("P1", "P2"))
    task = api.send("POST", f"projects/{first}/tasks", {"name": "T", "billable": True}, expect=201)
    path = f"projects/{first}/tasks/{task['id']}"
    assert task["billable"] is True
    assert api.refused("GET", f"projects/{second}/tasks/{task['id']}") == (400, 501)
    assert api.refused("DELETE", path) == (400, 501)
    api.send("PUT", path, {"name": "T", "status": "DONE"})
    api.send("DELETE", path)


def test_a_name_only_put_unarchives_a_tag(api: Api) -> None:
    """PUT replaces ``archived`` too: left out, it becomes false."""
    tag = api.send("POST", "tags", {"name": "sleepy"}, expect=201)
    path = f"tags/{tag['id']}"
    assert api.send("PUT", path, {"name": "sleepy", "archived": True})["archived"] is True
    assert api.send("PUT", path, {"name": "sleepy"})["archived"] is False
    assert api.refused("POST", "tags", {"name": "sleepy"}) == (400, 501)


def test_custom_fields_are_limited_to_fifty(api: Api) -> None:
    """The 51st field is refused with its own code."""
    for number in range(len(api.get("custom-fields")), 50):
        api.send("POST", "custom-fields", {"name": f"Field {number}", "type": "TXT"}, expect=201)
    assert api.refused("POST", "custom-fields", {"name": "One more", "type": "TXT"}) == (400, 4033)


def test_groups_hold_users(api: Api) -> None:
    """Users join and leave a group."""
    group = api.send("POST", "user-groups", {"name": "Night shift"}, expect=201)
    path = f"user-groups/{group['id']}"
    assert api.send("POST", f"{path}/users", {"userId": api.me})["userIds"] == [api.me]
    assert api.send("DELETE", f"{path}/users/{api.me}")["userIds"] == []
    assert api.send("DELETE", path)["name"] == "Night shift"
