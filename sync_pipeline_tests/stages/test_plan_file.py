"""The file of a plan: private, without personal values, and refused when it is not a plan of these accounts."""

from __future__ import annotations

import stat
from pathlib import Path

import orjson
import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.stages import plan_file
from sync_pipeline_tests.harness import team
from sync_pipeline_tests.stages.planning import apply_plan, write_plan


def test_what_a_line_says_is_never_sent(tmp_path: Path) -> None:
    """Values, labels and actions in the file are for people: what is written comes from the source."""
    with team(tmp_path, entries=0) as us:
        path = write_plan(us, "projects")
        name = us.projects()[0]["name"]
        path.write_text(path.read_text().replace(name, "FORGED"))
        apply_plan(us, path)
        assert "FORGED" not in str(us.at_snapshots("projects"))


def test_the_file_is_private_and_has_no_personal_values(tmp_path: Path) -> None:
    """Mode 0600; names and addresses of people are in it on request only."""
    with team(tmp_path, entries=2) as us:
        path = write_plan(us)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        email, name = us.users()[0]["email"], us.users()[0]["name"]
        assert email not in path.read_text()
        assert name not in path.read_text()
        assert email in write_plan(us, with_personal=True).read_text()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a plan file"),
        ("{}\n", "is not a plan file"),
        ('{"sync_pipeline_plan": 2}\n', "another version"),
        ('{"sync_pipeline_plan": 1, "pair": "elsewhere"}\n', "other accounts"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """Before anything is asked; the message states what to do."""
    path = tmp_path / "plan.jsonl"
    path.write_text(text)
    with team(tmp_path / "team") as us, pytest.raises(ConfigError, match=problem) as caught:
        apply_plan(us, path)
    assert "preview --out" in caught.value.fix


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        '{"entity": "projects"}',
        '{"entity": 1, "id": 2, "action": 3}',
        '{"entity": "projects", "id": "1", "action": "destroy"}',
        '{"entity": "projects", "id": "", "action": "create"}',
        '{"entity": "projects", "id": "a\\u0000b", "action": "create"}',
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    """By file and number."""
    with team(tmp_path, entries=0) as us:
        path = write_plan(us, "projects")
        path.write_text(f"{path.read_text().splitlines()[0]}\n{line}\n")
        with pytest.raises(ConfigError, match=r"plan\.jsonl:2"):
            apply_plan(us, path)


@pytest.mark.parametrize("days", [None, ["2026-01-02", "2026-01-01"], ["9999-12-30", "9999-12-31"], ["2026-01-01"], 7])
def test_days_that_cannot_be_read_are_named(tmp_path: Path, days: object) -> None:
    """They were changed since: entries are read by days, in order."""
    with team(tmp_path, entries=2) as us:
        path = write_plan(us, "time_entries")
        first, *rest = path.read_bytes().splitlines()
        path.write_bytes(b"\n".join([orjson.dumps(orjson.loads(first) | {"days": days}), *rest]))
        with pytest.raises(ConfigError, match=r"plan\.jsonl:1: it.* days") as caught:
            apply_plan(us, path, SYNC_MAX_CONFIRMATIONS="1")
        assert "preview --out" in caught.value.fix


def test_a_plan_that_is_too_large_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither half of it nor a draft; and one that someone made larger is not read."""
    with team(tmp_path, entries=0) as us:
        path = write_plan(us, "projects")
        before = path.read_bytes()
        monkeypatch.setattr(plan_file, "MAX_BYTES", len(before) - 1)
        with pytest.raises(ConfigError, match="was not written"):
            write_plan(us, "projects")
        assert path.read_bytes() == before
        assert [found.name for found in tmp_path.glob(".plan*")] == []
        with pytest.raises(ConfigError, match="Apply it in parts"):
            apply_plan(us, path)
