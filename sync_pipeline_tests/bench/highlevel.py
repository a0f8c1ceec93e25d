"""The figures with HighLevel: requests of creating, of what is unchanged and of verifying, and memory with many records."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from sync_pipeline.clock import utc_now
from sync_pipeline.connectors.highlevel.fields import Properties
from sync_pipeline.connectors.highlevel.profile import HighLevelProfile
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline_tests.bench.commands import Workplace, sync_words
from sync_pipeline_tests.bench.rounds import AGAIN, FIRST, HIGHLEVEL, PREVIEW, VERIFY, Measured, Say
from sync_pipeline_tests.bench.sandbox import running
from sync_pipeline_tests.harness import Json
from sync_pipeline_tests.highlevel import HOME, own_profile

SIZES = (5_000, 10_000, 100_000)
"""Entries: of the fewest every record is created by a sync; those of the others are put there."""
SANDBOX, OBJECT = "sandbox.db", "clockify_time_entries"
SEARCH = f"POST */custom_objects.{OBJECT}/records/search"
LINK = """UPDATE records SET target_id = ?, delivered_hash = fields_hash
    WHERE connection = ? AND entity = 'time_entries' AND source_id = ?"""
COLUMNS = "id, location_id, object_key, created_ms, body"
PEOPLE, DAYS = 5, 60


def measure_highlevel(directory: Path, measured: Measured, say: Say = print, sizes: Sequence[int] = SIZES) -> None:
    """Create the records of the smallest size; sync each size again, verify and preview it. Only requests to HighLevel count."""
    for entries in sizes:
        say(f"HighLevel: {entries:,} entries ...")
        with _workplace(directory, entries) as work:
            if entries == min(sizes):
                _measure(measured, work, entries, FIRST, *sync_words())
            else:
                deliver_all(work)
            _measure(measured, work, entries, AGAIN, *sync_words())
            for command in (VERIFY, PREVIEW):
                _measure(measured, work, entries, command, command, "--json")


def _measure(measured: Measured, work: Workplace, entries: int, command: str, *words: str) -> None:
    ran = work.run(*words)
    asked = work.sandbox.stats().requests
    requests = sum(times for route, times in asked.items() if " /highlevel/" in route)
    measured.add(HIGHLEVEL, command, entries, replace(ran, requests=requests))


@contextmanager
def _workplace(directory: Path, entries: int) -> Iterator[Workplace]:
    """A home without any state, and next to it a sandbox without limits and a profile without any."""
    first_day = utc_now().date() - timedelta(days=DAYS)
    with TemporaryDirectory(dir=directory) as name:
        root = Path(name)
        with running(root / SANDBOX, PEOPLE, entries, DAYS, projects=PEOPLE, locations=PEOPLE) as sandbox:
            sandbox.ask("/_control/highlevel", {"prepare": True, "per_day": 10_000_000})
            more = {
                "SNAPSHOTS_PROFILE": own_profile(root / "highlevel.yaml", rate=[]),
                "SNAPSHOTS_BASE_URL": f"{sandbox.url}/highlevel",
                "SNAPSHOTS_API_KEY": "pit-sandbox-home",
                "HIGHLEVEL_AGENCY_KEY": "pit-sandbox-agency",
                "HIGHLEVEL_LOCATION_ID": HOME,
            }
            yield replace(Workplace.make(root / "project", sandbox, first_day), more=more)


def deliver_all(work: Workplace) -> None:
    """Bring all entries to HighLevel in one step: one request for each would take hours.

    A sync that may not search stores what it wants to deliver; that is put there, and the store links it.
    """
    work.sandbox.ask("/_control/faults", {"kind": "status", "route": SEARCH, "status": 404, "body": {}})
    with suppress(RuntimeError):
        work.run(*sync_words())
    work.sandbox.ask("/_control/faults", method="DELETE")
    profile = load_profile("highlevel")
    assert isinstance(profile, HighLevelProfile)
    properties, at = Properties(profile, load_specs()["time_entries"]), utc_now()
    with (
        closing(sqlite3.connect(work.home / "sync.db")) as store,
        closing(sqlite3.connect(work.root.parent / SANDBOX)) as there,
        store,
        there,
    ):
        wanted = store.execute("SELECT connection, source_id, fields FROM records WHERE entity = 'time_entries'")
        for number, (*key, fields) in enumerate(wanted.fetchall()):
            moment = at + timedelta(milliseconds=number)
            record = _record(properties.written(orjson.loads(fields), new=True), moment)
            row = (record["id"], HOME, OBJECT, int(moment.timestamp() * 1000), orjson.dumps(record).decode())
            there.execute(f"INSERT INTO highlevel_records ({COLUMNS}) VALUES (?, ?, ?, ?, ?)", row)
            there.execute(f"INSERT INTO highlevel_index ({COLUMNS}, shown_at) VALUES (?, ?, ?, ?, ?, 0)", row)
            store.execute(LINK, (record["id"], *key))


def _record(properties: Json, at: datetime) -> Json:
    moment = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": new_id(at.timestamp()),
        "owner": [],
        "followers": [],
        "properties": properties,
        "createdAt": moment,
        "updatedAt": moment,
        "locationId": HOME,
        "objectKey": f"custom_objects.{OBJECT}",
    }
