"""Lists and reports that lag behind reads by id, system by system, until they are released."""

from __future__ import annotations

from sync_pipeline_tests.sandbox.control.clockify import clockify
from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox


def test_lists_and_reports_show_the_state_when_they_were_frozen(sandbox: Sandbox) -> None:
    """What is made, edited and deleted later is met by reads by id only; released, the lists show it."""
    us = clockify(sandbox)
    edited, deleted = us.add_entry("as it was"), us.add_entry("deleted later")
    sandbox.control.post("journal", json={"on": True})
    us.listed()
    assert sandbox.control.post("lag", json={"freeze": "clockify"}).json() == {"clockify": 1}
    us.edit_entry(edited, "as it is")
    us.clockify("DELETE", f"/time-entries/{deleted['id']}")
    made = us.add_entry("new")

    before = {edited["id"]: "as it was", deleted["id"]: "deleted later"}
    for shown in (us.listed(), us.reported(), us.reported()):
        assert {key: shown.get(key) for key in (edited["id"], deleted["id"])} == before
        assert made["id"] not in shown
    assert us.clockify("GET", f"/time-entries/{edited['id']}")["description"] == "as it is"
    assert us.listed(**{"X-Sandbox-Present": "1"})[edited["id"]] == "as it is"
    reads = sandbox.control.post("journal", json={"after": 4}).json()["steps"]
    assert [one["as_of"] for one in reads] == [1, 1, 1, reads[3]["number"], reads[4]["number"]]

    assert sandbox.control.post("lag", json={"release": "clockify"}).json() == {}
    now = {edited["id"]: "as it is", made["id"]: "new"}
    for shown in (us.listed(), us.reported()):
        assert {key: shown.get(key) for key in now} == now
        assert deleted["id"] not in shown


def test_each_system_lags_by_itself(sandbox: Sandbox) -> None:
    """Frozen lists of the Snapshots side leave those of Clockify alone, and reads by id."""
    us = clockify(sandbox)
    sandbox.control.post("lag", json={"freeze": "snapshots"})
    sandbox.batch("users", {"user_id": "u1", "email": "ada@example.org"})
    made = us.add_entry("new")
    assert sandbox.pages("users") == [[]]
    assert sandbox.api.get("users/u1").json()["email"] == "ada@example.org"
    assert made["id"] in us.listed()
    sandbox.control.request("DELETE", "lag")
    assert [row["user_id"] for row in sandbox.pages("users")[0]] == ["u1"]


def test_frozen_again_they_show_the_newer_state(sandbox: Sandbox) -> None:
    """Each freeze takes the present, also where an answer is computed once and kept."""
    us = clockify(sandbox)
    entry = us.add_entry("one")
    for words in ("two", "three"):
        sandbox.control.post("lag", json={"freeze": "clockify"})
        before = us.reported()[entry["id"]]
        us.edit_entry(entry, words)
        assert us.reported()[entry["id"]] == before
    assert before == "two"
    sandbox.control.post("reset")
    assert sandbox.control.get("lag").json() == {}


def test_an_unknown_system_is_refused(sandbox: Sandbox) -> None:
    """With the reason."""
    answer = sandbox.control.post("lag", json={"freeze": "clock"})
    assert (answer.status_code, "clockify, snapshots, highlevel" in answer.json()["error"]) == (400, True)
