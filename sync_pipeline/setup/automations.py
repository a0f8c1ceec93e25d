"""Automations: listing them with what they have made, and switching them on and off.

Before one is switched on, everything that its list holds is noted as existing and left alone: what appears in between is
new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.errors import ChangedMeanwhile, ConfigError, NotFound, SyncError
from sync_pipeline.mapping.json_types import fits, id_or_none
from sync_pipeline.mapping.load import load_automations
from sync_pipeline.mapping.spec import EntitySpec, Field
from sync_pipeline.mapping.values import value_at
from sync_pipeline.operations.catalogue import operation
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import MAPPINGS
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.deliveries import made_since
from sync_pipeline.store.loads import NO_SYNC, WHOLE, Loading
from sync_pipeline.store.locks import lock
from sync_pipeline.store.rejects import count_rejects
from sync_pipeline.store.scope import draw
from sync_pipeline.store.setup import CHANGED, LOOK_AGAIN
from sync_pipeline.store.switches import move_in
from sync_pipeline.yaml_source import closest

KEY, VARIABLE = "automations", "SYNC_AUTOMATIONS"
SHOWN = timedelta(days=7)
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Ask:
    """A value that is needed before an automation can be switched on."""

    field: str
    says: str
    value: Any = None
    """What is set; None when nothing is."""


@dataclass(frozen=True, slots=True)
class Automation:
    """One automation, and what it has made lately."""

    name: str
    when: str
    then: str
    description: str
    operation: str
    source: str
    """The system and the list that it reads."""
    is_on: bool
    made: int
    """In the last seven days."""
    rejected: int
    """Records that wait for a person now; none while it is off."""
    at_most: int
    """How many it makes in a run without an approval."""
    asks: tuple[Ask, ...]
    obstacle: str
    """Why it cannot be switched on, apart from missing values; "" when it can."""

    @property
    def sentence(self) -> str:
        """What it does, in one line."""
        return f"{self.when} → {self.then}"

    @property
    def lacks(self) -> tuple[str, ...]:
        """The fields that have no value yet."""
        return tuple(ask.field for ask in self.asks if ask.value is None)


@dataclass(frozen=True, slots=True)
class Existing:
    """What the list of an automation holds now."""

    records: int
    examples: tuple[dict[str, Any], ...]
    """What would be sent for the first of them, with a backfill."""


def list_automations(setup: SetupService) -> list[Automation]:
    """All automations: shipped ones, and those of the user's own files."""
    settings = setup.settings()
    specs = load_automations(settings)
    made, rejected, obstacles = dict[str, int](), dict[str, int](), dict[str, str]()
    with suppress(SyncError), setup.reading() as session:  # while the set-up is not finished, nothing was done either
        made = made_since(session.store, session.pair, setup.now() - SHOWN)
        rejected = {
            name: count for name, count in count_rejects(session.store, session.pair).items() if name in session.specs
        }
        obstacles = {name: _obstacle(session, spec) for name, spec in specs.items()}
    return [
        _shown(spec, name in settings.automations, made.get(name, 0), rejected.get(name, 0), obstacles.get(name, ""))
        for name, spec in specs.items()
    ]


def show_automation(setup: SetupService, name: str) -> Automation:
    """One automation; NotFound when there is none of that name."""
    found = {one.name: one for one in list_automations(setup)}
    if name not in found:
        raise NotFound(f"There is no automation {name!r}.", fix=closest(name, found))
    return found[name]


def preview_automation(setup: SetupService, name: str, values: Mapping[str, str] | None = None) -> Existing:
    """What exists already: left alone by the automation, or included with a backfill. Nothing is written."""
    with _as_if_on(setup, name, values or {}) as session:
        spec, records, first = session.spec(name), 0, list[Record]()
        session.target(spec)  # ConfigError where its API is not connected
        for page in session.read(spec, None):
            records += len(page)
            first += page[: EXAMPLES - len(first)]
        return Existing(records, tuple(_sent(session, spec, first)))


