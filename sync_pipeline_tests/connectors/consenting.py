"""A person at the sandbox's consent page, and vaults to keep what comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
from cryptography.fernet import Fernet

from sync_pipeline.connectors.consent import Consent, begin_consent, finish_consent, read_callback
from sync_pipeline.connectors.profile import OAuthFacts
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.sandbox.server import Running
from sync_pipeline.store.credentials import open_keyring
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.tokens import StoredVault, Tokens
from sync_pipeline_tests.connectors.clients import run

CLIENT = Credentials(client_id="sandbox-client", client_secret="sandbox-secret")
REDIRECT = "http://127.0.0.1:43210/snapshots/callback"
SCOPES = ("saas/location.read", "users.read", "users.write")
ENCRYPTION_KEY = Fernet.generate_key().decode()
PLACE = "clockify w1 > snapshots a1"


def facts() -> OAuthFacts:
    """What the generic profile states about OAuth."""
    found = load_profile().auth.oauth
    assert found is not None
    return found


def asked(sandbox: Running, *, scopes: Iterable[str] = SCOPES, redirect_uri: str = REDIRECT) -> Consent:
    """A question to a person."""
    return begin_consent(facts(), sandbox.snapshots, CLIENT.client_id, scopes, redirect_uri)


def press(consent: Consent, decision: str = "approve") -> dict[str, str]:
    """Press a button on the consent page; what the browser brings back."""
    parts = urlsplit(consent.url)
    form = {**dict(parse_qsl(parts.query)), "decision": decision}
    answer = httpx.post(consent.url.partition("?")[0], data=form, trust_env=False)
    location = answer.headers["location"]
    assert location.startswith(consent.redirect_uri)
    return dict(parse_qsl(urlsplit(location).query))


def authorized(sandbox: Running, *, client: Credentials = CLIENT) -> Tokens:
    """The tokens of a person who allowed the access."""
    consent = asked(sandbox)
    code = read_callback(consent, press(consent))
    return run(finish_consent(client.endpoint(facts(), sandbox.snapshots), consent, code))


def ended(tokens: Tokens) -> Tokens:
    """The same pair, its access token at its end."""
    return replace(tokens, expires_at=0.0)


@contextmanager
def vault_in(url: str) -> Iterator[StoredVault]:
    """A vault in the store at ``url``."""
    store = open_store(url)
    try:
        yield StoredVault(store, open_keyring(ENCRYPTION_KEY, Path("unused")), PLACE)
    finally:
        store.close()


def token_requests(sandbox: Running) -> int:
    """How often the token address was asked since the counters were cleared."""
    return sandbox.world.stats.requests["POST /snapshots/oauth/token"]
