"""What a mapping needs to know about each system: its name, and the fields its records can and must have as a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RecordKind:
    """One kind of record of a target that assigns the ids."""

    fields: tuple[str, ...]
    """All that can be written."""
    needed: Mapping[str, str]
    """Fields that a mapping must have, and why."""
    never_deleted: str = ""
    """Why such a record is archived, or left alone, but never deleted."""


@dataclass(frozen=True, slots=True)
class SystemDescription:
    """One system."""

    label: str
    is_listed: bool = False
    """Whether a mapping names the list, or the reader, that its records come from."""
    kinds: Mapping[str, RecordKind] = field(default_factory=dict)
    """As a target: the kinds of records that it assigns ids to, the usual one first; {} if it keeps our ids."""

    def kind(self, name: str) -> RecordKind | None:
        """The facts of one kind, or of the usual one; None where records keep our ids."""
        return self.kinds.get(name) or next(iter(self.kinds.values()), None)


TRACKED = "tracked time belongs to them"
# Anything else is dropped by Clockify silently, and never in sync.
CLIENTS = RecordKind(
    ("name", "email", "address", "note", "archived", "currencyId", "ccEmails"),
    {"name": "a client cannot be without a name"},
)
PROJECTS = RecordKind(
    ("name", "note", "color", "isPublic", "clientId", "billable", "archived"),
    {"name": "a project cannot be without a name"},
    never_deleted=TRACKED,
)
TASKS = RecordKind(
    ("name", "projectId", "status", "billable", "estimate", "budgetEstimate", "assigneeIds", "userGroupIds"),
    {"name": "a task cannot be without a name", "projectId": "a task belongs to a project"},
    never_deleted=TRACKED,
)
SYSTEMS: dict[str, SystemDescription] = {
    "clockify": SystemDescription(
        "Clockify", is_listed=True, kinds={"clients": CLIENTS, "projects": PROJECTS, "tasks": TASKS}
    ),
    "snapshots": SystemDescription("the Snapshots API"),
}
