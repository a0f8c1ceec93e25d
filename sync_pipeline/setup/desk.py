"""The desk at which a set-up is worked on: whose hand it is, the settings as they are now, and where changes are kept."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sync_pipeline.mapping.load import load_specs, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.sandbox.embedded import embedded
from sync_pipeline.settings import Settings, environment, load_settings, read_setup
from sync_pipeline.setup.file import change_file, imagine_file, revision
from sync_pipeline.stages.session import Report, Session, open_session, utc_now
from sync_pipeline.stages.vault import Vault
from sync_pipeline.store.audit import note
from sync_pipeline.store.engine import Store, open_store


def whoever(way: str) -> str:
    """The user of this machine, and the way by which he or she works: for the audit trail."""
    try:
        return f"{getpass.getuser()} ({way})"
    except OSError:  # a user without a name
        return f"somebody ({way})"


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything is read anew each time: another window, a person with an editor or a process may have changed it."""

    by: str
    root: Path | None = None
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    """In place of the environment of this process."""
    now: Callable[[], datetime] = utc_now

    def settings(self, **variables: str) -> Settings:
        """The settings as they are now, with some variables of the environment as they are given here."""
        return load_settings({**self._environ, **variables}, root=self.root)

    def is_given(self, variable: str) -> bool:
        """Whether the environment decides a setting, so that it cannot be changed here."""
        return bool(self._environ.get(variable, "").strip())

    @property
    def _environ(self) -> Mapping[str, str]:
        return environment(self.root) if self.environ is None else self.environ

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Our database."""
        settings = self.settings()
        store = open_store(settings.store_url, timeout=settings.lock_seconds)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def vault(self, settings: Settings | None = None) -> Iterator[Vault]:
        """The secrets for the addresses of these settings (default: as they are now)."""
        with self.store() as store:
            yield Vault(store, settings or self.settings())

    @contextmanager
    def session(self, settings: Settings | None = None, *, report: Report | None = None) -> Iterator[Session]:
        """A session on these settings, with the embedded sandbox running where they need it."""
        settings = settings or self.settings()
        file = settings.home / "sandbox.db"
        with (
            embedded(settings.sandbox_port, file) if settings.sandbox else nullcontext(),
            open_session(settings, report=report) as session,
        ):
            yield session

    def revision(self) -> str:
        """The state of the set-up that a form shows; a change made on another state is refused."""
        return revision(self.settings().setup_file)

    def change(self, values: Mapping[str, Any], what: str, detail: str, *, since: str | None = None) -> str:
        """Set dotted keys of the set-up (None takes one out), note who did it, and return the new revision.

        Raises ChangedMeanwhile when ``since`` is not the present revision, ConfigError when the new set-up is not valid;
        nothing is changed then.
        """
        settings = self.settings()
        now = change_file(settings.setup_file, values, lambda draft: _specs_in(settings, draft), since=since)
        self.note(what, detail)
        return now

    def imagine(self, values: Mapping[str, Any]) -> dict[str, EntitySpec]:
        """Every entity's mapping as it would be with these dotted keys set; nothing is changed. Raises as ``change``."""
        settings = self.settings()
        return imagine_file(settings.setup_file, values, lambda draft: _specs_in(settings, draft))

    def note(self, what: str, detail: str) -> None:
        """Add a line to the audit trail."""
        with self.store() as store:
            note(store, self.by, what, detail, self.now())

    def acting_as(self, by: str) -> Desk:
        """The same desk under another hand."""
        return replace(self, by=by)


def _specs_in(settings: Settings, draft: Path) -> dict[str, EntitySpec]:
    """The mappings with another set-up file; raises when anything in it is not valid."""
    values = read_setup(draft)
    specs = load_specs(settings.mappings_dir, draft)
    switched_on(specs, values.get("entities", ()))
    return specs
