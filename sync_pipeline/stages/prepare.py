"""Extract, map and check outside Dagster: what preview and verify work on. Nothing is written but temporary files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.private import private_directory
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.check import Checking, Options
from sync_pipeline.stages.extract import extract
from sync_pipeline.stages.map import map_batch
from sync_pipeline.stages.seal import schema
from sync_pipeline.stages.session import Session
from sync_pipeline.stages.spool import read_batch, unwritten, write_batch


@contextmanager
def prepared(
    session: Session, spec: EntitySpec, days: Days | None, options: Options, *, independent: bool = False
) -> Iterator[Checking]:
    """A checking whose ``sealed`` batch has been read in full and can be walked any number of times."""
    with _directory(session.settings.batches) as directory:
        raw, mapped, sealed = (Path(directory) / kind for kind in ("raw", "mapped", "sealed"))
        write_batch(raw, extract(session, spec, days, independent=independent), schema(spec, "raw"))
        write_batch(mapped, map_batch(spec, read_batch(raw)), schema(spec, "mapped"))
        checking = Checking(session, spec, read_batch(mapped), days, options)
        write_batch(sealed, checking.sealed, schema(spec, "sealed"))
        checking.sealed = read_batch(sealed)
        yield checking


def _directory(batches: Path) -> TemporaryDirectory[str]:
    try:
        private_directory(batches)
        return TemporaryDirectory(dir=batches, prefix="prepared-")
    except OSError as error:
        raise unwritten(batches, error) from error
