"""Opening a database, and the message when it cannot be used."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Connection, event, select, text, update

from sync_pipeline.errors import ConfigError, StoreError
from sync_pipeline.store import credentials, engine, operation_runs
from sync_pipeline.store.claims import Sending
from sync_pipeline.store.credentials import open_keyring
from sync_pipeline.store.engine import HeldConnection, Store, open_store
from sync_pipeline.store.events import Received, receive_many
from sync_pipeline.store.operation_runs import OnceRun
from sync_pipeline.store.schema import records
from sync_pipeline_tests.store.batch import HERE, at, content, deliver, here, merge, row
from sync_pipeline_tests.store.conftest import Server


def _full_text(error: BaseException | None) -> str:
    """What a log would show of an error and of what led to it."""
    if error is None:
        return ""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{error!s}\n{error!r}\n{_full_text(before)}"


def _message(caught: pytest.ExceptionInfo[StoreError]) -> str:
    assert caught.value.fix
    return str(caught.value)


def test_directories_and_file_are_private(tmp_path: Path) -> None:
    """What the store creates, no one else may read."""
    path = tmp_path / "new" / "deep" / "store.db"
    open_store(f"sqlite:///{path}").close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_sqlite_is_set_up_for_many_processes(tmp_path: Path) -> None:
    """WAL, a patient busy timeout, foreign keys and the cheaper synchronous mode are on."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    with store.reading() as tx:
        found = {
            name: tx.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "busy_timeout", "synchronous", "foreign_keys")
        }
    store.close()

    assert found == {"journal_mode": "wal", "busy_timeout": 30000, "synchronous": 1, "foreign_keys": 1}


def test_a_power_cut_takes_back_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """What comes into the inbox, intents, marks of what is sent and tokens reach the disk before anything continues."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    levels: list[int] = []

    @event.listens_for(store.engine, "commit")
    def before_commit(connection: Connection) -> None:
        if connection.get_execution_options().get("writes"):
            levels.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    def level_of(write: Callable[..., object], *arguments: Any) -> int:
        levels.clear()
        write(store, *arguments)
        return max(levels)

    normal, full = 1, 2
    keyring = open_keyring(Fernet.generate_key().decode(), Path("unused"))
    assert level_of(merge, [row("a")], 1) == normal
    assert level_of(receive_many, HERE, "clockify", [Received("d", "USER_UPDATED", "users", "a", "{}", at(1))]) == full
    assert level_of(lambda store: here(store).intend("a", "create", {}, at(1))) == full
    assert level_of(lambda store: here(store).mark_sending([Sending("a", "t", None)])) == full
    once = OnceRun("clients.create", "digest", "anna", at(1), "sent", None, None)
    assert level_of(operation_runs.claim, HERE, "key", once) == full
    assert level_of(credentials.put, keyring, HERE, "oauth", {}, at(1)) == full
    assert level_of(merge, [row("a", "v2")], 2) == normal
    store.close()


def test_plain_postgresql_urls_are_understood(url: str) -> None:
    """``postgresql://`` means our driver, as ``postgresql+psycopg://`` does."""
    for spelling in (url, url.replace("postgresql://", "postgresql+psycopg://"), url.replace("postgresql", "postgres")):
        store = open_store(spelling)
        with store.reading() as tx:
            assert tx.scalar(select(1)) == 1
        store.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url with s3cret", "is not a database URL"),
        ("mysql://me:s3cret@host/db", "names mysql, which is not supported"),
        ("sqlite://", "must name a SQLite file"),
        ("sqlite:///:memory:", "must name a SQLite file"),
    ],
)
def test_a_url_that_cannot_work_is_a_setting_to_fix(url: str, words: str) -> None:
    """The message names the setting and shows what a URL looks like, but not the one that was given."""
    with pytest.raises(ConfigError, match=words) as caught:
        open_store(url)

    assert "SYNC_DATABASE_URL" in str(caught.value)
    assert "s3cret" not in _full_text(caught.value)


@pytest.mark.parametrize("place", ["/proc/sync/store.db", "/dev/null/store.db"])
def test_a_directory_that_cannot_be_made(place: str) -> None:
    """Where nothing can be created, the file is named with the reason."""
    with pytest.raises(StoreError, match=f"The database {place} cannot be written to") as caught:
        open_store(f"sqlite:///{place}")

    assert "write access" in _message(caught)


def test_a_directory_instead_of_a_file(tmp_path: Path) -> None:
    """A path that is a directory cannot be opened."""
    with pytest.raises(StoreError, match="cannot be written to"):
        open_store(f"sqlite:///{tmp_path}")


