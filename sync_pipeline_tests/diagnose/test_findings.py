"""Each kind of error answers one question of a check, and means something of its own."""

from __future__ import annotations

import pytest

from sync_pipeline.connectors.error_category import ErrorCategory, categorize, meaning
from sync_pipeline.connectors.policy import Failure
from sync_pipeline.diagnose.finding import Finding, Probe, Status, fine, run
from sync_pipeline.errors import ConfigError, FatalApiError, Request, RetryableApiError, SyncError


def fatal(status: int | None = None, code: str | None = None, cause: str = "") -> FatalApiError:
    """An error as the HTTP client raises it."""
    return FatalApiError("no.", Request("Clockify", "GET", "/user", status, code, cause=cause))


def test_every_failure_means_something_of_its_own() -> None:
    """Refused, unknown, not trusted, two kinds of time-out, cut off: no two have the same message, and all mean "away"."""
    errors = [fatal(cause=str(failure)) for failure in Failure]
    meanings = {meaning(error) for error in errors}
    assert "" not in meanings
    assert len(meanings) == len(Failure)
    assert {categorize(error) for error in errors} == {ErrorCategory.AWAY}


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (fatal(503), ErrorCategory.AWAY),
        (fatal(429), ErrorCategory.BUSY),
        (RetryableApiError("asked to wait.", Request("Clockify", "GET", "/user")), ErrorCategory.BUSY),
        (fatal(302), ErrorCategory.OTHER_API),
        (fatal(200, cause="html"), ErrorCategory.OTHER_API),
        (fatal(401, cause="html"), ErrorCategory.OTHER_API),
        (fatal(404), ErrorCategory.OTHER_API),
        (fatal(), ErrorCategory.OTHER_API),
        (fatal(401, "4003", "json"), ErrorCategory.NOT_ACCEPTED),
        (fatal(400, "invalid_grant"), ErrorCategory.NOT_ACCEPTED),
        (fatal(403, "501", "json"), ErrorCategory.FORBIDDEN),
        (fatal(400, "501", "json"), ErrorCategory.REFUSED),
        (ConfigError("not set up."), ErrorCategory.REFUSED),
    ],
)
def test_questions(error: SyncError, trouble: ErrorCategory) -> None:
    """Which question an error answers with no."""
    assert categorize(error) is trouble


def test_what_depends_on_a_failure_is_skipped() -> None:
    """Directly or through another one, naming the first that failed; what does not depend on it is looked at."""

    def breaks() -> Finding:
        raise fatal(403)

    probes = [Probe("a", breaks), Probe("b", breaks, ("a",)), Probe("c", breaks, ("b",)), Probe("d", lambda: fine("x"))]
    found = list(run(probes))
    assert [finding.verdict for finding in found] == [Status.FAILED, Status.SKIPPED, Status.SKIPPED, Status.OK]
    assert {finding.detail for finding in found[1:3]} == {"skipped, because of: a"}


def test_after_too_many_requests_nothing_is_asked() -> None:
    """Not even what does not depend on it: the next request would wait for its turn."""

    def busy() -> Finding:
        raise fatal(429)

    found = list(run([Probe("a", busy), Probe("b", busy)]))
    assert [finding.verdict for finding in found] == [Status.FAILED, Status.SKIPPED]
