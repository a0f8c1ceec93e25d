"""The accounts for which a receiver takes deliveries: those that the set-up names, also after it was changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple, Self

from sync_pipeline.errors import ConfigError
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
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
    """Use as ``with``: a session is open within it, and another one as soon as ``renewed`` finds that ``load`` gives other settings."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings, self._load = settings, load
        self._opened, self._problem = ExitStack(), ""

    def __enter__(self) -> Self:
        self.reception = self._open(self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def renewed(self) -> Reception | None:
        """What to work with from now on; None while the settings are as before, or cannot be used."""
        try:
            settings = self._load()
            if settings == self._settings:
                return None
            self.reception = self._open(settings)
        except ConfigError as error:  # such as a key that is not entered yet
            if str(error) != self._problem:
                log.warning("The set-up has changed; deliveries are taken as before. %s", error)
            self._problem = str(error)
            return None
        self._settings, self._problem = settings, ""
        return self.reception

    def _open(self, settings: Settings) -> Reception:
        with ExitStack() as opening:
            session: Session = opening.enter_context(open_session(settings))
            options = ReceiverOptions(
                workspace=session.clockify.account.workspace,
                addon_key=load_addon_key(settings.clockify_addon_public_key),
                signed=signed_deliveries(session),
            )
            found = Reception(open_hooks(session), options)
            before, self._opened, self.session = self._opened, opening.pop_all(), session
        before.close()  # last, so that the connections to the database, which both sessions share, stay open
        return found
