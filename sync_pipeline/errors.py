"""Everything that can go wrong, named by what happens next.

SyncError
├── ConfigError            stop: the user fixes a setting, a file or an account (exit 2)
│   ├── MappingFileError   ... the fix is in one line of one YAML file
│   ├── NotGranted         ... the key is right, but may not do all that a sync does (exit 4)
│   ├── ChangedMeanwhile   ... the set-up was changed by someone else: look at it again
│   ├── NotFound           ... what was named does not exist: name another
│   └── NotAllowed         ... something has to be done first, such as a trial (exit 1)
├── FatalApiError          stop the run: the other system refused us, retrying cannot help
│   └── NotAuthorized      ... a key, a scope or a consent is missing or was refused (exit 4)
├── RetryableApiError      wait and try again later: the other system is busy, broken or away
│   └── AmbiguousWrite     ... and it is unknown whether the write arrived: look before repeating it (exit 6)
├── UnknownOutcome         look, before it is done again: the answer to one operation that was run was lost (exit 6)
├── Unanswered             try again later: no answer came while it could be waited for
├── RejectedRecord         reject one record, go on with the others
├── CheckFailed            block one entity's load; its dependants wait with it
├── Cancelled              stop: a person cancelled the work; what was delivered stays delivered
├── Incomplete             some days of a batch were not loaded, or not to the end: their owner tries again
└── StoreError             stop: our own database is locked, full, unreachable or from a newer version
    └── LockLost           ... send nothing more, and try again later: another process may be doing the same work

``exit_code`` is that of a command that fails with it; cli/exit_codes.py decides which of several is the worst.
Every message is one sentence that names the thing, the place and - in ``fix`` - what to do.
No message may carry a secret: the HTTP layer redacts before it builds one of these. Whatever it quotes, it is one
printable line: in a terminal, in a log, in Dagster.
"""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipeline.printable import printable


class SyncError(Exception):
    """Root of everything this project raises on purpose. ``str()`` is fit for a user's eyes."""

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        self.message = printable(message)
        self.fix = printable(fix)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class ConfigError(SyncError):
    """A setting, a file or an account is not as it must be; nothing was started."""

    exit_code = 2


class MappingFileError(ConfigError):
    """A mapping YAML is not understood: file, line, field, what was found and what was expected."""

    def __init__(self, file: str, line: int, field: str, message: str, *, fix: str = "") -> None:
        super().__init__(f"{file}:{line}: {field}: {message}", fix=fix)
        self.file = file
        self.line = line
        self.field = field


class NotGranted(ConfigError):
    """Address and key are right, but the key is not allowed everything a sync does."""

    exit_code = 4


class ChangedMeanwhile(ConfigError):
    """The set-up has changed since this change was started; nothing was overwritten."""


class NotFound(ConfigError):
    """What was named does not exist: a run, a record, an entity, a request."""


class NotAllowed(ConfigError):
    """It is understood, but something has to be done first: going live before a trial has passed."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Request:
    """The request an API error is about; ``path`` has no query string and no secret."""

    system: str
    method: str
    path: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    excerpt: str = ""
    cause: str = ""
    """Why there was no answer, or what kind of body it had: a word of connectors/policy.py, for `check` to sort by."""

    def __str__(self) -> str:
        where = f"{self.system} {self.method} {self.path}"
        if self.status is not None:
            where += f" answered {self.status}" + (
                f"/{self.code}" if self.code and str(self.code) != str(self.status) else ""
            )
        if self.request_id:
            where += f" (request {self.request_id})"
        return printable(where)


class ApiError(SyncError):
    """An API call that did not work out; never raised itself, only its subclasses."""

    def __init__(self, message: str, request: Request, *, fix: str = "") -> None:
        super().__init__(f"{request}: {message}", fix=fix)
        self.request = request
        self.cause = printable(message)

    @property
    def sentence(self) -> str:
        """For a form: what is wrong, how to fix it, and the request it is about."""
        return f"{self.cause[:1].upper()}{self.cause[1:]} {self.fix}".strip() + f" ({self.request})"


class FatalApiError(ApiError):
    """Wrong key, missing scope, unknown workspace, HTML instead of JSON: retrying cannot help."""


class NotAuthorized(FatalApiError):
    """A key, a scope or a consent is missing or was refused; a new one is needed."""

    exit_code = 4


class RetryableApiError(ApiError):
    """Rate limited for too long, 5xx, time-out, refused connection: a later run may succeed."""


class AmbiguousWrite(RetryableApiError):
    """A write that is not idempotent was cut off: it may or may not have been carried out.

    ``was_done``: it was, and only what it has made is unknown, so that it must not be repeated.
    """

    exit_code = 6

    def __init__(self, message: str, request: Request, *, fix: str = "", was_done: bool = False) -> None:
        doubt = "It may or may not have been carried out: the next run looks before it repeats it."
        super().__init__(message, request, fix=f"{doubt} {fix}".strip())
        self.was_done = was_done


class UnknownOutcome(SyncError):
    """The answer to an operation that a person ran was lost: it may or may not have been carried out."""

    exit_code = 6


class Unanswered(SyncError):
    """No answer came while there was time to wait for one; a later look may get it."""


class RejectedRecord(ApiError):
    """The target refused one record for what it is; it waits for a change or ``rejects retry``."""


class CheckFailed(SyncError):
    """A blocking check failed: not one record of the batch was written."""


class Incomplete(SyncError):
    """Some days of a batch were not loaded, or not to the end; what was loaded stays loaded."""


class Cancelled(SyncError):
    """A person cancelled the work; what was delivered stays delivered."""


class StoreError(SyncError):
    """Our own database cannot be used in its present state."""


class NewerSchema(StoreError):
    """A newer version of this program has migrated the database: this one must leave it alone."""


class LockLost(StoreError):
    """The lock of this process was lost with its connection; another process may hold it by now."""
