"""The key of a pair is short, the same in every process, and stays unchanged once rows have it."""

from __future__ import annotations

from contextlib import closing

from sqlalchemy import insert, select

from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.schema import pairs
from sync_pipeline.store.scope import accounts_of, noted_pair, pair_key

ACCOUNTS = "clockify:64a687e28ac4aff5890fb3b1 generic:https://api.example.com/snapshots"


def test_the_key_of_a_new_pair_is_short_and_the_same_everywhere(url: str, store: Store) -> None:
    """A look notes nothing; a use of the pair notes what the key means, however many there are."""
    key = pair_key(store, ACCOUNTS)
    assert len(key) == 12
    with store.reading() as tx:
        assert tx.execute(select(pairs)).all() == []
    with closing(open_store(url)) as other:
        assert noted_pair(other, ACCOUNTS) == noted_pair(store, ACCOUNTS) == pair_key(store, ACCOUNTS) == key
        assert pair_key(store, ACCOUNTS + " second") != key
    with store.reading() as tx:
        assert [tuple(row) for row in tx.execute(select(pairs))] == [(key, ACCOUNTS)]
    assert accounts_of(store, key) == ACCOUNTS


def test_a_pair_that_was_stored_before_keeps_its_key(store: Store) -> None:
    """A migration notes the text of its accounts, which all its rows have, as the key."""
    with store.writing() as tx:
        tx.execute(insert(pairs).values(key=ACCOUNTS, accounts=ACCOUNTS))
    assert noted_pair(store, ACCOUNTS) == pair_key(store, ACCOUNTS) == ACCOUNTS
