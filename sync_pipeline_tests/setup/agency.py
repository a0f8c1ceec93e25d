"""A team whose Snapshots side is the sandbox's HighLevel: nothing is prepared there yet."""

from __future__ import annotations

from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.sandbox.highlevel.keys import AGENCY_TOKEN, HOME_TOKEN
from sync_pipeline_tests.harness import Team

OBJECTS = ("clockify_users", "clockify_projects", "clockify_time_entries")


def at_highlevel(us: Team) -> dict[str, str]:
    """The settings of its environment."""
    return {
        "SNAPSHOTS_PROFILE": "highlevel",
        "SNAPSHOTS_BASE_URL": us.sandbox.highlevel,
        "SNAPSHOTS_API_KEY": HOME_TOKEN,
        "HIGHLEVEL_AGENCY_KEY": AGENCY_TOKEN,
        "HIGHLEVEL_LOCATION_ID": HOME,
    }
