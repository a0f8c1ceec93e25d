"""What scripts rely on: documents, exit codes, and that looking changes nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache

import click
import pytest
from sqlalchemy import text

from sync_pipeline import terminal
from sync_pipeline.cli import cli
from sync_pipeline.clock import utc_now
from sync_pipeline_tests.cli.shell import COMMANDS, ROOT, Shell, shell_for
from sync_pipeline_tests.harness import ENTITIES, Team, day, tables

FIGURES = {"extracted", "created", "updated", "unchanged", "deleted", "rejected", "requests"}
BECAME = ("created", "adopted", "updated", "unchanged", "rejected", "excluded", "waiting")
STORED = ("records", "rejects", "deliveries", "syncs")
MAP_RECORDS = ("apply", "compare", "sync")
"""Modules of commands that always need pandas; the others import it when a call of theirs maps a record."""

IMPORTING = """
import importlib, os, sys
import rich.table, uvicorn, sync_pipeline.alerts.current, sync_pipeline.setup.service  # what most of them need
for module in sys.argv[1:]:
    if os.fork() == 0:
        try:
            importlib.import_module(f"sync_pipeline.cli.{module}")
            print(module, *sorted({"dagster", "pandas"} & set(sys.modules)), flush=True)
        finally:
            os._exit(0)
    os.wait()
"""


def commands(
    group: Mapping[str, click.Command] = COMMANDS, *path: str
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command there is, with the words one types."""
    for name, command in group.items():
        if isinstance(command, click.Group):
            yield from commands(command.commands, *path, name)
        else:
            yield (*path, name), command


