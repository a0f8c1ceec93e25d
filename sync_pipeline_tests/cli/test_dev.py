"""`dev`: one command, and what changes in Clockify is in Snapshots; one Ctrl-C, and nothing of it is left."""

from __future__ import annotations

import os
import re
import resource
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sync_pipeline.cli.dev import SyncNews
from sync_pipeline.clock import unix_time
from sync_pipeline.console.server import ConsoleOptions, running
from sync_pipeline.console.sign_in_links import fresh_link
from sync_pipeline.defs.reload import Place, reload_definitions
from sync_pipeline.hosting import dev
from sync_pipeline.hosting.dev import dagster_environ, only_one, receiving
from sync_pipeline.settings import load_settings
from sync_pipeline.setup.service import SetupService
from sync_pipeline_tests.cli.shell import shell_for
from sync_pipeline_tests.cli.terminal import on_a_terminal
from sync_pipeline_tests.harness import ENTITIES, SNAPSHOTS_KEY, Team, clean_environ, team
from sync_pipeline_tests.scenarios.developing import (
    STOP_SECONDS,
    Developing,
    developing,
    environment,
    free_port,
    local_client,
    place,
    wait_for,
)
from sync_pipeline_tests.strangers import crowd

ARRIVES_SECONDS = 120.0
STRANGERS_SECONDS = 60.0
"""For a busy machine: strangers stay until what is waited for has happened, so they are not outlasted."""
SENSOR_TICKS = (
    "{repositoriesOrError{... on RepositoryConnection{nodes{sensors{name sensorState{ticks{status skipReason}}}}}}}"
)
SYNC_SENSORS = {*ENTITIES, "first_sync"}
"""Those that sync by themselves; the others look at alerts and at what people ask for."""
SENSOR_STATES = "{repositoriesOrError{... on RepositoryConnection{nodes{sensors{name sensorState{status}}}}}}"


def sensors(us: Developing) -> set[str]:
    """Whether the sensors run, as the UI shows it."""
    (repository,) = us.graphql(SENSOR_STATES)["repositoriesOrError"]["nodes"]
    assert {sensor["name"] for sensor in repository["sensors"]} == {
        *SYNC_SENSORS,
        "alerts",
        "console_requests",
        "reports",
    }
    return {sensor["sensorState"]["status"] for sensor in repository["sensors"]}


def test_keys_on_a_terminal(tmp_path: Path) -> None:
    """``o`` opens the console with a fresh link, ``l`` shows the log, ``q`` stops; the terminal is then restored."""
    place(tmp_path)
    opened, browser = tmp_path / "opened", tmp_path / "bin" / "xdg-open"
    browser.parent.mkdir()
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    browser.chmod(0o755)
    path = f"{browser.parent}{os.pathsep}{os.environ['PATH']}"
    ports = ("--port", str(free_port()), "--console-port", str(free_port()))
    environ = environment(tmp_path, SYNC_SANDBOX_PORT=str(free_port()), PATH=path)
    with on_a_terminal(tmp_path, environ, "dev", "--no-open", "--no-webhooks", *ports) as seen:
        before = termios.tcgetattr(seen.screen)
        seen.wait_for(lambda text: "Keys: o opens the console" in text)
        assert termios.tcgetattr(seen.screen) != before
        seen.press(b"o")
        seen.wait_for(lambda text: "Opened in the browser." in text)
        seen.press(b"l")
        seen.wait_for(lambda text: text.count(str(tmp_path / "home" / "logs" / "dev.log")) > 1)
        seen.press(b"q")
        assert seen.ended() == 0, seen.text
        assert termios.tcgetattr(seen.screen) == before
    assert opened.read_text().startswith("http://sync-")
    assert "Stopped." in seen.text


def module(process: psutil.Process) -> list[str]:
    """The module a process runs, and its arguments."""
    line = process.cmdline()
    return line[line.index("-m") + 1 :] if "-m" in line else []


def end(us: Developing, number: signal.Signals) -> None:
    """Ask it to end: it does, with everything it started; 130 after Ctrl-C, and 0 after `kill`."""
    started = us.tree()
    us.process.send_signal(number)
    us.process.wait(STOP_SECONDS)
    assert us.process.returncode == (130 if number == signal.SIGINT else 0)
    _, left = psutil.wait_procs(started, timeout=STOP_SECONDS)
    assert left == []


