"""Subscribing to Clockify's webhooks: whatever is there already is found again, so it can be run any number of times.

A hook of ours is recognised by its secret path; when the secrets were lost, by our name at the same public address.
Clockify sends changes of users only for the users a hook names: ``follow_named`` has it name those who joined since.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from sync_pipeline.connectors.clockify import webhooks
from sync_pipeline.connectors.clockify.webhooks import Webhook, WebhookApi, hook_path
from sync_pipeline.errors import AmbiguousWrite, ConfigError, RejectedRecord, SyncError
from sync_pipeline.session.health import WEBHOOKS, note_finding
from sync_pipeline.session.session import Session
from sync_pipeline.store.credentials import encrypt_again
from sync_pipeline.webhooks.events import WebhookEvents
from sync_pipeline.webhooks.hooks import ADDON, Hook, HookStore, new_hook

NAME_PREFIX = "sync "


@dataclass(frozen=True, slots=True)
class HookRow:
    """One webhook, for people: no address, no token."""

    event: str
    id: str
    action: str
    """created | kept | moved | updated | enabled | rotated | removed | failed; "listed" when nothing was done."""
    ours: bool = True
    problem: str = ""
    """Why nothing is delivered; empty when all is well."""


@dataclass(slots=True)
class Registered:
    """What ``register`` did and found."""

    hooks: list[HookRow] = field(default_factory=list)
    not_subscribed: list[str] = field(default_factory=list)
    """Events without a webhook; polling and re-scans find those changes."""
    failures: dict[str, str] = field(default_factory=dict)
    """Those of them for which there was room, and why they have none all the same."""
    refusal: str = ""
    """The first of these reasons."""
    exit_code: int = 0

    @property
    def is_well(self) -> bool:
        """Whether every hook of ours delivers and none was refused."""
        return not self.exit_code and not any(row.problem for row in self.hooks)

    @property
    def without_room(self) -> list[str]:
        """The events that the plan, or the limit that was given, leaves no room for."""
        return [event for event in self.not_subscribed if event not in self.failures]

    def failed(self, event: str, hook_id: str, error: SyncError, why: str) -> None:
        """Note what could not be done: with the hook that is there, or instead of the one that is not."""
        self.exit_code = self.exit_code or error.exit_code
        self.refusal = self.refusal or str(error)
        if hook_id:
            self.hooks.append(HookRow(event, hook_id, "failed", problem=why))
        else:
            self.not_subscribed.append(event)
            self.failures[event] = why


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to do beyond subscribing."""

    rotate: bool = False
    enable: bool = False
    limit: int | None = None
    """Hooks to use; None: what the plan leaves."""


