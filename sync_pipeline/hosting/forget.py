"""Forget a person: delete everything this install keeps about a user who was deleted at the source."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
from dagster import DagsterInstance, RunsFilter
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from sync_pipeline.connectors.registry import name_of
from sync_pipeline.errors import ConfigError, NotAllowed
from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.facts import entities_with
from sync_pipeline.mapping.load import load_automations, specs_of
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.secrets import Vault
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch_files import discard
from sync_pipeline.stages.claims import waiting
from sync_pipeline.stages.references import listed
from sync_pipeline.store.forgotten import (
    REPLACED,
    accounts_with,
    remember,
    remove_quotes,
    remove_unowned_values,
    unowned_values,
    variants,
)
from sync_pipeline.store.names import remove_names
from sync_pipeline.store.records import Known
from sync_pipeline.store.retention import copies
from sync_pipeline.store.scope import draw

PEOPLE = "person_facts"
"""The facts by which an entity's file says that its records are people."""
LEFT_ALONE = (
    "encryption.key",
    "console.json",
    "dagster.json",
    "host",
    "setup.yaml",
    "setup.imported.yaml",
    "sandbox.db",
    "sandbox.db-wal",
    "sandbox.db-shm",
)
SQLITE = b"SQLite format 3\x00"
UNDER_WAY = list(IN_PROGRESS_RUN_STATUSES)


@dataclass(slots=True)
class Person:
    """A person and their records by entity: those that are deleted at the source, and those that are not."""

    entity: str
    """The entity that they are a record of."""
    id: str
    values: set[str] = field(default_factory=set)
    """Everything that identifies them: name, e-mail address, each personal field."""
    deleted: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, list[Known]] = field(default_factory=dict)
    is_forgotten: bool = False
    """Whether they were forgotten before."""
    unowned: int = 0
    """How many rejects quote a record that was never stored: its user is unknown."""

    @property
    def summary(self) -> str:
        """What is removed, in one line."""
        deleted, kept = sum(map(len, self.deleted.values())), sum(map(len, self.kept.values()))
        user = "what came in since about the user, who was forgotten before" if self.is_forgotten else "the user"
        words = f"{user}, {deleted} deleted entries, and the personal values of {kept} entries that exist"
        if self.unowned:
            words += f"; and the values that {self.unowned} rejects quote from records that were never delivered: their users are unknown"
        return words

    @property
    def searched(self) -> list[str]:
        """The values that are replaced wherever they are quoted; a single short word could mean anything."""
        return sorted(value for value in self.values if len(value) > 5 and (" " in value or "@" in value))

    @property
    def unsearched(self) -> list[str]:
        """The others."""
        return sorted(self.values - set(self.searched))


def find_person(session: Session, person: str) -> Person:
    """A person by user id or e-mail address.

    Raises ConfigError when no user is known by it, NotAllowed when they still exist at the source.
    """
    specs = _every(session)
    people = [specs[name] for name in _people(specs)]
    spec, known = _by_mail(session, people, person) if "@" in person else _by_id(session, people, person)
    source_id = known.source_id if known else person
    session.call(session.source(spec).prove_complete)  # other members may be visible to an admin only
    if listed(session, spec, [source_id]):
        there = name_of(spec.source.system, session.settings)
        raise NotAllowed(
            f"The user {source_id} still exists at {there}, so the next sync would bring everything back.",
            fix="Remove the member from the workspace there (a deactivated one still exists), then run this again.",
        )
    found = Person(
        spec.entity,
        source_id,
        _personal(spec, known) if known else set(),
        is_forgotten=session.forgotten.knows(source_id),
        unowned=unowned_values(session.store, session.pair, _personal_fields(session)),
    )
    for each in specs.values():  # what is switched off by now is still stored
        _find_records(session, each, found)
        if each.entity != spec.entity and each.listed_at == spec.listed_at:
            _find_same(session, each, found)
    return found


