"""Map: from the source's records to the fields the target gets; pure column operations, part by part."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from sync_pipeline.mapping.apply import map_frame
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch


def map_batch(spec: EntitySpec, batch: Batch) -> Batch:
    """Map each part as it is walked."""
    notes = dict(batch.notes)
    return Batch(_parts(spec, batch, notes), notes)


def _parts(spec: EntitySpec, batch: Batch, notes: dict[str, object]) -> Iterator[pd.DataFrame]:
    for frame in batch.parts:
        yield map_frame(spec, frame)
    notes.update(batch.notes)  # a batch that is still being read completes its notes at its end
