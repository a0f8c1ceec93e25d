"""The file of a plan: it appears whole or not at all, and what cannot be a plan is refused with its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.session.session import Session
from sync_pipeline.stages import plan_file
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.plan_file import NamedLine, plan_writer, read_plan
from sync_pipeline_tests.harness import Team, team

LINE = {"entity": "users", "id": "u", "action": "create", "label": None, "before": None, "after": "h", "source": "s"}


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team of which nothing was read yet."""
    with team(tmp_path, users=1, projects=1, clients=1, locations=1, entries=0) as everybody:
        yield everybody


@pytest.fixture
def session(us: Team) -> Iterator[Session]:
    """A session of this team."""
    with us.session() as opened:
        yield opened


def written(session: Session, path: Path, days: Days | None, *lines: dict[str, str | None]) -> Path:
    """A plan of users with these lines."""
    with plan_writer(path, with_personal=False) as writer:
        writer.begin(session, [session.specs["users"]], days)
    path.write_bytes(path.read_bytes() + b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path


def test_what_is_written_is_read_again(us: Team, session: Session, tmp_path: Path) -> None:
    """Days, fingerprints of the mappings, and the lines by entity and id; empty lines do not count."""
    path = written(session, tmp_path / "plan", us.days, LINE, {**LINE, "id": "w", "action": "wait"})
    path.write_text(path.read_text() + "\n\n")
    found = read_plan(path, session)
    assert (found.days, found.mappings) == (us.days, {"users": session.specs["users"].fingerprint})
    assert found.lines["users"]["u"] == NamedLine("users", "u", "create", None, None, "h", "s")
    assert [line.writes for line in found.lines["users"].values()] == [True, False]
    assert read_plan(written(session, tmp_path / "whole", None), session).days is None


def test_a_plan_that_was_not_finished_leaves_no_file(session: Session, tmp_path: Path) -> None:
    """The one that was there before stays as it was."""
    path = written(session, tmp_path / "plan", None, LINE)
    before = path.read_bytes()

    def killed() -> None:
        with plan_writer(path, with_personal=False) as writer:
            writer.begin(session, [], None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.glob("*plan*")] == ["plan"]


def test_a_plan_has_a_largest_size(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written beyond it there is no file; read beyond it, it is refused before it is looked at."""
    path = written(session, tmp_path / "plan", None, LINE)
    monkeypatch.setattr(plan_file, "MAX_BYTES", 100)
    with pytest.raises(ConfigError, match=r"plan has more than 0 MB\. Apply it in parts\."):
        read_plan(path, session)
    with (
        pytest.raises(ConfigError, match=r"so .*/large was not written\. Preview fewer"),
        plan_writer(tmp_path / "large", with_personal=False) as writer,
    ):
        writer.begin(session, list(session.specs.values()), None)
    assert not (tmp_path / "large").exists()


def test_a_record_is_named_once(session: Session, tmp_path: Path) -> None:
    """Else it would not be clear what was looked at."""
    path = written(session, tmp_path / "plan", None, LINE, LINE)
    with pytest.raises(ConfigError, match=r"plan:3: users u is named twice\. Take one line out\."):
        read_plan(path, session)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Before anything is read from either system."""
    with (
        pytest.raises(ConfigError, match=r"cannot be written: .* Name a file in a directory"),
        plan_writer(tmp_path / "no such directory" / "plan", with_personal=False),
    ):
        pass
