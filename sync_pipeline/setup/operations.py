"""Running one operation of the catalogue: who may, what is sent, and what came of it.

Operations use the same guard, mode, limits, retries, redaction and audit trail as all other requests. A write is sent once;
whether an answer was lost is looked up where a name can be used only once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, islice
from typing import Any

import orjson

from sync_pipeline.connectors import operations
from sync_pipeline.connectors.answers import Answer
from sync_pipeline.connectors.http import ApiClient
from sync_pipeline.connectors.operation_target import not_connected
from sync_pipeline.connectors.operations import id_of
from sync_pipeline.connectors.ports import Operable
from sync_pipeline.connectors.registry import name_of
from sync_pipeline.errors import (
    AmbiguousWrite,
    ApiError,
    ConfigError,
    NotAllowed,
    RejectedRecord,
    SyncError,
    UnknownOutcome,
)
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.operations.catalogue import Operation, known, operation, systems
from sync_pipeline.operations.inputs import OperationCall, formed
from sync_pipeline.session.session import Session
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.audit import note
from sync_pipeline.store.operation_runs import OnceRun, claim, finish, owned_elsewhere, release
from sync_pipeline.store.record_search import labels_of

SECRET = re.compile(
    r"token|secret|passw|passphrase|api_?key|access_?key|private_?key|credential|authorization", re.IGNORECASE
)
HIDDEN = "(hidden)"
UNUSED_AFTER = timedelta(days=30)
"""A connection that has not synced for so long writes no records any more."""
DEPTH = 60
"""What is nested deeper in an answer is not shown."""
LONGEST_KEY = 200
Json = dict[str, Any]
MOST_CHOICES = 500


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an operation."""

    status: int | None
    data: Any = None
    target_id: str | None = None
    earlier: OnceRun | None = None
    """The run that used the same key before: nothing was sent now."""
    found: bool = False
    """The answer was lost, and the record was found afterwards."""


def account_of(session: Session, one: Operation) -> Operable:
    """The connected account of an operation's API; ConfigError when there is none."""
    for system in session.systems.values():
        if isinstance(system, Operable) and system.catalogue == one.system:
            return system
    why = f"{one.name} cannot be run: no account of its API is connected. It is an operation of"
    raise not_connected(session.snapshots.profile, one, why)


def form_of(session: Session, name: str, given: Mapping[str, Any]) -> OperationCall:
    """The operation with these inputs, checked; what the connection decides is filled in."""
    one = operation(name)
    return formed(one, given, account_of(session, one).decided)


def shown(session: Session, form: OperationCall) -> Json:
    """The request, without what signs it."""
    return form.document(_client(session, form).endpoint.base_url)


def refuse(session: Session, form: OperationCall) -> None:
    """NotAllowed for an operation that may not be sent, with the reason and the way on."""
    one, allowed = form.operation, session.settings.operations_allow
    if one.held and one.name not in allowed:
        raise NotAllowed(
            f"{one.name} is held back: {one.held[:1].lower()}{one.held[1:]}.",
            fix=f"Do it in {systems()[one.system]} itself. An admin can allow it with SYNC_OPERATIONS_ALLOW={one.name}.",
        )
    if not (one.runs or one.name in allowed) or one.media != "application/json":
        raise NotAllowed(
            f"{one.name} is described here, but not sent: it is not among the writes that can be run.",
            fix="`--dry-run` shows its request.",
        )
    if one.kind == "read":
        return
    _refuse_held_inputs(form, allowed)
    if not session.mode.writes:
        raise NotAllowed(f"Nothing may be written now, so {one.name} is not sent: {session.mode.why}.")
    _refuse_owned(session, form)


def _refuse_held_inputs(form: OperationCall, allowed: Collection[str]) -> None:
    """NotAllowed for inputs that do what the operations that are held back do."""
    name = form.operation.name
    held: Mapping[str, str] = {} if name in allowed else known()["held_inputs"].get(form.operation.system, {})
    for found in sorted(_given([form.query, form.body]) & held.keys()):
        raise NotAllowed(
            f"{found} of {name} is held back: {held[found][:1].lower()}{held[found][1:]}.",
            fix=f"Leave it out, or do it in {systems()[form.operation.system]} itself. An admin can allow it with "
            f"SYNC_OPERATIONS_ALLOW={name}.",
        )


