"""HighLevel by an app: the company's token, and those that it mints for the home location."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sync_pipeline import webhooks
from sync_pipeline.connectors.consent import begin_consent
from sync_pipeline.connectors.highlevel.account import HighLevel
from sync_pipeline.connectors.highlevel.tokens import installed_locations
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.token_endpoint import TokenEndpoint, TokenLost
from sync_pipeline.console.snapshots import AUTHORIZED, CALLBACK
from sync_pipeline.diagnose.connection_test import diagnose
from sync_pipeline.errors import ConfigError, FatalApiError, NotAuthorized
from sync_pipeline.sandbox.highlevel.ids import COMPANY
from sync_pipeline.sandbox.highlevel.settings import VENDOR
from sync_pipeline.session.session import Session
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.tokens import Lost, StoredVault, Tokens
from sync_pipeline_tests.connectors.clients import run
from sync_pipeline_tests.connectors.consenting import REDIRECT
from sync_pipeline_tests.connectors.scripted import reply, scripted
from sync_pipeline_tests.harness import morning
from sync_pipeline_tests.highlevel import HOME, HighLevelTeam, highlevel_team
from sync_pipeline_tests.highlevel_app import APP, MINT, TOKEN, arrived, consent, ending, kept, receiving
from sync_pipeline_tests.properties.invariants import changes_nothing, converged


class Killed(Exception):
    """Raised where the process is killed."""


FEW = {"entries": 0, "users": 2, "projects": 1, "clients": 1, "highlevel_locations": 2}


@pytest.fixture
def us(tmp_path: Path) -> Iterator[HighLevelTeam]:
    """A team whose person has consented."""
    with highlevel_team(tmp_path, **FEW) as us:
        consent(us)
        us.forget_stats()
        yield us


def account(session: Session) -> HighLevel:
    """HighLevel of a session."""
    assert isinstance(session.snapshots, HighLevel)
    return session.snapshots


def ask(us: HighLevelTeam) -> None:
    """Read a record of the location, in a session of its own."""
    with us.session() as session:
        session.call(account(session).probe, "users")


def tokens(found: Tokens | Lost | None) -> Tokens:
    """What has to be a pair."""
    assert isinstance(found, Tokens), found
    return found


def asked(us: HighLevelTeam, route: str) -> int:
    """How often something was asked since the counters were cleared."""
    return us.requests().get(route, 0)


def test_a_person_is_asked_without_pkce_for_all_scopes_together() -> None:
    """On the page of HighLevel's marketplace; blanks are %20."""
    profile = load_profile("highlevel")
    facts = profile.auth.oauth
    assert facts is not None
    page = begin_consent(facts, profile.base_url, "app-client", facts.scopes, REDIRECT)
    parts = urlsplit(page.url)
    query = parse_qs(parts.query)

    assert (
        f"{parts.scheme}://{parts.netloc}{parts.path}" == "https://marketplace.gohighlevel.com/v2/oauth/chooselocation"
    )
    assert not page.verifier
    assert not [name for name in query if name.startswith("code_")]
    assert "+" not in parts.query
    assert "locations.readonly%20users.readonly" in parts.query
    assert set(query["scope"][0].split()) >= {"oauth.write", "oauth.readonly", "objects/record.write"}


def test_no_address_of_ours_contains_the_vendors_name() -> None:
    """HighLevel's portal refuses those that do, for the way back from the consent and for webhooks."""
    sources = [file.read_text("utf-8") for file in Path(webhooks.__path__[0]).glob("*.py")]
    hooks = [path for text in sources for path in re.findall(r'"(/hooks[^"]*)"', text)]
    assert hooks
    assert [one for one in (CALLBACK, AUTHORIZED, REDIRECT, *hooks) if VENDOR.search(one)] == []


def test_the_company_asks_for_the_agency_and_the_location_for_its_records(us: HighLevelTeam) -> None:
    """One token is minted for everyone; a second session uses the same, and its refresh token is not even kept."""
    us.sync()
    assert (asked(us, MINT), asked(us, TOKEN)) == (1, 0)
    converged(us)
    changes_nothing(us)

    company, location = map(tokens, kept(us))
    assert (company.account, location.account) == (COMPANY, HOME)
    assert company.refresh_token
    assert not location.refresh_token
    with us.session() as session:
        there = account(session)
        assert session.call(there.company) == COMPANY
        assert not there.granted  # nothing is revealed before both were used
        session.call(there.probe, "locations")
        session.call(there.probe, "users")
        assert {"oauth.write", "objects/record.write"} <= (there.granted or set())


