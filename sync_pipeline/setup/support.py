"""A support bundle: what support needs to know about an installation, without secrets and personal data."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sync_pipeline.connectors.transport import redact
from sync_pipeline.errors import SyncError
from sync_pipeline.printable import json_text
from sync_pipeline.session.health import nothing_syncs
from sync_pipeline.session.session import Session
from sync_pipeline.settings import SECRETS, SETTINGS, Settings, environment, settings_in_force
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.overview import entity_rows
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store import credentials
from sync_pipeline.store.credentials import keyring_of
from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import HEAD
from sync_pipeline.store.syncs import recent

PROGRAMS = ("sync-pipeline", "dagster", "sqlalchemy", "alembic", "httpx", "click", "pydantic", "starlette", "uvicorn")
BESIDE = frozenset({"account", "scope", "lost", "mark", "entered_at", "name", "users", "overlap_until", "service"})
"""What is stored beside secrets and is none, under the names it has there: other texts may well be equal to it."""
LAST = 50
"""Syncs that are in the bundle."""
EMAIL = re.compile(r"[\w.%+-]+@[\w-]+(\.[\w-]+)+")
IN_ADDRESS = re.compile(r"(://)[^/\s@\"]*@")
QUERY = re.compile(r"(://[^\s\"?]*)\?[^\s\"]*")


def support_bundle(setup: SetupService) -> dict[str, Any]:
    """Versions, settings, connections, the state of each entity, open problems and the last syncs; all redacted."""
    settings = setup.settings()
    found: dict[str, Any] = {
        "made_at": setup.now(),
        "versions": versions(),
        "system": {"python": platform.python_version(), "platform": platform.platform()},
        "settings": [one._asdict() for one in settings_in_force(setup.environ, setup.root)],
        "connections": [asdict(one) for one in connections(setup)],
    }
    with setup.store() as store:
        found["database"] = _database(store)
        hidden = set(_secrets(settings, store))
    try:
        with setup.reading() as session:
            found |= _state(session)
    except SyncError as error:  # the bundle is made because something does not work
        found["problems"] = [str(error)]
    return _without(found, hidden)


def shareable(setup: SetupService, found: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, with the versions and without secrets and e-mail addresses."""
    settings = setup.settings()
    with setup.store() as store:
        hidden = set(_secrets(settings, store))
    return _without({"made_at": setup.now(), "versions": versions(), **found}, hidden)


def without_secrets(setup: SetupService, document: str) -> str:
    """JSON without any secret that is known - of the environment, of the settings, and all stored ones - nor those in addresses."""
    with setup.store() as store:
        return IN_ADDRESS.sub(r"\1***@", _redacted(document, set(_secrets(setup.settings(), store))))


def _without(found: Mapping[str, Any], hidden: set[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(redacted(json_text(found), hidden))
    return document


def redacted(document: str, secrets: set[str]) -> str:
    """The text without secrets, e-mail addresses, and names, passwords and queries in addresses."""
    return QUERY.sub(r"\1", EMAIL.sub("***", IN_ADDRESS.sub(r"\1***@", _redacted(document, secrets))))


def _redacted(document: str, secrets: set[str]) -> str:
    # As in JSON: a secret with a quote in it is written with a backslash there.
    return redact(document, secrets | {json_text(secret)[1:-1] for secret in secrets})


def versions() -> dict[str, str]:
    """The versions of this program and of those that it is made of."""
    found = {}
    for name in PROGRAMS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _database(store: Store) -> dict[str, str]:
    with store.reading() as tx:
        return {"kind": tx.dialect.name, "revision": HEAD}


def _state(session: Session) -> dict[str, Any]:
    rows = entity_rows(session)
    problems = [nothing_syncs(session), *(f"{row.entity}: {row.reason}" for row in rows if row.reason)]
    syncs = [
        {
            "entity": sync.entity,
            "run_id": sync.run_id,
            "begun_at": sync.begun_at,
            "finished_at": sync.finished_at,
            "outcome": sync.outcome or "running",
            "counts": sync.counts,
            "requests": sync.requests,
            "reason": sync.reason,
        }
        for sync in recent(session.store, session.pair, LAST)
    ]
    mode = {"name": session.mode.name, "why": session.mode.why}
    return {
        "mode": mode,
        "entities": [asdict(row) for row in rows],
        "problems": list(filter(None, problems)),
        "syncs": syncs,
    }


def _secrets(settings: Settings, store: Store) -> Iterator[str]:
    """Every secret that is known: of the environment and of the settings, and all stored ones, whatever they are for."""
    yield from filter(None, map(environment().get, SECRETS))
    yield from (str(value) for spec in SETTINGS if spec.metadata["secret"] and (value := getattr(settings, spec.name)))
    places = credentials.places(store)
    try:
        keyring = keyring_of(store, settings.encryption_key, settings.encryption_key_file) if places else None
    except SyncError:  # without the key no program has read them, so none can have written them anywhere
        return
    for place in places:
        yield from _texts(credentials.get_all(store, keyring, place, "") if keyring else {})


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each) if name not in BESIDE else ()
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def file_name(at: datetime) -> str:
    """What a bundle that was made then is called."""
    return f"support-bundle-{at:%Y%m%d-%H%M%S}.json"