def forget(session: Session, instance: DagsterInstance, person: Person) -> list[str]:
    """Remove everything; returns what could not be removed, a sentence each.

    Raises NotAllowed when a run is still writing one of the records after a minute.
    """
    specs = _every(session)
    removed = {person.entity: [person.id], **{name: ids for name, ids in person.deleted.items() if ids}}
    keyring, now = Vault(session.store, session.settings).keyring, session.now()
    with ExitStack() as locks:
        for name, spec in specs.items():
            all_of_it = {*removed.get(name, ()), *(row.source_id for row in person.kept.get(name, ()))}
            locks.callback(session.ledger(name).claims.give_back)
            _claim(session, spec, all_of_it)
        # A load takes the locks of what its records refer to after its own.
        for name in reversed(specs):
            locks.enter_context(session.ledger(name).lock())
        for name, ids in removed.items():
            remember(session.store, keyring, session.pair, name, ids, now)
        number = draw(session.store)  # a read of a higher number knows the hashes
        for name, ids in removed.items():
            ledger = session.ledger(name)
            ledger.remove_records(ids)
            # These marks stop batches that were read before; the hashes stop later ones.
            ledger.leave_tombstones(dict.fromkeys(ids, number), now)
        remove_names(session.store, session.pair, [person.id])
        for name, rows in person.kept.items():
            cleaned = {row.source_id: _without_personal(specs[name], row) for row in rows}
            session.ledger(name).replace_fields(cleaned, number)
    named = {source_id for each in removed.values() for source_id in each}
    remove_unowned_values(session.store, session.pair, _personal_fields(session))
    remove_quotes(session.store, session.pair, named, person.searched)
    _discard_batches(session, instance)
    _clean_files(session, instance, person.searched)
    return list(_unreachable(session, instance, person))


def _every(session: Session) -> dict[str, EntitySpec]:
    """Entities and automations, in the order of what refers to what; those that are off by now where they are stored."""
    specs, automations = specs_of(session.settings), load_automations(session.settings)
    off = automations.keys() - specs.keys()
    return specs | {name: automations[name] for name in sorted(off) if session.ledger(name).has_any()}


def _claim(session: Session, spec: EntitySpec, ids: Collection[str]) -> None:
    """Keep other runs from writing these records; those that are being written are waited for."""
    session.come_alive()
    ledger, waits = session.ledger(spec), waiting(session, spec)
    while held := ledger.lookup(set(ids) - ledger.claims.take(ids)):
        if not next(waits, False):
            raise NotAllowed(
                f"Another run is writing {len(held)} of the {spec.entity} of this person, so nothing was forgotten.",
                fix="Run this again when that run has ended.",
            )


def _personal_fields(session: Session) -> dict[str, list[str]]:
    """The personal fields of users, and of the entities whose records refer to a user."""
    specs = specs_of(session.settings)
    people = set(_people(specs))
    about = {name: spec for name, spec in specs.items() if people & {name, *spec.references.values()}}
    return {name: [each.name for each in spec.fields if each.personal] for name, spec in about.items()}


def _people(specs: Mapping[str, EntitySpec]) -> list[str]:
    """The entities of people; ConfigError when there is none."""
    if not (found := entities_with(PEOPLE, specs)):
        raise ConfigError(
            "No entity is of people, so no one can be found.", fix=f"Add `facts` of the table {PEOPLE} to its file."
        )
    return found


def _by_id(session: Session, people: Sequence[EntitySpec], source_id: str) -> tuple[EntitySpec, Known | None]:
    for spec in people:
        if (found := session.ledger(spec).lookup([source_id]).get(source_id)) is not None:
            return spec, found
    if not session.forgotten.knows(source_id):
        there = name_of(people[0].source.system, session.settings)
        raise ConfigError(f"No user with the id {source_id} is known here.", fix=f"Look at the id in {there}'s URLs.")
    return people[0], None


def _by_mail(session: Session, people: Sequence[EntitySpec], mail: str) -> tuple[EntitySpec, Known]:
    for spec in people:
        names = [each.name for each in spec.fields if each.type == "email"]
        for row in chain.from_iterable(session.ledger(spec).scan()):
            fields = _fields(row)
            if any(str(fields.get(name)).casefold() == mail.casefold() for name in names):
                return spec, row
    raise ConfigError("No user with this e-mail address is known here.", fix="Give the user's id instead.")


def _find_records(session: Session, spec: EntitySpec, person: Person) -> None:
    names = [name for name, entity in spec.references.items() if entity == person.entity]
    for page in session.ledger(spec).scan() if names else ():
        for row in page:
            if person.id not in row.fields:
                continue
            fields = _fields(row)
            if any(fields.get(name) == person.id for name in names):
                if row.deleted_at is None:
                    person.kept.setdefault(spec.entity, []).append(row)
                else:
                    person.deleted.setdefault(spec.entity, []).append(row.source_id)
                person.values |= _personal(spec, row)