def _given(value: Any) -> set[str]:
    """The names of all inputs with a value other than false, nested ones included."""
    if isinstance(value, list):
        return {name for each in value for name in _given(each)}
    if not isinstance(value, dict):
        return set()
    return {name for name, each in value.items() if each is not False}.union(*map(_given, value.values()))


def _refuse_owned(session: Session, form: OperationCall) -> None:
    """NotAllowed for a change to a record that the sync writes: the next one would undo it."""
    if form.operation.method == "POST":
        return  # it adds something below a record
    account = account_of(session, form.operation)
    ids = {spelled for each in form.ids.values() for spelled in (each, each.lower())}  # hexadecimal in either case
    for spec in session.kept_in(account):
        name = spec.entity
        for source_id in session.ledger(name).owners(ids).values():
            label = labels_of(session.store, session.pair, [(name, source_id)]).get((name, source_id)) or source_id
            source = name_of(spec.source.system, session.settings)
            raise NotAllowed(
                f"This record is {label} of {name}: the sync writes it, and would overwrite what is changed here.",
                fix=f"Change it in {source}, where it comes from.",
            )
    targeted = [
        name
        for name, spec in specs_of(session.settings).items()
        if session.systems.get(spec.target.system) is account and not spec.target.once
    ]
    for name in owned_elsewhere(session.store, session.pair, targeted, ids, session.now() - UNUSED_AFTER):
        raise NotAllowed(
            f"This record belongs to {name} of another connection in this database: its sync writes it, and would "
            "overwrite what is changed here.",
            fix="Change it where that connection reads it. If no one uses that connection any more, change the record in "
            f"{systems()[form.operation.system]} itself, or wait until {UNUSED_AFTER.days} days after its last sync.",
        )


def run(setup: SetupService, session: Session, form: OperationCall, *, once: str = "") -> Result:
    """Send an operation, or return the outcome if it was sent for this key before."""
    refuse(session, form)
    if form.operation.kind == "read":
        answer = _send(session, form)
        return Result(answer.status, redacted(_client(session, form), answer.data))
    if once and (earlier := _claim(setup, session, form, once)) is not None:
        return Result(earlier.status, target_id=earlier.target_id, earlier=earlier)
    try:
        session.call(account_of(session, form.operation).confirm)
        found = _written(session, form)
    except UnknownOutcome:
        _finish(setup, session, form, once, "unknown", None)
        raise
    except RejectedRecord:
        _finish(setup, session, form, once, "refused", None)
        raise
    except SyncError:  # not carried out, for a reason that may pass: the key stays free
        _finish(setup, session, form, "", "failed", None)
        if once:
            release(session.store, session.pair, once)
        raise
    _finish(setup, session, form, once, "done", found)
    return found


def _written(session: Session, form: OperationCall) -> Result:
    client = _client(session, form)
    try:
        answer = _send(session, form)
    except ApiError as error:
        if not _may_be_done(error):
            raise
        made = _found_again(session, form)
        if made is None:
            raise _unknown(form, error.message) from None
        return Result(None, redacted(client, made), id_of(made), found=True)
    except KeyboardInterrupt:  # to run it again, as other commands say then, could do it twice
        raise _unknown(form, "Interrupted.") from None
    return Result(answer.status, redacted(client, answer.data), id_of(answer.data))


def _may_be_done(error: ApiError) -> bool:
    """Whether a write may have been carried out: there was no answer, or a success or redirect that cannot be read."""
    status = error.request.status
    return isinstance(error, AmbiguousWrite) or (status is not None and status < 400)


def _unknown(form: OperationCall, what: str) -> UnknownOutcome:
    look = form.operation.find or {}
    fix = f"Look with `sync-pipeline operations run {look['list']}`." if look else "Look before you run it again."
    return UnknownOutcome(f"{what} It was sent once, and may or may not have been carried out.", fix=fix)


