"""From nothing to live and back, typed: init, trial, live, status, credentials, disconnect."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner

from sync_pipeline.cli import cli
from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.sandbox.highlevel.keys import CLIENT_SECRET
from sync_pipeline.setup.clockify import requests_left
from sync_pipeline.setup.consent import Callback
from sync_pipeline.setup.service import SetupService
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.connectors.consenting import press
from sync_pipeline_tests.console.setting_up import decide
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, Team, team
from sync_pipeline_tests.scenarios.developing import free_port
from sync_pipeline_tests.setup.services import write_document

ACCOUNTS = ("CLOCKIFY_API_KEY", "CLOCKIFY_WORKSPACE_ID", "CLOCKIFY_BASE_URL", "CLOCKIFY_REPORTS_URL", "CLOCKIFY_PLAN")
THERE = ("SNAPSHOTS_BASE_URL", "SNAPSHOTS_API_KEY")
ON_THE_SANDBOX = ("init", "--json", "--clockify-region", "sandbox", "--snapshots-region", "sandbox")


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Both systems."""
    with team(tmp_path) as opened:
        yield opened


@pytest.fixture
def typed(us: Team, tmp_path: Path) -> Iterator[Shell]:
    """A home without any account, in which the team's sandbox is the embedded one."""
    nothing: dict[str, str | None] = dict.fromkeys((*ACCOUNTS, *THERE))
    port = str(urlsplit(us.sandbox.url).port)
    with shell_for(us, tmp_path, **nothing, SYNC_HOME=str(tmp_path), SYNC_SANDBOX_PORT=port) as shell:
        yield shell


def by_address(us: Team, tmp_path: Path) -> list[str]:
    """The options that name the team's systems by their addresses, with the keys in files."""
    (tmp_path / "ck").write_text(f'"{CLOCKIFY_KEY}"\n')
    (tmp_path / "sk").write_text(f" {SNAPSHOTS_KEY} ")
    return [
        *("init", "--json", "--clockify-region", "custom", "--clockify-base-url", us.sandbox.clockify),
        *("--clockify-reports-url", us.sandbox.reports, "--clockify-key-file", str(tmp_path / "ck")),
        *("--snapshots-base-url", us.sandbox.snapshots, "--snapshots-key-file", str(tmp_path / "sk")),
    ]


def test_a_mapping_published_for_changed_records_only(typed: Shell) -> None:
    """Held until one of the ways is chosen; then the mapping alone writes nothing, and `verify` reports what stays unchanged."""
    typed(*ON_THE_SANDBOX, code=0)
    typed("trial", code=0)
    typed("live", "on", code=0)
    count = typed.sync("projects")["entities"]["projects"]["created"]
    typed("mapping", "set", "projects", "project_name", "--transform", "upper", code=0)
    assert "--accept-rewrite or --only-changed" in typed("mapping", "publish", code=3).err
    typed("mapping", "publish", "--only-changed", "--accept-rewrite", code=2)
    typed("mapping", "publish", "--only-changed", code=0)
    counts = typed.sync("projects")["entities"]["projects"]
    assert (counts["updated"], counts["unchanged"], counts["held"]) == (0, count, 0)
    verdict = typed("verify", "projects", "--json", code=0).document["entities"]["projects"]
    assert (verdict["former"], verdict["different"]) == (count, 0)
    assert f"{count} projects are at the target in the form of an earlier mapping" in typed("verify", "projects").out
    assert typed.sync("projects", "--accept-rewrite")["entities"]["projects"]["updated"] == count
    assert typed("verify", "projects", "--json", code=0).document["entities"]["projects"]["former"] == 0


