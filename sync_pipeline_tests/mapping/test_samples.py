"""The samples beside the entities are tests as data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sync_pipeline.connectors.clockify.canonical import from_list
from sync_pipeline.mapping.canonical import canonical_rows, canonical_target
from sync_pipeline.mapping.samples import Sample, known_keys, load_samples
from sync_pipeline_tests.mapping.frames_of import SPECS, checked

SAMPLES = [
    pytest.param(name, sample, id=f"{name}-{n}") for name in SPECS for n, sample in enumerate(load_samples(name))
]


@pytest.mark.parametrize(("entity", "sample"), SAMPLES)
def test_a_sample_source_becomes_its_sample_target(entity: str, sample: Sample) -> None:
    """Mapping a sample's source gives exactly its target, and no problem."""
    frame = checked(SPECS[entity], sample.source)
    assert frame["problems"].isna().all()
    assert json.loads(canonical_rows(SPECS[entity], frame)[0][0]) == sample.target


@pytest.mark.parametrize(("entity", "sample"), SAMPLES)
def test_the_target_returned_hashes_like_what_was_sent(entity: str, sample: Sample) -> None:
    """A target that gives back what it got is in step: the same hash."""
    sent = canonical_rows(SPECS[entity], checked(SPECS[entity], sample.source))[0]
    assert canonical_target(SPECS[entity], sample.target) == sent


@pytest.mark.parametrize("entity", list(SPECS))
def test_every_mapped_source_key_is_in_the_samples(entity: str) -> None:
    """The samples show every top-level key the mapping reads, so that drift can be told."""
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
