"""Batches between ops: an IO manager that keeps each as a directory of Parquet parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import dagster as dg

from sync_pipeline.defs.failures import as_failure
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch
from sync_pipeline.stages.check import SET_APART
from sync_pipeline.stages.seal import Kind, schema
from sync_pipeline.stages.spool import discard_entity, read_batch, write_batch

SEALED = "sealed"
"""The output of a check op that holds the batch; its other ones are the checks."""
ROWS = "rows"
NOTED = ("requests", *SET_APART)
"""The notes of a batch that Dagster shows with the output, beside its number of rows."""


@dataclass(frozen=True)
class BatchIOManager(dg.IOManager):
    """Writes a batch part by part as it is produced, and hands the next op a lazy reader.

    Memory stays flat: the extraction happens while its parts are written. Each op output says its entity and kind of
    batch in its metadata; the directory is ``base/run id/entity.kind``.
    """

    base: Path
    specs: dict[str, EntitySpec]

    def handle_output(self, context: dg.OutputContext, obj: Batch) -> None:
        """Walk the batch to disk; an error of the walk is the step's failure, in plain words."""
        entity, kind = self._described(context)
        with as_failure():
            rows = write_batch(self.directory(context.run_id, entity, kind), obj, schema(self.specs[entity], kind))
        counted = {name: int(obj.notes[name]) for name in NOTED if name in obj.notes}
        context.add_output_metadata({ROWS: rows, **counted})

    def load_input(self, context: dg.InputContext) -> Batch:
        """The batch of the upstream op - of the parent run, when a run is re-executed from its failure."""
        upstream = context.upstream_output
        if upstream is None:
            raise dg.DagsterInvariantViolationError("A batch is always the output of another op.")
        with as_failure():
            return read_batch(self.directory(upstream.run_id, *self._described(upstream)))

    def directory(self, run_id: str, entity: str, kind: str) -> Path:
        """Where a batch lives."""
        return self.base / run_id / f"{entity}.{kind}"

    def discard(self, run_id: str, entity: str) -> None:
        """Remove what one entity staged in a run, once nobody needs it any more."""
        discard_entity(self.base / run_id, entity)

    @staticmethod
    def _described(context: dg.OutputContext) -> tuple[str, Kind]:
        metadata = context.definition_metadata
        return str(metadata["entity"]), cast("Kind", metadata["batch"])
