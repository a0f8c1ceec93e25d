"""What a form carries, read with limits, and what is wrong with it, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from sync_pipeline.console.gate import MAX_BODY, TOO_LARGE
from sync_pipeline.errors import SyncError

MAX_FIELDS = 500
KIND = "application/x-www-form-urlencoded"
WHOLE = ""
"""The place of a problem that belongs to no field."""


class BadForm(Exception):
    """A form that no page of the console sends; nothing was changed."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form; what is not there is empty."""

    values: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def text(self, name: str) -> str:
        """One field, without the blanks around it."""
        return self.raw(name).strip()

    def raw(self, name: str) -> str:
        """One field just as it came."""
        return self.values.get(name, [""])[0]

    def flag(self, name: str) -> bool:
        """Whether a box was ticked."""
        return bool(self.text(name))

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a field."""
        return tuple(value.strip() for value in self.values.get(name, []))


@dataclass(slots=True)
class FormProblems:
    """What is wrong, by field; the summary on top of the page links to each of them."""

    by_field: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_field)

    def add(self, name: str, sentence: str) -> None:
        """Add a sentence beside a field."""
        self.by_field.setdefault(name, sentence)

    def of(self, name: str) -> str:
        """The sentence of a field; "" when nothing is wrong with it."""
        return self.by_field.get(name, "")


def shown_again(url: str) -> str:
    """An address that was typed, for the form that is shown again; nothing of one that may hold a password or a key."""
    return "" if any(sign in url for sign in "@?#") else url


def place_named(error: SyncError, named: Mapping[str, str]) -> str:
    """The field that an error's sentence begins with, by its name there; "" when it is about none of them."""
    return next((place for name, place in named.items() if error.message.startswith((f"{name} ", f"{name}:"))), "")


async def read_form(request: Request) -> Form:
    """The form of a request; BadForm when it is too large or not from a page of the console."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != KIND:
        raise BadForm(415, "This is not a form of the console. Nothing was changed.")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                raise BadForm(413, TOO_LARGE)
    except ClientDisconnect:
        raise BadForm(400, "The form did not arrive whole. Nothing was changed.") from None
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise BadForm(400, "The form cannot be read. Nothing was changed.") from None
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value.replace("\0", ""))
    return Form(values)
