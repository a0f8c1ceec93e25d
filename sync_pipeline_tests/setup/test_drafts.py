"""Draft and publish: live syncing continues with what is published, until the draft is previewed and published whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, NotAllowed
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.setup import drafts, trial
from sync_pipeline.setup.drafts import discard, go_back, mapping_setup, publish, read_draft, read_publication, versions
from sync_pipeline.setup.fields import change_field, drop_field, field_form, restore_field
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import read_live_status, turn_off, turn_on
from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.preview import preview
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.stages.verify import verify
from sync_pipeline.store.audit import changes
from sync_pipeline.store.requests import open_requests
from sync_pipeline.store.trials import Trial
from sync_pipeline_tests.harness import Team, at_once
from sync_pipeline_tests.setup.services import document_of, on_accounts, setup_of


@pytest.fixture
def live(us: Team, setup: SetupService) -> SetupService:
    """Live on real accounts, with everything delivered."""
    on_accounts(setup, us)
    previewed(setup)
    turn_on(setup)
    sync(us, setup)
    return setup


def previewed(setup: SetupService) -> Trial:
    """A preview of what this service works on."""
    kind = trial.kind_for(setup.settings())
    return trial.run(setup, trial.begin(setup, kind), kind)


@contextmanager
def session_of(setup: SetupService) -> Iterator[Session]:
    """A session as a run has it."""
    with open_session(setup.settings(), sleep=at_once) as session:
        yield session


def sync(us: Team, setup: SetupService) -> None:
    """What the daemon does."""
    with session_of(setup) as session:
        for entity in session.specs:
            us.sync_one(session, entity)


def names(us: Team) -> set[str]:
    """The names of the projects at the target."""
    return {str(row["project_name"]) for row in us.at_snapshots("projects").values()}


def upper(setup: SetupService) -> None:
    """Deliver names of projects in capitals."""
    form = field_form(mapping_setup(setup, "projects"), "projects", "project_name")
    change_field(mapping_setup(setup, "projects"), "projects", replace(form, transform="upper"), since=None)


def test_live_continues_with_what_is_published(us: Team, live: SetupService) -> None:
    """A changed field waits in the draft; nothing is paused, and syncs deliver what they did."""
    before = names(us)
    upper(live)
    draft = read_draft(live)
    assert draft is not None
    assert [one.key for one in draft.changes] == ["mappings.projects.fields.project_name"]
    assert read_live_status(live).is_live
    us.forget_stats()
    sync(us, live)
    assert us.writes() == {}
    assert names(us) == before


def test_a_draft_is_previewed_then_published(us: Team, live: SetupService) -> None:
    """What it rewrites needs a yes; then live syncing continues with it, and delivers it."""
    before = names(us)
    upper(live)
    assert "not been previewed" in read_publication(live).obstacle
    with pytest.raises(NotAllowed, match="not been previewed"):
        publish(live, since=None)
    assert previewed(live.on_draft()).outcome == "held"
    way = read_publication(live)
    assert (way.obstacle, way.rewrites) == ("", {"projects": len(before)})
    with pytest.raises(NotAllowed, match="rewrites 5 projects"):
        publish(live, since=None)
    sync(us, live)  # a run of what is published takes no request of the draft amiss
    number, asked = publish(live, since=None, accept_rewrite=True)
    assert read_draft(live) is None
    now = read_live_status(live)
    assert (now.is_live, now.has_passed) == (True, True)
    assert live.settings().setup_version == number
    sync(us, live)
    assert names(us) == {name.upper() for name in before}
    with session_of(live) as session:
        store, pair = session.store, session.pair
        assert [change.what for change in changes(store, 2)] == ["request", "mapping published"]
        assert [(one.kind, one.scope.entity) for one in open_requests(store, pair)] == [("sync", "projects")]
        assert asked == tuple(one.id for one in open_requests(store, pair))


def test_published_for_new_and_changed_records_only(us: Team, live: SetupService) -> None:
    """The mapping alone rewrites nothing, with any reader; `verify` counts what stays; a run that accepts it rewrites the rest."""
    before = names(us)
    upper(live)
    previewed(live.on_draft())
    publish(live, since=None, only_changed=True)
    assert read_live_status(live).is_live
    us.forget_stats()
    changed, untouched, *_ = us.projects()
    with session_of(live) as session:
        spec = session.spec("projects")
        assert (seen := preview(session, spec, None)).changes == []
        assert seen.counts.unchanged == len(before)
    sync(us, live)
    with session_of(live) as session:
        sync_ids(session, spec, [untouched["id"]], run_id="by hand")
        verdict = verify(session, spec, None)
        assert (verdict.in_sync, verdict.former, verdict.source) == (True, len(before), len(before))
        assert "in the form of an earlier mapping" in verdict.explanation
    assert us.writes() == {}

    us.clockify("PUT", f"/projects/{changed['id']}", {"name": "Changed now"})
    us.clockify("POST", "/projects", {"name": "Brand new"})
    sync(us, live)
    assert names(us) == before - {changed["name"]} | {"CHANGED NOW", "BRAND NEW"}
    with session_of(live) as session:
        assert verify(session, spec, None).former == len(before) - 1
        us.sync_one(session, "projects", options=Options(accept_rewrite=True))
        verdict = verify(session, spec, None)
        assert (verdict.in_sync, verdict.former) == (True, 0)
    assert names(us) == {name.upper() for name in names(us)}


def test_a_mapping_published_again_for_all_records_rewrites_them(us: Team, live: SetupService) -> None:
    """That it was once published for changed records only does not count any more, when another one was in force since."""
    before = names(us)
    upper(live)
    previewed(live.on_draft())
    first = live.settings().setup_version
    second, asked = publish(live, since=None, only_changed=True)
    assert asked == ()
    sync(us, live)
    for number, rewritten in ((first, {}), (second, {"projects": len(before)})):
        go_back(live, number, since=None)
        previewed(live.on_draft())
        assert read_publication(live).rewrites == rewritten
        publish(live, since=None, accept_rewrite=True)
        sync(us, live)
    assert names(us) == {name.upper() for name in before}


def test_what_could_not_be_published_chooses_nothing(
    us: Team, live: SetupService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another person discards the draft in that moment: what was chosen for the mapping in force before still counts."""
    before = names(us)
    upper(live)
    previewed(live.on_draft())
    publish(live, since=None, only_changed=True)
    form = field_form(mapping_setup(live, "projects"), "projects", "project_name")
    change_field(mapping_setup(live, "projects"), "projects", replace(form, transform="lower"), since=None)
    previewed(live.on_draft())
    look = drafts._changed

    def discarded_meanwhile(session: Session, setup: SetupService) -> list[EntitySpec]:
        found = look(session, setup)
        discard(setup_of(us, by="bob (test)"), since=None)
        return found

    monkeypatch.setattr(drafts, "_changed", discarded_meanwhile)
    with pytest.raises(ChangedMeanwhile):
        publish(live, since=None, only_changed=True)
    sync(us, live)
    with session_of(live) as session:
        assert verify(session, session.spec("projects"), None).former == len(before)


