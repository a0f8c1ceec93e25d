"""Whatever is written in whatever order, the API holds what a plain dictionary would hold."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox

IDS = st.sampled_from(["p1", "p2", "p3"])
VALUES = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ITEMS = st.fixed_dictionaries(
    {"project_id": IDS, "project_name": st.just("Apollo")}, optional={"client_name": VALUES, "invented": VALUES}
)
WRITES = st.lists(st.lists(ITEMS, min_size=1, max_size=6) | IDS, max_size=8)
SERVER_FIELDS = ("created_at", "updated_at")


def _apply(model: dict[str, dict[str, Any]], item: dict[str, Any]) -> None:
    merged = {**model.get(item["project_id"], {}), **item}
    model[item["project_id"]] = {name: value for name, value in merged.items() if value is not None}


@given(writes=WRITES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_merging_upserts_and_deletes_follow_the_model(started: Sandbox, writes: list[Any]) -> None:
    """Batches merge in order, deletes remove, lists and single reads agree with the model."""
    model: dict[str, dict[str, Any]] = {}
    for record_id in ("p1", "p2", "p3"):
        started.api.delete(f"projects/{record_id}")
    for write in writes:
        if isinstance(write, str):
            model.pop(write, None)
            assert started.api.delete(f"projects/{write}").status_code == 204
        else:
            assert {result["status"] for result in started.batch("projects", *write)} <= {
                "created", "updated", "unchanged",
            }  # fmt: skip
            for item in write:
                _apply(model, item)
    listed = [record for page in started.pages("projects", limit=2) for record in page]
    assert [_plain(record) for record in listed] == [model[record_id] for record_id in sorted(model)]
    for record in listed:
        assert started.api.get(f"projects/{record['project_id']}").json() == record


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None and name not in SERVER_FIELDS}
