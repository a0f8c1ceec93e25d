"""Invent the Clockify side: a workspace, its people, customers, projects and tags."""

from __future__ import annotations

import random
import unicodedata

from sync_pipeline.sandbox.clockify import seed_names as names
from sync_pipeline.sandbox.clockify.documents import dump
from sync_pipeline.sandbox.clockify.http import Json
from sync_pipeline.sandbox.clockify.seed_entries import seed_entries
from sync_pipeline.sandbox.clockify.seed_model import Person, Project, Seeder
from sync_pipeline.sandbox.clockify.templates import CLIENT, CUSTOM_FIELD, GROUP, MEMBERSHIP, PROJECT, TAG, TASK
from sync_pipeline.sandbox.keys import ADDON_TOKEN, MEMBER_KEY, OWNER_KEY
from sync_pipeline.sandbox.world import World

CURRENCY = {"id": "64a687e29ae1f428e7ebe301", "code": "USD", "isDefault": True}
EURO = {"id": "64a687e29ae1f428e7ebe302", "code": "EUR", "isDefault": False}


def seed_clockify(world: World, rng: random.Random) -> None:
    """Fill the Clockify tables, with as many records as the options specify."""
    seeder = Seeder(world, rng)
    _workspace(seeder)
    people = _people(seeder)
    clients = _clients(seeder)
    _projects(seeder, clients, people)
    tags = _tags(seeder)
    fields = _custom_fields(seeder) if world.options.plan == "paid" else []
    _groups(seeder, people)
    seed_entries(seeder, people, tags, fields)


def _workspace(seeder: Seeder) -> None:
    body = {
        "id": seeder.workspace,
        "name": "Polaris Field Services",
        "hourlyRate": {"amount": 9000, "currency": "USD"},
        "costRate": {"amount": 5000, "currency": "USD"},
        "currencies": [CURRENCY, EURO],
        "imageUrl": "",
        "subdomain": {"enabled": False, "name": None},
        "cakeOrganizationId": "67d471fb56aa9668b7bfa295",
        "workspaceSettings": _workspace_settings(),
    }
    seeder.db.execute(
        "INSERT INTO workspaces (id, name, body) VALUES (?, ?, ?)", (body["id"], body["name"], dump(body))
    )


def _workspace_settings() -> Json:
    off = (
        "forceDescription", "forceProjects", "forceTags", "forceTasks", "multiFactorEnabled",
        "onlyAdminsCanChangeBillableStatus", "onlyAdminsCreateTag", "onlyAdminsSeePublicProjectsEntries",
        "projectPickerSpecialFilter", "timeRoundingInReports",
    )  # fmt: skip
    on = (
        "activeBillableHours", "canSeeTimeSheet", "canSeeTracker", "defaultBillableProjects",
        "isProjectPublicByDefault", "onlyAdminsCreateProject", "onlyAdminsCreateTask", "onlyAdminsSeeAllTimeEntries",
        "onlyAdminsSeeBillableRates", "onlyAdminsSeeDashboard", "projectFavorites", "trackTimeDownToSecond",
    )  # fmt: skip
    return {
        **dict.fromkeys(off, False),
        **dict.fromkeys(on, True),
        "adminOnlyPages": [],
        "automaticLock": None,
        "currencyFormat": "CURRENCY_SPACE_VALUE",
        "durationFormat": "FULL",
        "entityCreationPermissions": {
            "whoCanCreateProjectsAndClients": "ADMINS",
            "whoCanCreateTags": "EVERYONE",
            "whoCanCreateTasks": "ADMINS_AND_PROJECT_MANAGERS",
        },
        "lockTimeEntries": None,
        "lockTimeZone": None,
        "numberFormat": "COMMA_PERIOD",
        "projectGroupingLabel": "client",
        "projectLabel": "project",
        "taskLabel": "task",
        "round": {"minutes": "15", "round": "Round to nearest"},
        "timeTrackingMode": "DEFAULT",
        "workingDays": ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY"],
    }