def test_a_read_only_file(tmp_path: Path) -> None:
    """A database this process may not write is reported as that."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    event.listen(store.engine, "connect", lambda tx, _: tx.execute("PRAGMA query_only = 1"))
    store.engine.dispose()

    with pytest.raises(StoreError, match="cannot be written to"):
        merge(store, [row("a")], 1)
    store.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Something else of that name is left unchanged."""
    path = tmp_path / "store.db"
    path.write_bytes(b"These are my holiday notes.\n" * 200)

    with pytest.raises(StoreError, match="is damaged or not a database") as caught:
        open_store(f"sqlite:///{path}")

    assert str(path) in _message(caught)
    assert path.read_bytes().startswith(b"These are my holiday notes.")


def test_a_locked_database(tmp_path: Path) -> None:
    """A lock that another program does not give up is reported after the time-out."""
    path = tmp_path / "store.db"
    store = open_store(f"sqlite:///{path}", timeout=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreError, match="is locked by another program") as caught:
        merge(store, [row("a")], 1)

    other.close()
    store.close()
    assert "run again" in _message(caught)


def test_a_locked_postgresql_table(postgres: Server) -> None:
    """The same on PostgreSQL, where the lock is on a table."""
    url = postgres.emptied()
    store, other = open_store(url, timeout=0.05), open_store(url)
    with other.writing() as tx:
        tx.exec_driver_sql("LOCK TABLE records IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError, match="is locked by another program"):
            merge(store, [row("a")], 1)
    store.close()
    other.close()


def test_postgresql_undoes_one_of_two_steps_that_wait_for_each_other(postgres: Server) -> None:
    """Two transactions lock the same two rows in opposite orders: that is reported, and to run again is the fix."""
    url = postgres.emptied()
    with closing(open_store(url)) as store, closing(open_store(url)) as other, ThreadPoolExecutor(1) as pool:
        merge(store, [row("a"), row("b")], 1)
        first_is_locked, second_is_locked = Event(), Event()

        def lock_both(which: Store, keys: str, mine: Event, theirs: Event) -> str:
            try:
                with which.writing() as tx:
                    for key in keys:
                        tx.execute(select(records.c.source_id).where(records.c.source_id == key).with_for_update())
                        mine.set()
                        theirs.wait()
            except StoreError as error:
                return f"{error} {error.fix}"
            return ""

        work = pool.submit(lock_both, other, "ba", second_is_locked, first_is_locked)
        found = sorted([lock_both(store, "ab", first_is_locked, second_is_locked), work.result()])
    assert found[0] == ""
    assert "another program was changing the same rows (deadlock detected)" in found[1]
    assert "Run again" in found[1]


def test_postgresql_undoes_a_step_that_read_what_was_changed_since(postgres: Server) -> None:
    """By a stricter isolation than ours."""
    url = postgres.emptied()
    with closing(open_store(url)) as store, closing(open_store(url)) as other:
        merge(store, [row("a")], 1)

        def read_and_write() -> None:
            with store.writing() as tx:
                tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                tx.execute(select(records.c.source_id)).all()
                with other.writing() as theirs:
                    theirs.execute(update(records).values(label="theirs"))
                tx.execute(update(records).values(label="ours"))

        with pytest.raises(StoreError, match="another program was changing the same rows") as caught:
            read_and_write()
    assert "nothing of this step was saved" in _message(caught)


def test_a_full_disk_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    """When the file cannot grow, that is reported and what was saved before is still there."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    deliver(store, [row("a"), row("b")])
    before = content(store, records)
    event.listen(store.engine, "connect", lambda tx, _: tx.execute("PRAGMA max_page_count = 60").close())
    store.engine.dispose()

    with pytest.raises(StoreError, match="cannot grow: the disk is full") as caught:
        merge(store, [row(f"{nr}", "x" * 5000) for nr in range(200)], 2)

    assert "Free some space" in _message(caught)
    assert content(store, records) == before
    store.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """A file on the device that is always full is refused in one sentence."""
    (tmp_path / "store.db").symlink_to("/dev/full")

    with pytest.raises(StoreError) as caught:
        open_store(f"sqlite:///{tmp_path / 'store.db'}")

    assert "store.db" in _message(caught)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_server_that_does_not_answer(address: str) -> None:
    """An unreachable server is named without the password."""
    with pytest.raises(StoreError, match=r"'clock' on .* does not answer") as caught:
        open_store(f"postgresql://me:s3cret@{address}/clock")

    assert "s3cret" not in _full_text(caught.value)


def test_a_wrong_password(postgres: Server) -> None:
    """A refused login reports it without repeating the password."""
    postgres.run("DROP ROLE IF EXISTS guest")
    postgres.run("CREATE ROLE guest LOGIN PASSWORD 'right'")
    postgres.require_password("guest")

    with pytest.raises(StoreError, match="does not let us in") as caught:
        open_store(f"postgresql://guest:s3cret@/postgres?host={postgres.host}")

    assert "password" in _message(caught)
    assert "s3cret" not in _full_text(caught.value)


def test_a_database_that_does_not_exist(postgres: Server) -> None:
    """A mistyped database name is distinguished from a server that is away."""
    with pytest.raises(StoreError, match=r"'nowhere' on .* does not exist"):
        open_store(postgres.url("nowhere"))


def test_a_user_without_rights(postgres: Server) -> None:
    """A user who may not create tables learns which right is missing."""
    url = postgres.create()
    postgres.run("DROP ROLE IF EXISTS reader")
    postgres.run("CREATE ROLE reader LOGIN")

    with pytest.raises(StoreError, match="refuses what we need to do"):
        open_store(url.replace("postgres@", "reader@"))


def test_an_error_shows_no_personal_data(store: Store) -> None:
    """Neither message nor traceback of a database error quotes a record."""
    deliver(store, [row("a"), row("b")])
    with pytest.raises(StoreError, match="contradicts another one") as caught, store.writing() as tx:
        tx.execute(records.update().values(target_id="jane@example.com", observed_at=at(2)))

    assert "jane@example.com" not in _full_text(caught.value)


def test_what_the_caller_raises_between_two_steps_stays_what_it_is(store: Store) -> None:
    """A staging that is open does not claim other people's errors for the database."""
    with pytest.raises(ConnectionError), here(store).staging():
        raise ConnectionError("the target hung up")


@pytest.mark.parametrize("moment", ["before_cursor_execute", "commit"])
def test_ctrl_c_in_the_middle_of_a_step_lets_the_cleaning_up_write(url: str, moment: str) -> None:
    """What was started on a held connection is undone immediately, not when the last reference to the exception is dropped."""
    store = open_store(url)
    deliver(store, [row("a")])

    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    def interrupted(held: HeldConnection) -> None:
        with held.writing() as tx:
            tx.execute(records.delete())
            event.listen(store.engine, moment, ctrl_c)
            tx.execute(select(1))

    with closing(store), store.holding() as held:
        with pytest.raises(KeyboardInterrupt) as caught:
            interrupted(held)
        event.remove(store.engine, moment, ctrl_c)
        assert caught  # with its traceback, which keeps the connection alive
        with store.writing() as tx:
            assert tx.execute(update(records).values(label="cleaned up")).rowcount == 1


def test_nothing_is_half_done(store: Store) -> None:
    """A transaction that raises leaves no trace."""
    deliver(store, [row("a")])
    before = content(store, records)

    def fail_half_way() -> None:
        with store.writing() as tx:
            tx.execute(records.delete())
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()

    assert content(store, records) == before


@pytest.mark.parametrize(("kind", "value"), [("text", "a\0b"), ("integer", "one")])
def test_a_value_that_postgresql_refuses(postgres: Server, kind: str, value: str) -> None:
    """The driver or the server refused it: host and port are not blamed."""
    store = open_store(postgres.emptied())

    with pytest.raises(StoreError, match="refused a value that it cannot store") as caught, store.reading() as tx:
        tx.execute(text(f"SELECT CAST(:value AS {kind})"), {"value": value})

    assert "does not answer" not in str(caught.value)
    store.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # it is what the test is about
def test_a_process_that_is_forked_while_a_store_is_opened(sqlite_template: Path) -> None:
    """Another thread was counting the stores when the process forked: in the new process that thread does not exist."""
    with engine._LOCK:
        process = os.fork()
        if not process:
            signal.alarm(10)  # ends it where it would wait without end
            open_store(f"sqlite:///{sqlite_template}").close()
            os._exit(0)
    assert os.waitpid(process, 0)[1] == 0


def test_a_file_that_was_replaced_while_a_store_is_open(sqlite_template: Path, tmp_path: Path) -> None:
    """A copy was restored: what is opened from now on is that file, not the one that was replaced."""
    path = tmp_path / "store.db"
    shutil.copy(sqlite_template, path)
    with closing(open_store(f"sqlite:///{path}")) as before:
        merge(before, [row("a")], 1)
        for found in tmp_path.glob("store.db*"):
            found.unlink()
        shutil.copy(sqlite_template, path)
        with closing(open_store(f"sqlite:///{path}")) as after:
            assert here(after).lookup(["a"]) == {}
            merge(after, [row("b")], 1)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT source_id FROM records").fetchall() == [("b",)]


def test_many_stores_of_one_process(url: str) -> None:
    """Each thread of the console has one: they share the connections, and none waits for another one's."""
    with ExitStack() as stack:
        for _ in range(20):
            store = stack.enter_context(closing(open_store(url)))
            stack.enter_context(store.reading())


def test_settings_of_a_server_other_than_the_defaults_are_kept(postgres: Server) -> None:
    """The defaults of what decides how rows are found are replaced."""
    url = postgres.create()
    shown = text("SELECT current_setting('random_page_cost'), current_setting('jit')")
    with closing(open_store(url)) as store, store.reading() as tx:
        assert tx.execute(shown).one() == ("1.1", "off")
    name = url.partition("?")[0].rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {name} SET random_page_cost = 2.5")
    with closing(open_store(url)) as store, store.reading() as tx:
        assert tx.execute(shown).one() == ("2.5", "off")
