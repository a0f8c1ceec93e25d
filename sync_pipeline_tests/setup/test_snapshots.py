"""Connecting the Snapshots API: tried before it is kept, with no wider scopes than what is switched on needs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import Event

import httpx
import pytest

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, FatalApiError, SyncError
from sync_pipeline.session.secrets import SLOTS, SNAPSHOTS_CLIENT, SNAPSHOTS_KEY
from sync_pipeline.setup.connections import connections, disconnect, switch_entities
from sync_pipeline.setup.consent import begin_authorization, finish_authorization, listening, read_callback
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.snapshots import SnapshotsForm, connect_snapshots, needed_scopes
from sync_pipeline.setup.switching import read_live_status
from sync_pipeline.store.credentials import places
from sync_pipeline_tests.connectors.consenting import press
from sync_pipeline_tests.connectors.scripted import Scripted, in_turn, reply, scripted
from sync_pipeline_tests.harness import SNAPSHOTS_KEY as FULL
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.setup.services import environ_of, on_accounts, setup_of
from sync_pipeline_tests.strangers import crowd, ends

CALLBACK = "http://127.0.0.1:43210/snapshots/callback"
LOCATIONS_ONLY = ("saas/location.read",)


@pytest.fixture
def elsewhere() -> Iterator[Scripted]:
    """Another host, which takes whatever it is sent."""
    with scripted(in_turn(reply(200, {"data": [], "next_cursor": None}))) as server:
        yield server


def form(us: Team, **more: object) -> SnapshotsForm:
    """The team's Snapshots API, named by its address."""
    return SnapshotsForm(**{"region": "custom", "base_url": us.sandbox.snapshots, **more})  # type: ignore[arg-type]


def client(us: Team, **more: object) -> SnapshotsForm:
    """The same with an OAuth client."""
    return form(
        us, **{"auth": "client_credentials", "client_id": "sandbox-client", "client_secret": "sandbox-secret", **more}
    )


def test_on_the_sandbox_no_key_is_needed(us: Team, setup: SetupService) -> None:
    """Read and write of everything are tried; it is kept as the word `sandbox`, and nothing was written."""
    us.forget_stats()
    findings = connect_snapshots(setup, SnapshotsForm(region="sandbox"), since="")
    assert [finding.what for finding in findings if not finding.ok] == []
    assert {"Read locations", "Write users"} <= {finding.what for finding in findings}
    assert "base_url: sandbox" in setup.settings().setup_document
    assert us.writes() == {}


def test_no_key_is_tried_in_clear(us: Team, setup: SetupService) -> None:
    """Plain http to another machine: refused for a key, a client and a consent before anything is sent; nothing is stored."""
    there = {"base_url": "http://snapshots.test:8080/v1"}
    expected = r"SNAPSHOTS_BASE_URL is http://snapshots\.test:8080, plain http .* SYNC_ALLOW_HTTP=http://snapshots\.test:8080 if"
    for entered in (form(us, api_key=FULL, **there), client(us, **there)):
        with pytest.raises(ConfigError, match=expected):
            connect_snapshots(setup, entered, since="")
    with pytest.raises(ConfigError, match=expected):
        begin_authorization(setup, client(us, auth="authorization_code", **there), CALLBACK, since="")
    assert setup.revision() == ""


def test_missing_scopes_are_all_named(us: Team, setup: SetupService) -> None:
    """A key that may only read: every scope that is lacking, in one sentence; nothing is stored."""
    with pytest.raises(ConfigError) as caught:
        connect_snapshots(setup, form(us, api_key="sandbox-snapshots-read-only-key"), since="")
    for scope in ("users.write", "projects.write", "time_entries.write"):
        assert scope in str(caught.value)
    assert setup.revision() == ""


@pytest.mark.parametrize(
    ("more", "error", "expected"),
    [
        ({"api_key": "wrong-key"}, FatalApiError, "the key was not accepted"),
        ({}, ConfigError, "The Snapshots API key is missing: none is stored for"),
        ({"base_url": "x"}, ConfigError, "The base URL of the Snapshots API is not a URL"),
        ({"profile": "evil.yaml"}, ConfigError, "A profile of your own is not chosen here"),
        ({"profile": "nope"}, ConfigError, "there is no profile 'nope'"),
        ({"auth": "magic"}, ConfigError, "There is no way to sign in like 'magic'"),
        ({"account": "x" * 300, "api_key": "k3y-one"}, ConfigError, "The account's name is longer than 200 characters"),
        ({"base_url": "https://x.test/" + "y" * 2000}, ConfigError, "is longer than 1000 characters"),
        ({"auth": "client_credentials", "client_id": "a\x00b"}, ConfigError, "The OAuth client id is longer than"),
        ({"region": "eu"}, ConfigError, "There is no 'eu' Snapshots API"),
        ({"auth": "client_credentials"}, ConfigError, "The OAuth client id is missing"),
        ({"auth": "client_credentials", "client_id": "me"}, ConfigError, "The OAuth client secret is missing"),
        (
            {"auth": "client_credentials", "client_id": "me", "client_secret": "wrong-key"},
            FatalApiError,
            "this client is not known",
        ),
    ],
)
def test_what_is_wrong_is_reported_and_nothing_stored(
    us: Team, setup: SetupService, more: dict[str, object], error: type[Exception], expected: str
) -> None:
    """One sentence, without the secret."""
    with pytest.raises(error) as caught:
        connect_snapshots(setup, form(us, **more), since="")
    assert expected in str(caught.value)
    assert "wrong-key" not in str(caught.value)
    assert setup.revision() == ""