def test_from_nothing_to_live_and_back(typed: Shell) -> None:
    """init, trial, live on; then another key is entered: not live any more, and `status` states why."""
    assert typed("status", "--json", code=0).document["mode"] == "sandbox"
    document = typed(*ON_THE_SANDBOX, code=0).document
    assert {side["state"] for side in document["connections"].values()} == {"connected"}
    before = typed("status", "--json", code=0).document
    assert (before["automatic"], "live syncing is off" in before["why"]) == (False, True)
    assert "has not been previewed yet" in typed("live", "on", code=1).message
    assert typed("trial", "--json", code=0).document["passed"] is True
    turned_on = typed("live", "on", "--json", code=0).document
    assert turned_on["live"] is True
    assert "nothing is syncing: no Dagster daemon has reported yet" in turned_on["problem"]
    now = typed("status", "--json", code=1).document
    assert (now["mode"], now["automatic"], now["why"]) == ("sandbox", True, "live syncing is turned on")
    assert now["problem"] == turned_on["problem"]
    shown = typed("status", code=1)
    assert "Mode: sandbox - live syncing is turned on." in shown.out
    assert shown.message == now["problem"]
    typed("credentials", "remove", "clockify.api_key", code=0)
    typed(*ON_THE_SANDBOX, code=0)
    after = typed("live", "status", "--json", code=0).document
    not_tried = "this configuration has not been previewed yet. Preview it first: step 4 of the console, or `sync-pipeline preview`."
    assert (after["live"], after["obstacle"]) == (False, not_tried)
    assert "live syncing is paused: the set-up was changed" in typed("status", "--json", code=0).document["why"]
    typed("trial", code=0)
    typed("live", "on", code=0)
    assert "Live syncing is off." in typed("live", "off", code=0).out


def test_real_accounts_are_only_looked_at_until_they_are_live(us: Team, typed: Shell, tmp_path: Path) -> None:
    """Sync shows a preview and states why, exit 3, nothing is written; after trial and live it syncs."""
    typed(*by_address(us, tmp_path), code=0)
    us.forget_stats()
    shown = typed("sync", code=3)
    assert shown.warnings[0].startswith("Nothing was sent: live syncing is off for this configuration.")
    assert "create" in shown.out
    assert typed("sync", "--yes", "--json", code=3).document["entities"]
    assert us.writes() == {}
    assert typed("trial", "--json", code=0).document["kind"] == "dry_run"
    typed("live", "on", code=0)
    assert typed("status", "--json", code=1).document["mode"] == "live"  # and no daemon runs
    typed.sync()
    assert typed("status", "--json", code=1).document["problem"]  # one sync is started by hand, too
    typed.sync()
    assert typed("status", "--json", code=0).document["problem"] == ""  # syncs come from a script
    assert us.writes()["users"] > 0


def test_a_preview_of_everything_lets_it_go_live(us: Team, typed: Shell, tmp_path: Path) -> None:
    """One of some entities or days does not; a second preview is only a preview."""
    typed(*by_address(us, tmp_path), code=0)
    typed("preview", "users", code=0)
    assert "has not been previewed yet" in typed("live", "on", code=1).message
    shown = typed("preview", code=0)
    assert "It passed: `sync-pipeline live on` turns live syncing on." in shown.out
    assert us.writes() == {}
    assert "It passed" not in typed("preview", code=0).out
    assert typed("live", "on", "--json", code=0).document["trial"]["outcome"] == "passed"


def test_live_on_previews_what_was_not_previewed(us: Team, typed: Shell, tmp_path: Path) -> None:
    """With --yes, or on a terminal after a question; what it shows is what would be written."""
    typed(*by_address(us, tmp_path), code=0)
    shown = typed("live", "on", "--yes", code=0)
    assert "A sync would" in shown.out
    assert "live syncing also sends all others since the start date" in shown.out
    assert "Live syncing is ON." in shown.out
    assert us.writes() == {}
    typed("live", "off", code=0)
    assert "A sync would" not in typed("live", "on", "--yes", code=0).out
    typed("live", "off", code=0)
    piped = typed.piped("live", "on", code=0)  # it asks nothing, and what it writes where is no result
    assert piped.out.splitlines()[0] == "Live syncing is ON."
    assert f"Snapshots API: {us.sandbox.snapshots}\n" in piped.err
    assert "4 users go to Snapshots API.\n" in piped.err
    assert "time entries go to Snapshots API.\n" in piped.err


def test_a_preview_that_fails_is_no_way_to_live(us: Team, typed: Shell, tmp_path: Path) -> None:
    """The connection test is part of it: a key that may not write is found before anything is sent."""
    words = by_address(us, tmp_path)
    typed(*words, code=0)
    (tmp_path / "sk").write_text("sandbox-snapshots-read-only-key")
    assert typed(*words).code == 4
    us.fault("status", "GET /snapshots/users*", status=500)
    assert typed("preview").code == 1
    assert "its preview did not pass" in typed("live", "on", code=1).message
    assert typed("live", "on", "--yes").code == 1