def test_a_preview_that_does_not_pass_is_not_published(live: SetupService) -> None:
    """It reports what it found; a draft that was changed since has to be previewed again."""
    upper(live)
    kind = trial.kind_for(live.settings())
    found = trial.run(live.on_draft(), trial.begin(live.on_draft(), kind), kind, stop=lambda: True)
    assert found.outcome == "failed"
    assert "did not pass" in read_publication(live).obstacle
    drop_field(mapping_setup(live, "users"), "users", "status", since=None)
    assert "not been previewed" in read_publication(live).obstacle


def test_a_preview_counts_for_what_it_was_started_for(live: SetupService) -> None:
    """The draft was changed before its preview read anything: the preview reports it, and lets nothing be published."""
    upper(live)
    kind = trial.kind_for(live.settings())
    started = trial.begin(live.on_draft(), kind)
    drop_field(mapping_setup(live, "users"), "users", "status", since=None)
    found = trial.run(live.on_draft(), started, kind)
    assert (found.outcome, "was changed since" in found.report["error"]) == ("failed", True)
    assert "not been previewed" in read_publication(live).obstacle


def test_of_two_people_one_is_refused(us: Team, live: SetupService) -> None:
    """A form or a page made from an older draft changes, publishes and discards nothing."""
    seen = mapping_setup(live, "users").revision()
    drop_field(mapping_setup(live, "users"), "users", "status", since=seen)
    bob = setup_of(us, by="bob (test)")
    with pytest.raises(ChangedMeanwhile):
        drop_field(mapping_setup(bob, "users"), "users", "time_zone", since=seen)
    for act in (publish, discard):
        previewed(bob.on_draft())
        with pytest.raises(ChangedMeanwhile):
            act(bob, since=seen)
    now = live.on_draft().revision()
    discard(bob, since=now)
    assert read_draft(live) is None
    with pytest.raises(ChangedMeanwhile):
        discard(live, since=None)


