"""A real receiver on a real database, and a hook that delivers to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.store.credentials import open_keyring
from sync_pipeline.store.engine import Store
from sync_pipeline.webhooks.hooks import HookStore
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline_tests.store.conftest import postgres, sqlite_template, store, url
from sync_pipeline_tests.webhooks.sending import HERE, UPDATED, WORKSPACE, Clock, Sender, add_hook, delivering

__all__ = ["postgres", "sqlite_template", "store", "url"]  # fixtures of the store's tests


@pytest.fixture
def clock() -> Clock:
    """The receiver's clock."""
    return Clock()


@pytest.fixture
def hooks(store: Store, tmp_path: Path) -> HookStore:
    """The hooks of the connection, in the store."""
    return HookStore(store, open_keyring("", tmp_path / "encryption.key"), HERE)


@pytest.fixture
def sender(hooks: HookStore, clock: Clock) -> Iterator[Sender]:
    """Clockify with one hook, delivering to a running receiver."""
    options = ReceiverOptions(workspace=WORKSPACE, max_body=20_000)
    with delivering(hooks, add_hook(hooks, UPDATED), options, clock) as sending:
        yield sending
