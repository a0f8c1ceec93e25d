"""What a database error means to the person who has to do something about it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sync_pipeline.errors import StoreError

SETTING = "SYNC_DATABASE_URL"

LOCKED = ("is locked by another program", "Wait until it is done or close it, then run again.")
FULL = (
    "cannot grow: the disk is full",
    "Free some space and run again; everything that was saved before is still there.",
)
LIMITED = (
    "cannot grow: the disk is full, or the largest size of a file for this user is reached",
    "Free some space or raise the limit (`ulimit -f`) and run again; everything that was saved before is still there.",
)
READ_ONLY = (
    "cannot be written to",
    f"Give this user write access to the file and its directory, or name another place in {SETTING}.",
)
NOT_A_DATABASE = (
    "is damaged or not a database",
    f"Restore it from a copy, or move it away to start afresh, or name another file in {SETTING}.",
)
DISK = ("could not be read or written: the disk reported an error", "Check the disk, then run again.")
AWAY = ("does not answer", f"Check that the server runs and that host and port in {SETTING} are right.")
REFUSED = ("does not let us in", f"Check user name and password in {SETTING}.")
NO_DATABASE = ("does not exist", f"Create it, or correct its name in {SETTING}.")
NO_RIGHT = ("refuses what we need to do", "Grant this user the right to create and write tables.")
TOO_MANY = ("has no connection left for us", "Close other programs or raise its limit, then run again.")
CROSSED = (
    "undid a step, since another program was changing the same rows",
    "Run again: nothing of this step was saved, and the next run does it.",
)
CONFLICT = (
    "refused a row that contradicts another one",
    "This is a mistake of sync_pipeline: please report it; nothing of this step was saved.",
)
UNSTORABLE = (
    "refused a value that it cannot store",
    "This is a mistake of sync_pipeline: please report it; nothing of this step was saved.",
)
UNKNOWN = ("reported an error", "Run again; if it stays, please report it.")

Meaning = tuple[str, str]

# By prefix of SQLite's extended error name.
_SQLITE: dict[str, Meaning] = {
    "SQLITE_BUSY": LOCKED,
    "SQLITE_LOCKED": LOCKED,
    "SQLITE_FULL": FULL,
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_CANTOPEN": READ_ONLY,
    "SQLITE_PERM": READ_ONLY,
    "SQLITE_NOTADB": NOT_A_DATABASE,
    "SQLITE_CORRUPT": NOT_A_DATABASE,
    "SQLITE_IOERR_SHMSIZE": LIMITED,  # the index of its log, which it enlarges before anything else
    "SQLITE_IOERR_WRITE": LIMITED,
    "SQLITE_IOERR": DISK,
    "SQLITE_CONSTRAINT": CONFLICT,
}

# By prefix of PostgreSQL's SQLSTATE.
_SQLSTATE: dict[str, Meaning] = {
    "22": UNSTORABLE,
    "23": CONFLICT,
    "25006": READ_ONLY,
    "28": REFUSED,
    "40001": CROSSED,
    "40P01": CROSSED,
    "3D000": NO_DATABASE,
    "42501": NO_RIGHT,
    "53100": FULL,
    "53300": TOO_MANY,
    "55P03": LOCKED,
    "57P": AWAY,
    "08": AWAY,
    "XX001": NOT_A_DATABASE,
}

# libpq gives no SQLSTATE when a connection fails; these are the words of the server or the library.
_WORDS: dict[str, Meaning] = {
    "password authentication failed": REFUSED,
    "no password supplied": REFUSED,
    "no pg_hba.conf entry": REFUSED,
    "role ": REFUSED,
    "does not exist": NO_DATABASE,
    "too many clients": TOO_MANY,
    "remaining connection slots": TOO_MANY,
}


@contextmanager
def store_errors(place: str = "our database") -> Iterator[None]:
    """Turn whatever a database driver raises into one ``StoreError`` about ``place``."""
    try:
        yield
    except ProgrammingError as error:
        if _first(_SQLSTATE, _sqlstate(error.orig)) is None:
            raise  # our own SQL is wrong: the traceback is what helps
        raise _explain(error.orig, place) from error
    except IntegrityError as error:
        raise _explain(error.orig, place) from None  # PostgreSQL quotes the row's values in it
    except DBAPIError as error:
        raise _explain(error.orig, place) from error
    except PoolTimeout as error:
        raise _error(place, TOO_MANY, "every connection of our pool is in use") from error
    except sqlite3.Error as error:
        raise _explain(error, place) from error
    except Exception as error:
        # psycopg is imported only where PostgreSQL is used, so its errors are known by their module.
        if type(error).__module__.partition(".")[0] != "psycopg":
            raise
        raise _explain(error, place) from error


def explained(error: DBAPIError, place: str) -> StoreError:
    """A driver's error, as a ``StoreError`` about ``place``."""
    return _explain(error.orig, place)


def unwritable(place: str, error: OSError) -> StoreError:
    """The file or its directory could not be made."""
    return _error(place, FULL if error.errno == errno.ENOSPC else READ_ONLY, error.strerror or str(error))


def _explain(error: BaseException | None, place: str) -> StoreError:
    if isinstance(error, sqlite3.Error):
        meaning = _first(_SQLITE, getattr(error, "sqlite_errorname", "") or "")
    elif state := _sqlstate(error):
        meaning = _first(_SQLSTATE, state)
    elif type(error).__name__ == "DataError":  # psycopg refuses a value before it is sent
        meaning = UNSTORABLE
    else:
        meaning = next((found for words, found in _WORDS.items() if words in str(error)), AWAY)
    return _error(place, meaning or UNKNOWN, _detail(error))


def _detail(error: Any) -> str:
    """The driver's own words, one line; a constraint's details would quote the row's values."""
    diagnosed = getattr(getattr(error, "diag", None), "message_primary", None)
    lines = (diagnosed or str(error)).strip().splitlines()
    return lines[-1].strip() if lines else ""


def _error(place: str, meaning: Meaning, detail: str) -> StoreError:
    what, fix = meaning
    return StoreError(f"{place} {what}" + (f" ({detail})." if detail else "."), fix=fix)


def _sqlstate(error: Any) -> str:
    return getattr(error, "sqlstate", None) or ""


def _first(table: dict[str, Meaning], name: str) -> Meaning | None:
    return next((meaning for prefix, meaning in table.items() if name.startswith(prefix)), None)
