"""The accounts for which a receiver takes deliveries: those that the set-up names, also after it was changed."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from typing import NamedTuple, Self

from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings, load_settings
from sync_pipeline.webhooks.addon import load_addon_key
from sync_pipeline.webhooks.hooks import HookStore, open_hooks
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.signed import signed_deliveries

log = logging.getLogger(__name__)


class Reception(NamedTuple):
    """What a receiver works with."""

    hooks: HookStore
    options: ReceiverOptions


class Accounts:
    """Use as ``with``: a session is open within it, and another one as soon as ``renewed`` finds another set-up."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._is_ours = settings, False
        self._opened, self._problem = ExitStack(), ""

    def __enter__(self) -> Self:
        with suppress(SyncError):
            self._is_ours = load_settings() == self._settings  # others are not of this process' environment, and stay
        self.reception = self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def renewed(self) -> Reception | None:
        """What to work with from now on; None while the set-up is as before, or cannot be used."""
        if not self._is_ours:
            return None
        try:
            settings = load_settings()
            if settings == self._settings:
                return None
            self._settings = settings
            self.reception = self._open()
        except ConfigError as error:  # such as one of two accounts: what comes next is tried again
            if str(error) != self._problem:
                log.warning("The set-up has changed; deliveries are taken as before. %s", error)
            self._problem = str(error)
            return None
        return self.reception

    def _open(self) -> Reception:
        with ExitStack() as opening:
            self.session: Session = opening.enter_context(open_session(self._settings))
            options = ReceiverOptions(
                workspace=self.session.clockify.account.workspace,
                addon_key=load_addon_key(self._settings.clockify_addon_public_key),
                signed=signed_deliveries(self.session),
            )
            found = Reception(open_hooks(self.session), options)
            before, self._opened = self._opened, opening.pop_all()
        before.close()  # last, so that the connections to the database, which both sessions share, stay open
        return found
