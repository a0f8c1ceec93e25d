"""What `mcp` offers to other programs: functions that read, with bounded answers, nothing secret and no personal values.

Each returns the JSON document of a command, or a page of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from shlex import quote
from time import monotonic
from typing import Annotated, Any, Literal

from pydantic import Field

from sync_pipeline.alerts.configuration import configured
from sync_pipeline.alerts.rules import Rule
from sync_pipeline.cli.opening import chosen, chosen_days, must_exist, prepared, reading
from sync_pipeline.cli.operations import described
from sync_pipeline.cli.records import history_document, read_history
from sync_pipeline.cli.rejects import rejects_document
from sync_pipeline.cli.report import report_document
from sync_pipeline.cli.state import status_document
from sync_pipeline.connectors.operations import rows_of
from sync_pipeline.errors import ConfigError, FatalApiError, NotAllowed, NotGranted
from sync_pipeline.mapping.facts import entities_with
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.operations.catalogue import Operation, counted, known, operation, search
from sync_pipeline.operations.inputs import OperationCall
from sync_pipeline.printable import json_text
from sync_pipeline.private_files import private_directory
from sync_pipeline.reporting.reports import KINDS, make_report
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.operations import account_of, form_of, run, scarce
from sync_pipeline.setup.personal import PERSONAL, about, marks_of, without_personal
from sync_pipeline.setup.records import find_records
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.stages.plan_file import plan_writer
from sync_pipeline.stages.preview import Preview
from sync_pipeline.stages.preview import preview as look
from sync_pipeline.store.record_search import State

Json = dict[str, Any]
PAGE, MOST = 50, 500
MOST_BYTES = 200_000
"""The size of a list in an answer; the rest is on the next page."""
WAIT_SECONDS = 60.0
"""How long a tool waits for answers of the APIs, for a spent budget as well."""
PLANS_KEPT = 20
ACCOUNTS = {
    **{name: name for name in ("workspaceid", "locationid", "companyid")},
    **dict.fromkeys(("altid", "subaccountid"), "locationid"),
}
"""Inputs that name an account, by what the connection calls them."""
SHORTEST = 3
"""Shorter values are not looked for in reasons."""

Limit = Annotated[int, Field(ge=1, le=MOST, description="How many rows at most.")]
Offset = Annotated[int, Field(ge=0, description="How many rows to skip: `next` of the answer before.")]
Entity = Annotated[str, Field(max_length=200, description="As `status` names it; empty for all.")]
Text = Annotated[str, Field(max_length=1_000)]


def status() -> Json:
    """Show what is wrong, and each entity's state: mode, connections, figures, alerts and open requests."""
    with _session() as session:
        document = status_document()
        if _are_people_hidden(session):
            document["alerts"] = _without_people(session, document["alerts"])
        shown: Json = _visible(session, document)
        return shown


def preview(
    entities: Annotated[list[str], Field(max_length=200)] = [],  # noqa: B006  # the schema has the default
    first: date | None = None,
    last: date | None = None,
    limit: Limit = PAGE,
) -> Json:
    """Show what a sync would do, and write it to a plan file that a person can apply. Nothing is sent.

    `first` and `last` are UTC days of time entries. It reads both systems, which can take minutes.
    """
    with _session(prepared) as session:
        session.until = None  # as long as it takes
        days = chosen_days(session.settings, first, last)
        specs = [session.specs[name] for name in chosen(session, entities)]
        plan, found = _planned(session, specs, days, limit)
        every = [{"entity": each.entity, **asdict(one)} for each in found for one in each.changes]
        held = [{"entity": each.entity, **asdict(one)} for each in found for one in each.held]
        blocked = [{"entity": each.entity, **asdict(one)} for each in found for one in each.blocked]
        changes, held, blocked = (_fitting(_visible(session, rows)) for rows in (every[:limit], held, blocked))
    return {
        "entities": {each.entity: asdict(each.counts) for each in found},
        "changes": changes,
        "total_changes": sum(each.total for each in found),
        "held": held,
        "blocked": blocked,
        **plan,
    }


def rejects(entity: Entity = "", limit: Limit = PAGE, after: Annotated[int, Field(ge=0)] = 0) -> Json:
    """List rejected records with their reasons, oldest first. `after` is `next` of the answer before."""
    with _session() as session:
        found = rejects_document(session, entity or None, limit + 1, after)["rejects"]
        specs = _mapped(session)
        rows = _fitting(_visible(session, [_shown(specs, row) for row in found[:limit]]))
    return {"rejects": rows, "next": rows[-1]["id"] if rows and len(found) > len(rows) else None}