@cache
def imported_by_commands() -> dict[str, list[str]]:
    """Which of Dagster and pandas the module of each command imports, by itself: in a process forked for it."""
    modules = sorted({module for module, _ in cli.lazy.values()})
    done = subprocess.run([sys.executable, "-c", IMPORTING, *modules], capture_output=True, text=True, check=True)
    return {module: loaded for module, *loaded in map(str.split, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def synced(office: Team, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A directory in which everything has been synced and nothing else was done."""
    with shell_for(office, tmp_path_factory.mktemp("synced")) as shell:
        shell.sync()
        yield shell


def stored(shell: Shell) -> object:
    """All that the store holds."""
    with shell.team.session(SYNC_HOME=str(shell.home)) as session:
        return tables(session, *STORED)


def test_sync_json(shell: Shell) -> None:
    """One document: success, the ids of the Dagster runs, and counts that add up; again it is all unchanged."""
    first = shell.sync("--verify")
    assert first["success"] is True
    assert first["run_ids"]
    assert set(first["entities"]) == set(ENTITIES)
    for counts in first["entities"].values():
        assert set(counts) >= FIGURES
        assert counts["extracted"] == sum(counts[name] for name in BECAME) > 0
    assert {figures["missing"] for figures in first["verify"].values()} == {0}
    shell.team.forget_stats()
    again = shell.sync()
    assert shell.team.writes() == {}
    for counts in again["entities"].values():
        assert counts["extracted"] == counts["unchanged"] + counts["excluded"]
        assert counts["extracted"] == sum(counts[name] for name in BECAME)


def test_sync_for_people(shell: Shell) -> None:
    """A table with a row for each entity and what to do next; nothing on standard error when nothing is wrong."""
    ended = shell("sync", "--entity", "users", code=0)
    assert ended.err == ""
    assert "users" in ended.out
    assert "projects" not in ended.out
    assert "Next: `sync-pipeline dev`" in ended.out
    assert "make" not in ended.out


def test_what_to_do_next_is_a_verb_of_make_where_there_is_our_makefile(shell: Shell) -> None:
    """In a checkout; not next to a Makefile of something else."""
    (shell.root / "Makefile").write_text("dev:\n\tnpm run dev\n")
    assert "Next: `sync-pipeline dev`" in shell("sync", "--entity", "users", code=0).out
    shutil.copy(ROOT / "Makefile", shell.root)
    assert "Next: `make dev`" in shell("sync", "--entity", "users", code=0).out


def test_that_nothing_was_rejected_is_shown_where_there_is_room(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of zeros in files, pipes and wide terminals; on 80 columns every other figure is there in full."""
    shell.sync("--entity", "users")
    assert "rejected" in shell("sync", "--entity", "users", code=0).out
    monkeypatch.setattr(terminal.out, "width", 80)
    out = shell("sync", "--entity", "users", code=0).out
    assert "rejected" not in out
    assert all(name in out for name in ("read", "created", "updated", "unchanged", "deleted", "requests"))


def test_sync_is_limited(shell: Shell) -> None:
    """--entity, --from and --to: only those days of that entity are read; what they refer to is delivered first."""
    first, last = day(6).isoformat(), day(3).isoformat()
    starts = [datetime.fromisoformat(entry["timeInterval"]["start"]) for entry in shell.team.entries()]
    inside = [start for start in starts if day(6) <= start.astimezone(UTC).date() <= day(3)]
    document = shell.sync("--entity", "time_entries", "--from", first, "--to", last)
    assert list(document["entities"]) == ["time_entries"]
    counts = document["entities"]["time_entries"]
    assert counts["extracted"] == counts["created"] == len(inside) > 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--from", "2026-02-30"], "'2026-02-30' is not a day like 2026-01-31"),
        (["--from", "yesterday"], "'yesterday' is not a day like 2026-01-31"),
        (["--from", "9999-01-01"], "lies after --to"),
        (["--from", "2001-01-01"], "lies before SYNC_START_DATE"),
        (["--to", "9999-01-01"], "days ahead; the last day is"),
        (["--entity", "user"], "There is no entity 'user'; there are locations, "),
        (["--everything"], "No such option"),
    ],
)
@pytest.mark.parametrize("command", ["sync", "preview", "verify"])
def test_wrong_usage(shell: Shell, command: str, words: list[str], expected: str) -> None:
    """A day, an entity or an option that does not exist: exit 2, what was typed and what is possible."""
    ended = shell(command, *words, code=2)
    assert expected in ended.err
    assert ended.out == ""


def test_preview_sends_nothing(shell: Shell) -> None:
    """It counts and lists exactly what the sync then does, and until then not a byte is written anywhere."""
    shell("status")
    before = stored(shell)
    shell.team.forget_stats()
    document = shell("preview", "--json", code=0).document
    shown = " ".join(shell("preview", code=0).out.split())
    assert [user for user in shell.team.users() if f"create {user['name']} {user['id']}" not in shown] == []
    assert shell.team.writes() == {}
    assert stored(shell) == before
    done = shell.sync()["entities"]
    names = ("extracted", "created", "adopted", "updated", "unchanged", "deleted", "rejected", "excluded")
    for entity, counts in document["entities"].items():
        assert {name: counts[name] for name in names} == {name: done[entity][name] for name in names}
        sent = counts["created"] + counts["adopted"] + counts["updated"] + counts["deleted"]
        assert len(document["changes"][entity]) == sent


def test_a_dry_run_writes_nothing(shell: Shell) -> None:
    """--dry-run is a Dagster run that reads and checks; neither a record nor a byte at the target is written."""
    shell.team.forget_stats()
    ended = shell("sync", "--dry-run", "--entity", "users", code=0)
    assert "Dry run" in ended.out
    assert "`sync-pipeline preview` shows what a sync would write" in ended.out
    assert shell.team.writes() == {}
    with shell.team.session(SYNC_HOME=str(shell.home)) as session, session.store.reading() as own:
        assert own.scalar(text("SELECT count(*) FROM records")) == 0


def test_verify_json(synced: Shell) -> None:
    """In sync: 0; a record edited behind our back: drift, exit 5 and the field; --repair puts it right."""
    document = synced("verify", "--json", code=0).document
    assert document["in_sync"] is True
    assert set(document["entities"]) == set(ENTITIES)
    for figures in document["entities"].values():
        assert {"source", "target", "missing", "extra", "different"} <= set(figures)
        assert figures["source"] == figures["target"]
    victim = next(iter(synced.team.at_snapshots("users")))
    synced.team.snapshots("PUT", f"/users/{victim}", {"name": "Somebody Else"})
    drifted = synced("verify", "--entity", "users", "--json", code=5).document
    assert drifted["in_sync"] is False
    assert drifted["entities"]["users"]["different"] == 1
    (difference,) = drifted["entities"]["users"]["differences"]
    assert (difference["record"], difference["field"], difference["target"]) == (victim, "name", "Somebody Else")
    assert "verify --repair" in synced("verify", "--entity", "users", code=5).out
    assert synced("verify", "--entity", "users", "--repair", "--json", code=0).document["in_sync"] is True


def test_a_sync_that_finds_drift_says_how_to_repair_it(shell: Shell) -> None:
    """The target was changed behind our back: another sync would find nothing to do, so it is not what is advised."""
    shell.sync("--entity", "users")
    for victim in shell.team.at_snapshots("users"):
        shell.team.snapshots("DELETE", f"/users/{victim}")
    ended = shell("sync", "--entity", "users", "--verify", code=5)
    assert "run the same command again" not in ended.out
    assert "`sync-pipeline verify --repair` delivers them." in ended.out
    assert (
        shell("verify", "--entity", "users", "--repair", "--json", code=0).document["entities"]["users"]["repaired"]
        == 4
    )
    assert shell.sync("--entity", "users", "--verify")["success"]


def test_check(synced: Shell) -> None:
    """One line for each connection and permission; all well is 0, as a document too."""
    document = synced("check", "--json", code=0).document
    assert document["ok"] is True
    assert {f"Write {entity} (snapshots)" for entity in ENTITIES if entity != "locations"} | {
        "Write locations (clockify)"
    } <= {found["what"] for found in document["checks"]}
    assert len(synced("check", code=0).out.splitlines()) == len(document["checks"])


def test_check_warns_of_keys_in_clear(synced: Shell) -> None:
    """Plain http to another machine, as a setting allows: a line with the fix, and still 0. Without it: not one request."""
    url = synced.team.sandbox.snapshots.replace("127.0.0.1", "0.0.0.0")
    refused = synced.with_(SNAPSHOTS_BASE_URL=url)
    synced.team.forget_stats()
    for words in (("check", "--system", "snapshots"), ("sync", "--entity", "locations", "--yes")):
        ended = refused(*words)
        place = url.removesuffix("/snapshots")
        expected = f"SNAPSHOTS_BASE_URL is {place}, plain http to another machine: keys could be read on the way"
        assert ended.code in (1, 2)
        assert expected in " ".join((ended.out + ended.err).split())
        assert f"or set SYNC_ALLOW_HTTP={place} if" in " ".join((ended.out + ended.err).split())
    assert not [route for route in synced.team.requests() if "/snapshots/" in route]
    elsewhere = refused.with_(SYNC_ALLOW_HTTP=place)
    (checked,) = [
        c for c in elsewhere("check", "--json", code=0).document["checks"] if c["what"] == "SNAPSHOTS_BASE_URL"
    ]
    assert (checked["verdict"], checked["ok"], checked["fix"]) == (
        "warning",
        True,
        "Use https:// unless every network in between is yours.",
    )
    assert "warn SNAPSHOTS_BASE_URL: plain http to another machine" in elsewhere("check", code=0).out


def test_verify_says_why_other_counts_are_in_sync(synced: Shell) -> None:
    """A record that is rejected by now stays at the target as delivered before."""
    user = synced.team.users()[0]
    synced.team.control("POST", "users", {"id": user["id"], "email": "no address"})
    verdict = synced("verify", "users", "--json", code=0).document["entities"]["users"]
    assert (verdict["target"] - verdict["source"], verdict["rejected"]) == (1, 1)
    assert "The first count is without 1 rejected; of these the target keeps" in verdict["explanation"]
    assert verdict["explanation"] in synced("verify", "users", code=0).out
    synced.team.control("POST", "users", {"id": user["id"], "email": user["email"]})
    assert synced("verify", "users", "--json", code=0).document["entities"]["users"]["explanation"] == ""


def test_status(synced: Shell) -> None:
    """Each entity's last success, what is pending and what was rejected."""
    document = synced("status", "--json", code=0).document
    for entity in ENTITIES:
        state = document["entities"][entity]
        assert datetime.fromisoformat(state["last_success"]) <= utc_now()
        assert (state["pending"], state["rejects"]) == (0, 0)
    assert "time_entries" in synced("status", code=0).out


def test_rejects(shell: Shell) -> None:
    """list, show and retry: the reason of each, and a refused record is offered again."""
    shell.sync("--entity", "users")
    with shell.team.session(SYNC_HOME=str(shell.home)) as session, session.store.writing() as own:
        own.execute(text("UPDATE records SET delivered_hash = NULL, refused_hash = fields_hash"))
    assert shell.sync("--entity", "users")["entities"]["users"]["rejected"] == 4
    assert shell("rejects", "retry", "--entity", "users", "--json", code=0).document == {
        "schema": "rejects-retry/1",
        "retried": 4,
    }
    (line,) = shell("trail", "--json", code=0).document["changes"]
    assert (line["what"], line["detail"]) == ("retry", "4 refused records of users are offered again")
    assert line["by"].endswith(" (terminal)")
    assert line["detail"] in shell("trail", code=0).out
    assert shell.sync("--entity", "users")["entities"]["users"]["created"] == 4
    assert shell("rejects", "list", "--json", code=0).document["rejects"] == []
    assert "No record is rejected." in shell("rejects", "list", code=0).out
    assert "-5 is not in the range" in shell("rejects", "list", "--limit", "-5", code=2).err
    assert "No reject of users has the id nobody." in shell("rejects", "show", "users", "nobody", code=2).message


def test_only_what_the_target_refused_is_retried(shell: Shell) -> None:
    """What a check rejected is checked again anyway, and what is no reject at all is reported as none."""
    for number in range(2):
        shell.team.put_location(f"twin-{number}", location_name="One name", address=str(number))
    shell.sync("--entity", "locations")
    ended = shell("rejects", "retry", "--entity", "locations", "twin-0", "nobody", code=0)
    assert "0 refused records of locations" in ended.out
    assert ended.warnings == [
        "locations twin-0 was rejected by a check, which is run again on every sync.",
        "There is no reject of locations with the id nobody.",
    ]
    reasons = {row["reason"] for row in shell("rejects", "list", "--json", code=0).document["rejects"]}
    assert reasons == {"another record has the same name, 'One name'; give each its own"}


def test_rejects_are_listed_with_names(shell: Shell) -> None:
    """What people call a record is there once it was stored; scripts find it in the JSON."""
    shell.team.put_location("known", location_name="Known place")
    shell.sync("--entity", "locations")
    for source_id in ("known", "new"):
        shell.team.put_location(source_id, location_name="n" * 101)
    shell.sync("--entity", "locations")
    rows = shell("rejects", "list", "--json", code=0).document["rejects"]
    names = {row["source_id"]: row["name"] for row in rows}
    assert (names["known"], names["new"]) == ("Known place", None)
    assert "Known place locations known" in " ".join(shell("rejects", "list", code=0).out.split())


def test_deliveries(synced: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit names what was sent, of one entity or record, with what people call it where the terminal has room."""
    rows = synced("deliveries", "--entity", "projects", "--json", code=0).document["deliveries"]
    assert {row["entity"] for row in rows} == {"projects"}
    one = synced("deliveries", "--record", rows[0]["source_id"], "--json", code=0).document["deliveries"]
    assert {row["source_id"] for row in one} == {rows[0]["source_id"]}
    names = {project["id"]: project["name"] for project in synced.team.projects()}
    assert [row["name"] for row in rows] == [names[row["source_id"]] for row in rows]
    monkeypatch.setattr(terminal.out, "width", 200)
    shown = " ".join(synced("deliveries", "--entity", "projects", code=0).out.split())
    assert f"{rows[0]['name']} projects {rows[0]['source_id']}" in shown


def test_deliveries_fit_a_terminal(synced: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns are enough for a line each, with the whole id; of a record no one sent anything, nothing was sent."""
    row = synced("deliveries", "--json", code=0).document["deliveries"][0]
    monkeypatch.setattr(terminal.out, "width", 80)
    out = synced("deliveries", "--record", row["source_id"], code=0).out
    at = datetime.fromisoformat(row["at"])
    line, *_ = [line.split() for line in out.splitlines() if row["source_id"] in line]
    assert line == [
        *f"{at.astimezone():%Y-%m-%d %H:%M}".split(),
        row["entity"],
        row["source_id"],
        row["kind"],
        row["outcome"],
    ]
    assert synced("deliveries", "--record", "nobody", code=0).out == "Nothing was sent.\n"


def test_mapping(shell: Shell) -> None:
    """Show lists the fields in force; validate reports that all is well; both as documents too."""
    assert {row["field"] for row in shell("mapping", "show", "users", "--json", code=0).document["users"]} >= {"email"}
    assert "users: clockify -> snapshots" in shell("mapping", "show", code=0).out
    assert shell("mapping", "validate", "--json", code=0).document["valid"] is True
    assert "All mappings are valid" in shell("mapping", "validate", code=0).out


@pytest.mark.parametrize("words", [" ".join(words) for words, _ in commands()])
def test_every_command_explains_itself(shell: Shell, words: str) -> None:
    """--help shows the docstring, every option has a text, and --json is there."""
    command = dict(commands())[tuple(words.split())]
    ended = shell(*words.split(), "--help", code=0)
    assert command.help
    assert command.help.split(":")[0].split()[0] in ended.out
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert all(option.help for option in options)
    assert any("--json" in option.opts for option in options)


def test_starting_costs_little() -> None:
    """No command pays for a library that only another one needs: they are imported where they are used."""
    heavy = {"dagster", "pandas", "pyarrow", "sqlalchemy", "httpx", "rich", "uvicorn", "pydantic"}
    code = f"import sys, sync_pipeline.cli; print(sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded == "[]\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_list_of_commands_says_what_the_command_says(name: str) -> None:
    """It is printed without importing a command, so its lines are written down a second time."""
    assert cli.lazy[name][1] == COMMANDS[name].get_short_help_str(limit=1_000)


@pytest.mark.parametrize("module", sorted({module for module, _ in cli.lazy.values()} - {"dev"}))
def test_dagster_and_pandas_are_imported_by_commands_that_use_them(module: str) -> None:
    """Each takes longer to import than most commands take to run; `--help` never pays for it."""
    assert imported_by_commands()[module] == (["pandas"] if module in MAP_RECORDS else [])


def test_it_sends_no_telemetry_wherever_it_is_started(shell: Shell) -> None:
    """From outside of a project, as a cron job starts it: Dagster keeps to our settings, and prints nothing of its own."""
    for name in ("workspace.yaml", "dagster.yaml"):
        (shell.root / name).unlink()
    assert shell("sync", "--entity", "users", code=0).err == ""
    assert "telemetry:\n  enabled: false" in (shell.home / "dagster" / "dagster.yaml").read_text()


def test_first_contact_is_a_preview(shell: Shell) -> None:
    """Accounts that are not on this machine: the first sync only shows what it would do, unless --yes is given."""
    elsewhere = shell.with_(SNAPSHOTS_BASE_URL=shell.team.sandbox.snapshots.replace("127.0.0.1", "127.0.0.2"))
    shell.team.forget_stats()
    ended = elsewhere("sync", "--entity", "users", code=3)
    held, notice = ended.warnings
    assert held.startswith("Held: Nothing was ever delivered to these accounts")
    assert notice == "This is the first contact with these accounts, so nothing was sent. Add --yes to sync."
    assert "A sync would" in ended.out
    assert shell.team.writes() == {}
