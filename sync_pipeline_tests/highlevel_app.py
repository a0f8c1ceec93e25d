"""A team that reaches HighLevel by an app: a person consented for the agency, and the home location has a token of its own."""

from __future__ import annotations

from dataclasses import replace

from sync_pipeline.clock import unix_time
from sync_pipeline.connectors.consent import begin_consent, finish_consent, read_callback
from sync_pipeline.connectors.profile import load_profile
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.sandbox.highlevel.keys import CLIENT_ID, CLIENT_SECRET
from sync_pipeline.session.secrets import Vault
from sync_pipeline.store.tokens import Lost, Tokens
from sync_pipeline_tests.connectors.clients import run
from sync_pipeline_tests.connectors.consenting import REDIRECT, press
from sync_pipeline_tests.highlevel import HighLevelTeam

TOKEN, MINT = "POST /highlevel/oauth/token", "POST /highlevel/oauth/locationToken"
APP = {
    "SNAPSHOTS_API_KEY": "",
    "HIGHLEVEL_AGENCY_KEY": "",
    "SNAPSHOTS_AUTH": "authorization_code",
    "SNAPSHOTS_CLIENT_ID": CLIENT_ID,
    "SNAPSHOTS_CLIENT_SECRET": CLIENT_SECRET,
}
"""The settings of its environment."""


def consent(us: HighLevelTeam) -> Tokens:
    """A person consents; from now on the team has nothing else."""
    us.changes |= APP
    profile = load_profile("highlevel")
    facts, base_url = profile.auth.oauth, us.sandbox.highlevel
    assert facts is not None
    asked = begin_consent(facts, base_url, CLIENT_ID, facts.scopes, REDIRECT)
    endpoint = Credentials(client_id=CLIENT_ID, client_secret=CLIENT_SECRET).endpoint(facts, base_url)
    tokens = run(finish_consent(endpoint, asked, read_callback(asked, press(asked))))
    with us.session() as session:
        Vault(session.store, session.settings).new_tokens.keep(tokens)
    return tokens


def kept(us: HighLevelTeam) -> tuple[Tokens | Lost | None, Tokens | Lost | None]:
    """What the vault holds: the company's tokens, and the location's."""
    with us.session() as session:
        vault = Vault(session.store, session.settings)
        return vault.tokens.read(), vault.account_tokens.read()


def ending(us: HighLevelTeam, *, company: float = 86_400, location: float = 86_400) -> None:
    """Let what is kept end in so many seconds, by our clock."""
    with us.session() as session:
        vault = Vault(session.store, session.settings)
        for one, seconds in ((vault.tokens, company), (vault.account_tokens, location)):
            if isinstance(held := one.read(), Tokens):
                one.keep(replace(held, expires_at=unix_time() + seconds))
