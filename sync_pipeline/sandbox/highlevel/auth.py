"""Who is calling: tokens, versions, scopes, locations, and the requests each company and location has left."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from starlette.requests import Request

from sync_pipeline.sandbox.highlevel import grants
from sync_pipeline.sandbox.highlevel.ids import COMPANY
from sync_pipeline.sandbox.highlevel.keys import AGENCY_SCOPES, LOCATION_SCOPES, SCHEMA_SCOPES, token_owner
from sync_pipeline.sandbox.highlevel.refusals import Refusal
from sync_pipeline.sandbox.highlevel.settings import Settings
from sync_pipeline.sandbox.world import World

VERSIONS = frozenset({"2021-04-15", "2021-07-28", "2023-02-21", "v3"})
INTERVAL = 10.0


@dataclass(frozen=True, slots=True)
class Caller:
    """A token that was recognised, and what it is for: the company, or one location."""

    token: str
    owner: str
    scopes: frozenset[str]

    @property
    def kind(self) -> str:
        """``agency`` or ``location``."""
        return "agency" if self.owner == COMPANY else "location"


def authenticate(world: World, settings: Settings, request: Request) -> Caller:
    """The caller behind a request's token, or a 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refusal("no_token")
    if token.startswith("pit-"):
        return _private_integration(world, settings, token.strip())
    grant = grants.find(world, "access", token.strip())
    if grant is None or (grant.owner != COMPANY and not grant.has_app(grant.owner, settings)):
        raise Refusal("bad_token")
    if grant.expires_at <= world.clock.epoch():
        raise Refusal("expired_token")
    return Caller(token.strip(), grant.owner, frozenset(grant.scope.split()))


def _private_integration(world: World, settings: Settings, token: str) -> Caller:
    owner, state = token_owner(world.db, token), settings.tokens.get(token, "valid")
    if owner is None or state == "revoked":
        raise Refusal("bad_token")
    if state == "expired":
        raise Refusal("expired_token")
    offered = LOCATION_SCOPES
    if owner == COMPANY:
        offered = AGENCY_SCOPES + (SCHEMA_SCOPES if settings.schema_by == "agency" else ())
    return Caller(token, owner, frozenset(offered) - set(settings.missing_scopes.get(token, ())))


def check_version(request: Request) -> None:
    """401 without the header, or with a version that was never published."""
    version = request.headers.get("version")
    if not version:
        raise Refusal("no_version")
    if version not in VERSIONS:
        raise Refusal("bad_version")


@dataclass(slots=True)
class Budget:
    """100 requests in ten seconds, in real time, and so many on a day of the sandbox's clock, for each token's owner."""

    world: World
    _sent: dict[str, deque[float]] = field(default_factory=dict)

    def take(self, owner: str, settings: Settings) -> dict[str, str]:
        """Count one request; returns the headers with what is left. The request is refused when that is negative."""
        burst, now = self.world.options.highlevel_requests, self.world.clock.real_epoch()
        sent = self._sent.setdefault(owner, deque())
        while sent and not now - INTERVAL < sent[0] <= now:
            sent.popleft()
        left_now = burst - len(sent) - 1 if burst else 99
        left_today = settings.per_day - self._used_today(owner) - 1
        if min(left_now, left_today) >= 0:
            if burst:
                sent.append(now)
            self._use(owner)
        return {
            "X-RateLimit-Limit-Daily": str(settings.per_day),
            "X-RateLimit-Daily-Remaining": str(left_today),
            "X-RateLimit-Interval-Milliseconds": str(round(INTERVAL * 1000)),
            "X-RateLimit-Max": str(burst or 100),
            "X-RateLimit-Remaining": str(left_now),
        }

    def leave(self, settings: Settings, left: int) -> None:
        """Leave every caller so many requests today."""
        self.world.db.execute("DELETE FROM highlevel_days")
        self.world.db.execute("INSERT INTO highlevel_days VALUES (?, '*', ?)", (self._day(), settings.per_day - left))

    def _day(self) -> str:
        return f"{self.world.clock.now():%Y-%m-%d}"

    def _used_today(self, owner: str) -> int:
        query = "SELECT coalesce(max(used), 0) FROM highlevel_days WHERE day = ? AND resource IN (?, '*')"
        used: int = self.world.db.execute(query, (self._day(), owner)).fetchone()[0]
        return used

    def _use(self, owner: str) -> None:
        self.world.db.execute(
            "INSERT OR REPLACE INTO highlevel_days VALUES (?, ?, ?)",
            (self._day(), owner, self._used_today(owner) + 1),
        )
