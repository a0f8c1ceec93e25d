"""Makes docs/images/lineage.png anew: ``python -m sync_pipeline_tests.console.lineage [directory]``.

`dev` runs on the sandbox until everything is synced; the picture is the lineage as the Dagster UI then shows it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page

from sync_pipeline.clock import unix_time
from sync_pipeline.console.sign_in_links import fresh_link
from sync_pipeline_tests.browser import chromium
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.scenarios.developing import Developing, developing, wait_for

WIDTH, HEIGHT = 1700, 700
UI_MS, SYNCED_SECONDS, STILL_MS = 60_000, 300, 8_000
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
RUNS = "{runsOrError{... on Runs{results{status jobName}}}}"
ENTITIES = ("locations", "users", "projects", "time_entries")


def main() -> None:
    """Sync, look, keep."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    with TemporaryDirectory() as home, developing(Path(home)) as us, chromium() as browser:
        wait_for(lambda: is_synced(us), SYNCED_SECONDS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(UI_MS)
        page.goto(fresh_link(us.home, unix_time))
        keep_lineage(us, page, directory / "lineage.png")


def is_synced(us: Developing) -> bool:
    """Whether each entity has had its first sync, and nothing is at work."""
    runs = us.graphql(RUNS)["runsOrError"]["results"]
    done = {run["jobName"] for run in runs if run["status"] == "SUCCESS"}
    return {f"sync_{entity}" for entity in ENTITIES} <= done and all(run["status"] in ENDED for run in runs)


def keep_lineage(us: Developing, page: Page, file: Path) -> None:
    """The global lineage: its lanes."""
    page.goto(f"{us.ui}/asset-groups")
    page.get_by_text("to_snapshots", exact=True).last.wait_for()
    page.wait_for_timeout(STILL_MS)  # the graph moves until it is laid out
    page.screenshot(path=file, animations="disabled")


if __name__ == "__main__":
    main()
