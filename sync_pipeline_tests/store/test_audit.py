"""The audit trail: who changed what, newest first."""

from __future__ import annotations

from sync_pipeline.store.audit import AuditLine, changes, note
from sync_pipeline.store.engine import Store
from sync_pipeline_tests.store.batch import at


def test_the_newest_lines_come_first(store: Store) -> None:
    """In the order in which they were written, whatever the clock showed; as many as were requested."""
    note(store, "ann", "clockify connected", "workspace w1", at(2))
    note(store, "bob", "live on", "", at(1))
    assert changes(store) == [
        AuditLine(at(1), "bob", "live on", ""),
        AuditLine(at(2), "ann", "clockify connected", "workspace w1"),
    ]
    assert [change.by for change in changes(store, 1)] == ["bob"]


def test_any_text_is_kept_unchanged(store: Store) -> None:
    """Names are someone's: quotes, scripts and other alphabets."""
    odd = "<script>alert('x')</script> \"Änn\" 日本"
    note(store, odd, odd, odd * 50, at(1))
    assert changes(store) == [AuditLine(at(1), odd, odd, odd * 50)]
