"""Connection poolers: one that ends sessions with each transaction is refused, one that keeps them is not."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from sync_pipeline.errors import ConfigError
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline_tests.store.batch import HERE
from sync_pipeline_tests.store.conftest import Server
from sync_pipeline_tests.store.pooling import needs_pgbouncer, pooled


@needs_pgbouncer
@pytest.mark.parametrize(
    "options",
    [{}, {"server_round_robin": 1, "min_pool_size": 2}, {"default_pool_size": 1}, {"default_pool_size": 2}],
    ids=["as installed", "in turns", "one session", "two sessions"],
)
def test_a_pooler_in_transaction_mode_is_refused(postgres: Server, options: dict[str, object]) -> None:
    """However many sessions it has and whichever it gives: the message states what is wrong and what to do."""
    postgres.emptied()
    with pooled(postgres, "migrated", "transaction", **options) as url:
        with pytest.raises(ConfigError, match="behind a connection pooler in transaction mode") as caught:
            open_store(url)
        assert "pool_mode=session" in caught.value.fix
        assert "SYNC_DATABASE_URL" in caught.value.fix


@needs_pgbouncer
def test_a_pooler_in_session_mode_is_as_good_as_the_server(postgres: Server) -> None:
    """A session is kept for as long as the connection, and a lock excludes those who come to the server directly."""
    direct = postgres.emptied()
    with pooled(postgres, "migrated", "session") as url:
        store, other = open_store(url), open_store(direct)
        with Ledger(store, HERE, "users").lock(), other.reading() as tx:
            store.check_locks()
            assert tx.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 1
        store.close()
        other.close()