@dataclass(frozen=True, slots=True)
class Registrar:
    """Registers the hooks of one connection at one public address."""

    session: Session
    hooks: HookStore
    base: str
    _known: list[str] = field(default_factory=list)
    """The users to name, once they were looked up."""

    @classmethod
    def of(cls, session: Session, hooks: HookStore, url: str) -> Registrar:
        """A registrar for a public address; ConfigError when Clockify could not or should not deliver there."""
        return cls(session, hooks, public_url(url, session.settings.clockify_base_url))

    def register(self, wishes: Wishes) -> Registered:
        """Subscribe the most useful events that are missing; repair existing webhooks as far as wished."""
        encrypt_again(self.hooks.store, self.hooks.keyring, self.hooks.pair, self.session.now())
        found = self.session.call(self._api.list)
        order = self.hooks.events.order
        ours = {event: hooks for event in order if (hooks := [h for h in found if self._is_ours(h, event)])}
        room = self._room(found, ours, wishes) - len(ours)
        report, stopped = Registered(), None
        for event in sorted(order, key=lambda event: event not in ours):
            hooks = ours.get(event, [])
            hook_id = hooks[0].id if hooks else ""
            if not hooks and room <= 0:
                report.not_subscribed.append(event)
            elif stopped is not None:
                report.failed(event, hook_id, stopped, f"Not tried, after this: {stopped}")
            else:
                try:
                    report.hooks.append(self._tend(event, hooks, wishes) if hooks else self._create(event))
                    room -= not hooks
                except RejectedRecord as error:  # another event may be allowed
                    report.failed(event, hook_id, error, str(error))
                except SyncError as error:
                    if not report.hooks:
                        raise
                    stopped = error
                    report.failed(event, hook_id, error, str(error))
        _note(self.session, report.hooks, {row.event for row in report.hooks})
        return report

    def addon_url(self) -> str:
        """Where an add-on's manifest sends its webhooks; the same at every call."""
        return self._url(self._hook(ADDON))

    def _tend(self, event: str, found: Sequence[Webhook], wishes: Wishes) -> HookRow:
        # Two at our address come from a create with a lost answer: one is enough.
        webhook, *doubles = sorted(found, key=lambda one: not one.is_working)
        for double in doubles:
            self.session.call(self._api.delete, double.id)
        hook, action = self._hook(event), "kept"
        if webhook.url != self._url(hook):
            webhook, action = self._update(hook, webhook.id), "moved"
        elif not self._names_all(webhook):
            webhook, action = self._update(hook, webhook.id), "updated"
        if wishes.enable and webhook.in_plan and not webhook.is_working:
            webhook, action = self._enable(hook, webhook.id), "enabled"
        if wishes.rotate:
            webhook, action = self.session.call(self._api.rotate, webhook.id), "rotated"
        self._learn(hook, webhook)
        return HookRow(event, webhook.id, action, problem=webhook.problem)

    def _create(self, event: str) -> HookRow:
        hook = self._hook(event)  # kept before Clockify knows it: a crash in between is found again by its path
        webhook = self._post(hook)
        self._learn(hook, webhook)
        return HookRow(event, webhook.id, "created", problem=webhook.problem)

    def _post(self, hook: Hook) -> Webhook:
        try:
            users = self._users(hook.name)
            return self.session.call(self._api.create, name_of(hook.name), hook.name, self._url(hook), users)
        except AmbiguousWrite:
            there = [one for one in self.session.call(self._api.list) if one.url == self._url(hook)]
            if not there:
                raise
            return there[0]

    def _update(self, hook: Hook, hook_id: str) -> Webhook:
        users = self._users(hook.name)
        return self.session.call(self._api.update, hook_id, name_of(hook.name), hook.name, self._url(hook), users)

    def _users(self, event: str) -> Sequence[str]:
        """Whom a hook for this event names: those of the last sync, before the first one those Clockify lists."""
        if event not in self.hooks.events.only_named:
            return ()
        if not self._known:
            found = to_name(self.session, self.hooks.events, event) or sorted(
                self.session.call(self.session.clockify.user_ids)
            )
            self._known.extend(found[-webhooks.MOST_NAMED :])
        return self._known

    def _enable(self, hook: Hook, hook_id: str) -> Webhook:
        """Saving it again is enough where Clockify lets us; a new one is always switched on."""
        webhook = self._update(hook, hook_id)
        if not webhook.is_working:
            self.session.call(self._api.delete, hook_id)
            webhook = self._post(hook)
        return webhook

    def _learn(self, hook: Hook, webhook: Webhook) -> None:
        """The token is what Clockify says it is, also when it was changed in its pages or by a run that was killed."""
        now = self.session.now()
        learnt = hook.with_token(webhook.token, now) if webhook.token else hook
        if hook.name in self.hooks.events.only_named:
            learnt = replace(learnt, users=_mark(to_name(self.session, self.hooks.events, hook.name)))
        if learnt != hook:
            self.hooks.save(learnt, now)

    def _names_all(self, webhook: Webhook) -> bool:
        events = self.hooks.events
        return webhook.event not in events.only_named or names(webhook, to_name(self.session, events, webhook.event))

    def _hook(self, name: str) -> Hook:
        hook = self.hooks.load(name)
        if hook is None:
            hook = new_hook(name)
            self.hooks.save(hook, self.session.now())
        return hook

    def _is_ours(self, webhook: Webhook, event: str) -> bool:
        if webhook.event != event:
            return False
        if is_known(self.hooks, self._workspace, webhook):
            return True
        start = f"{self.base}{hook_path(self._workspace)}/{event}/"
        return webhook.name.startswith(NAME_PREFIX) and webhook.url.startswith(start)

    def _room(self, found: Sequence[Webhook], ours: Mapping[str, Sequence[Webhook]], wishes: Wishes) -> int:
        """How many of our webhooks fit beside those of others."""
        if wishes.limit is not None:
            return wishes.limit
        mine = {hook.id for hooks in ours.values() for hook in hooks}
        others = [hook for hook in found if hook.id not in mine]
        return self.session.call(self.session.clockify.hook_room, others)

    def _url(self, hook: Hook) -> str:
        return self.base + hook.path(self._workspace)

    @property
    def _workspace(self) -> str:
        return self.session.clockify.account.workspace

    @property
    def _api(self) -> WebhookApi:
        return self.session.clockify.webhooks


def follow_named(session: Session, hooks: HookStore) -> str:
    """Have the hooks about users name all currently known users; returns what was done, "" when nothing was.

    It asks Clockify only when the users in the store are others than last time. A refusal is returned and not tried again
    until they change: their changes are found by polling all the same.
    """
    events = hooks.events
    known = {name: to_name(session, events, name) for name in sorted(events.only_named.intersection(hooks.names()))}
    loaded = (hooks.load(name) for name, users in known.items() if users)
    due = [hook for hook in loaded if hook is not None and hook.users != _mark(known[hook.name])]
    if not due:
        return ""
    api, workspace = session.clockify.webhooks, session.clockify.account.workspace
    there = {one.event: one for one in session.call(api.list) if is_known(hooks, workspace, one)}
    notes = []
    for hook in due:
        webhook, users = there.get(hook.name), known[hook.name]
        if webhook is not None and not names(webhook, users):
            try:
                session.call(api.update, webhook.id, webhook.name, webhook.event, webhook.url, users)
                notes.append(f"the webhook {hook.name} names {len(users)} {events.entity_of(hook.name)} now")
            except RejectedRecord as error:
                notes.append(f"the webhook {hook.name} does not name all {events.entity_of(hook.name)}: {error}")
        hooks.save(replace(hook, users=_mark(users)), session.now())
    return ". ".join(notes)


