"""The catalogue of operations: the facts are those of the documents, and what is written by hand fits them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.operations.catalogue import counted, events, known, operation, operations, search, systems
from sync_pipeline.sandbox.clockify.routes import core_endpoints, report_endpoints
from sync_pipeline.sandbox.highlevel.routes import PATHS
from sync_pipeline_tests import highlevel_document
from sync_pipeline_tests.clockify_document import FACTS, facts_of, text
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.operation_names import name_all
from sync_pipeline_tests.operations.test_clockify import WORD, words

NAMES = Path(__file__).with_name("names.txt")
"""Every name that was ever published, in order."""


def test_the_facts_are_those_of_highlevels_documents() -> None:
    """Byte for byte, from the committed copies; words only, no sentence."""
    found = highlevel_document.facts()
    assert highlevel_document.FACTS.read_text("utf-8") == text(found)
    assert found["document"]["operations"] == len(found["operations"]) == 179
    assert [
        word for word in words([found["shapes"], list(found["operations"].values())]) if not WORD.fullmatch(word)
    ] == []


def test_the_facts_are_those_of_clockifys_document() -> None:
    """Byte for byte, from the document that CLOCKIFY_OPENAPI names; it may not be committed."""
    if not (named := os.environ.get("CLOCKIFY_OPENAPI")):
        pytest.skip("Clockify's document has no licence, so it is not here: name a copy with CLOCKIFY_OPENAPI")
    assert FACTS.read_text("utf-8") == text(facts_of(Path(named).read_bytes()))


def test_a_name_is_never_changed() -> None:
    """Scripts have it: it may get a successor, but it stays."""
    published = NAMES.read_text().split()
    assert sorted(set(published) - set(operations())) == []
    assert sorted(set(operations()) - set(published)) == [], "add the new ones to names.txt"
    assert len(operations()) == 337
    with pytest.raises(ValueError, match=r"the same name for several operations: \['any.tags.get'\]"):
        name_all("any", ["GET /tags/{id}", "GET /tags/{tagId}"])


def test_what_is_written_by_hand_fits_the_facts() -> None:
    """Each name exists; sentences are sentences, at least forty; what is held has a reason and no sentence."""
    notes = known()
    held = [name for group in notes["held"] for name in group["names"]]
    listed = [
        name
        for part in ("says", "reads", "types", "optional", "required", "defaults", "find", "sandbox")
        for name in notes[part]
    ]
    assert sorted({*listed, *held} - set(operations())) == []
    assert len(set(held)) == len(held)
    assert len(notes["says"]) >= 40
    assert [text for text in notes["says"].values() if not re.fullmatch(r"[A-Z][^\n]+\.", text)] == []
    assert set(held) & set(notes["says"]) == set()
    assert [name for name in notes["reads"] if operation(name).method != "POST"] == []
    for name, find in notes["find"].items():
        assert find["by"] in {each.name for each in operation(find["list"]).inputs}, name
    for name, choices in notes["choices"].items():
        assert set(choices) <= {each.name for each in operation(name).inputs}
        for choice in choices.values():
            assert set(choice["with"]) <= {each.name for each in operation(choice["list"]).inputs}


def test_what_the_sandbox_offers_is_named() -> None:
    """Exactly what it serves; what is newer than the documents is in no catalogue."""

    def plain(key: str) -> str:
        return re.sub(r"\{\w+\}", "*", key)

    served = {plain(f"{one.method} {one.path}") for one in (*core_endpoints(), *report_endpoints())}
    served |= {plain(f"{method} {path}") for path, methods in PATHS.items() for method in methods}
    offered = {plain(one.sends): one.name for one in operations().values()}
    named = {offered[key] for key in served & set(offered)} | {"highlevel.oauth.token"}
    assert named == set(known()["sandbox"])
    assert served - set(offered) == {"POST /workspaces/*/time-entries/batch"}


def test_every_operation_says_what_it_needs() -> None:
    """Path inputs are required, types are readable, HighLevel's have a token, and each has a page of the vendor's."""
    for one in operations().values():
        assert [each.name for each in one.inputs if each.place == "path"] == re.findall(r"\{(\w+)\}", one.sends)
        assert len({each.name for each in one.inputs}) == len(one.inputs), one.name
        assert all(one.words_of(each.type) for each in one.inputs)
        assert one.docs.startswith("https://")
        assert not one.docs.endswith(("#tag/", "/"))
    without_token = [one.name for one in operations().values() if one.version and not one.tokens]
    assert without_token == ["highlevel.contacts.bulk.tags.update", "highlevel.contacts.bulk.business.create"]


def test_two_words_find_an_operation() -> None:
    """The one that is meant comes first."""
    assert search("project template")[0].name == "clockify.projects.from-template"
    assert search("add tag", system="highlevel")[0].name == "highlevel.contacts.tags.add"
    assert search("rate", kind="held")[0].held == "It is about money"
    assert search("no such words anywhere") == []
    assert len(search("")) == 337
    with pytest.raises(ConfigError, match=r"Did you mean clockify\.clients\.create"):
        operation("clockify.client.create")


def test_the_readmes_numbers_are_counted() -> None:
    """Operations, events, and how many of the operations can be run."""
    assert [one.name for one in events() if one.system == "clockify"].count("NEW_PROJECT") == 1
    count, readme = counted(operations().values()), (ROOT / "README.md").read_text()
    sentence = f"{len(operations())} operations and {len(events())} events"
    assert sentence in readme
    page = (ROOT / "docs" / "catalogue.md").read_text()
    assert sentence in page
    for name in systems():
        some = counted(search("", system=name))
        row = f"| {systems()[name]} | {some['read']} | {some['write']} | {some['delete']} | {some['held']} | {some['runs']} |"
        assert row in page
    assert f"{count['runs']} of them" in page


def test_what_narrows_a_list_are_inputs_of_its_query() -> None:
    """Each of a list that exists; without them the list is asked for, so that none may be required."""
    for name, inputs in known()["narrowing"].items():
        one = operation(name)
        found = {each.name: each for each in one.inputs}
        assert one.kind == "read"
        assert [found[each].place for each in inputs] == ["query"] * len(inputs)
        assert not any(found[each].required for each in inputs)
