"""A few real records, mapped as they are now and as they would be: by the mapping itself, checked by its checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.setup.examples import examples
from sync_pipeline.setup.field_form import FieldForm
from sync_pipeline.setup.fields import mapping_of, would_be
from sync_pipeline.setup.service import SetupService

if TYPE_CHECKING:
    from sync_pipeline.mapping.samples import Outcome

LIMIT = 5


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """One record before and after a change. ``is_real`` is false for a sample."""

    record: str
    source: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    changed: tuple[str, ...]
    """The target fields that would be different, new ones and dropped ones included."""
    problems_before: tuple[str, ...]
    problems: tuple[str, ...]
    """What is wrong with it after the change: it would be rejected."""
    left_out: str
    """The rule that keeps it out of scope after the change; "" when none does."""
    is_real: bool


def preview_records(
    setup: SetupService, entity: str, form: FieldForm | None, limit: int = LIMIT, *, drop: str = ""
) -> list[BeforeAfter]:
    """Records of the entity as they are delivered now, and with one field changed (or dropped).

    ConfigError when the change is not valid. Only what one record shows by itself is checked: whether a value is unique
    and whether what it refers to exists, the trial says.
    """
    from sync_pipeline.mapping.samples import outcomes

    present, future = mapping_of(setup, entity).spec, would_be(setup, entity, form, drop=drop)
    found = examples(setup, present)
    records = found.records[:limit]
    start = setup.settings().start_date
    pairs = zip(records, outcomes(present, records, start), outcomes(future, records, start), strict=True)
    return [_compared(present, record, now, then, is_real=found.are_real) for record, now, then in pairs]


def _compared(spec: EntitySpec, source: dict[str, Any], now: Outcome, then: Outcome, *, is_real: bool) -> BeforeAfter:
    names = [*then.fields, *(name for name in now.fields if name not in then.fields)]
    nothing = object()  # a field that is not there differs from one that is empty
    changed = tuple(n for n in names if now.fields.get(n, nothing) != then.fields.get(n, nothing))
    return BeforeAfter(
        record=_id(spec, source),
        source=source,
        before=now.fields,
        after=then.fields,
        changed=changed,
        problems_before=tuple(map(str, now.problems)),
        problems=tuple(map(str, then.problems)),
        left_out=then.excluded,
        is_real=is_real,
    )


def _id(spec: EntitySpec, source: dict[str, Any]) -> str:
    from sync_pipeline.mapping.frames import raw_frame

    return str(raw_frame(spec, [source])["source_id"].fillna("").iat[0])
