"""Law 8: no token or key in any log line, event, run config, exception, table, file or output."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from sync_pipeline.errors import SyncError
from sync_pipeline.store.schema import metadata
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, Team, clean_environ, team
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.scenarios.commands import run

pytestmark = pytest.mark.clock

WRONG = "wr0ng-but-still-a-secret"
CLIENT_SECRET = "sandbox-secret"
TOKEN = "sbx_"  # how every token of the sandbox begins
SECRETS = (CLOCKIFY_KEY, SNAPSHOTS_KEY, CLIENT_SECRET, WRONG)


def leaks(text: str | bytes) -> list[str]:
    """The secrets that are in a text, plain or as anyone could decode them."""
    data = text.encode() if isinstance(text, str) else text
    forms = {secret: (secret.encode(), secret.encode().hex().encode()) for secret in SECRETS}
    return [secret for secret, shapes in forms.items() if any(shape in data for shape in shapes)]


def files_with_secrets(root: Path) -> list[str]:
    """Every file of the pipeline that holds a secret: databases, logs, batches, Dagster's history."""
    return [str(path) for path in root.rglob("*") if path.is_file() and leaks(path.read_bytes())]


def tables_with_secrets(us: Team) -> list[str]:
    """Every table of the store that shows a secret."""
    with us.session() as session, session.store.reading() as own:
        found = {name: own.execute(text(f"SELECT * FROM {name}")).fetchall() for name in metadata.tables}
    return [name for name, rows in found.items() if leaks(repr(rows))]


WRONG_KEYS = [{"CLOCKIFY_API_KEY": WRONG}, {"SNAPSHOTS_API_KEY": WRONG}]
TROUBLE = [("status", 401), ("status", 500), ("html", 200), ("truncated_json", 200), ("cut_before", 500)]


def test_commands_that_work_and_commands_that_fail_show_no_secret(tmp_path: Path) -> None:
    """Nothing is printed and nothing is kept, neither with right nor with wrong keys, in Dagster's history either."""
    with team(tmp_path, users=2, projects=2, locations=2, entries=5) as us:
        both = {name: value for changes in WRONG_KEYS for name, value in changes.items()}
        printed = [*run(us, "sync"), *run(us, "sync", code=4, **both)]
        assert [text for text in printed if leaks(text)] == []
        assert files_with_secrets(us.home) == []
        assert tables_with_secrets(us) == []
        assert list(us.home.rglob("*.db")), "the history was looked at"


def _troubles() -> Iterator[tuple[dict[str, str], str, int, str]]:
    sides = ("/clockify/*", "/snapshots/*")
    for (kind, status), side in product(TROUBLE, sides):
        yield {}, kind, status, side
    for changes in WRONG_KEYS:
        yield changes, "", 0, ""


@pytest.mark.parametrize(("changes", "kind", "status", "side"), list(_troubles()))
def test_errors_and_log_lines_hold_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], kind: str, status: int, side: str
) -> None:
    """Whatever goes wrong - even an answer that repeats the key - the error, its chain and every log line are clean."""
    caplog.set_level(logging.DEBUG)
    with team(tmp_path, users=2, projects=2, locations=2, entries=5) as us:
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        if kind:
            body = f"the key {CLOCKIFY_KEY if 'clockify' in side else SNAPSHOTS_KEY} is not welcome"
            echo = {"message": body, "detail": body, "code": body} if kind == "status" else {}
            us.fault(kind, f"* {side}", status=status, body=echo or body)
        for entity in ("locations", "users", "projects", "time_entries"):
            try:
                us.sync(entity, **changes)
            except SyncError as error:
                chain: BaseException | None = error
                while chain is not None:
                    assert leaks(f"{chain!r} {chain} {vars(chain)}") == [], "in the error"
                    chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
        assert leaks(caplog.text) == []
        us.no_faults()
        assert tables_with_secrets(us) == []
        assert files_with_secrets(us.home) == []


def test_a_target_that_repeats_the_key_in_a_refusal_does_not_get_it_into_the_rejects(tmp_path: Path) -> None:
    """What a target answers about a record is kept and shown, so it is kept without secrets."""
    with team(tmp_path, projects=1, entries=0) as us:
        error = {"code": SNAPSHOTS_KEY, "detail": f"refused for {SNAPSHOTS_KEY}"}
        body = {"results": [{"id": us.projects()[0]["id"], "status": "refused", "error": error}]}
        us.fault("status", "POST /snapshots/projects/batch", status=200, body=body)
        assert us.sync("projects")["projects"].rejected == 1
        assert tables_with_secrets(us) == []


def test_settings_and_sessions_do_not_show_their_secrets(tmp_path: Path) -> None:
    """Printing any of them, on purpose or in a traceback, shows no secret."""
    with team(tmp_path, entries=0) as us:
        url = f"sqlite:///{tmp_path / 'x.db'}"
        assert leaks(repr(us.settings(SYNC_DATABASE_URL=url))) == []
        assert url not in repr(us.settings(SYNC_DATABASE_URL=url))
        with us.session() as session:
            assert leaks(repr(session)) == []
            assert leaks(repr(session.clockify.account)) == []
            assert leaks(session.pair) == []


def test_an_oauth_clients_secret_and_its_tokens_stay_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Client credentials work like a key, and neither the secret nor a token is written anywhere."""
    caplog.set_level(logging.DEBUG)
    with team(tmp_path, users=2, projects=2, locations=2, entries=5) as us:
        us.changes |= {
            "SNAPSHOTS_API_KEY": "",
            "SNAPSHOTS_CLIENT_ID": "sandbox-client",
            "SNAPSHOTS_CLIENT_SECRET": CLIENT_SECRET,
        }
        us.sync()
        converged(us)
        assert leaks(caplog.text) == []
        assert us.requests()["POST /snapshots/oauth/token"] >= 1
        kept = b"".join(path.read_bytes() for path in us.home.rglob("*") if path.is_file())
        assert TOKEN.encode() not in kept
        assert TOKEN not in caplog.text
        assert files_with_secrets(us.home) == []


def test_the_environment_of_these_tests_holds_no_setting_of_ours() -> None:
    """A process that is started for a test sees nothing of a developer's own accounts."""
    assert not {"CLOCKIFY_API_KEY", "SNAPSHOTS_API_KEY", "DAGSTER_HOME"} & clean_environ().keys()
