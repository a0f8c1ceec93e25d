"""Collecting the facts that open and resolve alerts; nothing is written, and no request is sent."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import orjson

from sync_pipeline.alerts.derive import CredentialFact, Facts
from sync_pipeline.errors import SyncError
from sync_pipeline.session.health import nothing_syncs
from sync_pipeline.session.secrets import Secret, Slot, Vault, needed_slots
from sync_pipeline.session.session import Session
from sync_pipeline.store.alert_notices import failing_destinations
from sync_pipeline.store.approvals import Approval, list_approvals
from sync_pipeline.store.digests import failing_digests
from sync_pipeline.store.health import read_health
from sync_pipeline.store.rate import Budget
from sync_pipeline.store.references import WAITS
from sync_pipeline.store.rejects import rejected_records
from sync_pipeline.store.switches import read_switch
from sync_pipeline.store.syncs import failing, status

REQUESTS = 100
"""Open requests for approval that are looked at."""


def facts_of(session: Session) -> Facts:
    """What is known about the pipeline of this session now."""
    store, pair, max_age = session.store, session.pair, session.settings.key_max_age_days
    switch = read_switch(store, pair)
    successes = {entity: each.last_success for entity, each in status(store, pair).items()}
    return Facts(
        now=session.now(),
        entities=tuple(session.specs),
        health=read_health(store, pair),
        nothing_syncs=nothing_syncs(session),
        is_live=session.mode.automatic and (session.settings.stored or session.settings.mode == "live"),
        live_since=switch.at if switch is not None and switch.is_on else None,
        failing=failing(store, pair),
        last_success={entity: sync for entity, sync in successes.items() if sync is not None},
        held=_open_requests(session),
        rejects=rejected_records(store, pair, without=WAITS),
        budgets=_budgets(session),
        credentials=tuple(_credentials(session)),
        max_age=timedelta(days=max_age) if max_age else None,
        destinations={**failing_digests(store, pair), **failing_destinations(store, pair)},
    )


def _open_requests(session: Session) -> list[Approval]:
    asked = list_approvals(session.store, session.pair, session.now(), limit=REQUESTS)
    return [each for each in asked if each.decision is None and each.entity in session.specs]


def _budgets(session: Session) -> Mapping[str, Budget]:
    budget = session.budget
    return {} if budget is None else {session.clockify.account.bucket.partition(":")[0]: budget}


def _credentials(session: Session) -> Iterator[CredentialFact]:
    for slot in needed_slots(session.settings):
        value = getattr(session.settings, slot.setting)
        secret = _stored(session, slot) if value else None
        entered_at = datetime.fromisoformat(secret.entered_at) if secret is not None else None
        yield CredentialFact(slot.system, entered_at, _expiry(value))


def _stored(session: Session, slot: Slot) -> Secret | None:
    """The stored secret, where that is the one in use."""
    if not session.settings.stored:
        return None
    with suppress(SyncError):
        secret = Vault(session.store, session.settings).get(slot)
        if secret is not None and secret.value == getattr(session.settings, slot.setting):
            return secret
    return None


def _expiry(token: str) -> datetime | None:
    """Until when a token that is a JWT says it is valid; its signature is for the API to verify."""
    parts = token.split(".")
    if len(parts) != 3 or not token.startswith("eyJ"):
        return None
    with suppress(ValueError, binascii.Error, OverflowError, OSError):
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        ends = claims.get("exp") if isinstance(claims, dict) else None
        return datetime.fromtimestamp(ends, UTC) if isinstance(ends, int | float) else None
    return None
