"""From every held state there is a way on: each guard, in each mode, on each surface, to live and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from sync_pipeline.cli import cli
from sync_pipeline.console.server import ConsoleOptions, running
from sync_pipeline.settings import SETTINGS
from sync_pipeline.setup import trial
from sync_pipeline.setup.approvals import ApprovalRequest, requests
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import is_paused, read_live_status, turn_off, turn_on
from sync_pipeline.stages.batch import Counts
from sync_pipeline_tests.cli.shell import SECRETS
from sync_pipeline_tests.console.browsing import Browser, browsing
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.scenarios.dagster_runs import enter, failures, instance_of, sync
from sync_pipeline_tests.setup.services import environ_of, on_accounts, setup_of

DELETED = 8
TRANSFORMS = {"terminal": "upper", "console": "lower", "dagster": '[{prefix: "site "}]'}
FLAGS = {"deletes": "allow_deletes", "rewrite": "accept_rewrite", "first_contact": "first_contact"}
ELSEWHERE = "127.0.0.2"


@dataclass
class Office:
    """A team, its pipeline in one mode, and the three surfaces from which it is worked on."""

    us: Team
    setup: SetupService
    root: Path

    def sync(self) -> Counts:
        """What a sensor or a schedule does."""
        with self.setup.session() as session:
            return self.us.sync_one(session, "projects")

    @property
    def writes(self) -> bool:
        """Whether a sync may write in this mode now."""
        mode = read_live_status(self.setup).mode
        return mode is not None and mode.writes

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables of the pipeline, and no other of ours."""
        assert self.setup.environ is not None
        return self.setup.environ

    def type(self, *words: str) -> tuple[int, str]:
        """A command in a terminal: how it ended, and what it printed."""
        nothing = {spec.metadata["env"]: None for spec in SETTINGS}
        result = CliRunner().invoke(cli, words, env={**nothing, **self.environ}, prog_name="sync-pipeline")
        assert not [secret for secret in SECRETS if secret in result.output]
        return result.exit_code, result.output

    @contextmanager
    def browser(self) -> Iterator[Browser]:
        """A browser that is signed in to the console."""
        setup = SetupService("Ana (console)", root=self.root, environ=self.environ)
        with running(setup, ConsoleOptions(port=0)) as console, browsing(console) as found:
            found.sign_in()
            yield found


def sandbox(us: Team) -> SetupService:
    """Nothing is set up: the untouched sandbox, which acts by itself."""
    return setup_of(us, environ_of(us, SYNC_MAPPINGS_DIR=str(us.home / "mappings")))


def by_hand(us: Team) -> SetupService:
    """The accounts come from the environment, and syncs are started by hand."""
    here = {"SYNC_HOME": str(us.home.parent), "SYNC_MAPPINGS_DIR": str(us.home / "mappings")}
    return setup_of(us, us.environ | here)


def live_on(us: Team) -> SetupService:
    """Set up, tried, and turned on."""
    setup = on_accounts(sandbox(us), us)
    tried(setup)
    turn_on(setup)
    return setup


def live_off(us: Team) -> SetupService:
    """Set up, synced, and turned off: nothing may be written."""
    return live_on(us)


def always_live(us: Team) -> SetupService:
    """Set up, and the environment sets it live."""
    on_accounts(sandbox(us), us)
    return setup_of(us, {**(sandbox(us).environ or {}), "SYNC_MODE": "live"})


MODES: dict[str, Callable[[Team], SetupService]] = {
    "sandbox": sandbox,
    "by hand": by_hand,
    "live on": live_on,
    "live off": live_off,
    "always live": always_live,
}


def tried(setup: SetupService) -> str | None:
    """How a trial of the present configuration ends."""
    kind = trial.kind_for(setup.settings())
    return trial.run(setup, trial.begin(setup, kind), kind).outcome


def vanish(office: Office, surface: str) -> None:
    """Many projects are deleted in Clockify."""
    names = [f"{surface} {number}" for number in range(DELETED)]
    made = [office.us.clockify("POST", "/projects", {"name": name})["id"] for name in names]
    office.sync()
    for project in made:
        office.us.delete_project(project)


def remap(office: Office, surface: str) -> None:
    """The mapping of projects changes, so that every one of them would be rewritten."""
    field = f"{{source: name, transform: {TRANSFORMS[surface]}}}"
    mapping = f"entity: projects\nfields:\n  project_name: {field}\n"
    (office.us.home / "mappings" / "projects.yaml").write_text(mapping)


CAUSES: dict[str, Callable[[Office, str], None]] = {"deletes": vanish, "rewrite": remap}


