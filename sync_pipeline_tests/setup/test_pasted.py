"""Secrets as pasted."""

from __future__ import annotations

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.setup.draft import clean_secret


@pytest.mark.parametrize(
    "text",
    [
        "k3y-one",
        "  k3y-one\n",
        '"k3y-one"',
        "'k3y-one' ",
        "\u201ck3y-one\u201d",
        "`k3y-one`",
        "\ufeffk3y-one\u200b\r\n",
        "\u00a0k3y-one",
    ],
)
def test_what_copying_adds_is_taken_away(text: str) -> None:
    """Spaces, line ends, quotes and invisible marks around a key."""
    assert clean_secret(text, "The key") == "k3y-one"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        (' "" ', "is empty"),
        ("abc", "is too short for a key"),
        ("x" * 9000, "is too long for a key"),
        ("two words", "has a space or a line break in its middle"),
        ("k3y-one\nk3y-two", "has a space or a line break in its middle"),
        ("Bearer k3y-one", "has a space or a line break in its middle"),
        ("k3y\u2013one", "holds a character that no key has"),
        ("k3y-\u00f6ne", "holds a character that no key has"),
        ("k3y\x00one", "holds a character that no key has"),
    ],
)
def test_what_no_key_looks_like_is_refused(text: str, expected: str) -> None:
    """In one sentence that names the key and does not show it."""
    with pytest.raises(ConfigError) as caught:
        clean_secret(text, "The key")
    assert str(caught.value).startswith(f"The key {expected}")
    assert "k3y" not in str(caught.value)