def test_half_a_set_up_is_refused(typed: Shell) -> None:
    """One side alone: what is missing is named, exit 2; `init` continues where it was left."""
    typed("init", "--json", "--clockify-region", "sandbox", code=0)
    for words in (("sync",), ("preview",), ("status",), ("trial",), ("check",)):
        assert "the base URL of the Snapshots API is missing" in typed(*words, code=2).message
    assert typed("live", "status", "--json", code=0).document["live"] is False
    document = typed("init", "--json", "--snapshots-region", "sandbox", code=0).document
    assert {side["state"] for side in document["connections"].values()} == {"connected"}


def answer(typed: Shell, *lines: str, code: int = 0, words: tuple[str, ...] = ()) -> str:
    """`init` with these answers: all it printed."""
    with chdir(typed.root):
        ended = CliRunner().invoke(cli, ["init", *words], env=typed.environ, input="\n".join([*lines, ""]))
    assert ended.exit_code == code, ended.output
    return str(ended.output)


def test_the_questions(typed: Shell) -> None:
    """Asked one after the other; Enter keeps the current value; a wrong key is reported and asked for again, hidden."""
    first = answer(
        typed, "sandbox", "api_key", "wrong-key", "sandbox", "api_key", "", "", "", "", "sandbox", "api_key", ""
    )
    assert "this API key does not exist" in first
    assert "wrong-key" not in first
    assert "connected" in first
    before = typed.settings()
    again = answer(typed, *[""] * 10)
    assert "[sandbox]" in again
    assert "Enter keeps the stored one" in again
    assert typed.settings() == before


def test_one_side_the_sandbox_and_the_other_real(us: Team, typed: Shell, tmp_path: Path) -> None:
    """It is stored, and wrong: exit 2 with the sentence; a person is asked which one to connect again."""
    typed("init", "--json", "--clockify-region", "sandbox", code=0)
    (tmp_path / "sk").write_text(SNAPSHOTS_KEY)
    words = (
        "init",
        "--json",
        "--snapshots-base-url",
        us.sandbox.snapshots,
        "--snapshots-key-file",
        str(tmp_path / "sk"),
    )
    ended = typed(*words, code=2)
    assert {side["state"] for side in ended.document["connections"].values()} == {"connected"}
    assert ended.message.startswith("Clockify is the sandbox and the Snapshots API is a real account")
    assert "one kind of account for both sides" in typed("status", code=2).message
    kept = [""] * 11
    assert "Choose the same for both." in answer(typed, *kept, "none", code=2)
    assert "connected" in answer(typed, *kept, "snapshots", "generic", "sandbox", "api_key", "")
    assert typed.settings().sandbox


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--no-input", "--clockify-region", "eu"), "The Clockify API key is missing"),
        (("--no-input", "--clockify-kind", "api_key"), "Clockify's region is not known. Give --clockify-region."),
        (("--no-input", "--clockify-region", "sandbox", "--clockify-key-env", "NOT_THERE"), "NOT_THERE is not set"),
        (("--no-input", "--clockify-region", "sandbox", "--clockify-key-file", "nowhere"), "nowhere cannot be read"),
        (("--no-input", "--clockify-region", "sandbox", "--clockify-key-stdin"), "held no line for it"),
        (("--no-input", "--snapshots-region", "custom"), "Its base URL is not known. Give --snapshots-base-url."),
        (("--no-input", "--entities", "time_entries"), "time_entries needs users and projects"),
        (("--no-input", "--clockify-region", "mars"), "'mars' is not one of"),
    ],
)
def test_what_is_missing_is_named(typed: Shell, words: tuple[str, ...], expected: str) -> None:
    """Without anyone to ask: exit 2 and the option that answers."""
    assert expected in typed("init", *words, code=2).err.replace("\nFix: ", " ")


