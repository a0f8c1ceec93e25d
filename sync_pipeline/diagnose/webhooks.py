"""Probes of the webhooks: does Clockify have ours switched on, and does their public address lead to our receiver."""

from __future__ import annotations

from collections.abc import Sequence

from sync_pipeline.connectors.clockify.webhooks import Webhook, hook_path
from sync_pipeline.connectors.guard import RequestGuard
from sync_pipeline.connectors.http import ApiClient, ClientOptions, Endpoint, RetryPolicy
from sync_pipeline.connectors.limiter import memory_limiter
from sync_pipeline.connectors.policy import FIRST_ROWS, LAST_ROWS
from sync_pipeline.connectors.transport import is_local
from sync_pipeline.diagnose.finding import Finding, Probe, fail, fine, refused, skip, span, warn
from sync_pipeline.errors import ApiError, FatalApiError, Request
from sync_pipeline.session.session import Session
from sync_pipeline.stages.polling import poll_seconds
from sync_pipeline.store.credentials import hook_names
from sync_pipeline.store.events import open_counts

HOOKS, RECEIVER = "Clockify webhooks", "Webhook receiver"
HEALTH = "/healthz"
OURS = {"receiver", "inbox_open"}
"""Our receiver has one of these in its answer; the second one is the local address's, and that of older ones."""
ADDON = "ADDON"
REGISTER = "`sync-pipeline webhooks register --enable --url ...` subscribes them again."
POLLED = "Until that works, changes are found by polling and re-scans only."


class HookProbes:
    """The webhooks of one connection; no secret is read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.names = hook_names(session.store, session.pair)
        self._bases: list[str] = []

    def probes(self, budget: str, role: str) -> list[Probe]:
        """Without registered webhooks there is one line and no request."""
        if not self.names:
            return [Probe(HOOKS, self._look_at_polling)]
        if self.names == [ADDON]:
            return [Probe(HOOKS, lambda: skip("an add-on delivers them: its address is in its manifest"))]
        return [Probe(HOOKS, self._look_at_hooks, (budget, role)), Probe(RECEIVER, self._look_at_receiver, (HOOKS,))]

    def _look_at_polling(self) -> Finding:
        every = min((poll_seconds(self._session, spec) for spec in self._session.specs.values()), default=0)
        return fine(f"none are registered: changes are found by polling, as often as every {span(every)}")

    def _look_at_hooks(self) -> Finding:
        found = self._session.call(self._session.clockify.webhooks.list)
        ours = [hook for hook in found if hook.event in self.names and self._mark(hook) in hook.url]
        self._bases = sorted({hook.url.partition(self._mark(hook))[0] for hook in ours})
        missing = sorted(set(self.names) - {hook.event for hook in ours} - {ADDON})
        return _finding_of(ours, missing)

    def _look_at_receiver(self) -> Finding:
        if not self._session.settings.is_remote and not all(map(is_local, self._bases)):
            return skip("in the sandbox only this machine is asked")
        for base in self._bases:
            try:
                self._session.call(ask_health, base, self._session.mode.guard)
            except ApiError as error:
                return self._unreachable(base, error)
        waiting = sum(open_counts(self._session.store, self._session.pair).values())
        return fine(f"{', '.join(self._bases)} leads to our receiver; {waiting} events wait in the inbox")

    def _unreachable(self, base: str, error: ApiError) -> Finding:
        if error.request.status is None and not error.request.cause:
            return refused(error, POLLED)
        hint = f"Run `sync-pipeline webhooks serve`, and let the proxy at {base} pass /hooks/ and /healthz on to it."
        return warn(error.message, f"Asked from this machine; from outside it may be different. {POLLED}", hint)

    def _mark(self, hook: Webhook) -> str:
        return f"{hook_path(self._session.clockify.account.workspace)}/{hook.event}/"


def _finding_of(ours: Sequence[Webhook], missing: Sequence[str]) -> Finding:
    if missing:
        return fail(f"Clockify does not have {', '.join(missing)}", f"They were deleted there. {POLLED}", REGISTER)
    broken = [hook for hook in ours if hook.problem]
    if not broken:
        return fine(f"{len(ours)} are switched on")
    problems = "; ".join(f"{hook.event}: {hook.problem.rstrip('.')}" for hook in broken)
    if any(hook.in_plan for hook in broken):
        return fail(problems, POLLED, REGISTER)
    return warn(problems, POLLED, "Remove the least useful ones, or change the plan.")


async def ask_health(base_url: str, guard: RequestGuard) -> None:
    """Ask the receiver behind a public address; ApiError when it is not ours, or not healthy."""
    endpoint = Endpoint(RECEIVER, base_url, "the public address", "the public address")
    options = ClientOptions(limiter=memory_limiter(), guard=guard, retry_policy=RetryPolicy(attempts=1))
    async with ApiClient(endpoint, None, (*FIRST_ROWS, *LAST_ROWS), options) as client:
        answer = await client.request("GET", HEALTH)
    if not isinstance(answer.data, dict) or not OURS & answer.data.keys():
        raise FatalApiError(
            "another program answers there.",
            Request(RECEIVER, "GET", HEALTH),
            fix=f"Let the proxy in front of {base_url} lead to `sync-pipeline webhooks serve`.",
        )
