"""Fill an empty sandbox with one invented company; the same options give the same company."""

from __future__ import annotations

import random

from sync_pipeline.sandbox.clockify.seed import seed_clockify
from sync_pipeline.sandbox.database import empty_database, get_meta, set_meta, transaction
from sync_pipeline.sandbox.highlevel.seed import seed_highlevel
from sync_pipeline.sandbox.snapshots.seed import seed_analytics, seed_locations
from sync_pipeline.sandbox.world import World


def seed_if_empty(world: World) -> bool:
    """Seed a new database; one that holds data is left unchanged. Returns whether it was seeded."""
    if get_meta(world.db, "seed") is not None:
        seed_highlevel(world)  # a file of an earlier version has none
        return False
    seed_world(world)
    return True


def seed_world(world: World) -> None:
    """Replace everything in the database by freshly invented data."""
    options = world.options
    with transaction(world.db):
        empty_database(world.db)
        seed_clockify(world, random.Random(options.seed))
        seed_locations(world, random.Random(options.seed + 1), options.locations)
        seed_analytics(world, random.Random(options.seed + 2))
        set_meta(world.db, "seed", str(options.seed))
        seed_highlevel(world)
