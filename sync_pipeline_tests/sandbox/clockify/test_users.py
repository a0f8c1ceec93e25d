"""Users: statuses, roles, memberships, invitations."""

from __future__ import annotations

from sync_pipeline_tests.sandbox.clockify.conftest import Api


def test_the_list_shows_the_membership_status(shared: Api) -> None:
    """Pending and deactivated people are in the full list, with the membership's status."""
    users = shared.get("users", status="ALL", memberships="WORKSPACE")
    statuses = {user["status"] for user in users}
    assert statuses == {"ACTIVE", "PENDING"}
    for user in users:
        assert [m["membershipStatus"] for m in user["memberships"]] == [user["status"]]


def test_memberships_are_only_given_when_asked_for(shared: Api) -> None:
    """The default is none; PROJECT gives those of projects."""
    assert all(user["memberships"] == [] for user in shared.get("users"))
    kinds = {m["membershipType"] for user in shared.get("users", memberships="PROJECT") for m in user["memberships"]}
    assert kinds == {"PROJECT"}


def test_roles_name_what_they_cover(shared: Api) -> None:
    """``include-roles`` adds each role with its entities; without it there is no such key."""
    owner = next(user for user in shared.get("users", include_roles="true") if user["id"] == shared.me)
    assert {role["role"] for role in owner["roles"]} == {"WORKSPACE_OWN", "WORKSPACE_ADMIN"}
    assert owner["roles"][0]["entities"][0]["id"] == shared.sandbox.workspace
    assert "roles" not in shared.get("users")[0]


def test_roles_are_given_and_taken(api: Api) -> None:
    """A role granted turns up in the list, one taken back disappears."""
    user, project = api.get("users")[0]["id"], api.get("projects")[0]
    body = {"entityId": project["id"], "role": "PROJECT_MANAGER"}
    api.send("POST", f"users/{user}/roles", body, expect=201)
    found = next(u for u in api.get("users", include_roles="true") if u["id"] == user)
    role = next(role for role in found["roles"] if role["role"] == "PROJECT_MANAGER")
    assert (role["entities"][0]["id"], role["entities"][0]["name"]) == (project["id"], project["name"])
    api.send("DELETE", f"users/{user}/roles", body, expect=204)


def test_deactivated_users_are_under_inactive(api: Api) -> None:
    """A deactivated member leaves ACTIVE and appears under INACTIVE and ALL."""
    user = next(u["id"] for u in api.get("users", status="ACTIVE") if u["id"] != api.me)
    workspace = api.send("PUT", f"users/{user}", {"status": "INACTIVE"})
    assert workspace["id"] == api.sandbox.workspace
    assert user in {u["id"] for u in api.get("users", status="INACTIVE")}
    assert user not in {u["id"] for u in api.get("users", status="ACTIVE")}


def test_invitations_are_pending_and_paid(api: Api) -> None:
    """An invited user is pending without a name or settings; free workspaces cannot invite."""
    api.send("POST", "users?send-email=false", {"email": "new@polaris.example"})
    [invited] = api.get("users", email="new@polaris")
    assert (invited["status"], invited["name"], invited["settings"]) == ("PENDING", None, None)
    api.sandbox.world.options.plan = "free"
    assert api.refused("POST", "users?send-email=false", {"email": "b@polaris.example"})[0] == 403


def test_the_search_with_a_body_finds_the_same(api: Api) -> None:
    """POST users/info takes the filters in the body; owners count as admins there."""
    by_body = api.send("POST", "users/info", {"status": "ACTIVE", "page": 1, "pageSize": 100})
    assert [u["id"] for u in by_body] == [u["id"] for u in api.get("users", status="ACTIVE", page_size=100)]
    admins = api.send("POST", "users/info", {"roles": ["WORKSPACE_ADMIN"], "includeRoles": True})
    assert api.me in {user["id"] for user in admins}


def test_account_statuses_have_to_be_asked_for(api: Api) -> None:
    """Limited accounts only appear when their account status is named."""
    user = api.get("users")[0]["id"]
    api.sandbox.world.db.execute("UPDATE users SET account_status = 'LIMITED' WHERE id = ?", (user,))
    assert user not in {u["id"] for u in api.get("users", status="ALL")}
    assert user in {u["id"] for u in api.get("users", status="ALL", account_statuses="LIMITED,ACTIVE")}


def test_my_user_has_my_account_status(shared: Api) -> None:
    """GET /user gives the account's status, zone and, when asked, the memberships."""
    me = shared.get("/user", include_memberships="true")
    assert (me["status"], me["settings"]["timeZone"]) == ("ACTIVE", "Europe/Belgrade")
    assert "WORKSPACE" in {m["membershipType"] for m in me["memberships"]}


def test_workspace_settings_can_only_be_read(shared: Api) -> None:
    """The workspace lists its members and settings; there is no route to change them."""
    workspace = shared.get("")
    assert workspace["featureSubscriptionType"] == "PRO"
    assert workspace["workspaceSettings"]["timeTrackingMode"] == "DEFAULT"
    assert len(workspace["memberships"]) == 8
    assert shared.get("/workspaces", roles="TEAM_MANAGER") == []
    assert [w["id"] for w in shared.get("/workspaces")] == [shared.sandbox.workspace]