def _find_same(session: Session, spec: EntitySpec, person: Person) -> None:
    """What another entity, or an automation, has stored about the user; what is at its target stays."""
    if (row := session.ledger(spec).lookup([person.id]).get(person.id)) is not None:
        person.deleted.setdefault(spec.entity, []).append(person.id)
        person.values |= _personal(spec, row)


def _fields(row: Known) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(row.fields)
    return fields


def _personal(spec: EntitySpec, row: Known) -> set[str]:
    fields = _fields(row)
    found = (fields.get(each.name) for each in spec.fields if each.personal)
    return {value for value in found if isinstance(value, str) and value}


def _without_personal(spec: EntitySpec, row: Known) -> tuple[str, str]:
    kept, digest = canonical_target(spec, _fields(row) | {each.name: None for each in spec.fields if each.personal})
    return kept.decode(), digest


def _discard_batches(session: Session, instance: DagsterInstance) -> None:
    """Delete the batches of failed runs; runs in progress delete theirs themselves."""
    running = set(instance.get_run_ids(RunsFilter(statuses=UNDER_WAY)))
    for directory in session.settings.batches.glob("*"):
        if directory.name not in running:
            discard(directory)


def _clean_files(session: Session, instance: DagsterInstance, values: Collection[str]) -> None:
    """Clean copies of upgrades, freed pages of our database, and quotes of the person in Dagster's files and logs."""
    store = session.store
    if store.path is not None:
        for copy in copies(store.path):
            copy.unlink()
        with closing(sqlite3.connect(store.path, timeout=session.settings.lock_seconds)) as db:
            _rewrite(db)
    searched = [variant for value in values for variant in variants(value)]
    roots = {session.settings.home, Path(instance.root_directory)}
    for path in {path for root in roots for path in root.rglob("*") if path.is_file() and not path.is_symlink()}:
        if path.name not in LEFT_ALONE and path != store.path and not path.name.endswith(("-wal", "-shm")):
            _clean_file(path, searched)


def _clean_file(path: Path, searched: Iterable[str]) -> None:
    content = path.read_bytes()
    wal = path.with_name(f"{path.name}-wal")
    everything = content + (wal.read_bytes() if content.startswith(SQLITE) and wal.exists() else b"")
    found = [text for text in searched if text.encode() in everything]
    if not found:
        return
    if content.startswith(SQLITE):
        with closing(sqlite3.connect(path, timeout=30)) as db:
            _clean_database(db, found)
    else:
        for text in found:
            content = content.replace(text.encode(), REPLACED.encode())
        with path.open("r+b") as file:  # the same file: a process may be writing to it
            file.write(content)
            file.truncate()


def _clean_database(db: sqlite3.Connection, found: Iterable[str]) -> None:
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for column in [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')]:
            for text in found:
                db.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '  # noqa: S608 - names of its own
                    f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?)',
                    (text, REPLACED, text),
                )
    db.commit()
    _rewrite(db)


def _rewrite(db: sqlite3.Connection) -> None:
    """Rewrite the file, so that freed pages keep nothing."""
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _unreachable(session: Session, instance: DagsterInstance, person: Person) -> Iterator[str]:
    there = name_of(specs_of(session.settings)[person.entity].target.system, session.settings)
    yield f"{there[:1].upper()}{there[1:]} has what was delivered; entries that exist are updated there by the next sync."
    yield "Back-ups and exported files."
    for accounts in accounts_with(session.store, session.pair, person.entity, person.id):
        yield f"What is stored for other accounts: run this with their set-up, too ({accounts})."
    if session.store.path is None:
        yield "PostgreSQL keeps deleted rows until VACUUM, and its write-ahead log and back-ups as long as you set."
    if not any(Path(instance.root_directory).rglob("runs.db")):
        yield "Dagster's storage is not in files here: search it for the person yourself."
    if person.unsearched:
        yield "Texts of one short word were removed with their records, but not searched for elsewhere."
    if instance.get_runs_count(RunsFilter(statuses=UNDER_WAY)):
        yield f"Runs are under way: their batches in {session.settings.batches} are deleted when they end."
