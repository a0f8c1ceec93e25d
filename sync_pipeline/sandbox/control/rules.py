"""Rules that make chosen requests go wrong, repeatably: what, where, how often."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any, Literal, get_args

FaultKind = Literal[
    "status", "stall", "hold_before", "hold_after", "cut_before", "cut_after", "duplicate_page", "shifted_page",
    "truncated_json", "empty_object", "html",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(FaultKind)


@dataclass
class FaultRule:
    """One rule. ``count`` is how often it may apply (None: no limit), ``struck`` how often it did.

    Without a ``status`` a status fault is a 500 and a web page a 200.
    A hold keeps a request, before or after it is carried out, until the rule is removed.
    ``skip`` lets that many covered requests pass first; after ``lasts`` seconds the rule is removed. ``drop`` makes a shifted page lose a row: its first row moved to a page that was read already.
    """

    kind: FaultKind
    route: str = "*"
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    drop: bool = False
    rate: float = 1.0
    count: int | None = None
    seed: int = 0
    skip: int = 0
    lasts: float | None = None
    ends: float | None = None
    """When it is taken out of force, in real time."""
    struck: int = 0
    holding: int = 0
    """Requests it keeps waiting at this moment."""
    memory: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        # "/users/{id}", as the counters name a route, is a pattern too.
        self._pattern = re.compile(translate(re.sub(r"\{[^}]*\}", "*", self.route)))
        self._dice = random.Random(self.seed)

    @property
    def spent(self) -> bool:
        """Whether it has struck as often as it may."""
        return self.count is not None and self.struck >= self.count

    def covers(self, route: str) -> bool:
        """Whether it is about this ``METHOD /path``."""
        return self._pattern.match(route) is not None

    def strikes(self) -> bool:
        """Throw the dice for one covered request; True counts as a strike."""
        if self.skip > 0:
            self.skip -= 1
            return False
        # The dice are thrown for every covered request, so the same seed hits the same requests whatever else happens.
        hit = self._dice.random() < self.rate
        if not hit or self.spent:
            return False
        self.struck += 1
        return True

    def as_json(self) -> dict[str, Any]:
        """The rule as ``GET /_control/faults`` shows it."""
        shown = (
            "kind",
            "route",
            "status",
            "body",
            "headers",
            "seconds",
            "drop",
            "rate",
            "count",
            "seed",
            "skip",
            "lasts",
        )
        counted = ("struck", "holding")
        return {name: getattr(self, name) for name in (*shown, *counted)}


@dataclass
class Faults:
    """The rules in force, in the order they were added; the first that strikes decides."""

    rules: list[FaultRule] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def add(self, rule: FaultRule) -> FaultRule:
        """Put a rule in force."""
        rule.ends = None if rule.lasts is None else self.clock() + rule.lasts
        self.rules.append(rule)
        return rule

    def has(self, rule: FaultRule) -> bool:
        """Whether this very rule is still in force."""
        return any(one is rule for one in self.rules)

    def drop_ended(self) -> None:
        """Remove the rules whose time is over."""
        if any(rule.ends is not None for rule in self.rules):
            now = self.clock()
            self.rules[:] = [rule for rule in self.rules if rule.ends is None or rule.ends > now]

    def remove(self, rule: FaultRule) -> None:
        """Remove this rule, not an equal one."""
        self.rules[:] = [one for one in self.rules if one is not rule]

    def clear(self, route: str | None = None) -> None:
        """No more faults, or none on this route."""
        self.rules[:] = [] if route is None else [rule for rule in self.rules if rule.route != route]


def read_rule(sent: Any) -> FaultRule:
    """A rule from JSON; raises ValueError when it is not valid."""
    if not isinstance(sent, dict) or sent.get("kind") not in KINDS:
        raise ValueError(f"a rule is an object whose kind is one of {', '.join(KINDS)}")
    if unknown := sent.keys() - _TYPES.keys():
        raise ValueError(f"a rule has no {', '.join(sorted(unknown))}; it may have {', '.join(_TYPES)}")
    for name, types in _TYPES.items():
        if name in sent and (not isinstance(sent[name], types) or (type(sent[name]) is bool) != (types == (bool,))):
            raise ValueError(f"{name}={sent[name]!r} is not of the right type")
    rule = FaultRule(**sent)
    if (
        not 0 <= rule.rate <= 1
        or min(rule.seconds, rule.skip, rule.lasts or 0) < 0
        or not 200 <= (rule.status or 200) <= 599
    ):
        raise ValueError("rate is from 0 to 1, seconds, skip and lasts are not negative, status is from 200 to 599")
    return rule


_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,), "route": (str,), "status": (int,), "body": (str, dict, list, type(None)), "headers": (dict,),
    "seconds": (int, float), "drop": (bool,), "rate": (int, float), "count": (int, type(None)), "seed": (int,),
    "skip": (int,), "lasts": (int, float, type(None)),
}  # fmt: skip
