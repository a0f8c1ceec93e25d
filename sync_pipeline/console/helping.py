"""Help: what to do when something is wrong, and the words of these pages."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext

GLOSSARY = (
    ("Record", "One row of an entity: one location, user, project or time entry."),
    ("Source and target", "Where a record comes from, and where it is delivered."),
    ("Mapping", "Which field of the source becomes which field of the target."),
    ("Preview", "What a sync would do, record by record. Nothing is written."),
    ("Live", "Changes are synced automatically."),
    ("Pending", "Not yet at the target in its current form. The next sync delivers it."),
    ("Rejected", "Not delivered, with the reason: a check found a fault, or the target refused the record."),
    ("Waiting", "Not deliverable until a record it refers to is."),
    ("Excluded", "Left out by a rule of the mapping. Nothing is deleted because of it."),
    ("Held", "Stopped by a guard until a person approves it."),
    ("Unconfirmed", "Missing from a read, but not proven to be deleted."),
    ("Foreign", "A record at the target that did not come from here. It is left alone."),
    ("Adopted", "Linked to a record that was already at the target."),
    ("Verify", "Reads both sides in full and compares every record."),
    ("Drift", "A difference between the two sides that verify found."),
)


def show(context: RequestContext) -> Response:
    """GET /help."""
    return context.page("help.html", "Help", glossary=GLOSSARY)
