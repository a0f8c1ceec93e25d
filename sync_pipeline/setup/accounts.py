"""Connecting accounts: everything a page or a prompt needs, in one place to import from."""

from __future__ import annotations

from sync_pipeline.diagnose.finding import Finding
from sync_pipeline.setup.clockify import ClockifyAccount, ClockifyForm, Workspace, connect_clockify, look_at_clockify
from sync_pipeline.setup.connections import WELL, Connection, connections, disconnect, switch_entities
from sync_pipeline.setup.consent import Consent, begin_authorization, finish_authorization, read_callback, stored_form
from sync_pipeline.setup.pasted import clean_secret
from sync_pipeline.setup.regions import CUSTOM, REGIONS, Region, region_of
from sync_pipeline.setup.snapshots import SnapshotsForm, connect_snapshots, needed_scopes

__all__ = [
    "CUSTOM",
    "REGIONS",
    "WELL",
    "ClockifyAccount",
    "ClockifyForm",
    "Connection",
    "Consent",
    "Finding",
    "Region",
    "SnapshotsForm",
    "Workspace",
    "begin_authorization",
    "clean_secret",
    "connect_clockify",
    "connect_snapshots",
    "connections",
    "disconnect",
    "finish_authorization",
    "look_at_clockify",
    "needed_scopes",
    "read_callback",
    "region_of",
    "stored_form",
    "switch_entities",
]
