"""Every event Clockify can send has its place, and what is subscribed is worth it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sync_pipeline.webhooks
from sync_pipeline.connectors.clockify.webhooks import LONGEST_NAME
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.sandbox.clockify.webhook_events import EVENTS
from sync_pipeline.webhooks.events import WebhookEvents
from sync_pipeline.webhooks.registration import name_of
from sync_pipeline_tests.webhooks.shipped import OF_USERS, SHIPPED, WORTH_MOST_FIRST

ROOT = Path(__file__).parents[2]
FIFTH = """
source: {system: clockify, list: "/workspaces/{workspace}/tags", id: id}
target: {system: snapshots, id: tag_id}
fields: {tag_id: {source: id, type: id, required: true}}
webhooks: {id: tag.id, subscribe: {TAG_UPDATED: 45, NEW_TAG: 190}, accept: [TAG_DELETED]}
"""


def explained() -> dict[str, str]:
    """The events that are about nothing we sync, and why, as docs/webhooks.md has them."""
    table = (ROOT / "docs" / "webhooks.md").read_text().partition("## Events that are about nothing")[2]
    rows = re.findall(r"^\| (`[A-Z].*?) \| (.+?) \|$", table, re.MULTILINE)
    return {event: why for events, why in rows for event in re.findall(r"`([A-Z_]+)`", events)}


def test_every_event_is_named_or_explained() -> None:
    """Each of the 51 events a webhook can ask for is about an entity, or the docs state why it is not; no other is."""
    assert set(SHIPPED.subjects).isdisjoint(explained())
    assert {*SHIPPED.subjects, *explained()} == set(EVENTS)
    assert len(SHIPPED.subjects) + len(explained()) == 51
    assert all(explained().values())


def test_what_is_subscribed_is_about_something_we_sync() -> None:
    """No place of the plan's few is wasted; on the Free plan all three are about time."""
    assert len(set(WORTH_MOST_FIRST)) == len(WORTH_MOST_FIRST)
    assert all(SHIPPED.entity_of(name) for name in WORTH_MOST_FIRST)
    assert {SHIPPED.entity_of(name) for name in WORTH_MOST_FIRST[:3]} == {"time_entries"}
    assert {SHIPPED.entity_of(name) for name in WORTH_MOST_FIRST[:10]} == {
        "time_entries", "projects", "users", "locations",
    }  # fmt: skip


def test_the_order_is_the_same_as_ever() -> None:
    """An install that is upgraded keeps its hooks: what was subscribed stays among the first."""
    assert WORTH_MOST_FIRST == (
        "TIME_ENTRY_UPDATED", "NEW_TIME_ENTRY", "TIMER_STOPPED", "TIME_ENTRY_DELETED", "CLIENT_UPDATED", "NEW_CLIENT",
        "PROJECT_UPDATED", "USER_UPDATED", "NEW_PROJECT", "CLIENT_DELETED", "TIME_ENTRY_RESTORED", "TIME_ENTRY_SPLIT",
        "PROJECT_DELETED", "USER_JOINED_WORKSPACE", "USER_DEACTIVATED_ON_WORKSPACE", "USER_ACTIVATED_ON_WORKSPACE",
        "USER_EMAIL_CHANGED", "USER_DELETED_FROM_WORKSPACE",
    )  # fmt: skip
    assert {"USER_UPDATED", "USER_EMAIL_CHANGED"} == OF_USERS


@pytest.mark.parametrize(
    ("kind", "entity"),
    [("TIMER_STOPPED", "time_entries"), ("CLIENT_UPDATED", "locations"), ("TAG_UPDATED", None), ("NEW_ONE", None)],
)
def test_an_event_names_its_record(kind: str, entity: str | None) -> None:
    """Entity by its kind, id from its body."""
    assert SHIPPED.about(kind, {"id": "64a687e29ae1f428e7ebe303"}) == (entity, "64a687e29ae1f428e7ebe303")


def test_a_fifth_entity_names_its_events_in_its_file(tmp_path: Path) -> None:
    """They take their place among those of the others, and the id is where the file defines it."""
    (tmp_path / "tags.yaml").write_text(FIFTH)
    events = WebhookEvents.of(load_specs(tmp_path).values())
    assert [event for event in events.order if event not in WORTH_MOST_FIRST] == ["TAG_UPDATED", "NEW_TAG"]
    assert (events.order.index("TAG_UPDATED"), events.order[-1]) == (4, "NEW_TAG")
    assert events.about("TAG_DELETED", {"id": "no", "tag": {"id": "t1"}}) == ("tags", "t1")
    assert events.about("TAG_DELETED", {"id": "no"}) == ("tags", None)


def test_an_event_that_a_file_leaves_out_is_not_subscribed_but_its_hook_is_known(tmp_path: Path) -> None:
    """What is delivered by a hook of before is accepted, and is about nothing any more."""
    (tmp_path / "projects.yaml").write_text("webhooks: {subscribe: {PROJECT_UPDATED: 70}}")
    events = WebhookEvents.of(load_specs(tmp_path).values())
    assert set(WORTH_MOST_FIRST) - set(events.order) == {"NEW_PROJECT", "PROJECT_DELETED"}
    assert events.about("PROJECT_DELETED", {"id": "p1"}) == (None, "p1")
    assert "PROJECT_DELETED" in events.hooks
    assert "NEW_TAG" not in events.hooks


def test_names_fit_into_clockify_and_differ() -> None:
    """At most 30 characters, one name an event."""
    names = {name_of(event) for event in WORTH_MOST_FIRST}

    assert len(names) == len(WORTH_MOST_FIRST)
    assert all(2 <= len(name) <= LONGEST_NAME for name in names)


def test_no_entity_and_no_event_is_named_in_the_code() -> None:
    """What webhooks are about is in the entities' files: the code of `webhooks/` has no name of either."""
    names = {*load_specs(), *EVENTS}
    sources = {path.name: path.read_text() for path in Path(sync_pipeline.webhooks.__path__[0]).glob("*.py")}
    assert {"events.py", "registration.py"} <= sources.keys()
    assert {file: found for file, source in sources.items() if (found := names.intersection(constants(source)))} == {}
    assert names.intersection(constants('def f():\n    """users"""\n    return f("projects", x="TAG_UPDATED")')) == {
        "projects", "TAG_UPDATED",
    }  # fmt: skip


def constants(source: str) -> Iterator[str]:
    """The texts in a module's code; docstrings are no code."""
    tree = ast.parse(source)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def test_webhooks_are_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    """An install stays live whatever its files state about events, and the shipped ones have the fingerprints they had."""
    assert {name: spec.fingerprint for name, spec in load_specs().items()} == {
        "locations": "767ee73b705e5d39",
        "users": "70f62d2c07e48968",
        "projects": "e84299db72cea9cf",
        "time_entries": "6682c958903afca7",
    }
    (tmp_path / "projects.yaml").write_text("webhooks: {subscribe: {PROJECT_DELETED: 5}}")
    changed: EntitySpec = load_specs(tmp_path)["projects"]
    assert changed.webhooks.subscribe == {"PROJECT_DELETED": 5}
    assert changed.fingerprint == load_specs()["projects"].fingerprint
