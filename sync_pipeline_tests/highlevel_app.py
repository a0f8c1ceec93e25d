"""A team that reaches HighLevel by an app: a person consented for the agency, and the home location has a token of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx

from sync_pipeline.clock import unix_time
from sync_pipeline.connectors.consent import begin_consent, finish_consent, read_callback
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.sandbox.highlevel.keys import CLIENT_ID, CLIENT_SECRET
from sync_pipeline.session.secrets import Vault
from sync_pipeline.store.tokens import Lost, Tokens
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.server import RunningReceiver, running
from sync_pipeline.webhooks.signed import addresses, signed_deliveries
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


@contextmanager
def receiving(us: HighLevelTeam) -> Iterator[RunningReceiver]:
    """A receiver, with its addresses entered in the app."""
    us.changes["SNAPSHOTS_WEBHOOK_KEY"] = us.control("GET", "highlevel")["webhook_public_key"]
    with us.session() as session:
        hooks, workspace = open_hooks(session), session.clockify.account.workspace
        rows = addresses(session, hooks, "http://127.0.0.1:1").rows
        with running(hooks, ReceiverOptions(workspace=workspace, signed=signed_deliveries(session))) as receiver:
            us.switch(
                webhooks={row["event"]: row["address"].replace("http://127.0.0.1:1", receiver.url) for row in rows}
            )
            yield receiver


def arrived(receiver: RunningReceiver, number: int) -> None:
    """Wait for deliveries: the sandbox sends them as fast as it can."""
    with httpx.Client(trust_env=False) as client:
        for _ in range(2000):
            text = client.get(f"{receiver.url}/metrics").text
            if f"stored_total {number}.0" in text:
                return
    raise AssertionError(text)
