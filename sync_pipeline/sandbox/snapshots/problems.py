"""Errors as RFC 9457 problem details, raised where they are found and rendered in one place."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

PROBLEM_JSON = "application/problem+json"
REFUSED_CREDENTIALS = {
    "missing_credentials": "no API key and no token came with the request",
    "invalid_credentials": "the key or token is not known: it was mistyped, or belongs to someone else",
    "key_revoked": "the API key was taken back",
    "key_expired": "the API key has ended",
    "token_expired": "the access token has ended: refresh it",
    "token_revoked": "the consent behind the token was withdrawn, or its refresh token was used twice: ask for it again",
    "insufficient_scope": "the credential is good but lacks `required_scope` (the one code here with 403, not 401)",
}
"""Why a credential was refused, by code: one code for each cause, so that a caller can name the fix."""


class Problem(Exception):
    """One refused request: the status, a machine code, a sentence, and any extra members."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self, instance: str, request_id: str) -> Response:
        """The problem as an HTTP answer about the resource ``instance``."""
        body = {
            "type": f"urn:snapshots:problem:{self.code.replace('_', '-')}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "instance": instance,
            "request_id": request_id,
            **self.members,
        }
        return Response(orjson.dumps(body), self.status, self.headers, media_type=PROBLEM_JSON)


def not_found(detail: str) -> Problem:
    """404: there is no such record."""
    return Problem(404, "not_found", detail)


def invalid_parameter(name: str, detail: str) -> Problem:
    """400: a query parameter is not understood."""
    return Problem(400, "invalid_parameter", f"{name}: {detail}", parameter=name)


def malformed_body(detail: str) -> Problem:
    """400: the body is not the JSON this route takes."""
    return Problem(400, "malformed_body", detail)
