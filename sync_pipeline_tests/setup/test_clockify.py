"""Connecting Clockify: tested before anything is stored, and the key is sent to the intended address only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, FatalApiError
from sync_pipeline.session.secrets import CLOCKIFY_KEY, CLOCKIFY_TOKEN
from sync_pipeline.setup.clockify import REGIONS, ClockifyForm, connect_clockify, look_at_clockify, region_of
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.service import SetupService
from sync_pipeline_tests.connectors.scripted import Scripted, in_turn, reply, scripted
from sync_pipeline_tests.harness import CLOCKIFY_KEY as OWNER
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.setup.services import environ_of, on_accounts, setup_of

SANDBOX = ClockifyForm(region="sandbox")


@pytest.fixture
def elsewhere() -> Iterator[Scripted]:
    """Another host, which takes whatever it is sent."""
    with scripted(in_turn(reply(200, {"id": "u1", "name": "Eve", "email": "eve@x.test"}))) as server:
        yield server


def real(us: Team, **more: str) -> ClockifyForm:
    """The team's Clockify, named by its address."""
    return ClockifyForm(region="custom", base_url=us.sandbox.clockify, reports_url=us.sandbox.reports, **more)  # type: ignore[arg-type]


def test_the_regions_are_those_of_the_vendor() -> None:
    """The sandbox first; every address is Clockify's own, over https."""
    assert [region.name for region in REGIONS] == ["sandbox", "global", "eu", "usa", "uk", "au"]
    for region in REGIONS[1:]:
        assert region.base_url.startswith("https://")
        assert region.base_url.endswith(".clockify.me/api/v1")
        assert ".clockify.me/" in region.reports_url


def test_on_the_sandbox_no_key_is_needed(us: Team, setup: SetupService) -> None:
    """Its own key is taken; the workspace, its plan and the role are shown, and nothing is stored by looking."""
    account = look_at_clockify(setup, SANDBOX)
    (workspace,) = account.workspaces
    assert (workspace.id, workspace.plan, workspace.role) == (us.sandbox.workspace, "paid", "admin")
    assert setup.revision() == ""
    connect_clockify(setup, SANDBOX, workspace.id, "", since="")
    now = setup.settings()
    assert (now.clockify_workspace_id, now.clockify_plan, region_of(now)) == (workspace.id, "paid", "sandbox")
    assert connections(setup)[0].state == "connected"


def test_an_address_of_ones_own(us: Team, setup: SetupService) -> None:
    """Custom base URLs, with the key that was typed (and pasted with quotes)."""
    connect_clockify(setup, real(us, secret=f' "{OWNER}" '), us.sandbox.workspace, "free", since=None)
    now = setup.settings()
    assert (now.clockify_base_url, now.clockify_plan) == (us.sandbox.clockify, "free")
    with setup.vault() as vault:
        assert (held := vault.get(CLOCKIFY_KEY)) is not None
        assert held.value == OWNER
    assert OWNER not in now.setup_document


@pytest.mark.parametrize(
    ("form", "error", "expected"),
    [
        (ClockifyForm(region="sandbox", secret="wrong-key"), FatalApiError, "this API key does not exist"),
        (ClockifyForm(region="sandbox", secret="two words"), ConfigError, "has a space"),
        (ClockifyForm(region="mars"), ConfigError, "There is no region 'mars'"),
        (ClockifyForm(region="eu"), ConfigError, "The Clockify API key is missing: none is stored for https://euc1"),
        (ClockifyForm(region="custom", base_url="clockify.me"), ConfigError, "Clockify's base URL is not a URL"),
        (ClockifyForm(region="custom", base_url="https://a:b@c/v1"), ConfigError, "is not a plain base URL"),
        (ClockifyForm(region="custom", base_url="https://c/v1"), ConfigError, "base URL of Clockify's reports is not"),
        (ClockifyForm(region="sandbox", kind="addon_token"), ConfigError, "The Clockify add-on token is missing"),
    ],
)
def test_what_is_wrong_is_reported_and_nothing_stored(
    setup: SetupService, form: ClockifyForm, error: type[Exception], expected: str
) -> None:
    """One sentence, without the key."""
    with pytest.raises(error) as caught:
        connect_clockify(setup, form, "w1", "", since="")
    assert expected in str(caught.value)
    assert "wrong-key" not in str(caught.value)
    assert setup.revision() == ""
    with setup.vault() as vault:
        assert not vault.has(CLOCKIFY_KEY)


