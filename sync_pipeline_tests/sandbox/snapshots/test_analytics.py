"""Project figures: every project and month, once, and margin is what its name states."""

from __future__ import annotations

import httpx
import pytest

from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox


def test_figures_of_every_project_and_month(sandbox: Sandbox) -> None:
    """Twelve months of each Clockify project; margin = revenue - cost."""
    figures = [figure for page in sandbox.pages("analytics/projects", limit=7) for figure in page]
    keys = {(figure["project_id"], figure["month"]) for figure in figures}
    projects = {row["id"] for row in sandbox.world.db.execute("SELECT id FROM projects")}
    assert len(keys) == len(figures) == 12 * len(projects)
    assert {project for project, _ in keys} == projects
    assert all(figure["margin"] == round(figure["revenue"] - figure["cost"], 2) for figure in figures)


def test_months_are_both_included(sandbox: Sandbox) -> None:
    """The months in from and to are the first and the last one."""
    months = sorted({figure["month"] for page in sandbox.pages("analytics/projects") for figure in page})
    some = sandbox.pages("analytics/projects", **{"from": months[3], "to": months[5]})
    assert sorted({figure["month"] for page in some for figure in page}) == months[3:6]


def test_the_root_address_is_the_same_resource(sandbox: Sandbox) -> None:
    """/analytics/projects and /snapshots/analytics/projects answer alike."""
    headers = {"X-Api-Key": "sandbox-snapshots-key"}
    root = httpx.get(f"{sandbox.running.url}/analytics/projects", headers=headers)
    assert root.json() == sandbox.api.get("analytics/projects").json()


@pytest.mark.parametrize("params", [{"from": "2026"}, {"to": "2026-13"}, {"to": "2026-01", "from": "2026-02"}])
def test_months_that_are_none(sandbox: Sandbox, params: dict[str, str]) -> None:
    """A wrong month or a range the wrong way round is named."""
    answer = sandbox.api.get("analytics/projects", params=params)
    assert (answer.status_code, answer.json()["parameter"]) == (400, next(iter(params)))