def switch_on(
    setup: SetupService,
    name: str,
    values: Mapping[str, str] | None = None,
    *,
    backfill: bool = False,
    since: str | None = None,
) -> int:
    """Switch an automation on; returns how many records exist already, which are left alone unless ``backfill``.

    Its list is read to the end first: when that fails, it stays off. If it is on already, only its values change: records
    that are new to it are not left alone.
    """
    given = values or {}
    while True:
        is_on = name in setup.settings().automations and not backfill
        found = None if is_on else _existing(setup, name, given)
        with _alone(setup, since):
            if name in setup.settings().automations and not backfill:
                _change(setup, lambda: _changes(setup, name, given), "automation changed", name, since)
                return 0
            with open_session(setup.settings_with(_changes(setup, name, given))) as session:
                if found is None or found.pair != session.pair:
                    continue  # it was switched off meanwhile, or other accounts are connected: their records exist, too
                ledger = session.ledger(name)
                if not backfill:
                    ledger.leave_alone(found.ids, setup.now(), found.number)
                fingerprint = session.spec(name).fingerprint
                ledger.note_switched_on(Loading([WHOLE], found.number, fingerprint, NO_SYNC, "", setup.now()))
            count = len(found.ids)
            what = (
                f"{name}: something is made for each of {count} existing records, too"
                if backfill
                else f"{name}: {count} existing records are left alone"
            )
            included = name if backfill else ""
            _change(
                setup, lambda: _changes(setup, name, given), "automation on", what, since, include_existing=included
            )
            return count


def switch_off(setup: SetupService, name: str, *, since: str | None = None) -> None:
    """Switch an automation off; what it has made stays. One that is off already stays so."""
    if name not in setup.settings().automations:
        show_automation(setup, name)
        return
    _refuse_given(setup)
    with _alone(setup, since):
        if name in setup.settings().automations:
            _change(setup, lambda: {KEY: _besides(setup, name)}, "automation off", name, since)


def _besides(setup: SetupService, name: str) -> list[str]:
    return [one for one in setup.settings().automations if one != name]


@contextmanager
def _alone(setup: SetupService, since: str | None) -> Iterator[None]:
    """While this lasts no other process switches an automation: what is read of the set-up stays so until it is changed.

    ChangedMeanwhile when the set-up is not what the page ``since`` showed any more.
    """
    with setup.store() as store, lock(store, f"automations of {setup.settings().setup_name}", KEY):
        if since is not None and since != setup.revision():
            raise ChangedMeanwhile(CHANGED, fix=LOOK_AGAIN)
        yield


@dataclass(frozen=True, slots=True)
class _Found:
    """What exists when an automation is switched on, in which accounts, and the number of the read."""

    pair: str
    number: int
    ids: frozenset[str]


def _existing(setup: SetupService, name: str, values: Mapping[str, str]) -> _Found:
    with _as_if_on(setup, name, values) as session:
        spec = session.spec(name)
        session.target(spec)  # ConfigError where its API is not connected
        return _Found(session.pair, draw(session.store), frozenset(_ids(session, spec)))


def _change(
    setup: SetupService,
    changes: Callable[[], Mapping[str, Any]],
    what: str,
    detail: str,
    since: str | None,
    *,
    include_existing: str = "",
) -> None:
    """Change the set-up; live syncing that is on stays on for it. ``include_existing`` names an automation to include them in."""
    while True:
        revision, former = setup.revision(), None
        with suppress(ConfigError), setup.reading() as session:  # an automation that is on may be what is wrong
            former = session.pair, session.fingerprint

        def keep_switch(former: tuple[str, str] | None = former) -> None:
            with setup.reading() as session:
                if include_existing:
                    session.ledger(include_existing).include_existing()
                if former is not None:
                    pair, before = former
                    with session.store.writing() as tx:
                        move_in(tx, pair, before, session.fingerprint, by=setup.by, at=setup.now())

        try:  # made again when something else of the set-up has changed: live syncing is on for that by now
            setup.change(changes(), what, detail, since=since or revision, then=keep_switch)
        except ChangedMeanwhile:
            if since is not None:
                raise
        else:
            return


