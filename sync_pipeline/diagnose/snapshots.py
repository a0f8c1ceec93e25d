"""Probes of the Snapshots API: address, key, and the scope of each entity and direction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sync_pipeline.connectors.error_category import KEY_MEANINGS
from sync_pipeline.connectors.policy import Action
from sync_pipeline.diagnose.contact import Contact
from sync_pipeline.diagnose.finding import Finding, Probe, Status, fail, fine, look_at_clock, refused
from sync_pipeline.diagnose.url_hints import snapshots_url, wrong_key
from sync_pipeline.errors import ApiError, NotAuthorized
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session

ADDRESS, API, KEY = "Snapshots address", "Snapshots API", "Snapshots key"
LIMITS, CLOCK = "Snapshots limits", "Snapshots clock"
CLOCK_BREAKS = "Tokens and changes depend on time: tokens could be used too long, changes be missed."
ONLY_VERIFY = "Syncs work without it; `verify` and `--repair` cannot compare what is there."
REVOKED = "The key or token was revoked, replaced, or copied incompletely."
AUTHORIZE = "Authorize again."
FIXES = {
    "invalid_grant": AUTHORIZE,
    "access_denied": AUTHORIZE,
    "invalid_client": "Copy id and secret again.",
    "token_expired": "Get a new one; with an OAuth client tokens are renewed automatically.",
}


class SnapshotsProbes:
    """What a sync needs of the Snapshots API, in the order in which it makes sense."""

    def __init__(self, session: Session) -> None:
        self._session, self._specs = session, list(session.specs.values())
        # The entity that is read there first, as a key with one scope only may have that one.
        self._first = min(self._specs, key=lambda spec: spec.source.system != "snapshots")
        settings, profile = session.settings, session.snapshots.profile
        # A list cannot be gone: where it is, the address leads past the API's root.
        codes = frozenset(row.code for row in profile.answers if row.code and row.action is not Action.GONE)
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
        written = [spec for spec in self._specs if spec.target.system == "snapshots"]
        return [
            Probe(ADDRESS, self._contact.look_at_address),
            Probe(API, self._contact.look_at_api, (ADDRESS,)),
            Probe(KEY, self._look_at_key, (API,)),
            Probe(LIMITS, self._look_at_limits),
            Probe(CLOCK, self._look_at_clock, (ADDRESS,)),
            *(
                Probe(f"Read {spec.entity} (snapshots)", partial(self._look_at_reading, spec), (KEY,))
                for spec in self._specs
            ),
            *(
                Probe(f"Write {spec.entity} (snapshots)", partial(self._look_at_writing, spec), (KEY,))
                for spec in written
            ),
        ]

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
        if found.ok or spec.source.system == "snapshots":
            return found
        return Finding(Status.WARNING, found.detail, ONLY_VERIFY, found.fix)

    def _look_at_writing(self, spec: EntitySpec) -> Finding:
        return self._look(
            spec, lambda one: self._session.call(self._session.snapshots.may_write, one.entity), write=True
        )

    def _look(self, spec: EntitySpec, ask: Callable[[EntitySpec], None], *, write: bool) -> Finding:
        """By what a token was granted, where that is known; else by asking."""
        scope = self._session.snapshots.profile.scope(spec.entity, write=write)
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
            ask(spec)
        except ApiError as error:
            if error.request.status == 403:
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
