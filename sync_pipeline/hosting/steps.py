"""What a step reports to Dagster: a failure as what happened and what to do, without a traceback; and the days that it materializes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date

import dagster as dg
from dagster._core.execution.context.output import OutputContext
from dagster._core.storage.tags import BACKFILL_ID_TAG

from sync_pipeline.errors import ApiError, LockLost, RetryableApiError, SyncError
from sync_pipeline.printable import printable
from sync_pipeline.stages.check import CheckResult, why_blocked

ERROR = "error"
"""The metadata that names our error."""
CAUSE = "cause"
"""The metadata that identifies a problem, so that one that several entities have is reported once."""
EXIT_CODE = "exit_code"
"""The metadata with the exit code of a command that fails with it."""
BLOCKED = "blocked_by"
"""The metadata that names the checks that stopped an entity; each has reported itself."""


@contextmanager
def as_failure() -> Iterator[None]:
    """Turn a SyncError into ``dg.Failure``; only what may pass by itself may be retried."""
    try:
        yield
    except SyncError as error:
        raise dg.Failure(
            description=str(error),
            metadata={
                ERROR: type(error).__name__,
                "fix": error.fix or "see the description",
                CAUSE: cause_of(error),
                EXIT_CODE: error.exit_code,
            },
            allow_retries=isinstance(error, RetryableApiError | LockLost),
        ) from None


def blocked(results: Sequence[CheckResult]) -> dg.Failure:
    """The failure of a step whose checks block: one sentence instead of a stack trace."""
    return dg.Failure(
        description=printable(why_blocked(results)),
        metadata={BLOCKED: ", ".join(result.name for result in results if result.blocks)},
        allow_retries=False,
    )


def cause_of(error: SyncError) -> str:
    """The error without its request: a wrong key is one problem, whatever list it was used for."""
    if isinstance(error, ApiError):
        said = str(error).removeprefix(f"{error.request}: ")
        return f"{error.request.system} {error.request.status}: {said}"
    return str(error)


def days_shown(done: Iterable[str], counts: Mapping[str, int], today: date, run: dg.DagsterRun) -> list[str]:
    """The days to mark; an empty day ahead only where a backfill asks for it, which would call it failed otherwise."""
    every = BACKFILL_ID_TAG in run.tags
    return [day for day in done if every or counts.get(day) or day <= today.isoformat()]


def materialize_only(context: dg.AssetExecutionContext, days: Collection[str]) -> None:
    """Let the output of this step materialize these days of the run, and no others.

    Dagster takes all partitions of a run or none. Materializations that are logged instead would lack the versions it
    notes, and what is downstream in the same run would not start.
    """
    step = context.op_execution_context.get_step_execution_context()
    whole = step.get_output_context

    def narrowed(*args: object, **kwargs: object) -> OutputContext:
        output = whole(*args, **kwargs)  # type: ignore[arg-type]
        subset = output.asset_partitions_def.subset_with_partition_keys(days)
        output._asset_partitions_subset = subset  # noqa: SLF001 - Dagster has no other way
        return output

    step.get_output_context = narrowed  # type: ignore[method-assign]
