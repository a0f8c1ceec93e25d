"""The retry table, row by row."""

from __future__ import annotations

import pytest

from sync_pipeline.connectors.policy import (
    CLOCKIFY,
    CLOCKIFY_REPORTS,
    LAST_ROWS,
    Action,
    AttemptResult,
    Body,
    Failure,
    PolicyRule,
    RetryTable,
    decide,
)
from sync_pipeline.connectors.profile_files import load_profile

JSON, EMPTY, HTML = Body.JSON, Body.EMPTY, Body.HTML


@pytest.mark.parametrize(
    ("seen", "action", "says"),
    [
        (AttemptResult("GET", 401, "1000", JSON), Action.FATAL, "no key arrived"),
        (AttemptResult("GET", 401, "4003", JSON), Action.FATAL, "does not exist"),
        (AttemptResult("GET", 401, "4017", JSON), Action.FATAL, "add-on token"),
        (AttemptResult("GET", 401, None, JSON), Action.FATAL, "not accepted"),
        (AttemptResult("GET", 403, "501", JSON), Action.FATAL, "may not do"),
        (AttemptResult("PUT", 403, "501", JSON), Action.FATAL, "may not do"),
        (AttemptResult("GET", 404, None, EMPTY), Action.FATAL, "no such workspace"),
        (AttemptResult("GET", 404, "3000", JSON), Action.FATAL, "no such address"),
        (AttemptResult("GET", 404, "404", JSON), Action.MISSING, "no such record"),
        (AttemptResult("GET", 400, "501", JSON), Action.MISSING, "no such record"),
        (AttemptResult("GET", 400, "3000", JSON), Action.FATAL, "not understood"),
        (AttemptResult("GET", 404, None, HTML), Action.FATAL, "HTML page"),
        (AttemptResult("GET", 405, "3000", JSON), Action.FATAL, "verb"),
        (AttemptResult("POST", 400, "501", JSON), Action.REJECT, "refused"),
        (AttemptResult("PUT", 400, "3002", JSON), Action.REJECT, "refused"),
        (AttemptResult("POST", 413, None, EMPTY), Action.REJECT, "too large"),
        (AttemptResult("GET", 429, None, EMPTY), Action.WAIT, "too many"),
        (AttemptResult("POST", 500, None, JSON), Action.RETRY, "server error"),
        (AttemptResult("GET", 200, None, Body.BROKEN), Action.RETRY, "cut off"),
        (AttemptResult("GET", 200, None, HTML), Action.FATAL, "HTML page"),
        (AttemptResult("GET", 307, None, EMPTY), Action.FATAL, "redirect"),
        (AttemptResult("GET", failure=Failure.TLS), Action.FATAL, "secure"),
        (AttemptResult("GET", failure=Failure.REFUSED), Action.RETRY, "nothing answers"),
        (AttemptResult("GET", failure=Failure.UNKNOWN_HOST), Action.RETRY, "host name"),
        (AttemptResult("GET", failure=Failure.CONNECT_TIMEOUT), Action.RETRY, "time limit"),
        (AttemptResult("GET", failure=Failure.READ_TIMEOUT), Action.RETRY, "time limit"),
        (AttemptResult("GET", failure=Failure.CUT), Action.RETRY, "was cut"),
    ],
)
def test_clockify(seen: AttemptResult, action: Action, says: str) -> None:
    """Each situation Clockify is known for leads to the action and the words meant for it."""
    rule = decide(CLOCKIFY, seen)
    assert (rule.action, says in rule.message) == (action, True)


def test_a_refused_report_is_no_records_fault() -> None:
    """A report that is refused is a mistake in the request; there is no record to reject."""
    assert decide(CLOCKIFY_REPORTS, AttemptResult("POST", 400, "501", JSON)).action is Action.FATAL


@pytest.mark.parametrize(
    ("seen", "action"),
    [
        (AttemptResult("GET", 401, "token_expired", JSON), Action.REFRESH),
        (AttemptResult("GET", 401, "token_revoked", JSON), Action.REFRESH),
        (AttemptResult("GET", 401, "key_revoked", JSON), Action.FATAL),
        (AttemptResult("GET", 401, "key_expired", JSON), Action.FATAL),
        (AttemptResult("GET", 401, "invalid_credentials", JSON), Action.REFRESH),
        (AttemptResult("GET", 403, "insufficient_scope", JSON), Action.FATAL),
        (AttemptResult("GET", 404, "not_found", JSON), Action.MISSING),
        (AttemptResult("DELETE", 404, "not_found", JSON), Action.MISSING),
        (AttemptResult("GET", 404, "unknown_entity", JSON), Action.FATAL),
        (AttemptResult("PUT", 422, "validation_failed", JSON), Action.REJECT),
        (AttemptResult("POST", 413, "too_many_items", JSON), Action.REJECT),
        (AttemptResult("POST", 400, "malformed_body", JSON), Action.REJECT),
        (AttemptResult("GET", 400, "invalid_parameter", JSON), Action.FATAL),
        (AttemptResult("GET", 429, "rate_limited", JSON), Action.WAIT),
    ],
)
def test_generic_profile(seen: AttemptResult, action: Action) -> None:
    """The generic profile's own rows are between what any server may do and what HTTP defines."""
    assert decide(load_profile().retry, seen).action is action


@pytest.mark.parametrize(
    ("table", "covered"),
    [(CLOCKIFY, []), (CLOCKIFY_REPORTS, ["refused: {detail}"]), (load_profile().retry, [])],
    ids=["core", "reports", "generic"],
)
def test_every_row_is_alive(table: RetryTable, covered: list[str]) -> None:
    """Each row decides about what it describes, but for closing rows that a vendor's own come before, and what reports refuse."""
    dead = [rule for rule in table if decide(table, described_by(rule)) is not rule]
    assert [rule.message for rule in dead if rule not in LAST_ROWS] == covered


def described_by(rule: PolicyRule) -> AttemptResult:
    """An attempt that a row is about."""
    method = rule.methods[0] if rule.methods else "GET"
    return AttemptResult(method, rule.status, rule.code, rule.body, rule.failure)
