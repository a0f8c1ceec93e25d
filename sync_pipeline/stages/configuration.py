"""The exact configuration a trial was made with: anything of it changed, and live syncing asks for a new trial."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import orjson

from sync_pipeline.connectors.profile import Profile
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings


def configuration_fingerprint(
    connection: str, settings: Settings, profile: Profile, specs: Mapping[str, EntitySpec], marks: Mapping[str, str]
) -> str:
    """A hash of accounts, credentials, mappings and entities; a rotated key or token is the same credential."""
    facts = {
        "connection": connection,
        "addresses": [settings.clockify_base_url, settings.clockify_reports_url],
        "plan": settings.clockify_plan,
        "auth": [settings.auth, settings.snapshots_client_id, sorted(settings.snapshots_scopes)],
        "credentials": dict(marks),
        "start_date": settings.start_date.isoformat(),
        "profile": profile.model_dump(mode="json"),
        "entities": {
            name: [spec.fingerprint, spec.target.delete, spec.target.kind] for name, spec in sorted(specs.items())
        },
    }
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
