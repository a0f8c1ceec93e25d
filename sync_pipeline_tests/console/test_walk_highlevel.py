"""The whole way with HighLevel in a real browser, on the embedded sandbox: two tokens, prepare, preview, live, a record."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner
from playwright.sync_api import Browser, expect

from sync_pipeline.cli import cli
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.sandbox.highlevel.keys import location_token
from sync_pipeline_tests.console.browsing import consoling
from sync_pipeline_tests.console.walk import Walker, elsewhere, walking
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.setup.services import environ_of

SCOPES = "locations.readonly users.readonly objects/schema.readonly objects/schema.write"


def test_from_two_tokens_to_the_first_record(chrome: Browser, tmp_path: Path) -> None:
    """Scopes are shown before they are needed; the sub-account is the token's; everything missing is made; then it syncs."""
    with team(tmp_path / "home") as us:
        environ = environ_of(us)
        with consoling(Path(environ["SYNC_HOME"]), None, **environ) as console, walking(chrome, console.link()) as ana:
            ana.connect_clockify()
            choose(ana)
            connect(ana)
            make(ana)
            ana.try_it()
            assert "did not pass" not in ana.page.inner_text("main"), ana.page.inner_text("main")
            ana.go_live()
            assert us.control("GET", "highlevel/records/clockify_time_entries")["records"] == []
            elsewhere(lambda: synced(environ))
            entry = us.control("GET", "highlevel/records/clockify_time_entries")["records"][0]
            assert entry["properties"]["time_entry_id"]
            follow(ana, us, environ)
            ana.to("/connections/snapshots")
            ana.press("Test this connection")
            ana.sees("Everything that was checked")
            play(ana, "Revoke a scope")
            us.control("POST", "time_entries/edit", {"id": "newest", "description": "Edited once more"})
            elsewhere(lambda: synced(environ, ExitCode.NOT_AUTHORIZED))
            ana.to("/")
            ana.sees("A permission is missing for time entries")
            ana.sees(
                re.compile(
                    "the scope objects/record.write is missing. Tick objects/record.write in the Private Integration"
                )
            )
            ana.to("/connections/snapshots")
            ana.press("Test this connection")
            ana.sees(re.compile("Tick objects/record.write in the Private Integration of the sub-account token"))
            ana.audit()


def choose(ana: Walker) -> None:
    """One question chooses HighLevel; a token of another sub-account shows which one it is for."""
    ana.choose_highlevel("pit-of-nobody")
    expect(ana.page.locator("#token-scopes")).to_contain_text(SCOPES)
    expect(ana.page.get_by_label("Client id", exact=True)).to_be_hidden()
    ana.audit()
    ana.press("Connect")
    ana.is_refused_at("token", "The token was not accepted")


def connect(ana: Walker) -> None:
    """The sub-account is shown before it is connected."""
    for number in (2, 1):
        ana.choose_highlevel(location_token(number))
        ana.press("Connect")
        ana.sees("Sub-account to keep records in")
        expect(ana.page.get_by_role("radio")).to_be_checked()
        if number == 2:
            ana.follow("Use another token")
    expect(ana.page.get_by_label(re.compile("Northwind Agency"))).to_be_checked()
    ana.press("Connect this sub-account")
    ana.sees_notice("HighLevel is connected.")
    ana.is_at("/setup/prepare")


def make(ana: Walker) -> None:
    """The list of what is missing, and one button."""
    ana.sees(re.compile("fields are missing"))
    ana.press("Make them and measure")
    ana.sees("a second record with the same Project id is accepted")
    ana.sees(re.compile("tick Mark field as unique"))
    ana.again()
    ana.sees("Everything that the mappings need is there.")
    ana.audit()
    ana.follow("Continue to step 3")
    ana.is_at("/mapping")


def play(ana: Walker, button: str) -> None:
    """Someone presses a button of the sandbox lab."""
    ana.to("/settings/sandbox")
    ana.press(button)
    ana.sees(re.compile("Broken on purpose|Everything works"))


def follow(ana: Walker, us: Team, environ: dict[str, str]) -> None:
    """What is changed in Clockify changes its record, and a sub-account that is renamed its client."""
    play(ana, "Edit a time entry")
    play(ana, "Rename a sub-account")
    elsewhere(lambda: synced(environ))
    records = us.control("GET", "highlevel/records/clockify_time_entries")["records"]
    assert [one for one in records if "sandbox lab" in one["properties"].get("description", "")]
    assert [one for one in us.clients() if one["name"].startswith("Harbour Dental, renamed at")]


def synced(environ: dict[str, str], code: ExitCode = ExitCode.DONE) -> None:
    """Everything is synced once."""
    ended = CliRunner().invoke(cli, ["sync"], env=environ)
    assert ended.exit_code == code, ended.output
