"""`run_operation`: one operation of the catalogue as a run, with what it came to in its metadata."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from sync_pipeline.connectors.operations import rows_of
from sync_pipeline.defs.metadata import job_tags
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.errors import ConfigError, NotAllowed, UnknownOutcome
from sync_pipeline.hosting.steps import as_failure
from sync_pipeline.operations.catalogue import operation
from sync_pipeline.setup.operations import Result, form_of, refuse, run
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.store.operation_runs import RUN

RUN_OPERATION = "run_operation"
OP = "operation"
PLACE = f"`ops: {OP}: config:`"


class OperationConfig(dg.Config):
    """Which operation, and with what."""

    operation: str = Field(description="Its name; `sync-pipeline operations search` finds it.")
    inputs: dict[str, Any] = Field(
        default={}, description="Its inputs by name. They are kept with the run: no secrets."
    )
    once: str = Field(default="", description="A key for which it is sent once. Default: once for this run.")
    dry_run: bool = Field(default=False, description="Check the inputs; nothing is sent.")


def operation_job(owners: Sequence[str] = ()) -> dg.JobDefinition:
    """The job; what came back stays out of Dagster's history, which `forget` does not reach."""

    @dg.op(name=OP, out=dg.Out(dg.Nothing), description="Check the inputs, and send the operation.")
    def run_operation(context: dg.OpExecutionContext, config: OperationConfig, sync: SyncResource) -> dg.Output[None]:
        with as_failure():
            one, setup = operation(config.operation), SetupService(actor("Dagster"))
            if one.kind == "delete":
                raise NotAllowed(
                    f"{one.name} deletes, and a run cannot ask for its name again.",
                    fix=f"Run it in the console, or with `sync-pipeline operations run {one.name}`.",
                )
            form = form_of(sync.session, one.name, config.inputs)
            refuse(sync.session, form)
            if config.dry_run:
                return dg.Output(None, metadata={"sent": False, "request": one.sends})
            # Dagster repeats a run after its process ended; what that one has sent is not sent again.
            first = context.run.get_root_run_id() or context.run_id
            found = run(setup, sync.session, form, once=config.once or f"{RUN}{first}")
            return dg.Output(None, metadata={"request": one.sends, **_outcome(found)})

    @dg.job(
        name=RUN_OPERATION,
        description=f"Run one operation of a connected system. In the launchpad, under {PLACE}, set "
        "`operation` and `inputs`. Its answer is not kept here; the terminal and the console show it.",
        tags=job_tags("operation"),
        owners=owners,
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        run_operation()

    return job


def _outcome(found: Result) -> dict[str, Any]:
    """What is shown of it; an error where a run before this one was interrupted after it had sent it, or was refused."""
    earlier = found.earlier
    if earlier is not None and earlier.state in ("sent", "unknown"):
        raise UnknownOutcome(
            f"{earlier.operation} was sent for this key before, and may or may not have been carried out.",
            fix="Look, and launch a new run if it was not.",
        )
    if earlier is not None and earlier.state == "refused":
        raise ConfigError(
            f"{earlier.operation} was sent for this key before, and was refused.",
            fix="Correct its inputs, and launch a new run.",
        )
    about = {"sent": earlier is None, "status": found.status, "id": found.target_id}
    if found.data is not None:
        about["rows"] = len(rows_of(found.data))
    return {name: value for name, value in about.items() if value is not None}