def test_the_next_step_is_one_that_works(typed: Shell) -> None:
    """Where nothing is connected yet, neither `init` nor a trial that passed recommends `live on`, which would fail."""
    for words, code in ((("init", "--no-input"), 2), (("trial",), 0)):
        ended = typed(*words, code=code)
        assert "live on" not in ended.out + ended.err
    assert "nothing is set up yet" in typed("trial", code=0).out
    half = typed("init", "--no-input", "--clockify-region", "sandbox", code=0).out
    assert "Not connected yet: snapshots." in half
    assert (
        "`sync-pipeline preview`"
        in typed(*(word.replace("--json", "--no-input") for word in ON_THE_SANDBOX), code=0).out
    )
    assert "`sync-pipeline live on`" in typed("trial", code=0).out


@pytest.mark.parametrize("words", [("--no-input",), ("--json",)])
def test_init_without_any_answer_names_what_is_not_connected(typed: Shell, words: tuple[str, ...]) -> None:
    """Where no one is asked and no option was given: what is missing is named with its option, exit 2, until both are connected."""
    first = typed("init", *words, code=2)
    assert first.message.startswith("Not connected yet: clockify and snapshots.")
    assert "--clockify-region and --snapshots-region" in first.message
    typed("init", *words, "--clockify-region", "sandbox", code=0)
    half = typed("init", *words, code=2)
    assert half.message.startswith("Not connected yet: snapshots.")
    typed("init", *words, "--snapshots-region", "sandbox", code=0)
    typed("init", *words, code=0)


def test_after_a_wrong_key_earlier_answers_are_offered(us: Team, typed: Shell) -> None:
    """At the next try and by the next `init`, until one finishes; the key is asked for again, and stored nowhere."""
    base, reports = (url.replace("127.0.0.1", "localhost") for url in (us.sandbox.clockify, us.sandbox.reports))
    where, wrong = ["custom", base, reports, "api_key"], "a-wrong-key-that-was-typed"
    shown = answer(typed, *where, wrong, "", "", "", "", wrong, "", "", "", "", wrong, code=4)
    assert f"Clockify's base URL [{base}]" in shown
    kept = [file for file in typed.root.rglob("*") if file.is_file() and base in file.read_text("latin-1")]
    assert len(kept) == 1
    assert kept[0].stat().st_mode & 0o077 == 0
    there = ["", "custom", us.sandbox.snapshots, "", "api_key"]
    shown = answer(typed, *[""] * 4, CLOCKIFY_KEY, "", "", *there, wrong, *[""] * 5, SNAPSHOTS_KEY)
    assert f"Clockify's base URL [{base}]" in shown
    assert f"Its base URL [{us.sandbox.snapshots}]" in shown
    assert wrong not in shown
    assert not kept[0].exists()
    assert not [file for file in typed.root.rglob("*") if file.is_file() and wrong.encode() in file.read_bytes()]


def test_answers_from_before_a_change_of_the_set_up_are_not_offered(us: Team, typed: Shell) -> None:
    """What was connected since, in the console or by options, is what is current."""
    base, reports = (url.replace("127.0.0.1", "localhost") for url in (us.sandbox.clockify, us.sandbox.reports))
    where = ["custom", base, reports, "api_key"]
    answer(typed, *where, "wrong", "", "", "", "", "wrong", "", "", "", "", "wrong", code=4)
    typed(*ON_THE_SANDBOX, code=0)
    assert base not in answer(typed, *[""] * 10)


def test_a_secret_is_never_an_option(typed: Shell) -> None:
    """There is none that takes one: it would be in the shell's history."""
    assert "No such option" in typed("init", "--clockify-key", "s-e-c-r-e-t", code=2).err


def test_keys_come_by_standard_input(us: Team, typed: Shell) -> None:
    """Clockify's on the first line, the Snapshots API's on the second; nothing is asked then."""
    words = [
        *("init", "--json", "--clockify-region", "sandbox", "--clockify-key-stdin", "--snapshots-key-stdin"),
        *("--snapshots-base-url", us.sandbox.snapshots),
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "sync_pipeline.cli", *words[:-2], "--snapshots-region", "sandbox"],
        cwd=typed.root, env=real_environ(typed), input=f"{CLOCKIFY_KEY}\n'{SNAPSHOTS_KEY}'\n", text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert CLOCKIFY_KEY not in ended.stdout + ended.stderr
    assert {row["name"] for row in typed("credentials", "list", "--json").document["credentials"]} == {
        "clockify.api_key",
        "snapshots.api_key",
    }


