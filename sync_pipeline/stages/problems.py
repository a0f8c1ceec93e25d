"""Adding a problem to rows of a checked frame."""

from __future__ import annotations

from typing import Any

import orjson
import pandas as pd


def reject(frame: pd.DataFrame, mask: pd.Series, name: str, rule: str, message: str) -> pd.DataFrame:
    """The frame with one more problem on the masked rows, which become rejected. The frame given is left as it is."""
    if not mask.any():
        return frame
    frame = note(frame, mask, name, rule, message)
    frame.loc[mask, "status"] = "rejected"
    return frame


def note(frame: pd.DataFrame, mask: pd.Series[bool], name: str, rule: str, message: str) -> pd.DataFrame:
    """The frame with one more problem on the masked rows, whatever their status. The frame given is left as it is."""
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


def _with_problem(problems: Any, problem: dict[str, str]) -> str:
    known = orjson.loads(problems) if isinstance(problems, str) else []
    return orjson.dumps([*known, problem]).decode()
