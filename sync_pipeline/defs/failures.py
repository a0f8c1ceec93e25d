"""From our errors to Dagster's: a failed step says what happened and what to do, without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from sync_pipeline.errors import ApiError, RetryableApiError, StaleBatch, SyncError

CAUSE = "cause"
"""The metadata by which the same trouble is recognised when several entities meet it."""


@contextmanager
def as_failure() -> Iterator[None]:
    """Turn a SyncError into ``dg.Failure``; only what may pass by itself may be retried."""
    try:
        yield
    except StaleBatch:
        raise  # not a failure: the caller says so and goes on
    except SyncError as error:
        raise dg.Failure(
            description=str(error),
            metadata={"error": type(error).__name__, "fix": error.fix or "see the description", CAUSE: cause_of(error)},
            allow_retries=isinstance(error, RetryableApiError),
        ) from None


def cause_of(error: SyncError) -> str:
    """What went wrong, without the request that met it: a wrong key is one trouble, whichever list it was used for."""
    if isinstance(error, ApiError):
        said = str(error).removeprefix(f"{error.request}: ")
        return f"{error.request.system} {error.request.status}: {said}"
    return str(error)
