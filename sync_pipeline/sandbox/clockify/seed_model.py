"""What the parts of the seeding share: ids, moments, and the people and projects that entries are about."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from sync_pipeline.sandbox.clockify.documents import INSERT, columns
from sync_pipeline.sandbox.clockify.http import Json
from sync_pipeline.sandbox.clockify.ids import SeededIds
from sync_pipeline.sandbox.world import World

YEAR = 365 * 86_400


@dataclass
class Person:
    """A user as the entries need to know them."""

    id: str
    zone: str
    status: str
    rate: int
    projects: list[Project] = field(default_factory=list)


@dataclass
class Project:
    """A project as the entries need to know it."""

    id: str
    archived: bool
    rate: int | None
    tasks: list[str] = field(default_factory=list)


class Seeder:
    """Everything the parts of the seeding share."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.db = world.db
        self.rng = rng
        self.ids = SeededIds(rng)
        self.now = int(world.clock.epoch())
        # Counted from midnight: two companies of one seed, founded on one day, have the same people.
        self.founded = self.now // 86_400 * 86_400 - 2 * YEAR - world.options.days * 86_400
        self.workspace = workspace_id_of(world.options.seed)

    def birth(self) -> int:
        """Some moment in the company's first two years."""
        return self.founded + self.rng.randrange(2 * YEAR)

    def store(self, table: str, body: Json) -> None:
        """Put one named record into its table."""
        self.db.execute(INSERT.format(table=table), (body["id"], 0, *columns(table, body)))


def workspace_id_of(seed: int) -> str:
    """The workspace id of a seed; always the same one."""
    return "64a687e2" + hashlib.sha256(f"workspace {seed}".encode()).hexdigest()[:16]
