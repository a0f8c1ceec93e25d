"""How deliveries behave, and what became of them: the switches and counters of ``/_control/webhooks``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """The switches. Clockify documents neither its retries nor when it gives up: these are close to what users saw."""

    # Share of deliveries sent again after they were accepted, and share never sent at all.
    duplicates: float = 0.0
    lost: float = 0.0
    # Out of order: several connections in parallel, each delivery held back for up to ``spread`` seconds.
    shuffle: bool = False
    spread: float = 0.5
    # Seconds before each further attempt at a refused delivery; as many attempts as there are delays.
    retry_delays: tuple[float, ...] = (15.0, 30.0, 70.0)
    # Deliveries given up in a row that clear ``deliveryEnabled``; 0 never does.
    disable_after: int = 10
    # Whether PUT turns a hook back on that was disabled so.
    put_enables: bool = True
    paused: bool = False
    # Seconds a receiver has for its answer, and how many deliveries may wait before new ones fail.
    timeout: float = 10.0
    queue: int = 10_000
    # The dice of ``duplicates``, ``lost`` and ``shuffle`` start from here.
    seed: int = 0

    def with_changes(self, sent: Any) -> DeliverySettings:
        """These settings with what a control sent; raises ValueError when it is not valid."""
        if not isinstance(sent, Mapping):
            raise ValueError("the settings are an object")
        known = {one.name for one in fields(self)}
        if unknown := sent.keys() - known:
            raise ValueError(f"there is no setting {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        return replace(self, **{name: _value(name, getattr(self, name), value) for name, value in sent.items()})


def _value(name: str, old: Any, value: Any) -> Any:
    if isinstance(old, tuple):
        if not isinstance(value, list) or not all(_number(one) for one in value):
            raise ValueError(f"{name} is a list of seconds, none of them negative")
        return tuple(float(one) for one in value)
    if isinstance(old, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} is true or false")
        return value
    if not _number(value) or (isinstance(old, int) and not isinstance(value, int)):
        raise ValueError(f"{name} is a number, not negative")
    if name in ("duplicates", "lost") and value > 1:
        raise ValueError(f"{name} is a rate from 0 to 1")
    return value


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


@dataclass(slots=True)
class Counters:
    """What became of the deliveries; every one made ends as exactly one of delivered, failed or lost."""

    delivered: int = 0
    failed: int = 0
    lost: int = 0
    # Further attempts, and accepted copies: these come on top.
    retried: int = 0
    duplicated: int = 0
    # What the last flood was asked for and how far it is.
    flood: dict[str, Any] = field(default_factory=dict)
