"""Sample pairs beside each entity: what a source record looks like and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import SHIPPED


@dataclass(frozen=True, slots=True)
class Sample:
    """A source record and the fields the target gets for it."""

    source: dict[str, Any]
    target: dict[str, Any]


def load_samples(entity: str, overrides: Path | None = None) -> list[Sample]:
    """The entity's samples, the user's own first; none when there is no file."""
    for directory in (overrides, SHIPPED):
        path = directory / "samples" / f"{entity}.json" if directory else None
        if path is not None and path.is_file():
            return _read(path)
    return []


def known_keys(entity: str, overrides: Path | None = None) -> frozenset[str]:
    """The top-level keys a source record is known to have, to notice drift; empty when unknown.

    What the shipped samples have is no news either: a user's own may be older than the reader that gives a key.
    """
    samples = [*load_samples(entity, overrides), *load_samples(entity)]
    return frozenset(key for sample in samples for key in sample.source)


def _read(path: Path) -> list[Sample]:
    try:
        return [Sample(pair["source"], pair["target"]) for pair in orjson.loads(path.read_bytes())]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        message = f"The sample file {path} is not a JSON list of objects with `source` and `target`."
        raise ConfigError(message, fix="Compare it with a shipped one.") from None
