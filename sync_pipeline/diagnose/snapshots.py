"""Probes of the Snapshots API: address, key, and the scope of each entity and direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from sync_pipeline.connectors.error_category import KEY_MEANINGS, ErrorCategory, categorize
from sync_pipeline.connectors.policy import Action
from sync_pipeline.connectors.preparation import Extra, Preparation
from sync_pipeline.diagnose.contact import Contact, snapshots_url, wrong_key
from sync_pipeline.diagnose.finding import Finding, Probe, Status, fail, fine, look_at_clock, refused, warn
from sync_pipeline.errors import ApiError, NotAuthorized
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.session.systems import read_measured

FULL = 0.8
"""From what share of a limit on a warning is given."""
PREPARE = "Run `sync-pipeline prepare`, or open Prepare in the console's set-up (/setup/prepare)."
CLOCK_BREAKS = "Tokens and changes depend on time: tokens could be used too long, changes be missed."
ONLY_VERIFY = "Syncs work without it; `verify` and `--repair` cannot compare the records there."
REVOKED = "The key or token was revoked, replaced, or copied incompletely."
AUTHORIZE = "Authorize again."
WRONG_TYPE = "Delete that field there, or map to another one. Then prepare again."
MAKE_ROOM = "Start later with SYNC_START_DATE, or delete there what is not needed."
FIXES = {
    "invalid_grant": AUTHORIZE,
    "access_denied": AUTHORIZE,
    "invalid_client": "Copy id and secret again.",
    "token_expired": "Get a new one; with an OAuth client tokens are renewed automatically.",
}


class SnapshotsProbes:
    """What a sync needs of the Snapshots API, in the order in which it makes sense."""

    account = workspace = ""
    """What these are called is not asked for."""

    def __init__(self, session: Session) -> None:
        # What is made once is made of lists that others read; its operation cannot be tried.
        self._session, self._specs = session, [spec for spec in session.specs.values() if not spec.target.once]
        self._sources, self._written = session.read_from(session.snapshots), session.kept_in(session.snapshots)
        # The entity that is read there first, as a key with one scope only may have that one.
        self._first = min(self._specs, key=lambda spec: spec not in self._sources)
        settings, profile = session.settings, session.snapshots.profile
        # A list always exists: a 404 means that the address leads past the API's root.
        codes = frozenset(row.code for row in profile.answers if row.code and row.action is not Action.MISSING)
        self._contact = Contact(
            ask=lambda: session.call(session.snapshots.probe, self._first.entity),
            base_url=settings.snapshots_base_url,
            setting="SNAPSHOTS_BASE_URL",
            otherwise=REVOKED,
            is_theirs=lambda error: error.request.code in codes or not _is_clockifys(error),
            suggest=lambda: snapshots_url(settings.snapshots_base_url, session.specs),
            wrong_key=lambda: wrong_key(
                settings.snapshots_api_key, settings.clockify_api_key, remote=settings.is_remote
            ),
            codes=codes,
            fixes=FIXES,
        )

    def probes(self) -> list[Probe]:
        """All of them: one request for each entity and direction."""
        name = self._session.snapshots.profile.system
        address, api, key = f"{name} address", f"{name} API", f"{name} key"
        account, prepared = f"{name} account", f"{name} preparation"
        needs = {spec.entity: (key, account, prepared) for spec in self._written}
        return [
            Probe(address, self._contact.look_at_address),
            Probe(api, self._contact.look_at_api, (address,)),
            Probe(key, self._look_at_key, (api,)),
            Probe(f"{name} limits", self._look_at_limits),
            Probe(f"{name} clock", self._look_at_clock, (address,)),
            *self._of_preparation(name, account, prepared, (key,)),
            *(
                Probe(
                    f"Read {one.entity} (snapshots)", partial(self._look_at_reading, one), needs.get(one.entity, (key,))
                )
                for one in self._specs
            ),
            *(
                Probe(f"Write {one.entity} (snapshots)", partial(self._look_at_writing, one), needs[one.entity])
                for one in self._written
            ),
        ]

    def _of_preparation(self, name: str, account: str, prepared: str, needs: tuple[str, ...]) -> Iterator[Probe]:
        """Of a system that has to be prepared: which account the key is for, what is missing there, how full it is."""
        there = self._session.snapshots.preparation
        if there is not None:
            yield Probe(account, partial(self._look_at_account, there), needs)
            yield Probe(prepared, partial(self._look_at_preparation, there), (account,))
            yield Probe(f"{name} room", partial(self._look_at_room, there), (account,))
            yield Probe(f"{name} behaviour", self._look_at_behaviour)
            for one in there.extras:
                yield Probe(f"{name} {one.name}", partial(self._look_at_extra, one), (account,))

    def _look_at_account(self, there: Preparation) -> Finding:
        wanted, found = self._session.settings.snapshots_location, self._session.call(there.accounts)
        if (one := next((one for one in found if one.id == wanted), None)) is not None:
            by_app = f"the app's token is for {one.company}, and the one that keeps the records for {one}"
            return fine(f"the token is for {one}" if self._session.settings.auth == "api_key" else by_app)
        if self._session.settings.auth != "api_key":
            return fail(
                f"the app is not installed in {wanted}",
                KEY_MEANINGS["not_installed"],
                "Install it there, or connect another account in step 2. If it is installed, authorize again.",
                exit_code=NotAuthorized.exit_code,
            )
        accounts = " and ".join(map(str, found[:3])) or "no account"
        return fail(
            f"the token is for {accounts}, and {wanted} is set up",
            KEY_MEANINGS["other_location"],
            f"Use a token of {wanted}, or connect the other one.",
            exit_code=NotAuthorized.exit_code,
        )

    def _look_at_preparation(self, there: Preparation) -> Finding:
        compared = self._session.call(there.compare, self._specs)
        if compared.wrong:
            what = "; ".join(map(str, compared.wrong))
            return fail(what, "Records cannot be kept there as the mapping has them.", WRONG_TYPE)
        if compared.missing:
            return fail("; ".join(map(str, compared.missing)), "Records cannot be written before that exists.", PREPARE)
        return fine("everything that the mappings need is there")

    def _look_at_room(self, there: Preparation) -> Finding:
        used = self._session.call(there.usage, self._specs)
        words = [f"{one.used:,} of {one.most:,} {one.what}" for one in used]
        full = [text for one, text in zip(used, words, strict=True) if one.used >= FULL * one.most]
        if full:
            return warn("; ".join(full), "Beyond the limit nothing more can be created.", MAKE_ROOM)
        return fine("; ".join(words))

    def _look_at_behaviour(self) -> Finding:
        found = [
            one
            for one in read_measured(self._session.store, self._session.settings)
            if one.entity in self._session.specs
        ]
        if not found:
            return warn("not measured yet", "Where the documents leave something open, the worst is assumed.", PREPARE)
        detail = _measured_once({one.entity.replace("_", " "): one.detail for one in found})
        fixes = " ".join(dict.fromkeys(one.fix for one in found if one.fix))
        return warn(detail, "", fixes) if fixes else fine(detail)

    def _look_at_key(self) -> Finding:
        found = self._contact.look_at_key()
        account, granted = self._session.settings.snapshots_account, self._granted()
        if not found.ok or not (account or granted):
            return found
        of = f" for the account {account}" if account else ""
        return fine(f"accepted{of}" + (f"; granted: {' '.join(sorted(granted))}" if granted else ""))

    def _look_at_limits(self) -> Finding:
        rates = [
            f"{requests} requests in {seconds:g} s" for requests, seconds in self._session.snapshots.profile.windows
        ]
        return fine(f"{' and '.join(rates) or 'none are known'} (profile {self._session.snapshots.profile.profile})")

    def _look_at_clock(self) -> Finding:
        return look_at_clock(self._session.snapshots.clock_offset, CLOCK_BREAKS)

    def _look_at_reading(self, spec: EntitySpec) -> Finding:
        found = self._look(spec, self._read, write=False)
        if found.ok or spec in self._sources:
            return found
        return Finding(Status.WARNING, found.detail, ONLY_VERIFY, found.fix)

    def _look_at_writing(self, spec: EntitySpec) -> Finding:
        return self._look(
            spec, lambda one: self._session.call(self._session.snapshots.may_write, one.entity), write=True
        )

    def _look_at_extra(self, extra: Extra) -> Finding:
        found = self._allowed(extra.scope, lambda: self._session.call(extra.ask))
        if found.ok or not extra.without:
            return found
        return Finding(Status.WARNING, found.detail, extra.without, found.fix)

    def _look(self, spec: EntitySpec, ask: Callable[[EntitySpec], None], *, write: bool) -> Finding:
        scope = self._session.snapshots.profile.scope(spec.entity, write=write)
        return self._allowed(scope, lambda: ask(spec))

    def _allowed(self, scope: str, ask: Callable[[], object]) -> Finding:
        """By what a token was granted, where that is known; else by asking."""
        granted = self._granted()
        if scope and granted:
            if scope in granted:
                return fine(f"{scope} is granted")
            return fail(
                f"the scope {scope} is missing",
                "The consent did not include it.",
                f"Authorize again with {scope}.",
                exit_code=NotAuthorized.exit_code,
            )
        try:
            ask()
        except ApiError as error:
            if categorize(error) is ErrorCategory.FORBIDDEN:
                return refused(error, "" if not scope or scope in error.message else f"It takes the scope {scope}.")
            raise
        return fine(f"allowed{f' ({scope})' if scope else ''}")

    def _read(self, spec: EntitySpec) -> None:
        if spec is not self._first:
            self._session.call(self._session.snapshots.probe, spec.entity)
        elif self._contact.error is not None:
            raise self._contact.error

    def _granted(self) -> frozenset[str]:
        """The scopes of the token in use; empty where they are unknown, as with an API key."""
        return self._session.snapshots.granted or frozenset()


def _is_clockifys(error: ApiError) -> bool:
    return (error.request.code or "").isdigit() and error.request.code in KEY_MEANINGS


def _measured_once(details: Mapping[str, str]) -> str:
    """What was measured of each entity, and once what is the same of all of them."""
    of_each = {entity: detail.rstrip(".").split("; ") for entity, detail in details.items()}
    first, *others = of_each.values()
    same = [one for one in first if others and all(one in other for other in others)]
    own = {entity: [one for one in found if one not in same] for entity, found in of_each.items()}
    shown = {**{entity: found for entity, found in own.items() if found}, **({"all": same} if same else {})}
    return " ".join(f"{entity}: {'; '.join(found)}." for entity, found in shown.items())