def test_consent_from_a_terminal(us: Team, typed: Shell, tmp_path: Path) -> None:
    """It prints an address and waits; a person allows access there, and the browser ends up back at the terminal."""
    typed(*by_address(us, tmp_path), code=0)
    (tmp_path / "cs").write_text("sandbox-secret")
    words = [
        *("init", "--no-input", "--snapshots-auth", "authorization_code", "--snapshots-client-id", "sandbox-client"),
        *("--snapshots-key-file", str(tmp_path / "cs")),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "sync_pipeline.cli", *words],
        cwd=typed.root, env=real_environ(typed), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as waiting:  # fmt: skip
        assert waiting.stderr is not None
        try:
            url = next(line.strip() for line in waiting.stderr if line.startswith("http"))
            person = Person(url)
            answer = httpx.get(person.redirect_uri, params=press(person), trust_env=False)  # type: ignore[arg-type]  # only its URL is read
            assert "go back to the terminal" in answer.text
            out, err = waiting.communicate(timeout=60)
        finally:
            waiting.kill()
    assert waiting.returncode == 0, err
    assert "OAuth client sandbox-client" in out
    document = typed("trial", "--json", code=0).document
    assert document["passed"] is True


def test_highlevel_by_an_app(typed: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked: scopes and return address are shown before, a person consents, and one of the sub-accounts is chosen."""
    wait = Callback.wait

    def allowed(url: str) -> None:
        assert httpx.get(decide(url, "approve"), trust_env=False).status_code == 200

    monkeypatch.setattr(Callback, "wait", lambda waiting, consent, _: wait(waiting, consent, allowed))
    typed("init", "--json", "--clockify-region", "sandbox", code=0)
    kept, here, port = [""] * 5, ("highlevel", "sandbox", "authorization_code"), str(free_port())
    lines = [*kept, *here, "", "locations.readonly no.such/scope", CLIENT_SECRET]
    lines += [*here, "", " ", CLIENT_SECRET, HOME, "y", "n"]
    shown = answer(typed, *lines, words=("--callback-port", port))
    assert "Scopes to tick in the app: locations.readonly users.readonly" in shown
    assert f"Return address: http://127.0.0.1:{port}/snapshots/callback" in shown
    assert "Tick no.such/scope in the app's settings in HighLevel's Marketplace" in shown
    assert "The app is installed in" in shown
    assert f"with a token for {HOME}" in " ".join(shown.split())
    assert CLIENT_SECRET not in shown.replace(f"with the secret {CLIENT_SECRET}", "")


class Person:
    """Who reads the printed address."""

    def __init__(self, url: str) -> None:
        self.url = url
        found = re.search(r"redirect_uri=([^&]+)", url)
        assert found is not None
        self.redirect_uri = str(httpx.QueryParams(url.partition("?")[2])["redirect_uri"])


def real_environ(typed: Shell) -> dict[str, str]:
    """The shell's variables, for another process."""
    kept = {name: value for name, value in os.environ.items() if name not in typed.environ}
    return kept | {name: value for name, value in typed.environ.items() if value is not None}


def test_credentials(typed: Shell, tmp_path: Path) -> None:
    """Listed without a secret; a bad rotation is refused, a good one leaves a fallback that can be retired."""
    typed(*ON_THE_SANDBOX, code=0)
    (tmp_path / "bad").write_text("wrong-key")
    assert (
        "does not exist"
        in typed("credentials", "rotate", "clockify.api_key", "--file", str(tmp_path / "bad"), code=4).message
    )
    typed.team.sandbox.world.db.execute(
        "INSERT INTO api_keys (key, kind, user_id, note) SELECT 'second-s3cret', kind, user_id, 'x' FROM api_keys WHERE key = ?",
        (CLOCKIFY_KEY,),
    )
    (tmp_path / "new").write_text("second-s3cret\n")
    typed("credentials", "rotate", "clockify.api_key", "--file", str(tmp_path / "new"), code=0)
    piped = typed("credentials", "rotate", "clockify.api_key", code=2)  # standard input is no terminal, and empty
    assert "The new clockify.api_key is read from standard input.\n" in piped.err
    assert piped.errors == ["Standard input held no line for it. Put the secret there."]
    rows = {row["name"]: row for row in typed("credentials", "list", "--json", code=0).document["credentials"]}
    assert rows["clockify.api_key"]["fallback"] is True
    assert (
        typed("credentials", "retire", "clockify.api_key", "--json", code=0).document["retired"] == "clockify.api_key"
    )
    assert "has no fallback" in typed("credentials", "retire", "clockify.api_key", code=0).out
    assert typed("credentials", "encrypt-again", "--json", code=0).document["encrypted_again"] == 0
    assert "secret" in typed("credentials", "list", code=0).out


def test_disconnecting(typed: Shell) -> None:
    """It asks first (a script passes --yes); then the set-up is incomplete."""
    typed(*ON_THE_SANDBOX, code=0)
    assert "add --yes" in typed("disconnect", "snapshots", "--json", code=2).err
    assert typed("disconnect", "snapshots", "--yes", "--json", code=0).document["disconnected"] == "snapshots"
    assert "is missing" in typed("sync", code=2).message


def test_the_mapping_of_the_set_up(typed: Shell) -> None:
    """`mapping show` and `validate` know the set-up, and its mistakes by line."""
    typed(*ON_THE_SANDBOX, code=0)
    now = typed.settings()
    document = now.setup_document + "mappings:\n  users:\n    fields:\n      email: {transform: [upper]}\n"
    write_document(now, document)
    shown = typed("mapping", "show", "users", "--json", code=0).document["users"]
    assert "upper" in str(next(row for row in shown if row["field"] == "email"))
    write_document(now, document.replace("upper", "nope"))
    for words in (("mapping", "show"), ("mapping", "validate")):
        assert "set-up:" in typed(*words, code=2).message


def test_reading_commands_start_no_server(tmp_path: Path) -> None:
    """A new home, and another sandbox at the port: what is only read from here can be read anyway."""
    with team(tmp_path / "other") as other:
        nothing: dict[str, str | None] = dict.fromkeys((*ACCOUNTS, *THERE))
        port = str(urlsplit(other.sandbox.url).port)
        home = tmp_path / "new"
        with shell_for(other, tmp_path, **nothing, SYNC_HOME=str(home), SYNC_SANDBOX_PORT=port) as shell:
            assert shell("status", "--json", code=0).document["entities"]["users"]["last_outcome"] == "never synced"
            for words in (
                *(("rejects", "list"), ("deliveries",), ("trail",), ("mapping", "show"), ("live", "status")),
                ("approvals", "list"),
            ):
                assert shell(*words, code=0).err == ""
            assert "There is no request 1" in shell("approvals", "show", "1", code=2).message
            assert not list(home.glob("sandbox*"))
            assert "is in use by another sandbox" in shell("preview", code=2).message


def test_the_workspace_is_the_same_before_and_after_the_sandbox_runs(us: Team, typed: Shell) -> None:
    """What was synced is found again by a command that starts nothing."""
    typed.sync("--entity", "users")
    assert typed("status", "--json", code=0).document["entities"]["users"]["delivered"] == len(us.users())


def test_the_first_hour_of_the_free_plan(tmp_path: Path) -> None:
    """Set-up and trial stay inside 30 requests, not one is refused, and our own count misses none of them."""
    with team(tmp_path, plan="free", requests_per_hour=30) as us:
        nothing: dict[str, str | None] = dict.fromkeys((*ACCOUNTS, *THERE))
        with shell_for(us, tmp_path, **nothing, SYNC_HOME=str(tmp_path / "home")) as shell:
            shell(*by_address(us, tmp_path), code=0)
            assert shell("trial", "--json", code=0).document["outcome"] == "passed"
            sent = sum(count for route, count in us.requests().items() if "/clockify/" in route)
            setup = SetupService("ann (test)", root=shell.root, environ={"SYNC_HOME": str(shell.home)})
            found = requests_left(setup)
        assert found is not None
        assert (found.used, found.left) == (sent, 30 - sent)
