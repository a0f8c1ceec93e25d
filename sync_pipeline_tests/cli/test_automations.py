"""`automations`, typed: what there is, switched on and off."""

from __future__ import annotations

from sync_pipeline_tests.cli.shell import Shell
from sync_pipeline_tests.properties.once import NAME, made_by, template

UNFINDABLE = """
entity: twins
source: {system: snapshots, list: locations, id: location_id}
target: {system: clockify, operation: projects.create, once: true, find: none}
fields:
  name: {source: location_name, required: true}
"""


def test_an_automation_from_the_list_to_what_it_makes(shell: Shell) -> None:
    """It says what it needs, asks before it is switched on, and shows what it made; switched off, it is no entity any more."""
    us, on = shell.team, ("automations", "on", NAME)
    before = len(made_by(us))
    shell("sync", "locations", code=0)
    listed = shell("automations", "list", "--json", code=0).document["automations"]
    assert {one["name"]: (one["is_on"], one["lacks"]) for one in listed} == {
        NAME: (False, ["templateProjectId"]),
        "won_opportunities": (False, []),
    }
    assert "needs a value of templateProjectId" in shell(*on, "--yes", code=2).message
    assert "does not ask for colour" in shell(*on, "--set", "colour=red", "--yes", code=2).message
    for wrong in ("colour", "=red"):
        assert "FIELD=VALUE" in shell(*on, "--set", wrong, code=2).err
    assert "Did you mean" in shell("automations", "show", "starter_project", code=2).message
    chosen = ("--set", f"templateProjectId={template(us)['templateProjectId']}")
    assert "add --yes" in shell(*on, *chosen, "--json", code=2).err
    locations = len(us.at_snapshots("locations"))
    assert shell(*on, *chosen, "--yes", "--json", code=0).document["existing"] == locations
    us.put_location("new", location_name="Harbour")
    shell("sync", "locations", code=0)
    planned = shell("preview", NAME, "--json", code=0).document["entities"][NAME]
    assert (planned["created"], planned["excluded"]) == (1, locations)
    shell("sync", NAME, code=0)
    assert len(made_by(us)) == before + 1
    shown = shell("automations", "show", NAME, "--json", code=0).document
    assert (shown["is_on"], shown["made"], shown["lacks"]) == (True, 1, [])
    assert shell("verify", NAME, "--json", code=0).document["in_sync"] is True
    history = shell("records", "history", NAME, "new", "--json", code=0)
    assert "create" in history.out
    for _ in range(2):
        shell("automations", "off", NAME, code=0)
    assert "starter_projects" in shell("sync", NAME, code=2).err
    trail = [line["what"] for line in shell("audit", "list", "--json", code=0).document["changes"]]
    assert (trail.count("automation on"), trail.count("automation off")) == (1, 1)
    assert (
        "decides which automations" in shell.with_(SYNC_AUTOMATIONS="won_opportunities")(*on, "--yes", code=2).message
    )


def test_an_unknown_outcome_is_accepted(shell: Shell) -> None:
    """It is a reject that names both ways on; accepted, it is none any more."""
    us, mappings = shell.team, shell.root / "mappings"
    mappings.mkdir()
    (mappings / "twins.yaml").write_text(UNFINDABLE)
    with_file = shell.with_(SYNC_MAPPINGS_DIR=str(mappings))
    with_file("automations", "on", "twins", "--yes", code=0)
    us.put_location("unsure", location_name="Quay")
    us.fault("cut_after", "POST */projects")
    with_file("sync", "twins")
    us.no_faults()
    (found,) = with_file("rejects", "list", "twins", "--json", code=0).document["rejects"]
    assert found["rule"] == "unknown_outcome"
    assert "rejects accept" in found["reason"]
    assert with_file("rejects", "accept", "twins", "unsure", "--json", code=0).document["accepted"] == 1
    assert with_file("rejects", "list", "twins", "--json", code=0).document["rejects"] == []
    with_file("sync", "twins", code=0)


