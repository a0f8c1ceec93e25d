"""Versions of the set-up: one is current, a stale change is refused, and a file is imported once."""

from __future__ import annotations

import logging
import platform
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from alembic import command
from sqlalchemy import create_engine, text

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, StoreError
from sync_pipeline.hosting.liveness import PROCESS_TAG, process_has_ended
from sync_pipeline.private_files import private_file
from sync_pipeline.settings import Settings, load_settings, notice
from sync_pipeline.store import setup_file
from sync_pipeline.store.audit import changes
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.migrations.runner import config
from sync_pipeline.store.retention import Ages, prune
from sync_pipeline.store.setup import (
    SetupChange,
    list_versions,
    put_current,
    put_current_in,
    put_draft,
    remove_draft_in,
    version_in,
    version_of,
)
from sync_pipeline.store.setup_file import checksum
from sync_pipeline_tests.forking import Started

REAL = "clockify: {workspace_id: w1, plan: paid}\nsnapshots: {base_url: 'https://snapshots.example/v1'}\n"
AT = datetime(2026, 3, 1, tzinfo=UTC)
MINE = SetupChange("ann (test)", AT, "plan: paid")
STARTED = """
import sys
from pathlib import Path
from sync_pipeline.settings import load_settings
print(load_settings({"SYNC_HOME": "home"}, root=Path(sys.argv[1])).setup_version)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home with the set-up file of an earlier version."""
    notice.cache_clear()  # each of these tests is a process of its own
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "setup.yaml").write_text(REAL)
    yield home
    home.chmod(0o700)


def load(home: Path, **environ: str) -> Settings:
    """The settings of this home."""
    return load_settings({"SYNC_HOME": str(home), **environ}, root=home.parent)


def database_of_schema_7(home: Path) -> None:
    """A database of the last version that had its set-up in a file."""
    private_file(home / "sync.db")
    engine = create_engine(f"sqlite:///{home / 'sync.db'}")
    with engine.begin() as connection:
        command.upgrade(config(connection), "0007")
    engine.dispose()


def names(home: Path) -> set[str]:
    """The YAML files in it."""
    return {file.name for file in home.glob("*.yaml")}


def test_one_version_is_current(store: Store) -> None:
    """The one before is past; both are listed with who made them and when."""
    assert version_in(store, "", "current") is None
    first = put_current(store, "", "a: 1\n", MINE, expected=0)
    second = put_current(store, "", "a: 2\n", SetupChange("bob (test)", AT, "more"), expected=first)
    now = version_in(store, "", "current")
    assert now is not None
    assert (now.id, now.document, now.by, now.at) == (second, "a: 2\n", "bob (test)", AT)
    assert [(found.id, found.state) for found in list_versions(store, "")] == [(second, "current"), (first, "past")]


def test_a_version_made_from_another_is_refused(store: Store) -> None:
    """Nothing is overwritten, also not by one that takes itself for the first."""
    first = put_current(store, "", "a: 1\n", MINE, expected=0)
    for expected in (0, first + 1):
        with pytest.raises(ChangedMeanwhile, match="nothing was overwritten"):
            put_current(store, "", "a: 2\n", MINE, expected=expected)
    assert [found.document for found in list_versions(store, "")] == ["a: 1\n"]


def test_of_two_that_make_the_first_version_one_is_refused(store: Store) -> None:
    """Each has found none; the second learns that the set-up was changed meanwhile."""
    with ThreadPoolExecutor(1) as other:
        with store.writing() as tx:
            put_current_in(tx, "", "a: 1\n", MINE, expected=0)
            second = other.submit(put_current, store, "", "a: 2\n", MINE, expected=0)
            assert not wait([second], 0.5).done
        with pytest.raises(ChangedMeanwhile):
            second.result()
    assert [found.document for found in list_versions(store, "")] == ["a: 1\n"]


def test_set_ups_of_other_names_are_others(store: Store) -> None:
    """Homes with different accounts may share a database."""
    put_current(store, "", "a: 1\n", MINE, expected=0)
    south = put_current(store, "south", "a: 2\n", MINE, expected=0)
    assert [found.document for found in list_versions(store, "south")] == ["a: 2\n"]
    assert version_of(store, "", south) is None


def test_a_draft_is_published_or_discarded_whole(store: Store) -> None:
    """There is one; who works on an older one is refused; a transaction that fails leaves it unchanged."""
    base = put_current(store, "", "a: 1\n", MINE, expected=0)
    first = put_draft(store, "", "a: 2\n", MINE, base_id=base, expected=None)
    with pytest.raises(ChangedMeanwhile):
        put_draft(store, "", "a: 3\n", MINE, base_id=base, expected=None)
    draft = put_draft(store, "", "a: 3\n", MINE, base_id=base, expected=first)

    def publish(expected: int) -> None:
        with store.writing() as tx:
            remove_draft_in(tx, "", draft)
            put_current_in(tx, "", "a: 3\n", MINE, expected=expected)

    with pytest.raises(ChangedMeanwhile):
        publish(base + 100)
    assert [version_in(store, "", state).id for state in ("current", "draft")] == [base, draft]  # type: ignore[union-attr]
    with store.writing() as tx:
        assert remove_draft_in(tx, "", draft)
        assert not remove_draft_in(tx, "", draft)