def test_a_minted_token_is_replaced_before_it_ends(us: HighLevelTeam) -> None:
    """With less than five minutes left, by the company's token: nothing is renewed for that."""
    ask(us)
    ending(us, location=600)
    ask(us)
    assert asked(us, MINT) == 1
    first = tokens(kept(us)[1])
    ending(us, location=299)
    ask(us)
    assert (asked(us, MINT), asked(us, TOKEN)) == (2, 0)
    assert tokens(kept(us)[1]).access_token != first.access_token


def test_a_crash_between_answer_and_save_loses_nothing(us: HighLevelTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same refresh token is taken again within 30 seconds, with the same answer."""
    ending(us, company=0)
    answers: list[Tokens] = []

    async def dies(_vault: StoredVault, fresh: Tokens) -> None:
        answers.append(fresh)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(StoredVault, "save", dies)
        with pytest.raises(Killed), us.session() as session:
            session.call(account(session).company)
    ask(us)
    assert asked(us, TOKEN) == 2
    assert tokens(kept(us)[0]).refresh_token == answers[0].refresh_token


def test_two_processes_renew_and_mint_once(us: HighLevelTeam) -> None:
    """Each with its own connection to the database: the second uses what the first one got."""
    ending(us, company=0)
    with us.session() as one, us.session() as other, ThreadPoolExecutor(2) as pool:
        for work in [pool.submit(each.call, account(each).probe, "users") for each in (one, other)]:
            work.result()
    assert (asked(us, TOKEN), asked(us, MINT)) == (1, 1)


def after_the_first_create(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen in the middle of a chunk, once: one record is made, and none of the others is sent before."""
    create, created = HighLevel.create, []
    is_made, has_happened = asyncio.Event(), asyncio.Event()

    async def watched(there: HighLevel, entity: str, properties: Any) -> Any:
        created.append(entity)
        if len(created) == 1:
            made = await create(there, entity, properties)
            is_made.set()
            return made
        if len(created) == 2:
            await is_made.wait()
            await asyncio.to_thread(happens)
            has_happened.set()
        await has_happened.wait()
        return await create(there, entity, properties)

    monkeypatch.setattr(HighLevel, "create", watched)


def with_entries(us: HighLevelTeam) -> None:
    """Some entries that are not at HighLevel yet; everything else is."""
    us.sync("projects", "users")
    for number in range(4):
        us.add_entry(us.users()[0]["id"], morning(2, 8 + number), description=f"Entry {number}")
    us.forget_stats()


def test_tokens_that_end_in_the_middle_of_a_chunk(us: HighLevelTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both together, by HighLevel's clock: one is renewed, the other minted, and each record exists once."""
    with_entries(us)
    after_the_first_create(monkeypatch, lambda: us.sandbox.world.clock.advance(timedelta(days=1)))
    us.sync("time_entries")
    assert (asked(us, TOKEN), asked(us, MINT)) == (1, 2)  # the first minting was refused: that token had ended, too
    assert len(us.at_snapshots("time_entries")) == 4


def test_a_consent_that_is_withdrawn_in_the_middle(us: HighLevelTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stops with what to do, later ones send nothing, and after a new consent it continues from there."""
    with_entries(us)
    after_the_first_create(monkeypatch, lambda: us.switch(revoke_consents=True))
    with pytest.raises(TokenLost, match=r"ended or was withdrawn .*Authorize again\.$"):
        us.sync("time_entries")
    assert isinstance(kept(us)[0], Lost)
    before = len(us.stored("time_entries"))
    us.forget_stats()
    with pytest.raises(TokenLost, match=r"Authorize again\.$"):
        ask(us)
    assert not [route for route in us.requests() if "highlevel" in route]

    consent(us)
    us.sync("time_entries")
    assert before == 1
    assert len(us.at_snapshots("time_entries")) == 4


@pytest.mark.parametrize("words", ["Location is not active", "This refresh token is invalid"])
def test_other_words_that_a_consent_has_ended(us: HighLevelTeam, words: str) -> None:
    """Without a code: its message is used as one."""
    ending(us, company=0)
    us.switch(answers={"bad_refresh": {"status": 400, "message": words}})
    refusal = {"statusCode": 400, "message": words, "error": "Bad Request"}
    us.fault("status", "POST */oauth/token", status=400, body=refusal)
    with pytest.raises(TokenLost, match=rf"withdrawn \({words}\)\. Authorize again\."):
        ask(us)


def test_a_location_without_the_app_is_named(us: HighLevelTeam) -> None:
    """Also when it is removed while its token still lasts; the locations of the agency are read anyway."""
    ask(us)
    us.switch(uninstalled=[HOME])
    assert us.sync("locations")["locations"]
    with pytest.raises(
        NotAuthorized, match=f"the app is not installed in the sub-account {HOME}.*Install it there"
    ) as refused:
        ask(us)
    assert refused.value.request.code == "not_installed"
    assert checked(us) == f"the app is not installed in {HOME}"


def test_the_app_is_removed_and_installed_again(us: HighLevelTeam) -> None:
    """Its webhooks report the removal: the token is dropped, and the page names the sub-account; installed again, everything works."""
    other = us.put_location("other", name="Other")["location"]["id"]
    ask(us)
    with receiving(us) as receiver:
        us.switch(uninstalled=[other])
        arrived(receiver, 1)
        assert isinstance(kept(us)[1], Tokens)  # it was removed elsewhere
        us.switch(uninstalled=[other, HOME])
        arrived(receiver, 2)
        assert kept(us)[1] == Lost(f"the app is no longer installed in {HOME}")
        assert shown(us) == ("app not installed", f"the app is no longer installed in {HOME}: install it there again")
        assert checked(us) == f"the app is not installed in {HOME}"
        us.switch(uninstalled=[])
        arrived(receiver, 4)
        us.sandbox.world.clock.advance(timedelta(hours=-1))
        us.switch(uninstalled=[HOME])
        arrived(receiver, 5)
        assert kept(us)[1] is None  # it comes an hour late: an installation that came in time may be newer
        us.switch(uninstalled=[])
        us.sandbox.world.clock.advance(timedelta(hours=1))
        arrived(receiver, 6)
    assert kept(us)[1] is None
    ask(us)
    assert shown(us) == ("connected", "")
    assert checked(us).endswith(f"({HOME})")


def shown(us: HighLevelTeam) -> tuple[str, str]:
    """What the pages show about the connection."""
    _, found = connections(SetupService("ann (test)", root=us.home.parent, environ=us.environ))
    return found.state, found.detail


def checked(us: HighLevelTeam) -> str:
    """What `check` reports about the account."""
    with us.session() as session:
        return {one.what: one.detail for one in diagnose(session, ["snapshots"])}["HighLevel account"]


def test_check_says_which_token_is_for_what(us: HighLevelTeam) -> None:
    """The company's, and the one that was made for the location."""
    assert checked(us).startswith(f"the app's token is for {COMPANY}, and the one that keeps the records for ")
    assert checked(us).endswith(f"({HOME})")


def test_the_locations_with_the_app_are_listed(tmp_path: Path) -> None:
    """The list has all locations, a hundred at most at a time."""
    with highlevel_team(tmp_path, **FEW | {"highlevel_locations": 130}) as us:
        consent(us)
        us.switch(uninstalled=[HOME])

        async def found(there: HighLevel) -> list[str]:
            assert there.consent is not None
            return [row["id"] async for row in installed_locations(there, there.consent)]

        with us.session() as session:
            ids = session.call(found, account(session))
        everywhere = {row["id"] for row in us.control("GET", "highlevel/locations")["locations"]}
        assert len(ids) == len(everywhere) - 1
        assert set(ids) == everywhere - {HOME}


def test_a_scope_that_the_app_lacks_is_not_a_missing_app(us: HighLevelTeam) -> None:
    """What is refused for another reason keeps its own words."""
    us.fault(
        "status",
        "POST */locationToken",
        status=401,
        body={"statusCode": 401, "message": "The token is not authorized for this scope."},
    )
    with pytest.raises(FatalApiError, match=r"the scope oauth\.write is missing"):
        ask(us)


def test_a_client_alone_gets_no_tokens(tmp_path: Path) -> None:
    """There is no such grant; the message states the alternative."""
    with highlevel_team(tmp_path, **FEW) as us:
        us.changes |= APP | {"SNAPSHOTS_AUTH": "client_credentials"}
        with (
            pytest.raises(ConfigError, match=r"no tokens without a person\. Set SNAPSHOTS_AUTH=authorization_code"),
            us.session(),
        ):
            pass


def test_both_spellings_of_an_answer_are_read() -> None:
    """snake_case, and camelCase as in the newest version."""
    said = {"accessToken": "a", "refreshToken": "r", "expiresIn": 60, "companyId": COMPANY}
    with scripted(lambda _: reply(200, said)) as server:
        endpoint = TokenEndpoint(url=f"{server.url}/oauth/token", client_id="c", account="company_id", now=lambda: 0.0)
        found = run(endpoint.ask("refresh_token", refresh_token="old"))
    assert found == Tokens("a", "r", 60.0, "", COMPANY)
