"""The problems of the rows of a checked frame: adding one, and writing all of them down as rejects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from sync_pipeline.store.rejects import Reject

if TYPE_CHECKING:
    import pandas as pd


def reject(frame: pd.DataFrame, mask: pd.Series, name: str, rule: str, message: str) -> pd.DataFrame:
    """The frame with one more problem on the masked rows, which become rejected. The given frame is unchanged."""
    if not mask.any():
        return frame
    frame = note(frame, mask, name, rule, message)
    frame.loc[mask, "status"] = "rejected"
    return frame


def note(frame: pd.DataFrame, mask: pd.Series[bool], name: str, rule: str, message: str) -> pd.DataFrame:
    """The frame with one more problem on the masked rows, whatever their status. The given frame is unchanged."""
    if not mask.any():
        return frame
    frame = frame.copy()
    values = frame.loc[mask, name] if name in frame else frame.loc[mask, "source_id"]
    added = [
        _with_problem(problems, {"field": name, "rule": rule, "message": message, "value": str(value)[:200]})
        for problems, value in zip(frame.loc[mask, "problems"], values, strict=True)
    ]
    frame.loc[mask, "problems"] = added
    return frame


def rejects_of(frame: pd.DataFrame) -> Iterator[tuple[str, Reject]]:
    """Status and reject for each problem of each row; one that waits for what cannot be delivered has a reason, too."""
    yield from _problems_of(frame[(frame["status"] == "rejected") | _is_held(frame)])


def warnings_of(frame: pd.DataFrame) -> Iterator[Reject]:
    """Each problem of the rows that are delivered all the same, in the form of a reject."""
    delivered = frame["status"].isin(["accepted", "waiting"]) & ~_is_held(frame)
    yield from (warning for _, warning in _problems_of(frame[delivered & frame["problems"].notna()]))


def _is_held(frame: pd.DataFrame) -> pd.Series[bool]:
    """Rows that wait for a record that cannot be delivered now."""
    return (frame["status"] == "waiting") & frame["rule"].notna()


def _problems_of(rows: pd.DataFrame) -> Iterator[tuple[str, Reject]]:
    columns = (rows[name] for name in ("status", "source_id", "partition", "problems"))
    for status, source_id, partition, problems in zip(*columns, strict=True):
        for problem in orjson.loads(problems):
            yield (
                status,
                Reject(
                    source_id=source_id if isinstance(source_id, str) else None,
                    field=problem["field"],
                    rule=problem["rule"],
                    reason=problem["message"],
                    value=problem["value"],
                    partition=partition if isinstance(partition, str) else None,
                ),
            )


def _with_problem(problems: Any, problem: dict[str, str]) -> str:
    known = orjson.loads(problems) if isinstance(problems, str) else []
    return orjson.dumps([*known, problem]).decode()
