"""The samples next to the entities are tests as data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sync_pipeline.connectors.clockify.canonical import from_list
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.canonical import canonical_rows, canonical_target
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.samples import Rejection, Sample, known_keys, load_samples, mismatches
from sync_pipeline_tests.mapping.frames_of import SPECS, checked

SAMPLES = [
    pytest.param(name, sample, id=f"{name}-{n}")
    for name in SPECS
    for n, sample in enumerate(load_samples(name))
    if not sample.rejected
]
MISSING = {"field": "user_id", "rule": "required_fields"}


@pytest.mark.parametrize(("entity", "sample"), SAMPLES)
def test_a_sample_source_becomes_its_sample_target(entity: str, sample: Sample) -> None:
    """Mapping a sample's source gives exactly its target, and no problem."""
    frame = checked(SPECS[entity], sample.source)
    assert frame["problems"].isna().all()
    assert json.loads(canonical_rows(SPECS[entity], frame)[0][0]) == sample.target


@pytest.mark.parametrize(("entity", "sample"), SAMPLES)
def test_the_target_returned_hashes_like_what_was_sent(entity: str, sample: Sample) -> None:
    """A target that gives back what it got is in step: the same hash."""
    assert sample.target is not None
    sent = canonical_rows(SPECS[entity], checked(SPECS[entity], sample.source))[0]
    assert canonical_target(SPECS[entity], sample.target) == sent


@pytest.mark.parametrize("entity", list(SPECS))
def test_each_entity_has_samples_that_are_rejected_with_field_rule_and_reason(entity: str) -> None:
    """Two at least, and each is rejected for exactly what it states."""
    rejected = [sample for sample in load_samples(entity) if sample.rejected]
    assert len(rejected) >= 2
    assert all(problem.reason for sample in rejected for problem in sample.rejected)
    assert mismatches(SPECS[entity], load_samples(entity)) == []


def test_the_entity_in_the_docs_passes_the_samples_in_the_docs(tmp_path: Path) -> None:
    """The mapping of tags and its samples, as `docs/mapping.md` shows them."""
    page = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text()
    (mapping,) = re.findall(r"```yaml\n# my_mappings/tags\.yaml\n(.*?)```", page, re.DOTALL)
    (samples,) = re.findall(r"```json\n(.*?)```", page.partition("\n## Samples\n")[2], re.DOTALL)
    (tmp_path / "samples").mkdir()
    (tmp_path / "tags.yaml").write_text(mapping)
    (tmp_path / "samples" / "tags.json").write_text(samples)
    assert mismatches(load_specs(tmp_path)["tags"], load_samples("tags", tmp_path)) == []


def test_what_comes_out_otherwise_is_said() -> None:
    """A field, a missing and an additional one; a reject too many, one too few, one for another reason; an exclusion."""
    shipped = next(sample for sample in load_samples("users") if not sample.rejected)
    assert shipped.target is not None
    fields = {**shipped.target, "name": "Another", "more": 1}
    name = fields.pop("email")
    bad = {**shipped.source, "id": None}
    running = {"id": "e", "timeInterval": {"start": "2024-05-01T09:30:00Z", "end": None}}
    samples = [
        Sample(shipped.source, fields),
        Sample(shipped.source, None, (Rejection("email", "valid_values"),)),
        Sample(bad, shipped.target),
        Sample(bad, None, (Rejection("user_id", "required_fields", "is too long"),)),
        Sample(bad, None, (Rejection("user_id", "required_fields"),)),
    ]
    reason = "is rejected: user_id is missing: the record has no id"
    assert mismatches(SPECS["users"], samples) == [
        (1, f"has one more field: email = {name!r}"),
        (1, "lacks the field more"),
        (1, "name is 'Ana Lima' instead of 'Another'"),
        (2, "is not rejected: email by valid_values"),
        (3, reason),
        (4, reason),
        (4, "is not rejected: user_id by required_fields"),
    ]
    assert mismatches(SPECS["time_entries"], [Sample(running, {})]) == [(1, "is excluded by the rule running")]


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        '{"source": {}}',
        '[{"source": {}}]',
        '[{"source": 5, "target": {}}]',
        '[{"source": {}, "rejected": []}]',
        '[{"source": {}, "rejected": ["name"]}]',
        '[{"source": {}, "rejected": [{"rule": "valid_values"}]}]',
        json.dumps([{"source": {}, "target": {}, "rejected": [MISSING]}]),
    ],
)
def test_a_sample_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    """The message names the file and the form."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "users.json").write_text(content)
    with pytest.raises(ConfigError, match=r"users\.json is not a JSON list .* `rejected`, a list of `field`"):
        load_samples("users", tmp_path)


@pytest.mark.parametrize("entity", list(SPECS))
def test_every_mapped_source_key_is_in_the_samples(entity: str) -> None:
    """The samples show every top-level key the mapping reads, so that drift can be detected."""
    read = {path.split(".")[0] for path in SPECS[entity].source_columns}
    assert read <= known_keys(entity)


def test_samples_of_entries_have_the_keys_of_canonical_entries() -> None:
    """A key that the readers add is in each of them: else every sync reports a drift."""
    for sample in load_samples("time_entries"):
        assert set(sample.source) == set(from_list({}, "w"))


def test_samples_of_a_user_may_be_older_than_the_readers(tmp_path: Path) -> None:
    """What only the shipped samples have is no drift; what the user's have besides is none either."""
    (tmp_path / "samples").mkdir()
    pairs = [{"source": {"id": "e", "mine": 1}, "target": {}}]
    (tmp_path / "samples" / "time_entries.json").write_text(json.dumps(pairs))
    assert known_keys("time_entries", tmp_path) == known_keys("time_entries") | {"mine"}
    assert load_samples("time_entries", tmp_path) == [Sample({"id": "e", "mine": 1}, {})]
