"""The bare reader stays what it was, and reads what is there."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest

from sync_pipeline_tests.bench.commands import Workplace
from sync_pipeline_tests.bench.rounds import BARE_READER, bare_words
from sync_pipeline_tests.bench.sandbox import Sandbox
from sync_pipeline_tests.harness import Team, team

CHECKSUM = "a0c75d6196c469c9ba3ba55173f8412186278f868b4bb2580322590ce82926c3"


def read(us: Team, root: Path) -> list[tuple[str, str]]:
    """Run it once more on the same database; returns the ids and bodies it has."""
    sandbox = Sandbox(us.sandbox.control.removesuffix("/_control"), us.sandbox.workspace)
    work = Workplace(root, sandbox, us.days.first, page_size=7)
    work.start(*bare_words(work))
    with sqlite3.connect(root / "bare.db") as store:
        return store.execute("SELECT id, body FROM entries ORDER BY rowid").fetchall()


def test_it_is_frozen() -> None:
    """Ratios of different days compare only while the bare reader is the same, byte for byte."""
    assert hashlib.sha256(BARE_READER.read_bytes()).hexdigest() == CHECKSUM


@pytest.mark.outside
def test_it_reads_every_entry_and_stores_what_changed(tmp_path: Path) -> None:
    """All pages of all users are read; a second time only the row that changed is another one."""
    with team(tmp_path) as us:
        before, known = read(us, tmp_path), {row["id"] for row in us.entries()}
        entry = next(row for row in us.entries() if row["timeInterval"]["end"])
        us.change_entry(entry, description="read again")
        after = read(us, tmp_path)

    assert {key for key, _ in before} == known
    assert [key for key, _ in after] == [key for key, _ in before]
    assert [key for (key, old), (_, new) in zip(before, after, strict=True) if old != new] == [entry["id"]]