def _as_if_on(setup: SetupService, name: str, values: Mapping[str, str]) -> Any:
    return setup.session(setup.settings_with(_changes(setup, name, values)))


def _changes(setup: SetupService, name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """What is changed in the set-up to switch it on."""
    _refuse_given(setup)
    settings = setup.settings()
    specs = load_automations(settings)
    if name not in specs:
        raise NotFound(f"There is no automation {name!r}.", fix=closest(name, specs))
    asked = {field.name: field for field in specs[name].fields if field.ask}
    if unknown := sorted(values.keys() - asked.keys()):
        raise ConfigError(f"{name} does not ask for {unknown[0]}.", fix=closest(unknown[0], asked))
    changes: dict[str, Any] = {KEY: list(dict.fromkeys((*settings.automations, name)))}
    for field, text in values.items():
        changes[f"{MAPPINGS}.{name}.fields.{field}"] = {"constant": _valid(asked[field], text.strip())}
    lacking = [field for field in asked.values() if field.constant is None and field.name not in values]
    if lacking:
        raise ConfigError(
            f"{name} needs a value of {lacking[0].name}. {lacking[0].ask}", fix=f"Add --set {lacking[0].name}=VALUE."
        )
    return changes


def _valid(field: Field, text: str) -> Any:
    if not text:
        raise ConfigError(f"The value of {field.name} is empty. {field.ask}", fix=f"Add --set {field.name}=VALUE.")
    value: Any = text
    if field.type in ("bool", "int", "number", "list", "json"):
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(text)
    if problem := fits(field.type, value):
        raise ConfigError(f"The value of {field.name} {problem}.", fix=field.ask)
    return value


def _refuse_given(setup: SetupService) -> None:
    if setup.is_given(VARIABLE):
        raise ConfigError(f"{VARIABLE} in the environment decides which automations are on.", fix=f"Unset {VARIABLE}.")


def _ids(session: Session, spec: EntitySpec) -> Iterator[str]:
    for page in session.read(spec, None):
        for record in page:
            if (found := id_or_none(value_at(record, spec.source.id_path))) is not None:
                yield found


def _sent(session: Session, spec: EntitySpec, records: list[Record]) -> Iterator[dict[str, Any]]:
    """The fields of these records as they would be sent."""
    from sync_pipeline.stages.process import processed_rows  # with pandas

    for row in islice(processed_rows(session, spec, records), EXAMPLES):
        fields: dict[str, Any] = orjson.loads(row.fields)
        personal = {field.name for field in spec.fields if field.personal}
        yield {name: "(personal)" if name in personal else value for name, value in fields.items() if value is not None}


def _obstacle(session: Session, spec: EntitySpec) -> str:
    if lacking := [other for other in spec.needs if other not in session.specs]:
        return f"It needs {' and '.join(lacking)}, which {'is' if len(lacking) == 1 else 'are'} switched off."
    try:
        session.target(spec)
        session.source(spec)
    except SyncError as error:
        return str(error)
    return ""


def _shown(spec: EntitySpec, is_on: bool, made: int, rejected: int, obstacle: str) -> Automation:
    asks = tuple(Ask(field.name, field.ask, field.constant) for field in spec.fields if field.ask)
    return Automation(
        name=spec.entity,
        when=spec.when or f"A record of {spec.listed_at[1].rpartition('/')[2]} is new",
        then=operation(spec.target.operation).title.partition(". ")[0].removesuffix("."),
        description=spec.description,
        operation=spec.target.operation,
        source=" ".join(spec.listed_at),
        is_on=is_on,
        made=made,
        rejected=rejected,
        at_most=spec.target.at_most,
        asks=asks,
        obstacle=obstacle,
    )
