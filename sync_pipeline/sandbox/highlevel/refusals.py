"""Everything HighLevel refuses, by name: the status and the words, which a switch can replace."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from sync_pipeline.sandbox.highlevel.settings import Settings

REFUSALS: dict[str, tuple[int, str]] = {
    "no_token": (401, "Authorization header was not found."),
    "bad_token": (401, "Invalid token: access token is invalid"),
    "expired_token": (401, "Invalid JWT"),
    "no_version": (401, "version header was not found."),
    "bad_version": (401, "version header is invalid"),
    "no_scope": (401, "The token is not authorized for this scope."),
    "other_location": (401, "This location is not accessible from this token."),
    "no_route": (401, "This route is not yet supported by the IAM Service. Please update the IAM config."),
    "bad_client": (401, "Invalid client: client is invalid"),
    "bad_code": (400, "Invalid grant: authorization code is invalid"),
    "bad_refresh": (400, "This refresh token is invalid"),
    "not_installed": (400, "The app is not installed in the location {id}"),
    "limited": (429, "Too Many Requests"),
    "unknown_path": (404, "Cannot {method} {path}"),
    "location_not_found": (400, "Location with id {id} not found"),
    "object_not_found": (400, "Object with key {key} not found"),
    "object_exists": (400, "Object with key {key} already exists"),
    "too_many_objects": (400, "You can only create up to 10 custom objects per location"),
    "field_exists": (400, "Field with key {key} already exists"),
    "folder_not_found": (400, "Folder with id {id} not found"),
    "bad_key": (400, "Invalid Key Passed"),
    "bad_value": (400, "Invalid value for {key}"),
    "bad_id": (400, "Invalid record id"),
    "record_not_found": (400, "Record with id {id} not found"),
    "item_not_found": (400, "{kind} with id {id} not found"),
    "unique": (400, "A record with the same value for {field} already exists."),
    "too_many_records": (400, "The limit of {largest} records per object is reached"),
    "bad_filter": (400, "Invalid filter: {reason}"),
}
OAUTH_ERRORS = {"bad_client": "invalid_client", "bad_code": "invalid_grant", "bad_refresh": "invalid_grant"}


class Refusal(Exception):
    """One refused request, by the name of its reason; 422 carries a list of sentences."""

    def __init__(self, name: str, **facts: Any) -> None:
        super().__init__(name)
        self.name, self.facts = name, facts

    def response(self, settings: Settings) -> Response:
        """The refusal as HighLevel words it."""
        if self.name == "unprocessable":
            return _answer(422, self.facts["problems"])
        status, message = REFUSALS[self.name]
        other = settings.answers.get(self.name, {})
        words = other.get("message", message).format(**self.facts)
        status = other.get("status", status)
        return _answer(status, [words] if status == 422 else words, OAUTH_ERRORS.get(self.name))


def unprocessable(*problems: str) -> Refusal:
    """422: what the validation of parameters and bodies found."""
    return Refusal("unprocessable", problems=list(problems))


def _answer(status: int, message: str | list[str], error: str | None = None) -> Response:
    phrase = error or HTTPStatus(status).phrase.replace("Content", "Entity")
    body = {"statusCode": status, "message": message, "error": phrase, "traceId": secrets.token_hex(16)}
    return Response(orjson.dumps(body), status, media_type="application/json")