def test_what_is_rejected_of_one_that_is_switched_off_is_listed_when_it_is_on_again(shell: Shell) -> None:
    """Until then it is in no list and in no count: no command could do anything about it."""
    us, mappings = shell.team, shell.root / "mappings"
    mappings.mkdir()
    (mappings / "twins.yaml").write_text(UNFINDABLE)
    with_file = shell.with_(SYNC_MAPPINGS_DIR=str(mappings))

    def shown() -> tuple[list[str], int]:
        rejects = with_file("rejects", "list", "--json", code=0).document["rejects"]
        automation = with_file("automations", "show", "twins", "--json", code=0).document
        return [one["source_id"] for one in rejects if one["entity"] == "twins"], automation["rejected"]

    with_file("automations", "on", "twins", "--yes", code=0)
    us.put_location("lost", location_name="Lost")
    us.fault("cut_after", "POST */projects")
    with_file("sync", "twins")
    us.no_faults()
    assert shown() == (["lost"], 1)
    with_file("automations", "off", "twins", code=0)
    assert shown() == ([], 0)
    with_file("automations", "on", "twins", "--yes", code=0)
    assert shown() == (["lost"], 1)
    with_file("rejects", "accept", "twins", "lost", code=0)
    assert shown() == ([], 0)


ASKING = """
entity: asking
source: {system: snapshots, list: locations, id: location_id}
target: {system: clockify, operation: projects.create, once: true, find: none}
fields:
  name: {source: location_name, required: true}
  billable: {ask: Whether its time is billable., type: bool}
"""


def test_a_value_that_is_false_is_shown_as_set(shell: Shell) -> None:
    """A wrong one is refused with what is asked for."""
    mappings = shell.root / "mappings"
    mappings.mkdir()
    (mappings / "asking.yaml").write_text(ASKING)
    with_file = shell.with_(SYNC_MAPPINGS_DIR=str(mappings))
    wrong = with_file("automations", "on", "asking", "--set", "billable=perhaps", "--yes", code=2).message
    assert "The value of billable" in wrong
    assert "Whether its time is billable." in wrong
    with_file("automations", "on", "asking", "--set", "billable=false", "--yes", code=0)
    shown = with_file("automations", "show", "asking", code=0).out
    assert "False: Whether its time is billable." in shown
    assert "was on already" in with_file("automations", "on", "asking", "--set", "billable=true", "--yes", code=0).out


def test_an_automation_without_its_file_can_be_switched_off(shell: Shell) -> None:
    """Until then each command names it, and the command that switches it off."""
    mappings = shell.root / "mappings"
    mappings.mkdir()
    file = mappings / "twins.yaml"
    file.write_text(UNFINDABLE)
    with_file = shell.with_(SYNC_MAPPINGS_DIR=str(mappings))
    with_file("automations", "on", "twins", "--yes", code=0)
    file.unlink()
    assert "automations off twins" in with_file("sync", "locations", code=2).message
    with_file("automations", "off", "twins", code=0)
    with_file("sync", "locations", code=0)


TASKS = """
entity: tasks_of_projects
source: {system: clockify, list: "/workspaces/{workspace}/projects", id: id}
target: {system: snapshots, operation: contacts.tasks.create, once: true, find: none}
fields:
  contactId: {constant: c1, type: id, required: true}
  title: {source: name, required: true}
  dueDate: {constant: "2030-01-01T00:00:00Z", type: instant, required: true}
  completed: {constant: false, type: bool, required: true}
"""
CONNECT = "Connect HighLevel in place of the Snapshots API: `sync-pipeline init --snapshots-profile highlevel`."


def test_a_system_that_is_not_connected_is_named_with_the_command_that_connects_it(shell: Shell) -> None:
    """Whether the automation reads a list of it or makes something there; nothing is asked or switched on before."""
    mappings = shell.root / "mappings"
    mappings.mkdir()
    (mappings / "tasks_of_projects.yaml").write_text(TASKS)
    with_file = shell.with_(SYNC_MAPPINGS_DIR=str(mappings))
    for name, why in (
        ("won_opportunities", "opportunities is a list of HighLevel, which is not connected."),
        ("tasks_of_projects", "tasks_of_projects makes records in HighLevel, which is not connected."),
    ):
        for more in ((), ("--yes",), ("--yes", "--backfill"), ("--yes", "--json")):
            ended = with_file("automations", "on", name, *more, code=2)
            assert f"{why} {CONNECT}" in ended.message
            assert "Existing records" not in ended.out
    listed = with_file("automations", "list", "--json", code=0).document["automations"]
    needs = {one["name"]: (one["obstacle"], one["is_on"]) for one in listed}
    assert needs["tasks_of_projects"] == (
        f"tasks_of_projects makes records in HighLevel, which is not connected. {CONNECT}",
        False,
    )
    assert needs["won_opportunities"] == ("", False), "an API of one's own may have such a list"
    on = with_file.with_(SYNC_AUTOMATIONS="won_opportunities,tasks_of_projects")
    for name in ("won_opportunities", "tasks_of_projects"):
        assert CONNECT in on("sync", name).err
