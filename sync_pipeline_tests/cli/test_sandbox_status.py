"""`status` and the console's pages where nothing is set up: the sandbox fails and reports like a connected system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync_pipeline.console.server import ConsoleOptions, running
from sync_pipeline.setup.system_details import system_details
from sync_pipeline.store.credentials import WEBHOOK, put
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.console.browsing import Browser, browsing
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.setup.services import environ_of, setup_of


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Both systems, which are also the embedded sandbox of a home in which nothing is set up."""
    with team(tmp_path) as everybody:
        yield everybody


@pytest.fixture
def shell(us: Team) -> Iterator[Shell]:
    """The command line in that home."""
    with shell_for(us, us.home.parent, **{**dict.fromkeys(us.environ), **environ_of(us)}) as typed:
        yield typed


@contextmanager
def console(us: Team) -> Iterator[Browser]:
    """A browser that is signed in to the console of that home."""
    with running(setup_of(us), ConsoleOptions(port=0)) as served, browsing(served) as found:
        found.sign_in()
        yield found


def test_a_reset_in_the_terminal_is_noted(us: Team, shell: Shell) -> None:
    """What was delivered is no longer there, which `status` says until both sides are compared; it says nothing of another sandbox."""
    shell("sandbox", "reset", "--yes", code=0)
    assert not (shell.root / "sync.db").exists(), "a reset alone makes no database"
    shell("sync", "locations", code=0)
    with team(us.home / "another") as others:
        port = others.sandbox.url.rpartition(":")[2]
        shell("sandbox", "reset", "--yes", "--port", port, code=0)
    assert "was reset" not in shell("status", code=0).err
    shell("sandbox", "reset", "--yes", code=0)
    (warning,) = [line for line in shell("status", code=0).warnings if "was reset" in line]
    assert "The sandbox was reset since locations were last compared." in warning
    assert "`sync-pipeline verify --repair`" in warning
    shell("verify", "locations", "--repair", code=0)
    assert "was reset" not in shell("status", code=0).err


@pytest.mark.parametrize(("system", "route"), [("clockify", "* /clockify/*"), ("snapshots", "* */snapshots*")])
def test_a_key_that_the_sandbox_refuses(us: Team, shell: Shell, system: str, route: str) -> None:
    """`status` names the system and ends with 4; the system's page says so, too, and leads to the repair."""
    shell("sync", code=0)
    assert shell("status", code=0).errors == []
    us.fault("status", route, status=401, body={"message": "Api key does not exist", "code": 4003})
    shell("sync", code=4)
    shown = shell("status", code=4)
    assert f"{system}: key refused since " in shown.err
    with console(us) as browser:
        text = browser.page(f"/connections/{system}").text
        assert "key refused" in text
        assert "is not set up" not in text
        assert "Repair it in the sandbox lab" in text
        assert "Disconnect" not in text
        assert browser.page("/connections").faults == []
    us.no_faults()
    shell("sync", code=0)
    assert "refused" not in shell("status", code=0).err


def test_webhooks_of_the_sandbox_are_shown(us: Team) -> None:
    """Those registered where nothing is set up."""
    setup = setup_of(us)
    with setup.reading() as session, setup.vault() as vault:
        put(session.store, vault.keyring, session.pair, f"{WEBHOOK}NEW_PROJECT", {}, session.now())
    assert [hook.event for hook in system_details(setup, "clockify").hooks] == ["NEW_PROJECT"]
    with console(us) as browser:
        text = browser.page("/connections/clockify").text
        assert "NEW_PROJECT" in text
        assert "None are registered" not in text
