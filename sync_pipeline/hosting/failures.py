"""From our errors to Dagster's: a failed step says what happened and what to do, without a traceback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

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
    """What went wrong, without the request that met it: a wrong key is one problem, whichever list it was used for."""
    if isinstance(error, ApiError):
        said = str(error).removeprefix(f"{error.request}: ")
        return f"{error.request.system} {error.request.status}: {said}"
    return str(error)