def test_outside_of_the_project(tmp_path: Path) -> None:
    """Where Dagster finds no code that is reported before anything is started, exit 2."""
    command = [sys.executable, "-m", "sync_pipeline.cli", "dev", "--no-console", "--no-webhooks"]
    environ = clean_environ(SYNC_HOME=str(tmp_path / "home"), SYNC_SANDBOX_PORT=str(free_port()))
    ended = subprocess.run(
        [*command, "--port", str(free_port())], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "There is no workspace.yaml in" in ended.stderr
    assert "Run this in the project's directory." in " ".join(ended.stderr.split())


def ticks(us: Developing) -> list[tuple[str, str]]:
    """What each look of a sensor that has ended led to, in words, behind the sensor's name."""
    (repository,) = us.graphql(SENSOR_TICKS)["repositoriesOrError"]["nodes"]
    looks = [(sensor["name"], tick) for sensor in repository["sensors"] for tick in sensor["sensorState"]["ticks"]]
    return [
        (name, f"{tick['status']} {tick['skipReason'] or ''}") for name, tick in looks if tick["status"] != "STARTED"
    ]


def test_an_edit_arrives_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """On the sandbox everything runs, webhooks and sensors are on, an edit arrives; then all of it ends.

    Its output is no terminal: it has the same lines anyway, and what the programs print is in the log.
    """
    with developing(tmp_path) as us:
        hooks = us.clockify("GET", "/webhooks")["webhooks"]
        assert {hook["url"].split("/hooks/")[0] for hook in hooks} == {us.receiver}
        assert sensors(us) == {"RUNNING"}
        said = (tmp_path / "dev.log").read_text()
        assert all(url in said for url in (us.sandbox, us.receiver, us.ui, f"{us.console}/sign-in?token="))

        user = us.clockify("GET", "/users")[0]["id"]
        interval = {"start": "2026-11-02T08:00:00Z", "end": "2026-11-02T09:00:00Z"}
        made = us.clockify("POST", f"/user/{user}/time-entries", {**interval, "description": "made in the sandbox"})
        at_target = f"{us.sandbox}/snapshots/time_entries/{made['id']}"
        key = {"X-Api-Key": SNAPSHOTS_KEY}
        wait_for(lambda: us.client.get(at_target, headers=key).is_success, ARRIVES_SECONDS)
        reported = re.compile(r"^\d\d:\d\d time_entries: [\d,]+ created", re.MULTILINE)
        wait_for(lambda: reported.search((tmp_path / "dev.log").read_text()) is not None, ARRIVES_SECONDS)

        end(us, signal.SIGINT)
        shown, log = (tmp_path / "dev.log").read_text(), us.home / "logs" / "dev.log"
        assert (shown.endswith("Stopped.\n"), shown.count("Stopped.")) == (True, 1)
        assert f"Logs:       {log}" in shown
        assert "SensorDaemon" not in shown
        assert "SensorDaemon" in log.read_text()
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_news_of_syncs(tmp_path: Path) -> None:
    """A line for each that wrote something or failed, each once; none for one that changed nothing, or from before."""
    with (
        team(tmp_path) as us,
        shell_for(us, tmp_path / "shell", SYNC_HOME=str(us.home)) as shell,
    ):
        shell.sync("users")
        news = SyncNews(us.session)
        assert news.lines() == []
        shell.sync("users", "projects")
        ((line, is_problem),) = news.lines()
        assert (line.partition(" ")[2], is_problem) == ("projects: 5 created", False)
        us.fault("status", "GET /clockify/*/users*", status=500)
        shell("sync", "users", code=1)
        ((line, is_problem),) = news.lines()
        assert ("users: failed - " in line, is_problem) == (True, True)
        assert news.lines() == []


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of the greatest size, whatever programs write, long lines included."""
    monkeypatch.setattr(dev, "LOG_BYTES", 10_000)
    monkeypatch.setattr(dev, "LONGEST_LINE", 1_000)
    with dev.logged_to(tmp_path / "logs" / "dev.log") as output:
        subprocess.run([sys.executable, "-c", "print('x' * 100_000); print('end')"], stdout=output, check=True)
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["dev.log", "dev.log.1"]
    assert all(file.stat().st_size <= 11_000 for file in files)
    assert files[0].read_text().endswith("end\n")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process's limit can be set on Linux only")
def test_strangers_keep_no_one_out(tmp_path: Path) -> None:
    """With 1,100 of them on the receiver and 1,100 on the console a delivery is answered, and pages are served."""
    flood = {"event": "TIME_ENTRY_UPDATED", "count": 1, "connections": 1}
    with developing(tmp_path) as us:
        resource.prlimit(us.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        link = next(word for word in (tmp_path / "dev.log").read_text().split() if "/sign-in?token=" in word)
        for number, said in enumerate((b"", b"GET / HTTP/1.1\r\nX: "), start=1):
            with crowd(us.receiver, 1100, said), crowd(us.console, 1100, said):
                us.client.post(f"{us.sandbox}/_control/webhooks/flood", json=flood).raise_for_status()
                wait_for(lambda number=number: stored(us) == number, STRANGERS_SECONDS)
                page = us.client.get(link, follow_redirects=True, timeout=STRANGERS_SECONDS).raise_for_status()
                sheet = re.search(r'href="(/static/[^"]+\.css)"', page.text)
                assert sheet is not None
                assert us.client.get(us.console + sheet[1], timeout=STRANGERS_SECONDS).is_success


def stored(us: Developing) -> int:
    """How many deliveries the receiver has taken in."""
    lines = us.client.get(f"{us.receiver}/metrics", timeout=STRANGERS_SECONDS).raise_for_status().text.splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("sync_pipeline_webhooks_stored_total"))


def test_a_mapping_changed_in_the_console_is_loaded_immediately(tmp_path: Path) -> None:
    """The printed link signs in once; after a change the UI has reloaded the definitions, without a restart."""
    entries = "{workspaceOrError{... on Workspace{locationEntries{updatedTimestamp}}}}"
    with developing(tmp_path, "--no-webhooks") as us:
        said = (tmp_path / "dev.log").read_text()
        before = us.graphql(entries)
        link = next(word for word in said.split() if word.startswith(f"{us.console}/sign-in?token="))
        page = us.client.get(link, follow_redirects=True)
        assert page.status_code == 200
        assert us.client.get(link).status_code == 303  # signed in already: it leads home
        form = {name: re.search(rf'name="{name}" value="([^"]*)"', page.text) for name in ("csrf",)}
        fields = {name: found[1] for name, found in form.items() if found}
        fields |= {"is_new": "1", "name": "nick", "source": "name", "since": ""}
        assert us.client.post(f"{us.console}/mapping/users", data=fields).headers["location"] == "/mapping/users"
        wait_for(lambda: us.graphql(entries) != before, ARRIVES_SECONDS)


@pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning")  # dagster_graphql 1.13 with gql 4.4
def test_without_a_console_the_ui_signs_in_itself(tmp_path: Path) -> None:
    """The printed link, a fresh one, and the program that has the definitions loaded again: all sign in at the UI."""
    home = tmp_path / "home"
    with developing(tmp_path, "--no-webhooks", "--no-console") as us:
        said = (tmp_path / "dev.log").read_text()
        link = next(word for word in said.split() if word.startswith(f"{us.ui}/sign-in?token="))
        with local_client(follow_redirects=True) as browser:
            assert browser.get(us.ui).status_code == 401
            assert "__NEXT_DATA__" in browser.get(link).text
        ui = Place(f"http://127.0.0.1:{us.ports['ui']}")
        assert reload_definitions(ui, lambda: fresh_link(home, unix_time))
        assert not reload_definitions(ui, lambda: None)
        with running(
            SetupService("Ana (console)", root=tmp_path, environ={"SYNC_HOME": str(home)}), ConsoleOptions(port=0)
        ) as console:
            assert fresh_link(home, unix_time).startswith(console.url)  # a console of its own continues next to it
        end(us, signal.SIGINT)
    assert not (home / "dagster.json").exists()


def test_real_accounts_are_left_alone(tmp_path: Path) -> None:
    """With credentials set nothing is received and nothing is live until it is allowed."""
    with team(tmp_path / "team") as accounts, developing(tmp_path, "--no-webhooks", **accounts.environ) as us:
        wait_for(lambda: {name for name, _ in ticks(us)} >= SYNC_SENSORS, ARRIVES_SECONDS)
        assert all(said.startswith("SKIPPED ") for _, said in ticks(us)), ticks(us)
        assert all("live syncing is off" in said for name, said in ticks(us) if name in SYNC_SENSORS), ticks(us)
        assert accounts.clockify("GET", "/webhooks")["webhooks"] == []
        assert accounts.writes() == {}
        end(us, signal.SIGTERM)


def test_a_second_one_is_refused_and_nothing_survives_a_kill(tmp_path: Path) -> None:
    """One `dev` holds its home. `kill -9` leaves nothing behind: what it started notices, and the home is free."""
    with developing(tmp_path, "--no-webhooks") as us:
        command = [
            sys.executable,
            "-m",
            "sync_pipeline.cli",
            "dev",
            "--port",
            str(free_port()),
            "--no-webhooks",
            "--no-console",
        ]
        second = subprocess.run(
            command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
        )
        assert second.returncode == 2
        assert "is running on SYNC_HOME" in second.stderr
        started = us.tree()
        us.process.kill()
        _, left = psutil.wait_procs(started, timeout=STOP_SECONDS)
        assert left == []
    with only_one(tmp_path / "home"):
        pass


@pytest.mark.parametrize(
    "killed",
    [
        ["dagster", "code-server"],
        ["dagster._daemon", "run"],
        ["sync_pipeline.cli.webserver"],
        ["sync_pipeline.hosting.parent_watchdog", sys.executable, "-m", "dagster._daemon"],
    ],
    ids=lambda words: words[0],
)
def test_whatever_is_killed_nothing_works_on_without_it(tmp_path: Path, killed: list[str]) -> None:
    """Dagster's other programs would continue: `dev` ends with each of them, and can be started again immediately."""
    with developing(tmp_path, "--no-webhooks") as us:
        started = us.tree()
        (victim,) = (one for one in started if module(one)[: len(killed)] == killed)
        victim.kill()
        us.process.wait(STOP_SECONDS)
        assert us.process.returncode == 1
        assert "ended unexpectedly" in (tmp_path / "dev.log").read_text()
        _, left = psutil.wait_procs(started, timeout=STOP_SECONDS)
        assert left == []


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team of which only the sandbox's address is needed."""
    with team(tmp_path) as office:
        yield office


def test_webhooks_are_subscribed_once(us: Team) -> None:
    """As often as it is started, at whatever port: the same hooks, at the new address."""
    home = us.home.parent  # where the sandbox keeps its data
    settings = load_settings(
        clean_environ(SYNC_HOME=str(home), SYNC_SANDBOX_PORT=us.sandbox.url.rpartition(":")[2]), root=home
    )
    assert settings.sandbox
    met: list[set[str]] = []
    for _ in range(2):
        with receiving(settings, free_port(), pytest.fail, lambda: settings) as url:
            hooks = us.clockify("GET", "/webhooks")["webhooks"]
            assert all(hook["url"].startswith(url) for hook in hooks)
            met.append({hook["id"] for hook in hooks})
    assert met[0] == met[1]
    assert len(met[0]) == 10


def test_with_credentials_a_receiver_subscribes_nothing(us: Team) -> None:
    """Their address is for the person to give: `webhooks register`."""
    with us.session(), receiving(us.settings(), 0, pytest.fail, us.settings) as url:
        assert url.startswith("http://127.0.0.1:")
        assert us.clockify("GET", "/webhooks")["webhooks"] == []


def test_what_the_environment_sets_is_kept(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the sandbox sensors look all the time, unless set otherwise; with credentials as often as usual."""
    sandbox = load_settings({}, root=us.home)
    monkeypatch.delenv("SYNC_SENSOR_SECONDS", raising=False)
    assert dagster_environ(sandbox, "")["SYNC_SENSOR_SECONDS"] == "1"
    assert "SYNC_SENSOR_SECONDS" not in dagster_environ(us.settings(), "")
    monkeypatch.setenv("SYNC_SENSOR_SECONDS", "20")
    assert dagster_environ(sandbox, "")["SYNC_SENSOR_SECONDS"] == "20"