def test_client_credentials(us: Team, setup: SetupService) -> None:
    """Id and scopes are in the file, the secret does not; it works in a session."""
    on_accounts(setup, us)
    connect_snapshots(setup, client(us), since=None)
    now = setup.settings()
    assert (now.auth, now.snapshots_client_id, now.snapshots_scopes) == ("client_credentials", "sandbox-client", ())
    assert "sandbox-secret" not in now.setup_document
    with setup.vault() as vault:
        assert (vault.has(SNAPSHOTS_KEY), vault.has(SNAPSHOTS_CLIENT)) == (False, True)
    with setup.session() as session:
        session.call(session.snapshots.probe, "users")


def test_scopes_are_those_of_what_is_switched_on(us: Team, setup: SetupService) -> None:
    """Locations alone: reading them and nothing more; the others bring their own."""
    on_accounts(setup, us)
    switch_entities(setup, ["locations"], since=None)
    assert needed_scopes(setup.settings()) == LOCATIONS_ONLY
    switch_entities(setup, ["users", "locations"], since=None)
    assert needed_scopes(setup.settings()) == (*LOCATIONS_ONLY, "users.read", "users.write")
    with pytest.raises(ConfigError, match="needs users and projects"):
        switch_entities(setup, ["locations", "time_entries"], since=None)
    switch_entities(setup, ["locations", "projects", "users", "time_entries"], since=None)
    assert "entities" not in setup.settings().setup_document


def test_a_stored_secret_goes_to_its_own_address_only(us: Team, setup: SetupService, elsewhere: Scripted) -> None:
    """Key or client secret: another host, or another account's address, is not asked."""
    connect_snapshots(setup, form(us, api_key=FULL), since=None)
    with pytest.raises(ConfigError, match="none is stored for"):
        connect_snapshots(setup, form(us, base_url=elsewhere.url), since=None)
    connect_snapshots(setup, client(us), since=None)
    with pytest.raises(ConfigError, match="none is stored for"):
        connect_snapshots(setup, client(us, base_url=elsewhere.url, client_secret=""), since=None)
    assert elsewhere.asked == []


def test_a_key_of_the_environment_goes_to_no_typed_address(us: Team, elsewhere: Scripted) -> None:
    """Its base URL has to be next to it."""
    setup = setup_of(us, environ_of(us, SNAPSHOTS_API_KEY=FULL, SYNC_MODE="sandbox"))
    with pytest.raises(ConfigError, match="Set SNAPSHOTS_BASE_URL beside it"):
        connect_snapshots(setup, form(us, base_url=elsewhere.url), since=None)
    assert elsewhere.asked == []


def test_consent(us: Team, setup: SetupService) -> None:
    """Asked for what is needed, redeemed once; then the connection works, and is marked as one consent."""
    on_accounts(setup, us)
    switch_entities(setup, ["locations", "users"], since=None)
    asked = begin_authorization(setup, client(us), CALLBACK, since=setup.revision())
    assert set(asked.scope.split()) == {"saas/location.read", "users.read", "users.write"}
    assert connections(setup)[1].state == "not set up"
    code = read_callback(asked, press(asked))
    assert all(finding.ok for finding in finish_authorization(setup, asked, CALLBACK, code))
    assert connections(setup)[1].state == "connected"
    with setup.session() as session:
        session.call(session.snapshots.probe, "users")
    first = standing_print(setup)
    again = begin_authorization(setup, client(us), CALLBACK, since=None)
    assert standing_print(setup) == first, "asking changes nothing"
    finish_authorization(setup, again, CALLBACK, read_callback(again, press(again)))
    assert standing_print(setup) != first, "another consent is another credential"
    with pytest.raises(SyncError, match=r"not accepted|used before"):
        finish_authorization(setup, again, CALLBACK, code)


def test_a_consent_given_to_another_client_does_not_count(us: Team, setup: SetupService) -> None:
    """Another client is entered, and refused: the tokens of the one before are not used in its name."""
    on_accounts(setup, us)
    first = begin_authorization(setup, client(us), CALLBACK, since=None)
    finish_authorization(setup, first, CALLBACK, read_callback(first, press(first)))
    other = {"client_id": "other-client", "client_secret": "other-secret", "redirect_uris": [CALLBACK]}
    us.control("POST", "clients", other)
    asked = begin_authorization(
        setup, client(us, client_id="other-client", client_secret="other-secret"), CALLBACK, since=None
    )
    with pytest.raises(FatalApiError, match="consent was refused"):
        read_callback(asked, press(asked, "deny"))
    assert connections(setup)[1].detail == "no one has consented yet"


