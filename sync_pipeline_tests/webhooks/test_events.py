"""Every event Clockify can send has its place, and what is subscribed is worth it."""

from __future__ import annotations

import pytest

from sync_pipeline.sandbox.clockify.webhook_events import EVENTS
from sync_pipeline.webhooks.events import SUBJECTS, WORTH_MOST_FIRST, about
from sync_pipeline.webhooks.registration import LONGEST_NAME, name_of


def test_every_event_is_in_the_table() -> None:
    """The 51 events a webhook can ask for, no other."""
    assert set(SUBJECTS) == set(EVENTS)
    assert len(SUBJECTS) == 51


def test_what_is_subscribed_is_about_something_we_sync() -> None:
    """No place of the plan's few is wasted; on the Free plan all three are about time."""
    assert len(set(WORTH_MOST_FIRST)) == len(WORTH_MOST_FIRST)
    assert all(SUBJECTS[name].entity for name in WORTH_MOST_FIRST)
    assert {SUBJECTS[name].entity for name in WORTH_MOST_FIRST[:3]} == {"time_entries"}
    assert {SUBJECTS[name].entity for name in WORTH_MOST_FIRST[:10]} == {
        "time_entries", "projects", "users", "locations",
    }  # fmt: skip


def test_an_event_that_is_about_nothing_says_why() -> None:
    """Each has a note for whoever wonders."""
    assert all(subject.note for subject in SUBJECTS.values() if subject.entity is None)


@pytest.mark.parametrize(
    ("kind", "entity"),
    [("TIMER_STOPPED", "time_entries"), ("CLIENT_UPDATED", "locations"), ("TAG_UPDATED", None), ("NEW_ONE", None)],
)
def test_an_event_names_its_record(kind: str, entity: str | None) -> None:
    """Entity by its kind, id from its body."""
    assert about(kind, {"id": "64a687e29ae1f428e7ebe303"}) == (entity, "64a687e29ae1f428e7ebe303")


def test_names_fit_into_clockify_and_differ() -> None:
    """At most 30 characters, one name an event."""
    names = {name_of(event) for event in WORTH_MOST_FIRST}

    assert len(names) == len(WORTH_MOST_FIRST)
    assert all(2 <= len(name) <= LONGEST_NAME for name in names)
