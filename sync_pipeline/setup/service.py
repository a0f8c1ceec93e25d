"""Working on a set-up: who does it, the current settings, and where changes are stored."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sync_pipeline.clock import utc_now
from sync_pipeline.errors import ChangedMeanwhile, SyncError
from sync_pipeline.mapping.load import records_of
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.sandbox.embedded import embedded
from sync_pipeline.session.progress import Report
from sync_pipeline.session.secrets import Vault
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings, environment, load_given, load_settings
from sync_pipeline.setup.document import differences, edited, with_changes
from sync_pipeline.store.audit import note, system_user
from sync_pipeline.store.engine import Store, existing_store, open_store
from sync_pipeline.store.setup import (
    CHANGED,
    LOOK_AGAIN,
    SetupChange,
    put_current,
    put_draft,
    remove_draft,
    version_in,
    version_of,
)
from sync_pipeline.store.setup_file import validated

Surface = Literal["terminal", "console", "Dagster"]


def actor(surface: Surface, session: str = "", user: str = "") -> str:
    """The actor for the audit trail: the system's user or a console session, the host and the surface.

    The user is the one the process runs as, not what LOGNAME says. Who is signed in to the console need not be the user
    who started it: all that is known of them is their session, and behind a proxy that signs users in the name it gives.
    """
    if not session:
        return f"{system_user()} ({surface})"
    return f"{f'{user}, ' if user else ''}session {session}@{platform.node()} ({surface})"


@dataclass(frozen=True, slots=True)
class SetupService:
    """Everything is read again each time: another window or process may have changed it."""

    by: str
    root: Path | None = None
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    """In place of the environment of this process."""
    drafting: bool = False
    """Whether the draft is read and changed, if there is one: what it says is not current before it is published."""
    now: Callable[[], datetime] = utc_now

    def settings(self, **variables: str) -> Settings:
        """The current settings, with these variables of the environment replaced."""
        environ = {**self._environ, **variables}
        now = load_settings(environ, root=self.root)
        number, document = self._draft(now) if self.drafting else (0, "")
        if not number:
            return now
        drafted = load_settings(environ, root=self.root, document=document)
        return replace(drafted, setup_version=now.setup_version, setup_draft=number)

    def _draft(self, now: Settings) -> tuple[int, str]:
        """Number and text of the draft, with the changes published since it was started; (0, "") when there is none."""
        with self.store() as store:
            draft = version_in(store, now.setup_name, "draft")
            base = version_of(store, now.setup_name, draft.base_id or 0) if draft is not None else None
        if draft is None:
            return 0, ""
        if (draft.base_id or 0) == now.setup_version:
            return draft.id, draft.document
        changes = differences(base.document if base is not None else "", draft.document)
        return draft.id, with_changes(now.setup_document, changes)

    def given(self) -> Settings:
        """The settings of the environment alone, whatever the stored set-up says."""
        return load_given(self._environ, root=self.root)

    def is_given(self, variable: str) -> bool:
        """Whether the environment decides a setting, so that it cannot be changed here."""
        return bool(self._environ.get(variable, "").strip())

    @property
    def _environ(self) -> Mapping[str, str]:
        return environment(self.root) if self.environ is None else self.environ

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Our database."""
        given = self.given()
        with closing(open_store(given.store_url, timeout=given.lock_seconds)) as store:
            yield store

    @contextmanager
    def connected(self) -> Iterator[None]:
        """While this lasts the database stays open, if there is one: opening it again costs next to nothing."""
        store = None
        with suppress(SyncError):  # the code that uses the database reports what is wrong with it
            given = self.given()
            store = existing_store(given.store_url, timeout=given.lock_seconds)
        with nullcontext() if store is None else closing(store):
            yield

    @contextmanager
    def vault(self, settings: Settings | None = None) -> Iterator[Vault]:
        """The secrets for the addresses of these settings (default: the current ones)."""
        with self.store() as store:
            yield Vault(store, settings or self.settings())

    @contextmanager
    def session(self, settings: Settings | None = None, *, report: Report | None = None) -> Iterator[Session]:
        """A session on these settings, with the embedded sandbox running where they need it."""
        settings = settings or self.settings()
        file = settings.home / "sandbox.db"
        with (
            embedded(settings.sandbox_port, file, records_of(settings)) if settings.sandbox else nullcontext(),
            open_session(settings, report=report) as session,
        ):
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads what is stored here: no server is started for it."""
        with open_session(self.settings()) as session:
            session.now = self.now
            yield session

    def revision(self) -> str:
        """The state of the set-up that a form shows; a change made on another state is refused."""
        return revision_of(self.settings())

    def change(
        self,
        values: Mapping[str, Any],
        what: str,
        detail: str,
        *,
        since: str | None = None,
        then: Callable[[], object] = lambda: None,
    ) -> str:
        """Set dotted keys of the set-up (None takes one out), do ``then``, note who did it; returns the new revision.

        In a draft they are set there, and nothing else changes.
        Raises ChangedMeanwhile when ``since`` is not the present revision, ConfigError when the new set-up is not valid;
        nothing is changed then.
        """
        self._store(values, (detail and f"{what}: {detail}") or what, since)
        try:
            then()
        except BaseException:
            self.note(f"{what}, incomplete", "the set-up was changed, but not everything else")
            raise
        self.note(f"draft: {what}" if self.drafting else what, detail)
        return self.revision()

    def _store(self, values: Mapping[str, Any], note: str, since: str | None) -> None:
        """Store a version with these values; one made from a version that no form has shown is made again."""
        while True:
            settings = self.settings()
            if since is not None and since != revision_of(settings):
                raise ChangedMeanwhile(CHANGED, fix=LOOK_AGAIN)
            document = edited(settings.setup_document, values)
            if document == settings.setup_document:
                return
            validated(settings, document)
            try:
                self._put(settings, document, SetupChange(self.by, self.now(), note))
            except ChangedMeanwhile:
                if since is not None:
                    raise
                continue
            return

    def _put(self, made_from: Settings, document: str, change: SetupChange) -> None:
        name, version = made_from.setup_name, made_from.setup_version
        with self.store() as store:
            if not self.drafting:
                put_current(store, name, document, change, expected=version)
                return
            now, draft = version_in(store, name, "current"), made_from.setup_draft or None
            put_draft(store, name, document, change, base_id=version or None, expected=draft)
            if not differences(now.document if now is not None else "", document):
                remove_draft(store, name)  # nothing is left to publish

    def validate_change(self, values: Mapping[str, Any]) -> dict[str, EntitySpec]:
        """Every entity's mapping as it would be with these dotted keys set; nothing is changed. Raises as ``change``."""
        settings = self.settings()
        return validated(settings, edited(settings.setup_document, values))

    def settings_with(self, values: Mapping[str, Any]) -> Settings:
        """The settings as they would be with these dotted keys of the set-up; nothing is changed. Raises as ``change``."""
        document = edited(self.settings().setup_document, values)
        validated(self.settings(), document)
        return load_settings(dict(self._environ), root=self.root, document=document)

    def note(self, what: str, detail: str) -> None:
        """Add a line to the audit trail."""
        with self.store() as store:
            note(store, self.by, what, detail, self.now())

    def on_draft(self) -> SetupService:
        """The same for the draft."""
        return replace(self, drafting=True)

    def acting_as(self, by: str) -> SetupService:
        """The same for another actor."""
        return replace(self, by=by)


def revision_of(settings: Settings) -> str:
    """The state of the set-up that these settings were made from."""
    draft = f"-{settings.setup_draft}" if settings.setup_draft else ""
    return f"{settings.setup_version or ''}{draft}"
