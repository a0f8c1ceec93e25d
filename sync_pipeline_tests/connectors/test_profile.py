"""Profiles are checked when they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.connectors.profile_files import load_profile, parse_profile
from sync_pipeline.errors import ConfigError

GENERIC = Path(load_profile.__code__.co_filename).with_name("profiles") / "generic.yaml"


@pytest.mark.parametrize(
    ("entity", "id_field", "read", "write"),
    [
        ("locations", "location_id", "saas/location.read", "saas/location.write"),
        ("time_entries", "time_entry_id", "time_entries.read", "time_entries.write"),
        ("tags", "tag_id", "tags.read", "tags.write"),
    ],
)
def test_an_entity_follows_from_the_patterns(entity: str, id_field: str, read: str, write: str) -> None:
    """Id field and scopes follow from the patterns unless the file states otherwise, also for a custom entity."""
    profile = load_profile()
    assert (profile.id_field(entity), profile.scope(entity), profile.scope(entity, write=True)) == (
        id_field,
        read,
        write,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  size: 500", "  siez: 500", r"p\.yaml:\d+: batch\.siez: this key is not known - did you mean size\?"),
        ("  size: 500", "  size: many", r"p\.yaml:\d+: batch\.size: .*valid integer.*found 'many'"),
        ("  path: /{entity}/{id}", "  path: /{entity}", r"p\.yaml:\d+: item\.path: .*found '/\{entity\}'"),
        ("action: refresh", "action: relax", r"p\.yaml:\d+: answers\.0\.action: .*found 'relax'"),
        ('id: "{singular}_id"', "", r"p\.yaml:1: id: field required\."),
        ("profile: generic", "profile: [generic", r"p\.yaml:\d+: not YAML"),
        (
            "window: {from:",
            "window: {form:",
            r"p\.yaml:\d+: entities\.time_entries\.window\.form: .*did you mean from\?",
        ),
    ],
)
def test_mistakes_are_located(old: str, new: str, message: str) -> None:
    """A mistake is refused with file, line, key, what was found, and what was probably meant."""
    text = GENERIC.read_text("utf-8")
    assert old in text
    with pytest.raises(ConfigError, match=message):
        parse_profile(text.replace(old, new, 1), "p.yaml")


@pytest.mark.parametrize(("old", "new"), [("  size: 500", "  siez: 500"), ("action: refresh", "action: relax")])
def test_the_line_is_right(old: str, new: str) -> None:
    """The line that is named is the line to correct, and what is wrong comes before what is therefore missing."""
    lines = GENERIC.read_text("utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if old in line)
    with pytest.raises(ConfigError) as caught:
        parse_profile("\n".join(lines).replace(old, new, 1), "p.yaml")
    assert str(caught.value).startswith(f"p.yaml:{number}: ")


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    """A path names a file; an unknown name lists what there is."""
    own = tmp_path / "mine.yaml"
    own.write_text(GENERIC.read_text("utf-8").replace("profile: generic", "profile: mine"), "utf-8")
    assert load_profile(str(own)).profile == "mine"
    with pytest.raises(ConfigError, match="Built in: generic"):
        load_profile("nowhere")
