"""What a configuration means decides its fingerprint, not how many keys this version knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sync_pipeline.connectors.profile import Profile
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.configuration import configuration_fingerprint, former_fingerprint
from sync_pipeline.settings import Settings, load_settings
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.switches import carry_over, read_switch, turn
from sync_pipeline.store.trials import begin_trial, last_trial
from sync_pipeline_tests.store.batch import at

PAIR = "clockify:w generic:http://127.0.0.1"
MARKS = {"clockify_api_key": "mark"}


class LaterProfile(Profile):
    """A profile as a later version may know it."""

    depth: int = 3
    words: tuple[str, ...] = ()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nothing set."""
    return load_settings({}, root=tmp_path)


@pytest.fixture
def specs() -> dict[str, EntitySpec]:
    """The shipped mappings."""
    return load_specs()


def test_a_new_key_with_its_default_changes_nothing(settings: Settings, specs: dict[str, EntitySpec]) -> None:
    """A profile that a later version reads with more keys is the same configuration until one of them is used."""
    facts = load_profile().model_dump(exclude_unset=True, by_alias=True)
    now, later = Profile.model_validate(facts), LaterProfile.model_validate(facts)
    used = LaterProfile.model_validate(facts | {"depth": 4})
    prints = [configuration_fingerprint(PAIR, settings, each, specs, MARKS) for each in (now, later, used)]
    assert prints[0] == prints[1]
    assert prints[1] != prints[2]


def test_wording_is_no_meaning(settings: Settings, specs: dict[str, EntitySpec]) -> None:
    """The description of a profile may be improved; its paths may not."""
    profile = load_profile()
    answers = tuple(row.model_copy(update={"fix": "Other words.", "message": "others"}) for row in profile.answers)
    reworded = profile.model_copy(update={"description": "Other words.", "answers": answers})
    changed = profile.model_copy(update={"headers": {"x-version": "2"}})
    prints = [configuration_fingerprint(PAIR, settings, each, specs, MARKS) for each in (profile, reworded, changed)]
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def test_a_default_may_be_written_down(settings: Settings, specs: dict[str, EntitySpec]) -> None:
    """A file that states the defaults is the same configuration."""
    facts = load_profile().model_dump(exclude_unset=True, by_alias=True)
    written = Profile.model_validate(load_profile().model_dump(by_alias=True))
    prints = [
        configuration_fingerprint(PAIR, settings, each, specs, MARKS)
        for each in (Profile.model_validate(facts), written)
    ]
    assert prints[0] == prints[1]


def test_the_new_delete_policy_is_the_former_default(settings: Settings, specs: dict[str, EntitySpec]) -> None:
    """The version before hashed `delete` for what is `unreferenced` now; the present fingerprints differ."""
    users = specs["users"]
    policies = {
        policy: specs | {"users": replace(users, target=replace(users.target, delete=policy))}
        for policy in ("delete", "unreferenced", "keep")
    }
    former = {
        name: former_fingerprint(PAIR, settings, load_profile(), found, MARKS) for name, found in policies.items()
    }
    now = {
        name: configuration_fingerprint(PAIR, settings, load_profile(), found, MARKS)
        for name, found in policies.items()
    }
    assert former["delete"] == former["unreferenced"] != former["keep"]
    assert len(set(now.values())) == 3


def test_switch_and_trials_are_carried_over_once(tmp_path: Path) -> None:
    """Under the former fingerprint they are found and renamed; another configuration's are left alone."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    turn(store, PAIR, "former", on=True, by="me", at=at(1))
    begin_trial(store, PAIR, "former", "dry_run", "me", at(1))
    begin_trial(store, PAIR, "another", "dry_run", "me", at(1))
    carry_over(store, PAIR, "unknown", "2-new")
    switch = read_switch(store, PAIR)
    assert switch is not None
    assert switch.is_on_for("former")
    carry_over(store, PAIR, "former", "2-new")
    switch = read_switch(store, PAIR)
    assert switch is not None
    assert switch.is_on_for("2-new")
    assert [last_trial(store, PAIR, name) is not None for name in ("former", "2-new", "another")] == [False, True, True]
    store.close()
