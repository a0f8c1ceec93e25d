"""The configuration a trial was made with: when anything of it changes, live syncing asks for a new trial.

The fingerprint hashes what the configuration means. A key that a later version adds leaves it unchanged as long as it has
its default. When a version changes the meaning on purpose, it raises ``VERSION`` and computes the fingerprint that the
version before gave the same configuration: the switch and the trials made for that one are carried over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel

from sync_pipeline.connectors.profile import BaseProfile
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings

VERSION = 2

_FIRST_PROFILE: Mapping[str, str] = {
    "Profile": "profile description headers auth rate id scopes list item batch errors answers entities",
    "AuthFacts": "api_key oauth",
    "ApiKeyFacts": "header prefix",
    "OAuthFacts": "token_path authorize_path lost",
    "RateFacts": "requests seconds",
    "ScopeFacts": "read write",
    "ListFacts": "path items size_parameter page_size cursor_parameter next_cursor",
    "ItemFacts": "path",
    "BatchFacts": "path items size results id status accepted refused error code field message",
    "ErrorFacts": "code message scope request_id",
    "AnswerFacts": "status action message code methods fix",
    "EntityFacts": "id scopes window",
    "WindowFacts": "from_ before",
}
"""The keys a profile could have when version 1 of the fingerprint hashed all of them."""
_FIRST_WORDS = {
    "{check_key}": "Check {key_setting}.",
    "{new_key}": "Put a new key into {key_setting}.",
    "Grant {scope} to {key}.": "Grant {scope} to the key or token in {key_setting}.",
}
"""Texts of the built-in profile in version 1, by what they are now; version 1 hashed them."""
_NO_MATTER: Any = {
    **dict.fromkeys(("description", "analytics", "title", "tokens", "prepares", "catalogue", "lists"), True),
    "webhooks": {"lists"},
    "answers": {"__all__": {"message", "fix"}},
}
"""The texts of a profile, what is only read for reports, and what wakes an entity: they do not change what is written."""


def configuration_fingerprint(
    pair: str, settings: Settings, profile: BaseProfile, specs: Mapping[str, EntitySpec], marks: Mapping[str, str]
) -> str:
    """A hash of accounts, credentials, mappings and entities; a rotated key or token is the same credential."""
    meaning = profile.model_dump(mode="json", exclude_defaults=True, exclude=_NO_MATTER)
    entities = {name: [spec.fingerprint, spec.target.delete, spec.target.kind] for name, spec in specs.items()}
    return f"{VERSION}-{_hash(_accounts(pair, settings, marks) | {'profile': meaning, 'entities': entities})}"


def former_fingerprint(
    pair: str, settings: Settings, profile: BaseProfile, specs: Mapping[str, EntitySpec], marks: Mapping[str, str]
) -> str:
    """The fingerprint that the version before gave this configuration.

    That version deleted users and projects immediately; ``unreferenced`` waits until no record refers to them.
    """
    entities = {
        name: [spec.fingerprint, spec.target.delete.replace("unreferenced", "delete"), spec.target.kind]
        for name, spec in specs.items()
    }
    return _hash(_accounts(pair, settings, marks) | {"profile": _first(profile), "entities": entities})


def _accounts(pair: str, settings: Settings, marks: Mapping[str, str]) -> dict[str, Any]:
    return {
        "connection": pair,
        "addresses": [settings.clockify_base_url, settings.clockify_reports_url],
        "plan": settings.clockify_plan,
        "auth": [settings.auth, settings.snapshots_client_id, sorted(settings.snapshots_scopes)],
        "credentials": dict(marks),
        "start_date": settings.start_date.isoformat(),
    }


def _hash(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _first(value: Any) -> Any:
    """A profile as version 1 dumped it: every key it knew, defaults included."""
    if isinstance(value, BaseModel):
        return {name: _first(getattr(value, name)) for name in _FIRST_PROFILE.get(type(value).__name__, "").split()}
    if isinstance(value, dict):
        return {name: _first(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_first(each) for each in value]
    return _FIRST_WORDS.get(value, value) if isinstance(value, str) else value
