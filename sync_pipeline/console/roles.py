"""What a signed-in browser may do: some see the dashboard only, viewers look, operators work, admins also change the set-up."""

from __future__ import annotations

import re
from collections.abc import Callable

from sync_pipeline.setting_types import ROLES, Role

__all__ = ["ROLES", "Role", "may", "refusal", "role_named", "without_forms"]
MAY = {
    "dashboard": "This role sees the dashboard and nothing else",
    "viewer": "Viewers see pages and change nothing",
    "operator": "Operators start and cancel work, decide approvals, and retry; they do not change the set-up",
}
_FORM = re.compile(r'<form\b(?=[^>]*\bmethod="post")[^>]*\baction="([^"]*)"[^>]*>.*?</form>', re.DOTALL)


def role_named(name: str) -> Role | None:
    """A role by its name; None if there is no such role."""
    return next((role for role in ROLES if role == name), None)


def may(role: Role, least: Role) -> bool:
    """Whether a role may do what needs at least another."""
    return ROLES.index(role) >= ROLES.index(least)


def refusal(role: Role, least: Role) -> str:
    """Why something is refused, and how to go on."""
    return (
        f"This needs the role {least}; you are signed in as {role}. {MAY[role]}. Nothing was changed. "
        f"`sync-pipeline console link --role {least}` prints a link with which you can sign in."
    )


def without_forms(page: str, role: Role, least_of: Callable[[str], Role]) -> str:
    """A page without the forms that this role may not send; ``least_of`` gives the role that an address needs."""
    return _FORM.sub(lambda form: form[0] if may(role, least_of(form[1])) else "", page)