def test_old_versions_are_pruned(store: Store) -> None:
    """Those that are past and old, but for the newest, what came from a file, and what a draft was started on."""
    current = put_current(store, "", "a: 0\n", SetupChange("ann", AT, "", "hash"), expected=0)
    for number in range(30):
        current = put_current(store, "", f"a: {number}\n", MINE, expected=current)
    kept = [found.id for found in list_versions(store, "")][-1]
    put_draft(store, "", "a: x\n", MINE, base_id=kept + 1, expected=None)
    ages = dict.fromkeys((age.name for age in fields(Ages)), timedelta(days=9))
    assert prune(store, Ages(**ages), AT + timedelta(days=8))["setup_versions"] == 0
    assert prune(store, Ages(**ages), AT + timedelta(days=10))["setup_versions"] == 8
    assert {kept, kept + 1, current} <= {found.id for found in list_versions(store, "")}


def test_a_file_is_imported_once(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the database; it is renamed, the import is in the audit trail, and the settings are unchanged."""
    before = load_settings({"SYNC_HOME": str(home)}, root=home.parent, document=REAL)
    caplog.set_level(logging.INFO)
    found = load(home)
    assert found.stored
    assert (found.clockify_plan, found.setup_document) == ("paid", REAL)
    assert (found.clockify_workspace_id, found.snapshots_base_url) == (
        before.clockify_workspace_id,
        before.snapshots_base_url,
    )
    assert names(home) == {"setup.imported.yaml"}
    assert "setup.yaml was imported and renamed" in caplog.text
    assert load(home) == found
    with closing(open_store(found.store_url)) as store:
        assert [change.what for change in changes(store)] == ["set-up imported"]
        assert [version.file_hash for version in list_versions(store, "")] == [checksum(REAL)]


def test_processes_that_start_together_import_it_once(home: Path) -> None:
    """Of four, one imports; all have the same set-up."""
    started = [
        Started([sys.executable, "-c", STARTED, str(home.parent)], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert {process.communicate()[0].strip() for process in started} == {"1"}
    with closing(open_store(load(home).store_url)) as store:
        assert len(list_versions(store, "")) == 1


def test_a_file_with_a_mistake_is_not_imported(home: Path) -> None:
    """It is named with its line, as before; nothing is made, and it is imported when it is correct."""
    (home / "setup.yaml").write_text(REAL + "mappings:\n  users:\n    fields:\n      name: {transform: nope}\n")
    with pytest.raises(ConfigError, match=r"setup\.yaml:6: fields\.name\.transform: there is no transform 'nope'"):
        load(home)
    assert [file.name for file in home.iterdir()] == ["setup.yaml"]
    (home / "setup.yaml").write_text(REAL)
    assert load(home).stored


def test_a_file_that_cannot_be_renamed_is_remembered(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As one that is mounted: it stays, is not imported again, and is named only after it was changed."""
    (home / "setup.imported.yaml").write_text("# of an earlier import\n")
    found = load(home)
    assert (home / "setup.yaml").read_text() == REAL
    assert load(home) == found
    assert caplog.text == ""
    (home / "setup.yaml").write_text(REAL.replace("paid", "free"))
    assert load(home).clockify_plan == "paid"
    assert "setup.yaml is not read: the set-up is in the database." in caplog.text
    assert "sync-pipeline setup import" in caplog.text


def test_a_file_that_goes_back_to_what_was_imported_before_is_named(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be renamed, and differs from the set-up that was imported since."""
    (home / "setup.imported.yaml").write_text("# of an earlier import\n")
    first = load(home)
    free = REAL.replace("paid", "free")
    change = SetupChange("ann (test)", AT, "imported", checksum(free))
    with closing(open_store(first.store_url)) as store:
        put_current(store, "", free, change, expected=first.setup_version)
    assert load(home).clockify_plan == "free"
    assert "setup.yaml is not read: the set-up is in the database." in caplog.text


def test_a_file_that_appears_later_is_named_and_not_read(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whether the database has a set-up by then or not."""
    (home / "setup.yaml").unlink()
    open_store(f"sqlite:///{home / 'sync.db'}").close()
    (home / "setup.yaml").write_text(REAL)
    found = load(home)
    assert (found.stored, found.setup_version, found.sandbox) == (False, 0, True)
    assert "setup.yaml is not read" in caplog.text
    assert names(home) == {"setup.yaml"}


def test_a_home_with_other_accounts_does_not_use_those_of_another(home: Path, tmp_path: Path) -> None:
    """Two homes that shared a database each had a file: the second is refused until it has a name of its own."""
    database = f"sqlite:///{home / 'sync.db'}"
    load(home)
    south = tmp_path / "south"
    south.mkdir()
    (south / "setup.yaml").write_text(REAL.replace("w1", "w2"))
    with pytest.raises(ConfigError, match=r"names other accounts .* Set SYNC_SETUP_NAME"):
        load(south, SYNC_DATABASE_URL=database)
    assert not load(south, SYNC_DATABASE_URL=database, SYNC_SETUP_NAME="south").stored
    (south / "setup.yaml").write_text(REAL)
    assert load(south, SYNC_DATABASE_URL=database).clockify_workspace_id == "w1"


def test_who_uses_the_environment_alone_has_no_row(tmp_path: Path) -> None:
    """Reading the settings makes no database, and no row in one that exists."""
    environ = {"SYNC_HOME": str(tmp_path / "home"), "CLOCKIFY_PLAN": "free"}
    assert load_settings(environ, root=tmp_path).setup_version == 0
    assert not (tmp_path / "home").exists()
    with closing(open_store(f"sqlite:///{tmp_path / 'home' / 'sync.db'}")) as store:
        assert load_settings(environ, root=tmp_path).setup_version == 0
        assert list_versions(store, "") == []


def test_a_database_that_others_may_write_gives_no_set_up(home: Path) -> None:
    """It states where keys are sent; without a set-up in it, it does not."""
    load(home)
    database = home / "sync.db"
    database.chmod(database.stat().st_mode | stat.S_IWOTH)
    with pytest.raises(ConfigError, match="can be written by other users"):
        load(home)


def test_a_database_that_does_not_answer_is_one_message() -> None:
    """No settings are made up in place of the stored ones."""
    with pytest.raises(StoreError, match="does not answer"):
        load_settings({"SYNC_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, root=Path("/"))


def test_a_version_in_the_database_is_read_anew_each_time(store: Store, url: str, tmp_path: Path) -> None:
    """Another host that shares it has the set-up with its next look."""
    environ = {"SYNC_DATABASE_URL": url, "SYNC_HOME": str(tmp_path / "other")}
    assert load_settings(environ, root=tmp_path).setup_version == 0
    first = put_current(store, "", REAL, MINE, expected=0)
    assert load_settings(environ, root=tmp_path).setup_version == first
    put_current(store, "", REAL.replace("paid", "free"), MINE, expected=first)
    assert load_settings(environ, root=tmp_path).clockify_plan == "free"
    with store.writing() as tx:
        tx.execute(text("DELETE FROM setup_versions"))
    assert load_settings(environ, root=tmp_path).setup_version == 0


def test_a_file_that_another_home_was_faster_than_is_not_taken_for_imported(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two homes that share a database start at the same moment after an upgrade: the second keeps its file and is refused."""
    south = tmp_path / "south"
    south.mkdir()
    (south / "setup.yaml").write_text(REAL.replace("w1", "w2"))
    shared = f"sqlite:///{home / 'sync.db'}"

    def after_the_other(url: str, **options: Any) -> Store:
        monkeypatch.setattr(setup_file, "open_store", open_store)
        load(home)
        return open_store(url, **options)

    monkeypatch.setattr(setup_file, "open_store", after_the_other)
    with pytest.raises(ConfigError, match="names other accounts"):
        load(south, SYNC_DATABASE_URL=shared)
    assert names(south) == {"setup.yaml"}


@pytest.mark.parametrize("step", ["has_versions", "setup_text"])
def test_a_process_that_starts_while_another_one_imports_has_the_same_set_up(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Also when the file is renamed between its look into the database and its look at the file."""
    database_of_schema_7(home)
    original = getattr(setup_file, step)

    def meanwhile(*arguments: Any) -> object:
        found = original(*arguments) if step == "has_versions" else None
        monkeypatch.setattr(setup_file, step, original)
        load(home)
        return found if step == "has_versions" else original(*arguments)

    monkeypatch.setattr(setup_file, step, meanwhile)
    assert load(home).setup_document == REAL


@pytest.mark.parametrize("is_restored", [True, False])
def test_a_database_from_before_the_import_does_not_become_a_sandbox(home: Path, *, is_restored: bool) -> None:
    """A back-up was restored, or the database was lost: the accounts of the renamed file are not exchanged for sample data."""
    load(home)
    for file in home.glob("sync.db*"):
        file.rename(home.parent / file.name)  # another file may get the number of one that was deleted
    if is_restored:
        database_of_schema_7(home)
    with pytest.raises(ConfigError, match=r"no set-up, but .*setup\.imported\.yaml was imported before"):
        load(home)
    (home / "setup.imported.yaml").rename(home / "setup.yaml")
    assert load(home).setup_document == REAL


def test_a_look_for_ended_runs_leaves_the_import_to_who_reads_the_set_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process after an upgrade may be the daemon, which looks at a run that was killed before it."""
    database_of_schema_7(home)
    monkeypatch.setenv("SYNC_HOME", str(home))
    assert process_has_ended(dg.DagsterRun(job_name="killed", tags={PROCESS_TAG: f"1@0@{platform.node()}"}))
    assert load(home).setup_document == REAL
