"""The vocabulary of transforms."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_pipeline.mapping.transforms import TRANSFORMS, Transform
from sync_pipeline.mapping.values import Bad

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ALL = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())


@ALL
def test_the_documented_example_is_true(transform: Transform) -> None:
    """Each transform does what its example shows."""
    argument, before, after = transform.example
    assert transform.build(argument)([before]) == [after]


@ALL
def test_what_is_bad_stays_bad(transform: Transform) -> None:
    """A value refused by an earlier step passes unchanged through the later ones."""
    bad = Bad("is a list", [1])
    assert transform.build(transform.example[0])([bad]) == [bad]


@ALL
@settings(deadline=None, max_examples=30)
@given(values=st.lists(JSON, max_size=4))
def test_no_value_makes_a_transform_raise(transform: Transform, values: list[object]) -> None:
    """Whatever JSON holds, a transform answers with one value for each."""
    assert len(transform.build(transform.example[0])(values)) == len(values)


@pytest.mark.parametrize(
    ("roles", "highest"),
    [
        (None, "MEMBER"),
        ([], "MEMBER"),
        (["TEAM_MANAGER", "PROJECT_MANAGER"], "TEAM_MANAGER"),
        ([{"role": "PROJECT_MANAGER"}, {"role": "WORKSPACE_ADMIN"}], "WORKSPACE_ADMIN"),
        ([{"role": {"id": "1", "name": "OWNER"}, "userId": "u"}], "OWNER"),
        ([{"id": "1", "name": "Administrator"}], "WORKSPACE_ADMIN"),
        ([{"name": "Team Manager"}, {"role": "INVENTED"}], "TEAM_MANAGER"),
    ],
)
def test_the_highest_role_is_found_in_every_shape(roles: object, highest: str) -> None:
    """All shapes of roles seen on the wire give the same names."""
    assert TRANSFORMS["highest_role"].build(None)([roles]) == [highest]


@pytest.mark.parametrize("roles", ["OWNER", {"role": "OWNER"}, [{"role": "INVENTED"}], [7]])
def test_roles_that_name_nothing_known_are_refused(roles: object) -> None:
    """A person's rights are never guessed from a shape or name we do not know."""
    (answer,) = TRANSFORMS["highest_role"].build(None)([roles])
    assert isinstance(answer, Bad)


@pytest.mark.parametrize(("text", "seconds"), [("PT48H", 172800), ("PT38S", 38), ("PT1H0.5S", 3600), (90, 90)])
def test_durations_longer_than_a_day_are_read(text: object, seconds: int) -> None:
    """Clockify writes two days as PT48H."""
    assert TRANSFORMS["duration_seconds"].build(None)([text]) == [seconds]
