"""Request paths with their ids replaced: one name per route, for counting and for fault patterns."""

from __future__ import annotations

import re

_WORKSPACE = re.compile(r"^(/clockify/(?:api|report)/v1/workspaces)/[^/]+")
_OBJECT_ID = re.compile(r"/[0-9a-fA-F]{24}(?=/|$)")
_NAMED = re.compile(r"^(/highlevel/(?:locations|contacts))/(?!search$)[^/]+")
_TASK = re.compile(r"^(/highlevel/contacts/\{id\}/tasks)/[^/]+$")
_RECORD = re.compile(r"^(/snapshots/[a-z_]+)/(?!batch$|token$|authorize$)[^/]+$")


def route_template(path: str) -> str:
    """``/clockify/api/v1/workspaces/65af.../users`` becomes ``/clockify/api/v1/workspaces/{ws}/users``."""
    if path.startswith("/clockify/"):
        return _OBJECT_ID.sub("/{id}", _WORKSPACE.sub(r"\1/{ws}", path))
    if path.startswith("/highlevel/"):
        return _TASK.sub(r"\1/{id}", _NAMED.sub(r"\1/{id}", _OBJECT_ID.sub("/{id}", path)))
    return _RECORD.sub(r"\1/{id}", path)
