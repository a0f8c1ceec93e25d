"""A batch on disk: one Parquet file, private to its owner, that can be walked again and again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sync_pipeline.clock import unix_time
from sync_pipeline.errors import StoreError
from sync_pipeline.mapping.frames import RAW, from_arrow, to_arrow
from sync_pipeline.private_files import private_directory
from sync_pipeline.stages.batch import Batch

if TYPE_CHECKING:
    import pandas as pd

NOTES = "sync_pipeline.notes"
"""The key in the file's metadata under which the notes of the batch are kept."""
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a batch on disk: each iteration reads the file again, one part in memory at a time."""

    file: Path

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield each part as a DataFrame with its declared dtypes."""
        with _opened(self.file) as parquet:
            for number in range(parquet.num_row_groups):
                yield from_arrow(parquet.read_row_group(number, use_threads=False))


def write_batch(file: Path, batch: Batch) -> int:
    """Walk the batch into ``file`` (mode 0600, its directory 0700), a row group a part; returns its number of rows.

    The notes are written last: a file without them is an unfinished batch. Raises StoreError when the disk
    is full or the file cannot be written.
    """
    rows = 0
    try:
        _touch(file)
        # Read once or twice, then removed: fast beats small, and nothing will be looked up in it.
        with pq.ParquetWriter(file, RAW, compression="lz4", use_dictionary=False, write_statistics=False) as writer:
            for frame in batch.parts:
                if len(frame):
                    writer.write_table(to_arrow(frame, RAW))
                rows += len(frame)
            writer.add_key_value_metadata({NOTES: json.dumps(batch.notes)})
    except OSError as error:
        raise unwritten(file.parent.parent, error) from error
    return rows


def read_batch(file: Path) -> Batch:
    """The batch in ``file``. Raises StoreError when it is missing or was never finished."""
    with _opened(file) as parquet:
        found = (parquet.metadata.metadata or {}).get(NOTES.encode())
    if found is None:
        raise _missing(file)
    return Batch(Parts(file), json.loads(found), file)


def write_checked(file: Path, batch: Batch) -> int:
    """Write down what the checks noted of a batch, and where the batch is; returns its number of rows."""
    try:
        _touch(file)
        file.write_text(json.dumps({"file": str(batch.file), "notes": batch.notes}))
    except OSError as error:
        raise unwritten(file.parent.parent, error) from error
    return int(batch.notes["rows"])


def read_checked(file: Path) -> Batch:
    """The batch with the notes of its checks. Raises StoreError when it is missing."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        raise _missing(file) from None
    return Batch(Parts(Path(found["file"])), found["notes"], Path(found["file"]))


def unwritten(directory: Path, error: OSError) -> StoreError:
    """What it means that a file below ``directory`` could not be written."""
    why = os.strerror(error.errno) if error.errno else error  # Arrow words it otherwise each time
    return StoreError(
        f"Nothing can be written below {directory}: {why}.",
        fix="Free some disk space or point SYNC_HOME at a directory that can be written, then run it again.",
    )


def discard(path: Path) -> None:
    """Remove a batch, or a directory of them; its personal data is not kept longer than it is needed."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def discard_entity(run: Path, entity: str) -> None:
    """Remove what one entity staged in a run; with the last of them the directory of the run is removed."""
    for path in run.glob(f"{entity}.*"):
        discard(path)
    with suppress(OSError):  # another entity's batches are still in it, or there never were any
        run.rmdir()


def discard_older(base: Path, days: int) -> None:
    """Remove what killed, failed and blocked runs left below ``base``: everything untouched for ``days``.

    Only age counts, so what a run that is still going has staged - here or in another process - is left alone.
    """
    limit = unix_time() - days * DAY
    for path in base.glob("*"):
        if _touched(path) <= limit:
            discard(path)


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (FileNotFoundError, pa.ArrowInvalid):
        raise _missing(file) from None


def _missing(file: Path) -> StoreError:
    return StoreError(
        f"The staged batch {file.name} is missing or incomplete (batches of failed runs are kept for a few days only, and not "
        "beyond an update of this program).",
        fix="Run it again from the start instead of re-executing from the failure.",
    )


def _touched(directory: Path) -> float:
    """When anything below it was last written; a directory alone does not notice what happens further down."""
    times = []
    for place, _, files in os.walk(directory):
        for name in ("", *files):
            with suppress(FileNotFoundError):  # another process discards it
                times.append(Path(place, name).stat().st_mtime)
    return max(times, default=unix_time())


def _touch(file: Path) -> None:
    """An empty file that only its owner may read."""
    private_directory(file.parent)
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
