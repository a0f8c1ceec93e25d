"""Mongo ObjectIds as Clockify uses them: 24 hex digits, the first 8 of which are the creation second."""

from __future__ import annotations

import random
import secrets
from itertools import count


class SeededIds:
    """Ids that come out the same for the same seed: time, a constant of the seed, and a counter."""

    def __init__(self, rng: random.Random) -> None:
        self._machine = f"{rng.getrandbits(40):010x}"
        self._counter = count(rng.getrandbits(20))

    def at(self, epoch: float) -> str:
        """The next id, created at ``epoch``."""
        return f"{int(epoch):08x}{self._machine}{next(self._counter):06x}"


_OF_THIS_PROCESS = SeededIds(random.Random(secrets.randbits(64)))


def new_id(epoch: float) -> str:
    """An id for something created at ``epoch``, unlike any other; as with MongoDB's, the later of a second is the higher."""
    return _OF_THIS_PROCESS.at(epoch)


def created_at(object_id: str) -> int:
    """The second in which the record was created."""
    return int(object_id[:8], 16)


def id_floor(epoch: float) -> str:
    """Ids of records created at ``epoch`` or later are not smaller than this."""
    return f"{max(0, int(epoch)):08x}"