def records(
    entity: Entity = "",
    query: Annotated[str, Field(max_length=200, description="An exact id, or the beginning of a name.")] = "",
    state: State | None = None,
    limit: Limit = PAGE,
    offset: Offset = 0,
) -> Json:
    """Search records by state, or those of one entity by id or name. Records of people cannot be searched by name."""
    with _session() as session:
        must_exist(session.specs, [entity] if entity else [])
        if query and (not entity or _has_personal_label(_mapped(session), entity)):
            raise ConfigError(
                "Only records of an entity without personal names can be searched by name.",
                fix="Name such an entity, or use `history` with the id of a record.",
            )
        found = find_records(session, entity=entity, offset=offset, limit=limit, q=query, state=state or "")
        rows = _visible(session, [row._asdict() for row in found.rows])
    return _page(rows, limit, offset, total=found.total)


def history(entity: Entity, id: Text, limit: Limit = PAGE) -> Json:  # noqa: A002  # what callers know it as
    """Show what happened to one record, oldest first: events, writes, open rejects, approvals. `id` is that at its source."""
    with _session() as session:
        must_exist(session.specs, [entity])
        document = history_document(read_history(session, entity, id, limit), is_off=False)
        shown: Json = without_personal(marks_of(_mapped(session).values()), document, [entity])
    lines = _fitting(shown["history"][::-1])[::-1]
    return {**shown, "history": lines, "is_cut": shown["is_cut"] or len(lines) < len(shown["history"])}


def report(
    name: Literal["performance", "hours", "people", "clients"],
    by: Literal["", "project", "client", "person", "month", "week", "tag"] = "",
    first: date | None = None,
    last: date | None = None,
    limit: Limit = PAGE,
    offset: Offset = 0,
) -> Json:
    """Report hours, money and budgets out of what was read before; no request is sent. `by` says what a line is for."""
    kind = KINDS[name]
    chosen_by = by or kind.by
    if chosen_by not in kind.choices:
        raise ConfigError(f"The report {name} has no lines by {by}.", fix=f"Choose one of {', '.join(kind.choices)}.")
    with _session() as session:
        document = report_document(make_report(session, name, chosen_by, first, last), chosen_by)
        is_hidden = _are_people_hidden(session)
    rows = [{**row, "person": PERSONAL} if is_hidden and "person" in row else row for row in document["rows"]]
    return {**document, **_page(rows, limit, offset)}


def search_operations(
    words: Text = "",
    system: Literal["", "clockify", "highlevel"] = "",
    kind: Literal["", "read", "write", "delete", "held"] = "",
    limit: Limit = PAGE,
    offset: Offset = 0,
) -> Json:
    """Search the operations of both APIs: all words have to be in a name, sentence, path or input."""
    found = search(words, system=system, kind=kind)
    rows = [{"name": one.name, "kind": one.kind, "what": one.title, "readable": _is_readable(one)} for one in found]
    return {**_page(rows, limit, offset), "counts": counted(found)}


def show_operation(name: Text) -> Json:
    """Show one operation with its inputs."""
    one = operation(name)
    return {**described(one), "readable": _is_readable(one)}


def read_operation(
    name: Text,
    inputs: Annotated[dict[str, Any], Field(description="Inputs by name, as `show_operation` has them.")] = {},  # noqa: B006  # as above
    limit: Limit = PAGE,
    offset: Offset = 0,
) -> Json:
    """Run one operation that only reads, in the connected account. Operations that write are not run here."""
    one = operation(name)
    if one.kind != "read":
        raise NotAllowed(
            f"{one.name} is not run here: it does not only read.",
            fix=f"A person can run it with `sync-pipeline operations run {one.name}`.",
        )
    if not _is_readable(one):
        raise NotAllowed(f"{one.name} is not run here: it reads more than the account that is connected.")
    with _session(prepared) as session:
        form = _own_form(session, one, inputs)
        if left := scarce(session, form):
            raise NotAllowed(f"{left} They are for the sync.", fix="Ask again in an hour.")
        answer = run(SetupService(actor("terminal")), session, form).data
        rows = rows_of(answer) if form.paged or isinstance(answer, list) else [answer]
        shown = without_personal(marks_of(_mapped(session).values()), rows, about(form))
    more = f"Set the input {form.paged[0]} for more." if form.paged else ""
    return {"operation": one.name, **_page(shown, limit, offset), "more": more}


TOOLS: tuple[Callable[..., Json], ...] = (
    status,
    preview,
    rejects,
    records,
    history,
    report,
    search_operations,
    show_operation,
    read_operation,
)


@contextmanager
def _session(opened: Callable[[], AbstractContextManager[Settings]] = reading) -> Iterator[Session]:
    with opened() as settings, open_session(settings) as session:
        session.until = monotonic() + WAIT_SECONDS
        yield session


