"""Batches between ops: an IO manager that keeps what was read as one Parquet file, and what was checked as its notes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from sync_pipeline.defs.metadata import run_summary, source_key
from sync_pipeline.hosting.run_reports import NOTED, ROWS
from sync_pipeline.hosting.steps import as_failure
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch, Counts
from sync_pipeline.stages.batch_files import discard_entity, read_batch, read_checked, write_batch, write_checked

READ, CHECKED = "parquet", "json"
"""What an output holds, and the suffix of its file."""
SHOWN_OF_SOURCE = ("requests", "reader", "days")
"""The same with the observation of the source asset."""


@dataclass(frozen=True)
class BatchIOManager(dg.IOManager):
    """Writes a batch part by part as it is read, and gives the next op a lazy reader.

    Memory stays flat: the extraction happens while its parts are written. Each op output says its entity and what it holds
    in its metadata; the file is ``base/run id/entity.suffix``.
    """

    base: Path
    specs: dict[str, EntitySpec]
    console: str = ""
    """Where the console is; empty where that is not known."""

    def handle_output(self, context: dg.OutputContext, obj: Batch) -> None:
        """Write the batch to disk, or its notes; an error of the read is the step's failure, in plain words."""
        file, spec = self._file(context, context.run_id), self.specs[self._entity(context)]
        is_read = file.suffix == f".{READ}"
        with as_failure():
            rows = write_batch(file, obj) if is_read else write_checked(file, obj)
        counted = {name: int(obj.notes[name]) for name in NOTED if name in obj.notes}
        context.add_output_metadata({ROWS: rows, **counted})
        if is_read:
            shown = {name: obj.notes[name] for name in SHOWN_OF_SOURCE if name in obj.notes}
            counts = Counts(extracted=rows, requests=int(shown.get("requests", 0)))
            metadata = {**run_summary(counts.read, context.run_id, self.console), ROWS: rows, **shown}
            context.log_event(dg.AssetObservation(source_key(spec), metadata=metadata))

    def load_input(self, context: dg.InputContext) -> Batch:
        """The batch of the upstream op - of the parent run, when a run is re-executed from its failure."""
        upstream = context.upstream_output
        if upstream is None:
            raise dg.DagsterInvariantViolationError("A batch is always the output of another op.")
        file = self._file(upstream, upstream.run_id)
        with as_failure():
            return read_batch(file) if file.suffix == f".{READ}" else read_checked(file)

    def discard(self, run_id: str, batch: Batch, entity: str) -> None:
        """Remove what one entity staged in a run, or in the run that it re-executes."""
        discard_entity(self.base / run_id, entity)
        if batch.file is not None:
            discard_entity(batch.file.parent, entity)

    def _file(self, context: dg.OutputContext, run_id: str) -> Path:
        return self.base / run_id / f"{self._entity(context)}.{context.definition_metadata['holds']}"

    @staticmethod
    def _entity(context: dg.OutputContext) -> str:
        return str(context.definition_metadata["entity"])
