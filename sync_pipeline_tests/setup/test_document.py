"""The text of a set-up: changed key by key, and what a person wrote around it stays."""

from __future__ import annotations

import pytest

from sync_pipeline.errors import ConfigError, MappingFileError
from sync_pipeline.settings import read_setup
from sync_pipeline.setup.document import HEAD, differences, edited, with_changes

WRITTEN_BY_HAND = """\
# Ours since 2026; ask Ann before you change the workspace.
clockify:
  # the EU one
  base_url: "https://euc1.clockify.me/api/v1"   # not the global one
  workspace_id: w1
snapshots:
  base_url: https://snapshots.example/v1

start_date: 2026-02-01 # the day we moved
"""


def test_comments_quotes_and_order_stay() -> None:
    """Only the line that was changed is another one."""
    found = edited(WRITTEN_BY_HAND, {"clockify.workspace_id": "w2"})
    assert found.splitlines() == [line.replace("w1", "w2") for line in WRITTEN_BY_HAND.splitlines()]


def test_a_new_one_says_what_it_is() -> None:
    """With a comment at its top."""
    found = edited("", {"snapshots.scopes": ["a", "b"], "clockify.plan": "paid"})
    assert found.startswith(f"# {HEAD}\n")
    assert read_setup(found) == {"snapshots_scopes": ("a", "b"), "clockify_plan": "paid"}


def test_sections_come_and_go() -> None:
    """None takes a key out, and the section with its last one; what is not there is ignored."""
    more = edited(WRITTEN_BY_HAND, {"mappings.users.fields.name.source": "email"})
    assert "mappings" in more
    text = edited(more, {"mappings.users.fields.name": None, "snapshots.base_url": None, "entities": None})
    assert "mappings" not in text
    assert "snapshots" not in text
    assert "the EU one" in text


def test_one_without_any_key_is_read() -> None:
    """The last key is taken out again."""
    empty = edited(edited("", {"clockify.plan": "paid"}), {"clockify.plan": None})
    assert read_setup(empty) == {}
    assert read_setup(edited(empty, {"clockify.plan": "free"})) == {"clockify_plan": "free"}


def test_a_nested_key_that_is_named_twice_on_its_way() -> None:
    """A section may hold one of its own name: the right one is emptied."""
    both = edited(WRITTEN_BY_HAND, {"mappings.mappings.fields.mappings": "x", "mappings.users.fields.name": "drop"})
    text = edited(both, {"mappings.mappings.fields.mappings": None})
    assert "users" in text
    assert text.count("mappings") == 1


@pytest.mark.parametrize(
    "text", ["clockify: {plan: paid", "a: 1\na: 2\n", "\tx: 1\n", "key: !!python/name:os.system\n", "- mine\n"]
)
def test_a_broken_one_is_refused(text: str) -> None:
    """With its line; what would come out of it is unknown."""
    with pytest.raises(ConfigError):
        read_setup(edited(text, {"clockify.plan": "free"}))


def test_the_line_is_named() -> None:
    """By the name that people know: there is no file."""
    with pytest.raises(MappingFileError) as caught:
        read_setup(edited(WRITTEN_BY_HAND, {"clockify.plan": "gold"}))
    assert str(caught.value).startswith("set-up:6: clockify.plan: is not one of free, paid.")


def test_comments_alone_are_kept() -> None:
    """They are someone's."""
    assert edited("# mine\n", {"clockify.plan": "free"}) == "# mine\nclockify:\n  plan: free\n"


AFTER = """\
clockify: {base_url: "https://euc1.clockify.me/api/v1", workspace_id: w2}
start_date: 2026-02-01
entities: [users]
mappings:
  users:
    target: {delete: keep}
    fields:
      name: {source: name, transform: [trim]}
      email: drop
"""


def test_differences_are_named_value_by_value() -> None:
    """A field of a mapping is one value; comments, quotes and order make no difference."""
    found = differences(WRITTEN_BY_HAND, AFTER)
    assert found == {
        ("clockify", "workspace_id"): "w2",
        ("entities",): ["users"],
        ("mappings", "users", "fields", "email"): "drop",
        ("mappings", "users", "fields", "name"): {"source": "name", "transform": ["trim"]},
        ("mappings", "users", "target"): {"delete": "keep"},
        ("snapshots", "base_url"): None,
    }
    assert differences(AFTER, AFTER.replace("name: {source: name", "name: # ours\n        {source: 'name'")) == {}


@pytest.mark.parametrize(("before", "after"), [(WRITTEN_BY_HAND, AFTER), (AFTER, WRITTEN_BY_HAND), ("", AFTER)])
def test_differences_lead_from_one_to_the_other(before: str, after: str) -> None:
    """Applied to the first, they give the second."""
    assert differences(with_changes(before, differences(before, after)), after) == {}