def _planned(session: Session, specs: Sequence[EntitySpec], days: Days, limit: int) -> tuple[Json, list[Preview]]:
    """Plan each entity into a new file; returns the file with what failed, and the previews."""
    failures: dict[str, str] = {}
    found = []
    file = _new_plan(session)
    with plan_writer(file, with_personal=False) as writer:
        writer.begin(session, list(specs), days)
        for spec in specs:
            span, line = days if spec.partitioned else None, partial(writer.line, spec)
            try:
                found.append(look(session, spec, span, Options(dry_run=True), keep=limit, on_line=line))
            except (FatalApiError, NotGranted) as error:
                failures[spec.entity] = str(error)
    return {
        "failures": _visible(session, failures),
        "plan_file": str(file),
        "apply": f"A person can carry it out with `sync-pipeline apply {quote(str(file))}`.",
    }, found


def _new_plan(session: Session) -> Path:
    """The name of a new plan file; the oldest ones are removed."""
    folder = session.settings.home / "plans"
    private_directory(folder)
    for old in sorted(folder.glob("plan-*.jsonl"))[: 1 - PLANS_KEPT]:
        old.unlink(missing_ok=True)
    return folder / f"plan-{session.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.jsonl"


def _is_readable(one: Operation) -> bool:
    """Whether it only reads, and only in the account that is connected."""
    return one.kind == "read" and one.name not in known()["beyond"]


def _own_form(session: Session, one: Operation, inputs: Mapping[str, Any]) -> OperationCall:
    """The operation with these inputs; NotAllowed where one of them names another account than the connected one."""
    account = account_of(session, one)
    asked = [each.name for each in one.inputs if _letters(each.name) in ACCOUNTS and each.name not in account.decided]
    own = {
        _letters(name): value for name, value in (session.call(account.decide) if asked else account.decided).items()
    }
    form = form_of(session, one.name, inputs)
    for name, value in _inputs([form.ids, form.query, form.body]):
        letters = _letters(name).removesuffix("s")
        if letters in ACCOUNTS and value != own.get(ACCOUNTS[letters]):
            raise NotAllowed(f"{name} is not the connected account: only that one is read here.", fix="Leave it out.")
    return form


def _inputs(tree: Any) -> Iterator[tuple[str, Any]]:
    """All inputs with their values, nested ones included; each value of a list by itself."""
    for name, value in tree.items() if isinstance(tree, Mapping) else ():
        yield from ((name, each) for each in (value if isinstance(value, list) else [value]))
    for each in tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ():
        yield from _inputs(each)


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _visible(session: Session, rows: Any) -> Any:
    """Rows that name their entity, without personal values."""
    return without_personal(marks_of(_mapped(session).values()), rows)


def _mapped(session: Session) -> Mapping[str, EntitySpec]:
    """Every mapping: what those of entities that are switched off mark is personal, too."""
    return specs_of(session.settings)


def _has_personal_label(specs: Mapping[str, EntitySpec], entity: str) -> bool:
    label = specs[entity].label if entity in specs else None
    return label is not None and label.personal


def _are_people_hidden(session: Session) -> bool:
    """Whether the names of those who log time are personal."""
    specs = _mapped(session)
    return any(_has_personal_label(specs, each) for each in entities_with("person_facts", specs))


def _without_people(session: Session, alerts: Sequence[Json]) -> list[Json]:
    """Alerts, without the words of those on figures of people: they begin with the name."""
    rules: Sequence[Rule] = ()
    with suppress(ConfigError):  # then it is not known what any of them is about
        rules = configured(session.settings).rules
    shown = {None, *(rule.name for rule in rules if rule.scope != "person")}
    return [each if each["rule"] in shown else {**each, "title": PERSONAL, "detail": PERSONAL} for each in alerts]


def _shown(specs: Mapping[str, EntitySpec], row: Json) -> Json:
    """A reject without the name of its record and its value where they are personal, or of a field that is not known."""
    spec, value = specs.get(row["entity"]), row["value"]
    personal = {each.name: each.personal for each in spec.fields} if spec else {}
    if value and personal.get(row["field"], True):
        reason = row["reason"].replace(value, PERSONAL) if len(value) >= SHORTEST else row["reason"]
        row = {**row, "value": PERSONAL, "reason": reason}
    return {**row, "name": PERSONAL} if row["name"] and _has_personal_label(specs, row["entity"]) else row


def _page(rows: Sequence[Any], limit: int, offset: int, total: int | None = None) -> Json:
    """A page of rows, as many as fit; with ``total``, the rows are that page already."""
    every = len(rows) if total is None else total
    shown = _fitting(rows[offset : offset + limit] if total is None else rows)
    end = offset + len(shown)
    return {"rows": shown, "total": every, "next": end if shown and end < every else None}


def _fitting(rows: Sequence[Any]) -> list[Any]:
    """The first rows, as many as an answer may hold; ConfigError when that is none of them."""
    left, found = MOST_BYTES, []
    for row in rows:
        left -= len(json_text(row))
        if left < 0:
            break
        found.append(row)
    if rows and not found:
        raise ConfigError(
            "A single row is too large for an answer.", fix="A person can read it with the command in a terminal."
        )
    return found
