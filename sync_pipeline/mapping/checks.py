"""The checks one frame can answer by itself: required fields, valid values, scope."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd

from sync_pipeline.mapping.columns import text_list, text_series
from sync_pipeline.mapping.frames import ACCEPTED, EXCLUDED, REJECTED
from sync_pipeline.mapping.spec import EntitySpec, Field
from sync_pipeline.mapping.values import REQUIRED_FIELDS, VALID_VALUES, WHOLE_RECORD, Problems

# Deliberately loose: one @, a dot somewhere after it, no white space. Only sending a mail proves more.
_EMAIL = r"[^@\s]+@[^@\s]+\.[^@\s]+"
_TEXTUAL = ("id", "text", "email")


def check_frame(spec: EntitySpec, mapped: pd.DataFrame, *, start_date: date | None = None) -> pd.DataFrame:
    """The mapped frame with each record's status and rule, and the problems found here added.

    ``start_date`` is what the rule ``before_start_date`` compares with; without it nothing is before.
    """
    problems = Problems.of(mapped["problems"])
    excluded = _excluded(spec, mapped, problems, start_date)
    for field in spec.fields:
        _check_values(field, mapped[field.column], problems)
    _check_order(spec, mapped, problems)
    _check_required(spec, mapped, problems)
    problems.forget(list(excluded))
    return _with_status(mapped, problems, excluded)


def _with_status(mapped: pd.DataFrame, problems: Problems, excluded: dict[int, str]) -> pd.DataFrame:
    status = [ACCEPTED] * len(mapped)
    rule: list[str | None] = [None] * len(mapped)
    for outcome, rules in ((REJECTED, problems.first_rules()), (EXCLUDED, excluded)):
        for row, name in rules.items():
            status[row], rule[row] = outcome, name
    checked = mapped.reset_index(drop=True)
    checked["problems"] = problems.column(len(mapped))
    checked["status"] = text_series(status)
    checked["rule"] = text_series(rule)
    return checked


def _check_required(spec: EntitySpec, mapped: pd.DataFrame, problems: Problems) -> None:
    ids = (f.name for f in spec.fields if f.type == "id" and f.source == spec.source.id_path)
    identity = next(ids, spec.source.id)
    for row in _rows(mapped["source_id"].isna()):
        if not problems.fields(row) & {WHOLE_RECORD, identity}:
            problems.add(row, identity, REQUIRED_FIELDS, "is missing: the record has no id")
    for field in spec.fields:
        if field.required:
            for row in _rows(_blank(field, mapped[field.column])):
                if not problems.fields(row) & {WHOLE_RECORD, field.name}:
                    problems.add(row, field.name, REQUIRED_FIELDS, "is missing")


def _blank(field: Field, column: pd.Series[Any]) -> pd.Series[bool]:
    missing = column.isna()
    if field.type in _TEXTUAL:
        missing = missing | (column.str.strip() == "")
    return missing


def _check_values(field: Field, column: pd.Series[Any], problems: Problems) -> None:
    def refuse(wrong: pd.Series[bool], message: str) -> None:
        for row in _rows(wrong):
            problems.add(row, field.name, VALID_VALUES, message, column.iat[row])

    present = column.notna()
    if field.longest is not None and field.type != "list":
        longest = field.longest
        refuse(present & (column.str.len() > longest), f"has more than {longest:,} characters")
    if field.type == "email":
        filled = present & (column.str.strip() != "")
        refuse(filled & ~column.fillna("").str.fullmatch(_EMAIL), "is not an e-mail address")
    if field.one_of:
        filled = present & (column != "")
        refuse(filled & ~column.isin(field.one_of), f"is none of {', '.join(field.one_of)}")


def _check_order(spec: EntitySpec, mapped: pd.DataFrame, problems: Problems) -> None:
    for rule in spec.rules:
        earlier, later = (mapped[spec.field(name).column] for name in (rule.earlier, rule.later))
        # A comparison with something missing is false: that is for required_fields to say.
        for row in _rows(earlier >= later):
            message = f"must be after {rule.earlier}"
            problems.add(row, rule.later, VALID_VALUES, message, f"{earlier.iat[row]} .. {later.iat[row]}")


def _excluded(spec: EntitySpec, mapped: pd.DataFrame, problems: Problems, start_date: date | None) -> dict[int, str]:
    """Row -> the rule that leaves it out, a rule of its source first. A record without an id is never out of scope: it is a reject."""
    rules = text_list(mapped["rule"].where(mapped["source_id"].notna()))
    excluded = {row: rule for row, rule in enumerate(rules) if rule}
    for exclusion in spec.exclude:
        column = mapped[spec.field(exclusion.field).column]
        if exclusion.rule == "running":
            out = column.isna()
        elif start_date is not None:
            out = column < pd.Timestamp(start_date, tz="UTC")
        else:
            continue
        for row in _rows(out & mapped["source_id"].notna()):
            if not problems.fields(row) & {WHOLE_RECORD, exclusion.field}:
                excluded.setdefault(row, exclusion.rule)
    return excluded


def _rows(mask: pd.Series[Any]) -> list[int]:
    rows: list[int] = mask.fillna(False).to_numpy(dtype=bool).nonzero()[0].tolist()
    return rows
