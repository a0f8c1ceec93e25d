"""Replacing a secret without a gap, and all of them under a new key."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.session.secrets import CLOCKIFY_KEY, SNAPSHOTS_CLIENT, SNAPSHOTS_KEY
from sync_pipeline.setup import trial
from sync_pipeline.setup.rotation import NAMES, encrypt_again, held, remove, retire, rotate
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.snapshots import SnapshotsForm, connect_snapshots
from sync_pipeline.setup.switching import read_live_status, turn_on
from sync_pipeline.store import credentials
from sync_pipeline.store.audit import changes
from sync_pipeline.store.schema import credentials as stored_credentials
from sync_pipeline_tests.harness import CLOCKIFY_KEY as OWNER
from sync_pipeline_tests.harness import SNAPSHOTS_KEY as FULL
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.setup.services import environ_of, on_accounts, setup_of

NEW = "sandbox-clockify-second-key"


def second_key(us: Team) -> None:
    """The owner makes another key in Clockify."""
    us.sandbox.world.db.execute(
        "INSERT INTO api_keys (key, kind, user_id, note) SELECT ?, kind, user_id, 'second' FROM api_keys WHERE key = ?",
        (NEW, OWNER),
    )


def test_a_rotation_from_its_beginning_to_its_end(us: Team, setup: SetupService) -> None:
    """The new key is tried, then used; live syncing continues; the old one helps out until it is retired."""
    on_accounts(setup, us)
    assert trial.run(setup, trial.begin(setup, "dry_run"), "dry_run").outcome == "passed"
    turn_on(setup)
    second_key(us)
    rotate(setup, CLOCKIFY_KEY, f" {NEW}\n")
    assert read_live_status(setup).is_live
    assert [(row.name, row.fallback) for row in held(setup) if row.in_use] == [
        ("clockify.api_key", True),
        ("snapshots.api_key", False),
    ]
    with setup.session() as session:
        assert session.call(session.clockify.me)["id"]
        us.sandbox.world.db.execute("DELETE FROM api_keys WHERE key = ?", (NEW,))
        assert session.call(session.clockify.me)["id"], "the old one helps out"
    second_key(us)
    assert (retire(setup, CLOCKIFY_KEY), retire(setup, CLOCKIFY_KEY)) == (True, False)
    assert read_live_status(setup).is_live


def test_a_fallback_that_is_rejected_is_forgotten(us: Team, setup: SetupService) -> None:
    """Both keys are refused: the old one is sent again once and never after that, and the audit trail records it."""
    on_accounts(setup, us)
    second_key(us)
    rotate(setup, CLOCKIFY_KEY, NEW)
    us.sandbox.world.db.execute("DELETE FROM api_keys WHERE key IN (?, ?)", (NEW, OWNER))
    us.forget_stats()
    with setup.session() as session:
        for _ in range(2):
            with pytest.raises(SyncError, match="this API key does not exist"):
                session.call(session.clockify.me)
    assert us.requests()["GET /clockify/api/v1/user"] == 3
    assert not any(row.fallback for row in held(setup))
    with setup.store() as store:
        newest = changes(store)[0]
    assert (newest.by, newest.what) == ("sync_pipeline", "secret retired")
    assert newest.detail.endswith("was rejected")


def test_the_secret_of_a_client_has_no_fallback(us: Team, setup: SetupService) -> None:
    """Nothing would ever use the old one, so it is not kept; live syncing continues with the new one."""
    on_accounts(setup, us)
    known = {"client_id": "ours", "redirect_uris": ["http://127.0.0.1/snapshots/callback"]}
    us.control("POST", "clients", {**known, "client_secret": "first-secret"})
    entered = SnapshotsForm(
        base_url=us.sandbox.snapshots, auth="client_credentials", client_id="ours", client_secret="first-secret"
    )
    connect_snapshots(setup, entered, since=None)
    with pytest.raises(SyncError, match="its secret is wrong"):
        rotate(setup, SNAPSHOTS_CLIENT, "second-secret")
    us.control("POST", "clients", {**known, "client_secret": "second-secret"})
    rotate(setup, SNAPSHOTS_CLIENT, "second-secret")
    with setup.session() as session:
        session.call(session.snapshots.probe, "users")
    assert [row.fallback for row in held(setup) if row.name == "snapshots.client_secret"] == [False]


def test_a_key_that_does_not_work_is_not_taken(us: Team, setup: SetupService) -> None:
    """A wrong one, one of a plain reader: the old one stays in use, without a fallback."""
    on_accounts(setup, us)
    with pytest.raises(SyncError, match="this API key does not exist"):
        rotate(setup, CLOCKIFY_KEY, "wrong-key")
    with pytest.raises(SyncError, match=r"users\.write"):
        rotate(setup, SNAPSHOTS_KEY, "sandbox-snapshots-read-only-key")
    with setup.vault() as vault:
        for slot, value in ((CLOCKIFY_KEY, OWNER), (SNAPSHOTS_KEY, FULL)):
            assert (secret := vault.get(slot)) is not None
            assert (secret.value, secret.previous) == (value, "")


def test_what_is_not_there_cannot_be_rotated(us: Team, setup: SetupService) -> None:
    """Nor what the environment holds."""
    on_accounts(setup, us)
    with pytest.raises(ConfigError, match=r"There is no clockify\.addon_token to rotate"):
        rotate(setup, NAMES["clockify.addon_token"], "some-token")
    given = setup_of(us, environ_of(us, CLOCKIFY_API_KEY=OWNER))
    with pytest.raises(ConfigError, match="CLOCKIFY_API_KEY is set in the environment, which takes precedence"):
        rotate(given, CLOCKIFY_KEY, "another-key")


def test_every_secret_is_encrypted_again(us: Team) -> None:
    """Those of both systems, of other addresses and of webhooks; then the old key can be removed."""
    first, second = (Fernet.generate_key().decode() for _ in range(2))
    old = setup_of(us, environ_of(us, SYNC_ENCRYPTION_KEY=first))
    on_accounts(old, us)
    with old.vault() as vault:
        credentials.put(vault.store, vault.keyring, "clockify:w1 generic:x", "webhook:A", "hook", old.now())
    both = setup_of(us, environ_of(us, SYNC_ENCRYPTION_KEY=f"{second},{first}"))
    assert (encrypt_again(both), encrypt_again(both)) == (3, 0)
    new = setup_of(us, environ_of(us, SYNC_ENCRYPTION_KEY=second))
    assert len({row.key_id for row in held(new)}) == 1
    with new.session() as session:
        assert session.call(session.clockify.me)["id"]
    with pytest.raises(ConfigError, match="encrypted with another key"), old.session():
        pass


def test_a_secret_under_a_lost_key_is_named_when_all_others_have_the_new_one(us: Team) -> None:
    """One lost key keeps nothing else on an old one; the message names the secret and both ways on."""
    first, second, lost = (Fernet.generate_key().decode() for _ in range(3))
    on_accounts(setup_of(us, environ_of(us, SYNC_ENCRYPTION_KEY=first)), us)
    stray = setup_of(us, environ_of(us, SYNC_ENCRYPTION_KEY=first))
    with stray.store() as store:
        keyring = credentials.open_keyring(lost, us.home)
        place = ("clockify:w1 generic:x", "webhook:A")
        key_id, ciphertext = keyring.seal(place, "hook")
        row = {"connection": place[0], "name": place[1], "key_id": key_id, "ciphertext": ciphertext}
        with store.writing() as tx:  # as an earlier version did: `put` refuses a key that is not the database's
            tx.execute(stored_credentials.insert().values(**row, updated_at=stray.now()))
    both = setup_of(us, environ_of(us, SYNC_ENCRYPTION_KEY=f"{second},{first}"))
    with pytest.raises(ConfigError, match=r"2 secrets were encrypted again; 1 could not be decrypted .*webhook:A"):
        encrypt_again(both)
    with setup_of(us, environ_of(us, SYNC_ENCRYPTION_KEY=second)).session() as session:
        assert session.call(session.clockify.me)["id"]


def test_a_removed_secret_no_longer_exists(us: Team, setup: SetupService) -> None:
    """And with it the way in."""
    on_accounts(setup, us)
    assert (remove(setup, CLOCKIFY_KEY), remove(setup, CLOCKIFY_KEY)) == (True, False)
    assert "No key for Clockify" in read_live_status(setup).obstacle


def test_no_secret_is_in_any_table(us: Team, setup: SetupService) -> None:
    """After all of it: neither key, old or new, in any table, the audit trail included."""
    on_accounts(setup, us)
    second_key(us)
    rotate(setup, CLOCKIFY_KEY, NEW)
    trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    with setup.store() as store, store.reading() as own:
        for table in ("credentials", "audit", "trials", "switches", "events", "syncs"):
            stored = str(own.execute(text(f"SELECT * FROM {table}")).all())
            assert not [secret for secret in (OWNER, NEW, FULL) if secret in stored]
