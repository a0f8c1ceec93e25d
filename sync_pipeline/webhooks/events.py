"""The events Clockify sends and which record each one is about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SENDABLE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Subject:
    """Which entity an event dirties, and where in its body the record's id stands."""

    entity: str | None
    id_path: str = "id"
    note: str = ""


ENTRY = Subject("time_entries")
PROJECT = Subject("projects")
USER = Subject("users")
CLIENT = Subject("locations", note="the id is the client's: a location's id at the target")
TASK = Subject(None, note="a task's name stands in its entries: the re-scan brings it")
TAG = Subject(None, note="a tag's name stands in its entries: the re-scan brings it")
RATE = Subject(None, note="rates stand in entries and projects: the re-scan brings them")
APPROVAL = Subject(None, note="an approval locks entries of a whole week: the re-scan brings them")
UNUSED = Subject(None, note="nothing we sync has it")

SUBJECTS: Mapping[str, Subject] = {
    "NEW_TIME_ENTRY": ENTRY,
    "NEW_TIMER_STARTED": ENTRY,
    "TIMER_STOPPED": ENTRY,
    "TIME_ENTRY_UPDATED": ENTRY,
    "TIME_ENTRY_DELETED": ENTRY,
    "TIME_ENTRY_SPLIT": ENTRY,
    "TIME_ENTRY_RESTORED": ENTRY,
    "NEW_PROJECT": PROJECT,
    "PROJECT_UPDATED": PROJECT,
    "PROJECT_DELETED": PROJECT,
    "NEW_TASK": TASK,
    "TASK_UPDATED": TASK,
    "TASK_DELETED": TASK,
    "NEW_CLIENT": CLIENT,
    "CLIENT_UPDATED": CLIENT,
    "CLIENT_DELETED": CLIENT,
    "NEW_TAG": TAG,
    "TAG_UPDATED": TAG,
    "TAG_DELETED": TAG,
    "USER_JOINED_WORKSPACE": USER,
    "USER_DELETED_FROM_WORKSPACE": USER,
    "USER_ACTIVATED_ON_WORKSPACE": USER,
    "USER_DEACTIVATED_ON_WORKSPACE": USER,
    "USER_EMAIL_CHANGED": USER,
    "USER_UPDATED": USER,
    "USERS_INVITED_TO_WORKSPACE": USER,
    "LIMITED_USERS_ADDED_TO_WORKSPACE": USER,
    "USER_GROUP_CREATED": UNUSED,
    "USER_GROUP_UPDATED": UNUSED,
    "USER_GROUP_DELETED": UNUSED,
    "NEW_APPROVAL_REQUEST": APPROVAL,
    "APPROVAL_REQUEST_STATUS_UPDATED": APPROVAL,
    "TIME_OFF_REQUESTED": UNUSED,
    "TIME_OFF_REQUEST_UPDATED": UNUSED,
    "TIME_OFF_REQUEST_APPROVED": UNUSED,
    "TIME_OFF_REQUEST_REJECTED": UNUSED,
    "TIME_OFF_REQUEST_STARTED": UNUSED,
    "TIME_OFF_REQUEST_WITHDRAWN": UNUSED,
    "BALANCE_UPDATED": UNUSED,
    "ASSIGNMENT_CREATED": UNUSED,
    "ASSIGNMENT_UPDATED": UNUSED,
    "ASSIGNMENT_DELETED": UNUSED,
    "ASSIGNMENT_PUBLISHED": UNUSED,
    "NEW_INVOICE": UNUSED,
    "INVOICE_UPDATED": UNUSED,
    "EXPENSE_CREATED": UNUSED,
    "EXPENSE_UPDATED": UNUSED,
    "EXPENSE_DELETED": UNUSED,
    "EXPENSE_RESTORED": UNUSED,
    "COST_RATE_UPDATED": RATE,
    "BILLABLE_RATE_UPDATED": RATE,
}

UNKNOWN = Subject(None, note="an event Clockify has added since")

WORTH_MOST_FIRST = (
    # New and changed time is what people wait for: these three are all a Free workspace may have. An entry comes into
    # being by hand (NEW_TIME_ENTRY) or by a timer (TIMER_STOPPED; a running one is not delivered), then changes.
    "TIME_ENTRY_UPDATED",
    "NEW_TIME_ENTRY",
    "TIMER_STOPPED",
    # Rarer; the re-scan of recent days finds a missing entry as well.
    "TIME_ENTRY_DELETED",
    # A client that was made, changed or archived by a person is a location to compare.
    "CLIENT_UPDATED",
    "NEW_CLIENT",
    # Renamed, archived: lists of a few hundred rows that are also polled.
    "PROJECT_UPDATED",
    "USER_UPDATED",
    "NEW_PROJECT",
    "CLIENT_DELETED",
    # Up to here on a paid plan (10 a user); the rest where a plan allows more.
    "TIME_ENTRY_RESTORED",
    "TIME_ENTRY_SPLIT",
    "PROJECT_DELETED",
    "USER_JOINED_WORKSPACE",
    "USER_DEACTIVATED_ON_WORKSPACE",
    "USER_ACTIVATED_ON_WORKSPACE",
    "USER_EMAIL_CHANGED",
    "USER_DELETED_FROM_WORKSPACE",
)
"""What to subscribe, as many from the top as the plan allows. What is missing is found by polling and re-scans."""


def about(kind: str, body: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Entity and record id of an event; no id when the body has none that could be asked for."""
    subject = SUBJECTS.get(kind, UNKNOWN)
    found: Any = body
    for name in subject.id_path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    is_id = isinstance(found, str) and SENDABLE_ID.fullmatch(found) is not None
    return subject.entity, found if is_id else None