def in_the_terminal(office: Office, guard: str, request: ApprovalRequest, _patch: pytest.MonkeyPatch) -> None:
    """`approvals list`, `show` and `allow`."""
    code, out = office.type("approvals", "list", "--json")
    assert (code, f'"id": {request.approval.id}' in out) == (0, True)
    code, out = office.type("approvals", "show", str(request.approval.id))
    assert code == 0
    assert guard != "rewrite" or any(project["name"] in out for project in office.us.projects()), out
    code, out = office.type("approvals", "allow", str(request.approval.id))
    assert (code, "is allowed, until" in out) == (0, True), (guard, out)


def in_the_console(office: Office, guard: str, request: ApprovalRequest, _patch: pytest.MonkeyPatch) -> None:
    """The button where the message is."""
    where, path = ("/" if office.writes else "/try"), f"/approvals/{request.approval.id}"
    with office.browser() as browser:
        assert f"Allow {request.title}" in browser.page(where).text, guard
        assert browser.page(path).text
        if not office.writes:  # what is held is not rejected, and where it was tried does not depend on how it ended
            assert "Rejected:" not in browser.page("/try").text
            assert "missing The preview was on the real accounts" not in browser.page("/live").text
        answer = browser.post(path, {"decision": "allowed", "back": where})
        assert "is allowed" in answer.text


def in_dagster(office: Office, guard: str, request: ApprovalRequest, patch: pytest.MonkeyPatch) -> None:
    """The check states what is held and how to continue; the run config allows it."""
    office.us.changes |= {name: value for name, value in office.environ.items() if name.startswith("SYNC")}
    environ = dict(office.us.changes) if "CLOCKIFY_API_KEY" not in office.environ else None
    enter(office.us, patch)
    if environ is not None:
        for name in office.us.environ.keys() - environ.keys():
            patch.delenv(name, raising=False)
    with instance_of(office.us) as instance:
        held = sync(office.us, instance, "projects")
        assert held.success
        (volume,) = [one for one in held.get_asset_check_evaluations() if one.check_name == "volume"]
        assert not volume.passed
        description = volume.description or ""
        if not office.writes:  # a dry run: the way on is a trial's
            assert f"sync-pipeline preview --{FLAGS[guard].replace('_', '-')}" in description
            in_the_terminal(office, guard, request, patch)
            return
        assert f"approvals allow {request.approval.id}" in description
        assert f"{FLAGS[guard]}: true" in description
        assert not failures(sync(office.us, instance, "projects", **{FLAGS[guard]: True}))


SURFACES = {"terminal": in_the_terminal, "console": in_the_console, "dagster": in_dagster}


@pytest.mark.parametrize("guard", CAUSES)
@pytest.mark.parametrize("mode", MODES)
def test_from_every_held_state_there_is_a_way_to_live_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, guard: str
) -> None:
    """It is held, and asked once; allowed from any surface it is done, once; and the mode is the one of before."""
    with team(tmp_path, entries=0) as us:
        (us.home / "mappings").mkdir(parents=True)
        office = Office(us, MODES[mode](us), us.home.parent)
        office.sync()
        before = read_live_status(office.setup).is_live
        for surface, allow in SURFACES.items():
            CAUSES[guard](office, surface)
            if mode == "live off":
                turn_off(office.setup)
            at_target = us.at_snapshots("projects")
            if office.writes:
                assert sum((office.sync().held, office.sync().held_deletes)) > 0
            else:
                assert tried(office.setup) == "held"
                assert "has to be approved" in read_live_status(office.setup).obstacle
            assert us.at_snapshots("projects") == at_target
            (request,) = [request for request in requests(office.setup) if request.is_undecided]
            assert request.approval.guard == guard
            allow(office, guard, request, monkeypatch)
            if not office.writes:
                assert is_paused(office.setup) is (mode == "live on")
                assert read_live_status(office.setup).obstacle == ""
                turn_on(office.setup)
            done = office.sync()
            assert (done.held, done.held_deletes) == (0, 0)
            assert not [request for request in requests(office.setup) if request.is_undecided]
            assert us.at_snapshots("projects").keys() == {project["id"] for project in us.projects()}
            changed = us.at_snapshots("projects") != at_target
            assert changed, f"{surface} let nothing through"
            assert read_live_status(office.setup).is_live is before


@pytest.mark.parametrize("surface", SURFACES)
def test_first_contact_is_held_until_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surface: str
) -> None:
    """Of accounts of the environment, which no trial has looked at: nothing is written, and the run reports it."""
    with team(tmp_path, entries=0) as us:
        there = us.sandbox.snapshots.replace("127.0.0.1", ELSEWHERE)
        (us.home / "mappings").mkdir(parents=True)
        us.changes |= {"SNAPSHOTS_BASE_URL": there, "SYNC_MAX_ATTEMPTS": "1"}
        office = Office(us, by_hand(us), us.home.parent)
        us.forget_stats()
        held = office.sync()
        assert (held.created, held.held) == (0, len(us.projects()))
        assert us.writes() == {}
        (request,) = requests(office.setup)
        assert (request.approval.guard, request.approval.shown) == ("first_contact", len(us.projects()))
        if surface == "dagster":
            enter(us, monkeypatch)
            monkeypatch.setenv("SYNC_HOME", str(us.home.parent))
            with instance_of(us) as instance:
                assert sync(us, instance, "projects").success
                (message,) = failures(sync(us, instance, "projects", first_contact=True))
        else:
            SURFACES[surface](office, "first_contact", request, monkeypatch)
            code, message = office.type("sync", "--entity", "projects")
            assert code == 1, message
        assert "POST /projects/batch" in message.replace("\n", " ")  # it went ahead: no one listens at this address