def test_a_plain_member_is_not_enough(us: Team, setup: SetupService) -> None:
    """Who does not see everything would make the rest look deleted."""
    member = real(us, secret="sandbox-clockify-member-key")
    assert {each.role for each in look_at_clockify(setup, member).workspaces} == {"member"}
    with pytest.raises(ConfigError, match="belongs to a plain member"):
        connect_clockify(setup, member, us.sandbox.workspace, "", since=None)


def test_another_workspace_is_not_there(us: Team, setup: SetupService) -> None:
    """What the key sees is listed."""
    with pytest.raises(ConfigError, match=rf"sees no workspace 'nope'\. It sees: .*{us.sandbox.workspace}"):
        connect_clockify(setup, SANDBOX, "nope", "", since=None)


def test_an_addon_token(us: Team, setup: SetupService) -> None:
    """In place of the key, which is forgotten."""
    connect_clockify(setup, real(us, secret=OWNER), us.sandbox.workspace, "", since=None)
    token = real(us, kind="addon_token", secret="sandbox-clockify-addon-token")
    connect_clockify(setup, token, us.sandbox.workspace, "", since=None)
    with setup.vault() as vault:
        assert (vault.has(CLOCKIFY_KEY), vault.has(CLOCKIFY_TOKEN)) == (False, True)
    assert connections(setup)[0].who == "add-on token"


def test_a_stored_key_goes_to_its_own_address_only(us: Team, setup: SetupService, elsewhere: Scripted) -> None:
    """Another base URL, or another reports URL next to the same one: the other host is not asked at all."""
    connect_clockify(setup, real(us, secret=OWNER), us.sandbox.workspace, "", since=None)
    for base, reports in (
        (elsewhere.url, elsewhere.url),
        (elsewhere.url, us.sandbox.reports),
        (us.sandbox.clockify, elsewhere.url),
    ):
        form = ClockifyForm(region="custom", base_url=base, reports_url=reports)
        with pytest.raises(ConfigError, match=r"The Clockify API key is missing: none is stored for"):
            look_at_clockify(setup, form)
    assert elsewhere.asked == []


def test_a_key_of_the_environment_goes_to_no_typed_address(us: Team, elsewhere: Scripted) -> None:
    """Who may use the console has not seen that key, and must not have it sent to a host of his own."""
    on_accounts(setup_of(us), us)
    setup = setup_of(us, environ_of(us, CLOCKIFY_API_KEY="from-the-environment"))
    form = ClockifyForm(region="custom", base_url=elsewhere.url, reports_url=elsewhere.url)
    with pytest.raises(ConfigError, match="would be sent to an address that was only entered here"):
        look_at_clockify(setup, form)
    with pytest.raises(ConfigError, match="CLOCKIFY_API_KEY is set in the environment, which takes precedence"):
        look_at_clockify(setup, ClockifyForm(region="eu", secret="another"))
    assert elsewhere.asked == []


def test_an_address_of_the_environment_decides(us: Team) -> None:
    """Another one cannot be chosen; the same one can, with the environment's key."""
    there = us.sandbox
    setup = setup_of(
        us,
        environ_of(
            us, CLOCKIFY_BASE_URL=there.clockify, CLOCKIFY_REPORTS_URL=there.reports, CLOCKIFY_API_KEY=OWNER,
            CLOCKIFY_WORKSPACE_ID=there.workspace, SNAPSHOTS_BASE_URL=there.snapshots,
            SNAPSHOTS_API_KEY="sandbox-snapshots-key",
        ),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="CLOCKIFY_BASE_URL is set in the environment, which takes precedence"):
        look_at_clockify(setup, ClockifyForm(region="eu"))
    connect_clockify(setup, real(us), there.workspace, "", since=None)
    assert connections(setup)[0].state == "from the environment"


def test_a_stale_form_changes_nothing(us: Team, setup: SetupService) -> None:
    """Neither file nor secret."""
    since = setup.revision()
    setup.change({"clockify.plan": "paid"}, "plan", "")
    with pytest.raises(ChangedMeanwhile):
        connect_clockify(setup, real(us, secret=OWNER), us.sandbox.workspace, "", since=since)
    with setup.vault(
        setup.settings(CLOCKIFY_BASE_URL=us.sandbox.clockify, CLOCKIFY_REPORTS_URL=us.sandbox.reports)
    ) as vault:
        assert not vault.has(CLOCKIFY_KEY)
