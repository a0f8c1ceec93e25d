"""A plan written to a file, and applied."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import orjson

from sync_pipeline.stages.apply import Applied, apply, cost_of
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.plan_file import plan_writer, read_plan
from sync_pipeline.stages.preview import preview
from sync_pipeline_tests.harness import Team


def write_plan(us: Team, *entities: str, with_personal: bool = False, days: Days | None = None, **changes: Any) -> Path:
    """The plan of these entities, or of all, in a file; of these days, or of all."""
    path, span = us.home.parent / "plan.jsonl", days or us.days
    with us.session(**changes) as session, plan_writer(path, with_personal=with_personal) as out:
        specs = [session.specs[name] for name in entities or session.specs]
        out.begin(session, specs, span)
        for spec in specs:
            preview(session, spec, span if spec.partitioned else None, on_line=partial(out.line, spec))
    return path


def lines_in(path: Path) -> list[dict[str, Any]]:
    """The records that a file names."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()[1:]]


def keep_lines(path: Path, *ids: str) -> None:
    """Take all other lines out."""
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"".join(line for line in rest if orjson.loads(line)["id"] in ids))


def apply_plan(us: Team, path: Path, *, skip: bool = False, read_target: bool = False, **changes: Any) -> Applied:
    """Apply a file."""
    with us.session(**changes) as session:
        plan = read_plan(path, session)
        return apply(session, plan, skip_changed=skip, read_target=read_target, run_id=f"apply-{next(us.runs)}")


def announced(us: Team, path: Path, **changes: Any) -> int:
    """How many requests it is said to take."""
    with us.session(**changes) as session:
        return cost_of(session, read_plan(path, session), read_target=False).requests


def differing(found: Applied) -> dict[str, str]:
    """What differs of each record that is not as its line states."""
    return {one.id: one.differs for one in found.changed}
