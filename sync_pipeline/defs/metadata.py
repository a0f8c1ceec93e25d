"""What Dagster shows about an asset: columns, where each comes from, counts, and what was delivered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg

from sync_pipeline.hosting.run_tags import ENTITY_TAG
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.systems import SYSTEMS
from sync_pipeline.settings import SETUP
from sync_pipeline.stages.batch import Counts, Days
from sync_pipeline.stages.check import CheckResult

ARROW_LIKE = {"id": "string", "text": "string", "email": "string", "instant": "timestamp", "list": "array<string>"}

KIND_TAG = "sync_pipeline/kind"
FIRST_DELIVERIES = "first_deliveries"
SUMMARY, CONSOLE = "summary", "console"
OF_EACH_DAY = (SUMMARY, CONSOLE, "days", "deliveries")


def source_key(spec: EntitySpec) -> dg.AssetKey:
    """The external asset an entity is read from."""
    name = spec.listed_at[1].rpartition("/")[2] if spec.target.once else spec.entity
    return dg.AssetKey([spec.source.system, name])


def target_key(spec: EntitySpec) -> dg.AssetKey:
    """The external asset an entity is delivered to; that of an automation is its own, whatever it is called."""
    if spec.target.once:
        return dg.AssetKey([spec.target.system, "automations", spec.entity])
    kind = spec.target.kind if SYSTEMS[spec.target.system].kinds else spec.entity
    return dg.AssetKey([spec.target.system, kind])


def asset_tags(spec: EntitySpec) -> dict[str, str]:
    """By which assets are selected: `tag:personal_data=true` are those with fields marked `personal`."""
    return {"personal_data": "true"} if any(field.personal for field in spec.fields) else {}


def job_tags(kind: str, *specs: EntitySpec) -> dict[str, str]:
    """The tags by which jobs and their runs are found: the kind of job, and the entity if it has just one."""
    return {KIND_TAG: kind, **({ENTITY_TAG: specs[0].entity} if len(specs) == 1 else {})}


def job_owners(specs: Iterable[EntitySpec]) -> list[str]:
    """Who owns one of the entities owns the job."""
    return list(dict.fromkeys(owner for spec in specs for owner in spec.owners))


def definition_metadata(spec: EntitySpec) -> dict[str, Any]:
    """Column schema and column lineage, as declared by the mapping."""
    lineage = {
        field.name: [dg.TableColumnDep(asset_key=source_key(spec), column_name=field.source_path)]
        for field in spec.fields
        if field.source
    }
    return {
        "dagster/column_schema": column_schema(spec),
        "dagster/column_lineage": dg.TableColumnLineage(deps_by_column=lineage),
        "dagster/code_references": code_references(spec),
        "delete_policy": spec.target.delete,
        "mapping_fingerprint": spec.fingerprint,
    }


def code_references(spec: EntitySpec) -> dg.CodeReferencesMetadataValue:
    """The YAML files the mapping comes from, the one that counts most first."""
    return dg.CodeReferencesMetadataValue(
        code_references=[
            dg.LocalFileCodeReference(file_path=str(Path(file).resolve()), line_number=line, label=Path(file).name)
            for file, line in spec.places
            if file != SETUP
        ]
    )


def column_schema(spec: EntitySpec) -> dg.TableSchema:
    """The target's fields."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                ARROW_LIKE.get(field.type, field.type),
                description=field.description or None,
                constraints=dg.TableColumnConstraints(nullable=not field.required, unique=field.unique),
            )
            for field in spec.fields
        ]
    )


def source_schema(spec: EntitySpec) -> dg.TableSchema:
    """The source's fields, as far as the mapping reads them."""
    return dg.TableSchema(columns=[dg.TableColumn(path, "string") for path in spec.source_columns])


def run_summary(text: str, run_id: str, console: str) -> dict[str, Any]:
    """What a run did, in one sentence that comes before all figures; with a link to the console's page of the run."""
    link = {CONSOLE: dg.MetadataValue.url(f"{console}/activity/run/{run_id}")} if console else {}
    return {SUMMARY: text, **link}


def console_link(console: str) -> dict[str, Any]:
    """A link to the console on the page of an asset, where its address is known."""
    return {CONSOLE: dg.MetadataValue.url(f"{console}/")} if console else {}


def counts_metadata(
    spec: EntitySpec, counts: Counts, days: Days | None, deliveries: Sequence[Any], run_id: str, *, whole: bool = True
) -> dict[str, Any]:
    """What a materialization shows: the counts that are not zero, the days, and the first deliveries of this run."""
    rows = counts.extracted - counts.rejected - counts.excluded - counts.waiting - counts.held
    command = f"sync-pipeline records list {spec.entity} --run {run_id}"
    return {
        **{name: count for name, count in asdict(counts).items() if count},
        **({"days": str(days)} if days else {"dagster/row_count": rows} if whole else {}),
        "deliveries": dg.MetadataValue.md(f"`{command}` lists them" if deliveries else "nothing had to be sent"),
        **({FIRST_DELIVERIES: _table(deliveries)} if deliveries else {}),
    }


def of_each_day(metadata: dict[str, Any]) -> dict[str, Any]:
    """What the materialization of each of several days shows: the figures of the run are with the target, once."""
    return {name: value for name, value in metadata.items() if name in OF_EACH_DAY}


def check_metadata(result: CheckResult) -> dict[str, Any]:
    """Figures and offending rows of one check."""
    table = {"rows": dg.MetadataValue.table([dg.TableRecord(row) for row in result.rows])} if result.rows else {}
    return {"summary": result.summary, **result.figures, **table}


def _table(deliveries: Sequence[Any]) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord(
            {"source_id": d.source_id, "target_id": d.target_id or "", "kind": d.kind, "outcome": d.outcome or ""}
        )
        for d in deliveries
    ]
    return dg.MetadataValue.table(records)