def test_what_is_taken_back_leaves_no_draft(live: SetupService) -> None:
    """The last change of it was undone by hand."""
    drop_field(mapping_setup(live, "users"), "users", "status", since=None)
    restore_field(mapping_setup(live, "users"), "users", "status", since=None)
    assert read_draft(live) is None


def test_a_draft_keeps_what_became_current_since(live: SetupService) -> None:
    """Another change of the set-up and the draft both stay; published, they are together."""
    drop_field(mapping_setup(live, "users"), "users", "status", since=None)
    live.change({"entities": ["locations", "users", "projects"]}, "entities", "")
    live.change({"mappings.users.fields.name.description": "ours"}, "mapping", "")
    draft = read_draft(live)
    assert draft is not None
    assert [one.key for one in draft.changes] == ["mappings.users.fields.status"]
    assert not read_live_status(live).is_live  # that other change was not previewed
    publish(live, since=None)
    text = document_of(live.settings())
    assert all(part in text for part in ("ours", "status: drop", "entities"))


def test_without_live_syncing_a_change_is_current_immediately(us: Team, setup: SetupService) -> None:
    """There is nothing that would continue with the previous state; so scripts that set up a home work as they did."""
    on_accounts(setup, us)
    upper(setup)
    assert read_draft(setup) is None
    assert "upper" in document_of(setup.settings())


def test_a_draft_outlives_live_syncing(live: SetupService) -> None:
    """Turned off, the draft is still changed and can be published without a preview: nothing is synced automatically."""
    upper(live)
    turn_off(live)
    drop_field(mapping_setup(live, "users"), "users", "status", since=None)
    draft = read_draft(live)
    assert draft is not None
    assert len(draft.changes) == 2
    assert publish(live, since=live.on_draft().revision())
    assert not read_live_status(live).is_live


def test_turned_off_meanwhile(live: SetupService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing never turns live syncing on: the transaction is undone as a whole."""
    drop_field(mapping_setup(live, "users"), "users", "status", since=None)
    previewed(live.on_draft())
    found = read_publication(live)
    before = live.settings().setup_version
    turn_off(live)
    monkeypatch.setattr(drafts, "read_publication", lambda _: found)
    with pytest.raises(ChangedMeanwhile):
        publish(live, since=None, accept_rewrite=True)
    assert live.settings().setup_version == before
    assert read_draft(live) is not None


def test_back_to_a_version(live: SetupService) -> None:
    """Versions record who changed what and when; going back is a draft, which leaves the accounts unchanged."""
    first = live.settings().setup_version
    live.change({"mappings.users.fields.status": "drop"}, "mapping", "status dropped")
    live.change({"snapshots.account": "north"}, "account", "north")
    found = versions(live)
    assert [[one.key for one in version.changes] for version in found[:2]] == [
        ["snapshots.account"],
        ["mappings.users.fields.status"],
    ]
    assert found[0].version.by == "ann (test)"
    draft = go_back(live, first, since=None)
    assert draft is not None
    assert [(one.key, one.file) for one in draft.changes] == [("mappings.users.fields.status", None)]
    assert live.settings().snapshots_account == "north"
    with pytest.raises(ConfigError, match="There is no version 999"):
        go_back(live, 999, since=None)
    assert go_back(live, live.settings().setup_version, since=None) is None


def test_old_approvals_expire(live: SetupService) -> None:
    """A yes to a rewrite counts for a week; the request is asked again by the next sync."""
    upper(live)
    previewed(live.on_draft())
    publish(live, since=None, accept_rewrite=True)
    with session_of(live) as session:
        fingerprint = session.spec("projects").fingerprint
        approvals = session.ledger("projects").approvals
        assert approvals.decided_configuration("rewrite", fingerprint, 5, session.now()) is not None
        later = session.now() + timedelta(days=8)
        assert approvals.decided_configuration("rewrite", fingerprint, 5, later) is None
