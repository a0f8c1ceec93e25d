"""Probes of Clockify: at most a handful of requests, since a Free workspace has 30 an hour in total."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlsplit

from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.connectors.clockify.entries import REPORT_DAYS
from sync_pipeline.connectors.clockify.source import ENTRIES_READER, USERS
from sync_pipeline.connectors.error_category import ErrorCategory, categorize, meaning
from sync_pipeline.connectors.limiter import clock_time
from sync_pipeline.connectors.window import Window
from sync_pipeline.diagnose.contact import WRONG_ADDRESS, Contact, core_url, did_you_mean, reports_url, wrong_key
from sync_pipeline.diagnose.finding import Finding, Probe, fail, fine, look_at_clock, refused, warn
from sync_pipeline.diagnose.webhooks import HookProbes
from sync_pipeline.errors import ApiError, FatalApiError, Request, SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.session.systems import hourly_budget

BUDGET, ADDRESS, API, KEY = "Clockify budget", "Clockify address", "Clockify API", "Clockify key"
WORKSPACE, ROLE, PLAN, CLOCK = "Clockify workspace", "Clockify role", "Clockify plan", "Clockify clock"
REPORTS = "Clockify reports"
SHOWN_WORKSPACES = 5
MEMBER_MEANS = (
    "A plain member's key reads no users, and shows only their own entries and the projects they are on: what it leaves"
    " out would look deleted."
)
CLOCK_BREAKS = "Changes are asked for by time, and today decides which days are read: changes could be missed."
REGIONS = (
    "A workspace of a region has addresses of its own, such as https://euc1.clockify.me/api/v1 and"
    " https://euc1.clockify.me/report/v1; one with a subdomain takes a key that was made there."
)


class ClockifyProbes:
    """What a sync needs of Clockify, in the order in which it makes sense."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._account = session.clockify.account
        self._hooks = HookProbes(session)
        self._workspace: dict[str, Any] = {}
        self._no_report: ApiError | None = None
        key, other = self._account.api_key, session.settings.snapshots_api_key
        self._contact = Contact(
            ask=lambda: _checked(session.call(session.clockify.me)),
            base_url=self._account.base_url,
            setting="CLOCKIFY_BASE_URL",
            is_theirs=_is_clockifys,
            suggest=lambda: core_url(self._account.base_url),
            wrong_key=lambda: wrong_key(key, other, remote=session.settings.is_remote),
        )

    def probes(self) -> list[Probe]:
        """All of them; each request is sent once."""
        there = self._session.clockify
        read, written = self._session.read_from(there), self._session.kept_in(there)
        return [
            Probe(BUDGET, self._look_at_budget),
            Probe(ADDRESS, self._contact.look_at_address, (BUDGET,)),
            Probe(API, self._contact.look_at_api, (ADDRESS,)),
            Probe(KEY, self._look_at_key, (API,)),
            Probe(WORKSPACE, self._look_at_workspace, (KEY,)),
            Probe(ROLE, self._look_at_role, (WORKSPACE,)),
            Probe(PLAN, self._look_at_plan, (WORKSPACE,)),
            Probe(CLOCK, self._look_at_clock, (ADDRESS,)),
            *(
                Probe(REPORTS, partial(self._look_at_reports, spec), (WORKSPACE,))
                for spec in read
                if self._reports(spec)
            ),
            *(
                Probe(f"Read {spec.entity} (clockify)", partial(self._look_at_reading, spec), self._needed(spec))
                for spec in read
            ),
            *(Probe(f"Write {spec.entity} (clockify)", self._look_at_writing, (ROLE,)) for spec in written),
            *self._hooks.probes(BUDGET, ROLE),
        ]

    @property
    def account(self) -> str:
        """The owner of the key; "" if it is not known."""
        me = self._contact.answer if isinstance(self._contact.answer, dict) else {}
        name, email = me.get("name"), me.get("email")
        return f"{name} ({email})" if name and email else str(name or email or "")

    @property
    def workspace(self) -> str:
        """The workspace's name; "" when that was not found out."""
        return str(self._workspace.get("name") or "")

    @property
    def cost(self) -> int:
        """The most requests these probes send: user, workspace, role, each list, the webhooks."""
        lists = [spec for spec in self._session.read_from(self._session.clockify) if not _users(spec)]
        return 3 + len(lists) + bool(self._hooks.names)

    def _look_at_budget(self) -> Finding:
        budget = hourly_budget(self._session.store, self._account.limits, self._session.now())
        if budget is None:
            rate = PLANS[self._account.plan].windows[0][0]
            return fine(f"{rate} requests a second; this check takes {self.cost} at most")
        detail = (
            f"{budget.left} of {budget.limit} requests are left this hour, by our own count; a check takes {self.cost}"
        )
        if budget.left >= self.cost:
            return fine(detail, "The workspace's budget is shared by everyone who uses the API, so it may be less.")
        again = f"Try again at {clock_time(budget.free_at(self.cost))}."
        return fail(detail, "Clockify was not asked: the answers could take up to an hour.", again, busy=True)

    def _look_at_key(self) -> Finding:
        found = self._contact.look_at_key()
        if self._contact.error is not None:
            return found if not found.ok else refused(self._contact.error)
        me = self._contact.answer
        return fine(f"{me.get('name') or 'a user'} <{me.get('email')}>")

    def _look_at_workspace(self) -> Finding:
        try:
            self._workspace = self._session.call(self._session.clockify.workspace)
        except FatalApiError as error:
            is_cloud = (urlsplit(self._account.base_url).hostname or "").endswith("clockify.me")
            return refused(error, self._visible_workspaces(), hint=REGIONS if is_cloud else "")
        return fine(str(self._workspace.get("name") or "it has no name"))

    def _visible_workspaces(self) -> str:
        try:
            found = self._session.call(self._session.clockify.workspaces)
        except SyncError:
            return "This key may not list the workspaces that it can see."
        if not found:
            return "This key sees no workspace at all."
        names = [f"{one.get('name')} ({one.get('id')})" for one in found[:SHOWN_WORKSPACES]]
        more = f" and {len(found) - SHOWN_WORKSPACES} more" if len(found) > SHOWN_WORKSPACES else ""
        return f"This key sees {', '.join(names)}{more}."

    def _look_at_role(self) -> Finding:
        try:
            self._session.call(self._session.clockify.prove_admin)
        except FatalApiError as error:
            return refused(error, MEMBER_MEANS if categorize(error) is ErrorCategory.FORBIDDEN else "")
        return fine("an admin or the owner: this key sees everything")

    def _look_at_plan(self) -> Finding:
        """Whether CLOCKIFY_PLAN matches the workspace: too generous leads to 429s, too modest is slow."""
        said = str(self._workspace.get("featureSubscriptionType") or "unknown")
        configured, detail = self._account.plan, f"the workspace says {said}, the setting says {self._account.plan}"
        limits = f"reports are requested for at most {REPORT_DAYS} days at a time"
        if said.upper() == "UNKNOWN":
            fix = "Set CLOCKIFY_PLAN=free, unless you know better: a Free workspace has 30 requests an hour."
            return fine(detail, limits) if configured == "free" else warn(detail, "", fix)
        if said.upper() == "FREE" and configured == "paid":
            return fail(
                detail, "A Free workspace has 30 requests an hour: most would be refused.", "Set CLOCKIFY_PLAN=free."
            )
        if said.upper() != "FREE" and configured == "free":
            return warn(
                detail,
                "Syncs are slowed down for no reason.",
                "Set CLOCKIFY_PLAN=paid: 50 requests a second instead of 30 an hour.",
            )
        return fine(f"{said} (CLOCKIFY_PLAN={configured}); {limits}")

    def _look_at_clock(self) -> Finding:
        return look_at_clock(self._session.clockify.clock_offset, CLOCK_BREAKS)

    def _look_at_reports(self, spec: EntitySpec) -> Finding:
        """Whether the second address is right; whether entries may be read there is found out when that is asked."""
        try:
            self._ask_for_one(spec)
        except ApiError as error:
            if categorize(error) is ErrorCategory.AWAY:
                raise
            if categorize(error) is ErrorCategory.OTHER_API:
                hint = did_you_mean(reports_url(self._account.reports_url, self._account.base_url))
                return refused(error, meaning(error) or WRONG_ADDRESS, hint=hint)
            self._no_report = error
        return fine(f"{self._account.reports_url} answers")

    def _look_at_reading(self, spec: EntitySpec) -> Finding:
        if self._reports(spec):
            if self._no_report is not None:
                raise self._no_report
        elif not _users(spec):  # the role was proven by reading a user
            self._ask_for_one(spec)
        return fine("allowed")

    def _ask_for_one(self, spec: EntitySpec) -> None:
        today, user = self._session.now().date(), str(self._contact.answer["id"])
        self._session.call(self._session.clockify.source(spec).probe, Window.of_days(today, today), user)

    def _reports(self, spec: EntitySpec) -> bool:
        return spec.source.reader == ENTRIES_READER and self._session.settings.clockify_reader != "users"

    def _needed(self, spec: EntitySpec) -> tuple[str, ...]:
        # Lists do not refuse a plain member, they leave out: without the role, an answer says nothing.
        return (ROLE, REPORTS) if self._reports(spec) else (ROLE,)

    def _look_at_writing(self) -> Finding:
        """Nothing is written: whom Clockify lets write its clients follows from the role."""
        return fine("allowed to an admin or the owner")


def _users(spec: EntitySpec) -> bool:
    return spec.source.list == USERS


def _checked(me: dict[str, Any]) -> dict[str, Any]:
    """The user as Clockify reports it; another product's user has no active workspace."""
    if me.get("id") and ("activeWorkspace" in me or "defaultWorkspace" in me):
        return me
    raise FatalApiError(
        "the answer is not a user of Clockify.", Request("Clockify", "GET", "/user"), fix="Check CLOCKIFY_BASE_URL."
    )


def _is_clockifys(error: ApiError) -> bool:
    """Clockify's codes are numbers, where it gives one."""
    return not error.request.code or error.request.code.isdigit()
