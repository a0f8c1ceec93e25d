"""What to do about an answer or a failure: one table per system, read row by row, first match wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What happens next."""

    RETRY = "retry"
    """Wait a little, longer each time, and send it again."""
    WAIT = "wait"
    """Rate limited: hold back all processes that share the budget, then send it again."""
    REFRESH = "refresh"
    """Get a new access token and send it again, once."""
    REJECT = "reject"
    """The record is at fault: reject it."""
    MISSING = "gone"
    """The record does not exist; profiles spell it `gone`."""
    FATAL = "fatal"
    """Retrying cannot help: tell the user what to fix."""


class Body(StrEnum):
    """What kind of body an answer has."""

    EMPTY = "empty"
    JSON = "json"
    HTML = "html"
    BROKEN = "broken"
    """Says nothing that can be read: cut off, or neither JSON nor HTML."""


class Origin(StrEnum):
    """Where a secret came from."""

    ENVIRONMENT = "environment"
    STORED = "stored"
    TYPED = "typed"
    """Just now, into a form or at a prompt: nothing is stored yet."""


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where a secret came from, which decides what to do when it is refused."""

    setting: str
    """Its environment variable, or what else it is called."""
    origin: Origin = Origin.ENVIRONMENT
    name: str = ""
    """What `credentials rotate` calls it; "" when that cannot replace it."""

    @property
    def words(self) -> Mapping[str, str]:
        """What the rows of a retry table may say about it."""
        if self.origin is Origin.TYPED:
            return {
                "key_setting": "it",
                "key": "this key or token",
                "check_key": "Copy it again.",
                "new_key": "Enter another one.",
            }
        if self.origin is Origin.STORED and self.name:
            replace = (
                f"Replace it on the console's page Secrets, or with `sync-pipeline credentials rotate {self.name}`."
            )
            return {
                "key_setting": f"the stored {self.name}",
                "key": "the stored key or token",
                "check_key": replace,
                "new_key": replace,
            }
        return {
            "key_setting": self.setting,
            "key": f"the key or token in {self.setting}",
            "check_key": f"Check {self.setting}.",
            "new_key": f"Put a new key into {self.setting}.",
        }


class Failure(StrEnum):
    """Why there was no answer."""

    REFUSED = "refused"
    UNKNOWN_HOST = "unknown_host"
    TLS = "tls"
    BAD_URL = "bad_url"
    CONNECT_TIMEOUT = "connect_timeout"
    READ_TIMEOUT = "read_timeout"
    CUT = "cut"
    DEADLINE = "deadline"
    """It answers, but has not come to the end of the answer in time."""
    TOO_LARGE = "too_large"

    @property
    def before_sending(self) -> bool:
        """Whether the API cannot have received the request."""
        return self not in (Failure.READ_TIMEOUT, Failure.CUT, Failure.DEADLINE, Failure.TOO_LARGE)


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What came of one attempt: an answer (status, code, body) or a failure."""

    method: str
    status: int | None = None
    code: str | None = None
    body: Body | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One row: what it applies to (None = anything), what to do, what to tell the user.

    In ``message`` and ``fix``: {base}, {base_setting}, {key_setting} (where the key is), {key} (the same after "to"),
    {check_key} and {new_key} (whole sentences: what to do about it where it came from), {workspace_setting}, {scopes_at}, {detail}
    (what the API said), {scope}, {location} (of a redirect).
    """

    action: Action
    message: str
    fix: str = ""
    status: int | None = None
    until: int | None = None
    code: str | None = None
    methods: tuple[str, ...] | None = None
    body: Body | None = None
    failure: Failure | None = None

    def matches(self, seen: AttemptResult) -> bool:
        """Whether this row is about what was seen."""
        return (
            self.failure == seen.failure
            and (self.status is None or self._covers(seen.status))
            and (self.code is None or self.code == seen.code)
            and (self.methods is None or seen.method in self.methods)
            and (self.body is None or self.body == seen.body)
        )

    def _covers(self, status: int | None) -> bool:
        return status is not None and self.status is not None and self.status <= status <= (self.until or self.status)


RetryTable = tuple[PolicyRule, ...]

_CHECK_URL = "Check {base_setting} ({base})."
_CHECK_KEY = "{check_key}"
_READS = ("GET",)
_WRITES = ("POST", "PUT", "PATCH", "DELETE")

FAILURES: RetryTable = (
    PolicyRule(Action.RETRY, "nothing answers there", "Is it running? " + _CHECK_URL, failure=Failure.REFUSED),
    PolicyRule(Action.RETRY, "the host name is not known", _CHECK_URL, failure=Failure.UNKNOWN_HOST),
    PolicyRule(
        Action.FATAL,
        "the secure connection could not be made ({detail})",
        _CHECK_URL + " A certificate authority of your own is named by SSL_CERT_FILE.",
        failure=Failure.TLS,
    ),
    PolicyRule(Action.FATAL, "this is not an address a request can be sent to", _CHECK_URL, failure=Failure.BAD_URL),
    PolicyRule(Action.RETRY, "no connection within the time limit", _CHECK_URL, failure=Failure.CONNECT_TIMEOUT),
    PolicyRule(Action.RETRY, "no answer within the time limit", "Try again later.", failure=Failure.READ_TIMEOUT),
    PolicyRule(
        Action.RETRY,
        "the connection was cut before the answer was complete",
        "Try again later.",
        failure=Failure.CUT,
    ),
    PolicyRule(
        Action.RETRY,
        "the answer was not complete after {detail}",
        "Try again later; where that is normal, raise SYNC_MAX_ANSWER_SECONDS.",
        failure=Failure.DEADLINE,
    ),
    PolicyRule(
        Action.FATAL,
        "the answer is too large ({detail})",
        _CHECK_URL + " If its answers may be that large, raise SYNC_MAX_ANSWER_MB.",
        failure=Failure.TOO_LARGE,
    ),
)

FIRST_ROWS: RetryTable = (
    *FAILURES,
    PolicyRule(Action.WAIT, "too many requests", "Try again later.", status=429),
    PolicyRule(Action.RETRY, "the API reports a server error", "Try again later.", status=500, until=599),
    PolicyRule(Action.RETRY, "the API did not wait for the request", "Try again later.", status=408),
    PolicyRule(Action.RETRY, "the API asks for another try", "Try again later.", status=425),
    PolicyRule(
        Action.FATAL,
        "a redirect to {location} is not followed",
        "Set {base_setting} to the final address.",
        status=300,
        until=399,
    ),
    PolicyRule(Action.FATAL, "an HTML page instead of JSON: this is not the API", _CHECK_URL, body=Body.HTML),
)

LAST_ROWS: RetryTable = (
    PolicyRule(
        Action.RETRY,
        "the answer is cut off or is not JSON",
        "Try again later. " + _CHECK_URL,
        status=200,
        until=299,
    ),
    PolicyRule(Action.FATAL, "the key was not accepted ({detail})", _CHECK_KEY, status=401),
    PolicyRule(Action.FATAL, "the key may not do this ({detail})", _CHECK_KEY, status=403),
    PolicyRule(Action.FATAL, "there is no such address", _CHECK_URL, status=404),
    PolicyRule(Action.FATAL, "this address does not take that verb", _CHECK_URL, status=405),
    PolicyRule(Action.REJECT, "the record is too large", status=413),
    PolicyRule(
        Action.FATAL,
        "not understood ({detail})",
        "This looks like a mistake of sync_pipeline: please report it.",
    ),
)

CLOCKIFY: RetryTable = (
    *FIRST_ROWS,
    PolicyRule(
        Action.FATAL,
        "no key arrived, or two",
        _CHECK_KEY + " A proxy may have dropped it.",
        status=401,
        code="1000",
    ),
    PolicyRule(
        Action.FATAL,
        "this API key does not exist",
        _CHECK_KEY + " Keys are made under Preferences > Advanced.",
        status=401,
        code="4003",
    ),
    PolicyRule(Action.FATAL, "this add-on token is not valid", _CHECK_KEY, status=401, code="4017"),
    PolicyRule(
        Action.FATAL,
        "this key may not do that ({detail})",
        "{key_setting} must be the key of a workspace admin or owner, and the plan must include the feature.",
        status=403,
    ),
    PolicyRule(Action.FATAL, "no such workspace", "Check {workspace_setting}.", status=404, body=Body.EMPTY),
    PolicyRule(Action.FATAL, "there is no such address ({detail})", _CHECK_URL, status=404, code="3000"),
    # Deleted, never existed and belongs to another account are one answer at Clockify.
    PolicyRule(Action.MISSING, "no such record ({detail})", status=400, code="501", methods=_READS),
    PolicyRule(Action.MISSING, "no such record ({detail})", status=404, body=Body.JSON, methods=_READS),
    # 400/501 is any refusal: a name that is taken, text that is too long, an unknown id.
    PolicyRule(Action.REJECT, "refused: {detail}", status=400, body=Body.JSON, methods=_WRITES),
    PolicyRule(Action.REJECT, "refused: {detail}", status=404, body=Body.JSON, methods=_WRITES),
    *LAST_ROWS,
)

CLOCKIFY_REPORTS: RetryTable = (
    PolicyRule(
        Action.FATAL,
        "the report was refused ({detail})",
        "Please report this to the makers of sync_pipeline.",
        status=400,
        body=Body.JSON,
    ),
    *CLOCKIFY,
)


def decide(table: RetryTable, seen: AttemptResult) -> PolicyRule:
    """The first row that matches; the last rows match anything."""
    return next((rule for rule in table if rule.matches(seen)), LAST_ROWS[-1])
