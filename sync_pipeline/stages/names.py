"""Names that pass from client to client: Clockify allows each only once, so the order of renames matters.

A row whose name another client is about to give up comes after that one. Where this goes round in a circle, one client
of the circle waits under a temporary name; when a rename of the circle is refused, all get their old names back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sync_pipeline.stages.roster import Clients, name_of
from sync_pipeline.store.staging import Pending

MAX_NAME = 100
NAME_TAKEN = "name_taken"
"""The rule of a reject whose name another client has: it is tried again as soon as that one gives it up."""

Prospect = Literal["create", "adopt", "update", "refuse"]


@dataclass(frozen=True, slots=True)
class Chain:
    """Rows each of which wants the name of the next one's client: to be delivered from the last to the first."""

    rows: list[Pending]
    circle: list[Pending]
    """Those at the end of ``rows`` whose names go round: the last wants the name of the first of these."""


def chain_of(clients: Clients, pending: Mapping[str, Pending], row: Pending) -> Chain:
    """The row, and what has to be delivered before it."""
    rows, place = [row], {row.source_id: 0}
    while (before := _giving_up(clients, pending, rows[-1])) is not None:
        if before.source_id in place:
            return Chain(rows, rows[place[before.source_id] :])
        place[before.source_id] = len(rows)
        rows.append(before)
    return Chain(rows, [])


def parked_name(name: str, client_id: str) -> str:
    """A name nobody else has, that tells where it comes from."""
    return f"{name[: MAX_NAME - 26]} ~{client_id}"


def unparked_name(name: str, client_id: str) -> str | None:
    """What a client was called before an interrupted run gave it a temporary name; None when none did."""
    before = name.removesuffix(f" ~{client_id}")
    return before if before != name else None


def foresee(clients: Clients, pending: Mapping[str, Pending]) -> dict[str, Prospect]:
    """What delivering these rows would come to if Clockify refused nothing but names that are taken."""
    clients, rest = clients.sketch(), dict(pending)
    prospects: dict[str, Prospect] = {}
    for source_id in pending:
        if source_id not in rest:
            continue
        chain = chain_of(clients, rest, rest[source_id])
        if chain.circle and (own := clients.own(chain.circle[0])):
            clients.put({**own, "name": parked_name(own["name"], own["id"])})
        for row in reversed(chain.rows):
            prospects[row.source_id] = _prospect(clients, rest.pop(row.source_id))
    return prospects


def _giving_up(clients: Clients, pending: Mapping[str, Pending], row: Pending) -> Pending | None:
    """The row whose client has the name this one wants, and is to be renamed."""
    holder = clients.holder(row)
    other = pending.get(clients.links.get(holder["id"], "")) if holder is not None else None
    return other if other is not None and name_of(other) != name_of(row) else None


def _prospect(clients: Clients, row: Pending) -> Prospect:
    name, own = name_of(row), clients.own(row)
    if own is not None:
        if clients.holder(row) is not None:
            return "refuse"
        clients.put({**own, "name": name})
        return "update"
    if (found := clients.adoptable(row)) is not None:
        clients.links[found["id"]] = row.source_id
        return "adopt"
    if clients.holder(row) is not None:
        return "refuse"
    made = {"id": f"new client of {row.source_id}", "name": name}
    clients.put(made)
    clients.links[made["id"]] = row.source_id
    return "create"
