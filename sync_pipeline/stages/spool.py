"""A batch on disk: a directory of Parquet parts, private to its owner, that can be walked again and again."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from sync_pipeline.errors import StoreError
from sync_pipeline.mapping.frames import from_arrow, to_arrow
from sync_pipeline.private import private_directory
from sync_pipeline.stages.batch import Batch

if TYPE_CHECKING:
    import pandas as pd

NOTES = "notes.json"
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a spooled batch: each walk reads the files anew, one in memory at a time."""

    directory: Path

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield each part as a DataFrame with its declared dtypes."""
        for path in sorted(self.directory.glob("*.parquet")):
            yield from_arrow(pq.read_table(path, use_threads=False))


def write_batch(directory: Path, batch: Batch, schema: pa.Schema) -> int:
    """Walk the batch into ``directory`` (mode 0700, files 0600) and return its number of rows.

    The notes are written last: a directory without them is an unfinished batch. Raises StoreError when the disk
    is full or the directory cannot be written.
    """
    rows = 0
    try:
        _private(directory)
        for number, frame in enumerate(batch.parts):
            path = directory / f"{number:06}.parquet"
            path.touch(mode=0o600)
            # Read once or twice, then removed: fast beats small, and nothing will be looked up in it.
            pq.write_table(
                to_arrow(frame, schema), path, compression="lz4", use_dictionary=False, write_statistics=False
            )
            rows += len(frame)
        notes = directory / NOTES
        notes.touch(mode=0o600)
        notes.write_text(json.dumps(batch.notes))
    except OSError as error:
        raise unwritten(directory.parent.parent, error) from error
    return rows


def unwritten(directory: Path, error: OSError) -> StoreError:
    """What it means that a file below ``directory`` could not be written."""
    why = os.strerror(error.errno) if error.errno else error  # Arrow words it otherwise each time
    return StoreError(
        f"Nothing can be written below {directory}: {why}.",
        fix="Free some disk space or point SYNC_HOME at a directory that can be written, then run it again.",
    )


def read_batch(directory: Path) -> Batch:
    """The batch in ``directory``. Raises StoreError when it is gone or was never finished."""
    try:
        notes = json.loads((directory / NOTES).read_text())
    except FileNotFoundError:
        raise StoreError(
            f"The staged batch {directory.name} is gone (batches of failed runs are kept for a few days only).",
            fix="Run it again from the start instead of re-executing from the failure.",
        ) from None
    return Batch(Parts(directory), notes)


def discard(directory: Path) -> None:
    """Remove a batch and all below it; its personal data is not kept longer than it is needed."""
    shutil.rmtree(directory, ignore_errors=True)


def discard_entity(run: Path, entity: str) -> None:
    """Remove what one entity staged in a run; with the last of them goes the directory of the run."""
    for directory in run.glob(f"{entity}.*"):
        discard(directory)
    with suppress(OSError):  # another entity's batches are still in it, or there never were any
        run.rmdir()


def discard_older(base: Path, days: int) -> None:
    """Remove what killed, failed and blocked runs left below ``base``: everything untouched for ``days``.

    Only age counts, so what a run that is still going has staged - here or in another process - is left alone.
    """
    limit = time.time() - days * DAY
    for path in base.glob("*"):
        if _touched(path) <= limit:
            discard(path)


def _touched(directory: Path) -> float:
    """When a part was last added below it; a directory alone does not notice what happens further down."""
    times = []
    for place, _, _ in os.walk(directory):
        with suppress(FileNotFoundError):  # another process discards it
            times.append(Path(place).stat().st_mtime)
    return max(times, default=time.time())


def _private(directory: Path) -> None:
    private_directory(directory)
    for stale in directory.glob("*"):
        stale.unlink()