def _found_again(session: Session, form: OperationCall) -> Json | None:
    """What a write has made, where its name can be used only once; None where that cannot be known."""
    look = form.operation.find
    if look is None or not isinstance(form.body, dict):
        return None
    name = form.body.get(look["by"])
    listing = operation(look["list"])
    ids = {each: value for each, value in form.ids.items() if each not in listing.fixed}
    with suppress(SyncError):
        limited = form_of(session, listing.name, {**ids, look["by"]: name})
        for rows in pages(session, limited):
            for row in rows:
                if isinstance(row, dict) and row.get(look["by"]) == name:
                    return row if _is_as_sent(row, form.body) else None
    return None


def _is_as_sent(row: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether a record has what was sent: one of this name may have been there before, and the write was refused."""
    return all(row[name] == value for name, value in body.items() if name in row)


def pages(session: Session, form: OperationCall) -> Iterator[list[Any]]:
    """The rows of a list, page by page; ConfigError when it has no pages."""
    client = _client(session, form)
    for rows in session.walk(operations.pages(client, form)):
        yield redacted(client, rows)


def scarce(session: Session, form: OperationCall) -> str:
    """That it would use the last tenth of the hour's budget, as a sentence; "" where it would not."""
    account = account_of(session, form.operation)
    budget = next(session.budget(name) for name, system in session.systems.items() if system is account)
    if budget is None or budget.left > budget.limit / 10:
        return ""
    return f"Of the {budget.limit} requests of this hour {budget.left} are left."


def redacted(client: ApiClient, data: Any, depth: int = DEPTH) -> Any:
    """An answer without what may be secret: fields that are called so, and our own keys wherever they are."""
    if isinstance(data, dict | list) and not depth:
        return HIDDEN
    if isinstance(data, dict):
        return {
            client.redacted(key): HIDDEN if each and SECRET.search(key) else redacted(client, each, depth - 1)
            for key, each in data.items()
        }
    if isinstance(data, list):
        return [redacted(client, each, depth - 1) for each in data]
    return client.redacted(data) if isinstance(data, str) else data


def _send(session: Session, form: OperationCall) -> Answer:
    return session.call(operations.send, _client(session, form), form)


def _client(session: Session, form: OperationCall) -> ApiClient:
    return account_of(session, form.operation).client_for(form.operation.host, form.operation.tokens)


def _claim(setup: SetupService, session: Session, form: OperationCall, key: str) -> OnceRun | None:
    if len(key) > LONGEST_KEY:
        raise ConfigError(f"A key for --once has at most {LONGEST_KEY} characters.")
    document = orjson.dumps(shown(session, form), option=orjson.OPT_SORT_KEYS)
    run = OnceRun(form.operation.name, hashlib.sha256(document).hexdigest(), setup.by, setup.now(), "sent", None, None)
    earlier = claim(session.store, session.pair, key, run)
    if earlier is not None and earlier.digest != run.digest:
        raise ConfigError(
            f"The key {key} was used for another request, {earlier.operation}.", fix="Choose another key."
        )
    return earlier


def _finish(
    setup: SetupService, session: Session, form: OperationCall, once: str, state: Any, result: Result | None
) -> None:
    """Note the outcome of a write: in the audit trail without values, and for its key."""
    made = result.target_id if result else None
    about = ", ".join([f"id {made}"] if made else [f"{name} {value}" for name, value in form.ids.items()])
    note(session.store, setup.by, f"operation {state}", f"{form.operation.name} {about}".strip(), setup.now())
    if once:
        finish(session.store, session.pair, once, state, result.status if result else None, made)


@dataclass(frozen=True, slots=True)
class Choice:
    """One record that can be chosen."""

    id: str
    label: str


def choices_of(session: Session, name: str, of: str) -> list[Choice] | None:
    """What can be chosen for the input ``of`` of an operation; None where its value is typed."""
    found = known()["choices"].get(operation(name).name, {}).get(of)
    if found is None:
        return None
    rows = chain.from_iterable(pages(session, form_of(session, found["list"], found["with"])))
    return [
        Choice(str(row["id"]), ", ".join(str(row[each]) for each in found["shows"] if row.get(each)))
        for row in islice(rows, MOST_CHOICES)
        if isinstance(row, dict) and row.get("id")
    ]