def _people(seeder: Seeder) -> list[Person]:
    people = [_person(seeder, number) for number in range(max(2, seeder.world.options.users))]
    roles = [(people[0].id, "OWNER", seeder.workspace), (people[0].id, "WORKSPACE_ADMIN", seeder.workspace)]
    roles += [(person.id, "WORKSPACE_ADMIN", seeder.workspace) for person in people[2:3]]
    roles += [(person.id, "TEAM_MANAGER", people[1].id) for person in people[3:5]]
    seeder.db.executemany("INSERT INTO roles (user_id, role, entity_id) VALUES (?, ?, ?)", roles)
    keys = [
        (OWNER_KEY, "key", people[0].id, "Clockify key (owner)"),
        (MEMBER_KEY, "key", people[1].id, "Clockify key (plain member)"),
        (ADDON_TOKEN, "addon", people[0].id, "Clockify add-on token"),
    ]
    seeder.db.executemany("INSERT INTO api_keys (key, kind, user_id, note) VALUES (?, ?, ?, ?)", keys)
    return people


def _person(seeder: Seeder, number: int) -> Person:
    rng = seeder.rng
    given, family = rng.choice(names.GIVEN), rng.choice(names.FAMILY)
    # The first two own the default keys and stay; later ones may be inactive, one has not answered the invitation.
    pending, inactive = number == 5, number > 5 and number % 9 == 0
    status = "PENDING" if pending else "INACTIVE" if inactive else "ACTIVE"
    zone = names.ZONES[number % len(names.ZONES)]
    person = Person(seeder.ids.at(seeder.birth()), zone, status, rng.randrange(60, 140) * 100)
    body: Json = {
        "profilePicture": None if pending else f"https://img.example.com/{person.id}.png",
        "settings": None if pending else _user_settings(zone, rng),
        "customFields": [],
        "hourlyRate": None if pending else {"amount": person.rate, "currency": "USD"},
        "costRate": None if pending else {"amount": person.rate // 2, "currency": "USD"},
    }
    seeder.db.execute(
        "INSERT INTO users (id, email, name, account_status, membership_status, updated, body)"
        " VALUES (?, ?, ?, ?, ?, 0, ?)",
        (
            person.id,
            f"{_ascii(given)}.{_ascii(family)}.{number}@polaris.example",
            None if pending else f"{given} {family}",
            "NOT_REGISTERED" if pending else "ACTIVE",
            status,
            dump(body),
        ),
    )
    return person


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "".join(char for char in plain if char.isalnum()) or f"u{ord(name[0]):x}"


def _user_settings(zone: str, rng: random.Random) -> Json:
    flags = (
        "alerts", "approval", "collapseAllProjectLists", "dashboardPinToTop", "groupSimilarEntriesDisabled",
        "invoiceReminders", "isCompactViewOn", "longRunning", "multiFactorEnabled", "onboarding",
        "projectPickerTaskFilter", "pto", "reminders", "scheduledReports", "scheduling", "sendNewsletter",
        "showOnlyWorkingDays", "timeTrackingManual", "weeklyUpdates",
    )  # fmt: skip
    return dict.fromkeys(flags, False) | {
        "dashboardSelection": "ME",
        "dashboardViewType": "PROJECT",
        "dateFormat": rng.choice(("DD/MM/YYYY", "MM/DD/YYYY", "YYYY-MM-DD")),
        "lang": "EN",
        "myStartOfDay": "09:00",
        "projectListCollapse": 50,
        "summaryReportSettings": {"group": "PROJECT", "subgroup": "CLIENT"},
        "theme": "DEFAULT",
        "timeFormat": rng.choice(("HOUR12", "HOUR24")),
        "timeZone": zone,
        "weekStart": "MONDAY",
    }


def _clients(seeder: Seeder) -> list[str]:
    rng, clients = seeder.rng, []
    for number in range(seeder.world.options.clients):
        head, tail = rng.choice(names.CLIENT_HEADS), rng.choice(names.CLIENT_TAILS)
        body: Json = CLIENT | {
            "id": seeder.ids.at(seeder.birth()),
            "name": f"{head} {tail} {rng.choice(names.CLIENT_FORMS)}" + (f" {number}" if number >= 10 else ""),
            "email": f"office@client{number}.example" if number % 3 else None,
            "workspaceId": seeder.workspace,
            "archived": number % 8 == 7,
            "note": "Key account" if number % 5 == 0 else None,
            "currencyId": CURRENCY["id"],
            "currencyCode": CURRENCY["code"],
            "ccEmails": [f"accounts@client{number}.example"] if number % 4 == 1 else None,
        }
        if body["name"] in clients:
            body["name"] += f" ({number})"
        seeder.store("clients", body)
        clients.append(str(body["name"]))
    return [row["id"] for row in seeder.db.execute("SELECT id FROM clients ORDER BY id")]


def _projects(seeder: Seeder, clients: list[str], people: list[Person]) -> None:
    taken: set[tuple[str, str]] = set()
    projects = [_project(seeder, number, clients, people, taken) for number in range(seeder.world.options.projects)]
    for person in people:
        if projects:
            person.projects = seeder.rng.sample(projects, min(len(projects), 6))


def _project(
    seeder: Seeder, number: int, clients: list[str], people: list[Person], taken: set[tuple[str, str]]
) -> Project:
    rng = seeder.rng
    client = "" if number % 7 == 3 or not clients else rng.choice(clients)
    name = rng.choice(names.PROJECT_HEADS) + rng.choice(names.PROJECT_TAILS)
    if (client, name) in taken:
        name += f" #{number}"
    taken.add((client, name))
    birth = seeder.birth()
    project = Project(seeder.ids.at(birth), number % 10 == 9, rng.choice((None, None, 8000, 9500, 12000)))
    members = rng.sample(people, min(len(people), 4))
    body = _project_body(seeder, project, name, client, members)
    seeder.store("projects", body | {"template": number == 0 and seeder.world.options.plan == "paid"})
    for task in rng.sample(names.TASKS, rng.randrange(0, 6)):
        status = "DONE" if rng.random() < 0.2 else "ACTIVE"
        facts = {"id": seeder.ids.at(birth), "name": task, "projectId": project.id, "status": status, "billable": True}
        task_body = TASK | facts
        seeder.store("tasks", task_body)
        project.tasks.append(task_body["id"])
    return project


def _project_body(seeder: Seeder, project: Project, name: str, client: str, members: list[Person]) -> Json:
    budget = {"estimate": 5_000_000, "type": "MANUAL", "resetOption": None, "active": True, "includeExpenses": False}
    return PROJECT | {
        "id": project.id,
        "name": name,
        "hourlyRate": None if project.rate is None else {"amount": project.rate, "currency": "USD"},
        "clientId": client,
        "workspaceId": seeder.workspace,
        "billable": seeder.rng.random() < 0.8,
        "memberships": [MEMBERSHIP | {"userId": person.id, "targetId": project.id} for person in members],
        "color": seeder.rng.choice(names.COLORS),
        "archived": project.archived,
        "budgetEstimate": budget if seeder.rng.random() < 0.3 else None,
        "public": seeder.rng.random() < 0.7,
    }


def _tags(seeder: Seeder) -> list[str]:
    tags: list[str] = []
    for name in names.TAGS:
        facts = {"id": seeder.ids.at(seeder.birth()), "name": name, "workspaceId": seeder.workspace}
        seeder.store("tags", TAG | facts | {"archived": name == "legacy"})
        tags.append(facts["id"])
    return tags


def _custom_fields(seeder: Seeder) -> list[Json]:
    wanted: tuple[Json, ...] = (
        {"name": "Cost centre", "type": "DROPDOWN_SINGLE", "allowedValues": list(names.COST_CENTRES)},
        {"name": "Employee number", "type": "TXT", "entityType": "USER"},
    )
    fields = []
    for facts in wanted:
        body = CUSTOM_FIELD | {"id": seeder.ids.at(seeder.founded), "workspaceId": seeder.workspace} | facts
        seeder.store("custom_fields", body)
        fields.append(body)
    return [body for body in fields if body["entityType"] == "TIMEENTRY"]


def _groups(seeder: Seeder, people: list[Person]) -> None:
    for number, name in enumerate(names.GROUPS):
        users = [person.id for person in people[number :: len(names.GROUPS)]]
        facts = {"id": seeder.ids.at(seeder.founded), "name": name, "workspaceId": seeder.workspace, "userIds": users}
        seeder.store("user_groups", GROUP | facts)