WARNING = "Live syncing is on. Saving a change here pauses it"
GATHERS = "Changes made here are collected in a draft"
BAND = "Live syncing is paused. The set-up was changed since it was turned on"
BAR = "1 unpublished change. See them Preview effect Publish Discard"


def test_the_console_says_what_a_change_does_to_live_syncing(tmp_path: Path) -> None:
    """Before it is saved and after: one of a mapping waits in the draft, any other pauses until it is taken back."""
    with team(tmp_path, entries=0) as us:
        (us.home / "mappings").mkdir(parents=True)
        office = Office(us, live_on(us), us.home.parent)
        with office.browser() as browser:
            for page in ("/mapping", "/clockify", "/snapshots"):
                text = browser.page(page).text
                assert (WARNING in text, GATHERS in text, BAND in text) == (True, False, False), page
            for page in ("/mapping/projects", "/mapping/projects/color"):
                text = browser.page(page).text
                assert (WARNING in text, GATHERS in text, BAND in text) == (False, True, False), page
            answer = browser.post("/mapping/drop/projects", {"name": "color"}, of="/mapping/projects")
            assert "The field color is no longer delivered" in answer.text
            assert "in the draft: it takes effect when you publish it" in answer.text
            for page in ("/", "/mapping/users", "/try", "/live", "/records", "/approvals", "/settings/audit"):
                text = browser.page(page).text
                assert (BAR in text, BAND in text) == (True, False), page
            assert read_live_status(office.setup).is_live
            browser.post("/mapping/restore/projects", {"name": "color"}, of="/mapping/projects")
            assert BAR not in browser.page("/").text

            office.setup.change({"mappings.projects.fields.color": "drop"}, "mapping changed", "by a script")
            for page in ("/", "/mapping/users", "/try", "/live", "/records", "/approvals", "/approvals/999"):
                text = browser.page(page).text
                assert (WARNING in text, BAND in text) == (False, True), page
            office.setup.change({"mappings.projects.fields.color": None}, "mapping changed", "by a script")
            assert BAND not in browser.page("/").text
            assert read_live_status(office.setup).is_live
            office.setup.change({"mappings.projects.fields.color": "drop"}, "mapping changed", "by a script")
            assert BAND in browser.page("/").text
            browser.post("/live", {"on": ""})  # turned off by someone, it is off and not paused
            assert BAND not in browser.page("/").text


def test_the_terminal_changes_a_draft_while_live_syncing_is_on(tmp_path: Path) -> None:
    """It continues as before; the draft is shown, previewed and published; where live syncing is off, there is none."""
    with team(tmp_path, entries=0) as us:
        (us.home / "mappings").mkdir(parents=True)
        office = Office(us, live_on(us), us.home.parent)
        code, out = office.type("mapping", "drop", "projects", "color")
        assert code == 0
        assert "projects.color is not delivered any more" in " ".join(out.split())
        assert "sync-pipeline mapping publish` publishes it" in " ".join(out.split())
        assert read_live_status(office.setup).is_live
        code, out = office.type("mapping", "draft", "--json")
        assert (code, "mappings.projects.fields.color" in out) == (0, True)
        code, out = office.type("mapping", "set", "projects", "shade", "--source", "color", "--json")
        assert (code, '"live_paused": false' in out, '"draft": true' in out) == (0, True, True)
        assert office.type("mapping", "discard")[0] == 0
        assert "Nothing waits" in office.type("mapping", "draft")[1]

        office.type("mapping", "drop", "projects", "color")
        code, out = office.type("mapping", "publish")  # nothing was delivered yet, so nothing is rewritten
        assert (code, "Published as version" in out) == (0, True), out
        assert read_live_status(office.setup).is_live
        assert "mappings.projects.fields.color" in office.type("setup", "versions", "--json")[1]
        office.type("mapping", "restore", "projects", "color")
        assert office.type("trial")[0] == 0  # as a script did before there were drafts
        assert office.type("live", "on")[0] == 0
        assert "color: drop" not in office.setup.settings().setup_document
        assert read_live_status(office.setup).is_live

        office.type("live", "off")
        code, out = office.type("mapping", "drop", "projects", "color", "--json")
        assert (code, '"draft": false' in out) == (0, True)
        assert "color: drop" in office.setup.settings().setup_document
