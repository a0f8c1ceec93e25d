"""The records that can be chosen for an input of an operation that takes an id."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice

from sync_pipeline.operations.catalogue import known, operation
from sync_pipeline.session.session import Session
from sync_pipeline.setup.operations import form_of, pages

MOST = 500


@dataclass(frozen=True, slots=True)
class Choice:
    """One record that can be chosen."""

    id: str
    label: str


def choices_of(session: Session, name: str, of: str) -> list[Choice] | None:
    """What can be chosen for the input ``of`` of an operation; None where its value is typed."""
    found = known()["choices"].get(operation(name).name, {}).get(of)
    if found is None:
        return None
    rows = chain.from_iterable(pages(session, form_of(session, found["list"], found["with"])))
    return [
        Choice(str(row["id"]), ", ".join(str(row[each]) for each in found["shows"] if row.get(each)))
        for row in islice(rows, MOST)
        if isinstance(row, dict) and row.get("id")
    ]