def to_name(session: Session, events: WebhookEvents, event: str) -> list[str]:
    """Whom a webhook for this event has to name: the newest records in the store that it is about, by id."""
    return session.ledger(events.entity_of(event) or "").newest_ids(webhooks.MOST_NAMED)


def names(webhook: Webhook, users: Sequence[str]) -> bool:
    """Whether the webhook names these users, and one at least."""
    return bool(webhook.users) and (webhook.users or set()).issuperset(users)


def _mark(users: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(users).encode()).hexdigest()[:16]


def list_hooks(session: Session, hooks: HookStore) -> list[HookRow]:
    """Every webhook of the workspace and whether it delivers. No secret is read, so it works when the key is lost."""
    workspace, names = session.clockify.account.workspace, set(hooks.names())
    found = session.call(session.clockify.webhooks.list)
    rows = [
        HookRow(one.event, one.id, "listed", one.event in names and _has_our_form(one, workspace), one.problem)
        for one in sorted(found, key=lambda one: (one.event, one.id))
    ]
    _note(session, [row for row in rows if row.ours], names - {ADDON})
    return rows


def _note(session: Session, ours: Sequence[HookRow], names: set[str]) -> None:
    """Note which of our webhooks do not deliver, for an alert."""
    missing = sorted(names - {row.event for row in ours})
    found = [f"Clockify does not have {', '.join(missing)}"] if missing else []
    found += [f"{row.event}: {row.problem.rstrip('.')}" for row in ours if row.problem]
    note_finding(session, WEBHOOKS, "; ".join(found), keep_ok=bool(names))


def remove_hooks(session: Session, hooks: HookStore, ids: Sequence[str] = ()) -> list[HookRow]:
    """Delete these webhooks, or all of ours, and forget their secrets.

    With ``ids`` no secret is read, so it works when the key is lost.
    """
    workspace, api = session.clockify.account.workspace, session.clockify.webhooks
    found = session.call(api.list)
    if unknown := set(ids) - {one.id for one in found}:
        raise ConfigError(
            f"The workspace has no webhook {', '.join(sorted(unknown))}.",
            fix="`sync-pipeline webhooks list` shows them.",
        )
    removed = [one for one in found if one.id in ids] if ids else [o for o in found if is_known(hooks, workspace, o)]
    for one in removed:
        session.call(api.delete, one.id)
        if _has_our_form(one, workspace):
            hooks.remove(one.event)
    if not ids:
        for name in hooks.names():
            hooks.remove(name)
        note_finding(session, WEBHOOKS, "")
    return [HookRow(one.event, one.id, "removed", ours=not ids) for one in removed]


def registered_at(session: Session, hooks: HookStore) -> str:
    """The public address to which our webhooks deliver; "" when none is registered."""
    workspace = session.clockify.account.workspace
    ours = (one.url for one in session.call(session.clockify.webhooks.list) if is_known(hooks, workspace, one))
    return next((url.partition(hook_path(workspace))[0] for url in ours), "")


def is_known(hooks: HookStore, workspace: str, webhook: Webhook) -> bool:
    """Whether it delivers to a secret path of ours."""
    hook = hooks.load(webhook.event)
    return hook is not None and urlsplit(webhook.url).path.endswith(hook.path(workspace))


def _has_our_form(webhook: Webhook, workspace: str) -> bool:
    return f"{hook_path(workspace)}/{webhook.event}/" in webhook.url


def name_of(event: str) -> str:
    """How the webhook is called in Clockify's pages."""
    return (NAME_PREFIX + event)[: webhooks.LONGEST_NAME]


def public_url(url: str, clockify_url: str) -> str:
    """The address without its last slash; ConfigError when Clockify could not or should not deliver there."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises ValueError when it is none
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or "@" in parts.netloc:
        shown = "what was given" if "@" in url else url  # it may hold a password
        raise ConfigError(
            f"--url: {shown} is no public address.", fix="Like https://hooks.example.com, or with a path."
        )
    if is_loopback(host) and not is_loopback(urlsplit(clockify_url).hostname or ""):
        raise ConfigError(
            f"Clockify cannot reach {host}.",
            fix="Give the address of your reverse proxy or tunnel; see docs/webhooks.md.",
        )
    if parts.scheme != "https" and not is_loopback(host):
        raise ConfigError(
            f"--url: {url} is not encrypted: the token would travel in the open.", fix="Use an https:// address."
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