def standing_print(setup: SetupService) -> str:
    """The fingerprint of the configuration."""
    with setup.session() as session:
        return session.fingerprint


def test_a_wider_need_asks_for_consent_again(us: Team, setup: SetupService) -> None:
    """An entity is switched on that the consent does not cover: the home page reports it."""
    on_accounts(setup, us)
    switch_entities(setup, ["locations"], since=None)
    asked = begin_authorization(setup, client(us), CALLBACK, since=None)
    finish_authorization(setup, asked, CALLBACK, read_callback(asked, press(asked)))
    switch_entities(setup, ["locations", "users"], since=None)
    found = connections(setup)[1]
    assert found.state == "authorize again"
    assert "users.write" in found.detail


def test_a_refused_consent_is_reported(us: Team, setup: SetupService) -> None:
    """Nothing is kept but the client."""
    on_accounts(setup, us)
    asked = begin_authorization(setup, client(us), CALLBACK, since=None)
    with pytest.raises(FatalApiError, match="consent was refused"):
        read_callback(asked, press(asked, "deny"))
    assert connections(setup)[1].state == "not set up"


@pytest.mark.parametrize("more", [{"client_id": "stranger"}, {}])
def test_a_client_or_address_that_is_not_registered(us: Team, setup: SetupService, more: dict[str, object]) -> None:
    """The person would be left on the other system's error page, so it is reported here; nothing is stored."""
    there = CALLBACK if more else "http://127.0.0.1:43210/elsewhere"
    with pytest.raises(FatalApiError, match="does not know this client id, or not its return address"):
        begin_authorization(setup, client(us, **more), there, since="")
    assert setup.revision() == ""


def test_the_set_up_moved_during_the_consent(us: Team, setup: SetupService, elsewhere: Scripted) -> None:
    """The code is not sent to another host than the one that gave it."""
    on_accounts(setup, us)
    asked = begin_authorization(setup, client(us), CALLBACK, since=None)
    code = read_callback(asked, press(asked))
    setup.change({"snapshots.base_url": elsewhere.url}, "moved", "")
    with pytest.raises(ChangedMeanwhile):
        finish_authorization(setup, asked, CALLBACK, code)
    assert elsewhere.asked == []


def test_the_terminal_waits_for_its_own_answer(us: Team, setup: SetupService) -> None:
    """Silent connections hold nothing up, HEAD uses nothing up, strangers and tampered states are sent away; the right answer ends it."""
    with listening() as callback, ThreadPoolExecutor(1) as pool, ExitStack() as held:
        asked = begin_authorization(setup, client(us), callback.redirect_uri, since=None)
        is_shown = Event()
        waiting = pool.submit(callback.wait, asked, lambda _: is_shown.set())
        assert is_shown.wait(20)
        strangers = held.enter_context(crowd(callback.redirect_uri, 100))
        get = partial(httpx.get, trust_env=False)
        assert get(callback.redirect_uri, params={"state": "tampered", "code": "x"}).status_code == 400
        assert httpx.head(callback.redirect_uri, params=press(asked), trust_env=False).status_code == 405
        assert get(callback.redirect_uri.replace("/snapshots/callback", "/favicon.ico")).status_code == 404
        answer = get(callback.redirect_uri, params=press(asked))
        assert (answer.status_code, "You can close" in answer.text) == (200, True)
        assert waiting.result(20)
        assert ends(strangers[0])


def test_disconnecting_forgets_everything_of_it(us: Team, setup: SetupService) -> None:
    """Its section, its secrets at whatever address, its tokens; the other system stays, live syncing goes off."""
    on_accounts(setup, us)
    asked = begin_authorization(setup, client(us), CALLBACK, since=None)
    finish_authorization(setup, asked, CALLBACK, read_callback(asked, press(asked)))
    connect_snapshots(setup, form(us, account="another", api_key=FULL), since=None)
    disconnect(setup, "snapshots", since=setup.revision())
    assert setup.settings().snapshots_base_url == ""
    with setup.store() as store:
        assert all(place.startswith("clockify ") for place in places(store))
    assert [side.state for side in connections(setup)] == ["connected", "not set up"]
    assert "the base URL of the Snapshots API is missing" in read_live_status(setup).obstacle
    assert len(SLOTS) == 5


def test_nothing_is_stored_when_secrets_cannot_be(us: Team, setup: SetupService) -> None:
    """A key file others can read is refused before the set-up is changed."""
    file = setup.settings().encryption_key_file
    file.write_text("x")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        connect_snapshots(setup, form(us, api_key=FULL), since="")
    assert setup.revision() == ""
