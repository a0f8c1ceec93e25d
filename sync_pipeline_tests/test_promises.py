"""What the product page promises, sentence by sentence: the tests that keep it, and what is open.

`make docs` writes the table into `docs/guarantees.md`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from sync_pipeline_tests.harness import team


@dataclass(frozen=True, slots=True)
class Promise:
    """A sentence, the tests by their node ids below `sync_pipeline_tests`, and what is missing."""

    sentence: str
    tests: tuple[str, ...] = ()
    open: str = ""


PROMISES = (
    Promise(
        "Fetch locations and map id, name and address into Clockify records.",
        (
            "test_promises.py::test_a_location_becomes_a_client_with_its_id_name_and_address",
            "scenarios/test_locations.py::test_an_existing_client_of_exactly_that_name_is_adopted",
        ),
    ),
    Promise(
        "A new location in Clockify (a new client) pulls the updated list.",
        ("stages/test_target_changes.py::test_a_new_client_pulls_the_list",),
    ),
    Promise(
        "New time entries update Snapshots.",
        (
            "defs/test_sensors.py::test_a_new_entry_brings_its_new_project_along",
            "defs/test_end_to_end.py::test_what_people_do_arrives",
        ),
    ),
    Promise(
        "User or project changes propagate.",
        (
            "stages/test_polling.py::test_people_are_compared_with_the_list",
            "stages/test_polling.py::test_projects_and_clients_have_feeds_too",
        ),
    ),
    Promise(
        "Map fields to align with Clockify projects and tasks.",
        (
            "cli/test_mapping.py::test_a_changed_field_is_delivered",
            "scenarios/test_target_kinds.py::test_locations_become_projects",
            "scenarios/test_target_kinds.py::test_locations_become_tasks",
        ),
    ),
    Promise(
        "No code.",
        (
            "console/test_walk.py::test_from_an_empty_database_to_live",
            "setup/fields/test_fields.py::test_add_change_restore",
        ),
    ),
    Promise(
        "Small scripts for custom logic.",
        (
            "mapping/test_load.py::test_a_function_of_the_users_is_called_for_each_value",
            "setup/fields/test_fields.py::test_a_function_of_the_users",
        ),
    ),
    Promise(
        "API key or OAuth with `saas/location.read`.",
        (
            "cli/test_check.py::test_scopes",
            "connectors/test_consent.py::test_consent_gives_tokens_for_what_was_asked",
            "console/test_consent.py::test_someone_allows_the_access",
        ),
    ),
    Promise(
        "Rotate keys by policy.",
        (
            "console/test_secrets.py::test_a_key_is_replaced_while_live_syncing_continues",
            "connectors/test_key_rotation.py::test_snapshots_falls_back_for_good",
            "console/test_secrets.py::test_everything_is_encrypted_with_the_newest_key",
        ),
        open="Keys are replaced without a gap when a user does it; nothing reminds of a key's age.",
    ),
    Promise(
        "HTTPS.",
        (
            "test_settings.py::test_keys_in_clear",
            "cli/test_bad_accounts.py::test_tls_error",
            "webhooks/test_registration.py::test_an_address_that_will_not_do_is_refused",
        ),
    ),
    Promise(
        "Webhooks.",
        (
            "webhooks/test_registration.py::test_an_edit_arrives_in_the_inbox",
            "webhooks/test_receiver.py::test_a_delivery_is_kept_before_it_is_answered",
            "defs/test_sensors.py::test_an_edit_arrives_by_one_read_and_one_write",
        ),
    ),
    Promise(
        "Test in a sandbox, then go live.",
        (
            "cli/test_set_up.py::test_from_nothing_to_live_and_back",
            "scenarios/test_stories.py::test_the_sandbox_first_and_other_accounts_on_the_same_database_afterwards",
            "connectors/test_guard.py::test_in_sandbox_mode_nothing_leaves_this_machine",
        ),
    ),
    Promise(
        "When authentication fails: tokens, scopes, base URL, reauthorize, re-run the test.",
        (
            "cli/test_check.py::test_keys",
            "cli/test_check.py::test_expired_and_revoked",
            "cli/test_check.py::test_scopes_of_a_token",
            "cli/test_check.py::test_another_product",
            "connectors/test_stored_tokens.py::test_a_consent_that_was_withdrawn_is_given_up",
        ),
    ),
    Promise(
        "Project performance in reports.",
        (
            "cli/test_report.py::test_each_report_says_what_the_entries_at_clockify_add_up_to",
            "reporting/test_opportunities.py::test_what_a_location_won_is_the_revenue_of_its_clients_projects",
        ),
    ),
    Promise(
        "One dashboard.",
        ("console/test_dashboard.py::test_what_it_shows", "console/test_dashboard.py::test_files_hold_what_is_shown"),
    ),
    Promise(
        "Alerts on key figures, new entries and location updates.",
        (
            "alerts/test_figures.py::test_each_figure_is_what_the_entries_add_up_to",
            "alerts/test_sending.py::test_one_message_when_it_opens_and_one_when_it_is_resolved",
            "alerts/test_subscriptions.py::test_new_and_changed_records_of_a_real_sync_are_reported",
        ),
    ),
    Promise(
        "A catalogue of actions and triggers.",
        (
            "cli/test_operations.py::test_the_catalogue",
            "operations/test_inputs.py::test_every_operation_can_be_formed",
            "setup/test_operations.py::test_what_the_forty_do_on_clockify",
            "setup/test_operations.py::test_what_the_forty_do_on_highlevel",
            "scenarios/test_automations.py::test_a_new_location_gets_one_project_and_what_exists_gets_none",
            "scenarios/test_documented_automations.py::test_a_task_when_a_project_has_used_most_of_its_estimate",
        ),
        open="Automations can use ten of the operations, once for each record; the others are run one at a time by a user.",
    ),
)


def promises_table() -> str:
    """The promises as a Markdown table."""
    rows = ["| promise | state | tests |", "| --- | --- | --- |"]
    for promise in PROMISES:
        state = "kept" if not promise.open else f"partly: {promise.open}" if promise.tests else f"open: {promise.open}"
        rows.append(f"| {promise.sentence} | {state} | {', '.join(f'`{node}`' for node in promise.tests)} |")
    return "\n".join(rows)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.sentence)
def test_what_keeps_a_promise_exists(promise: Promise) -> None:
    """Each test that is named is one that pytest runs; a promise without a test states what is missing."""
    assert promise.tests or promise.open
    for node in promise.tests:
        file, name = node.split("::")
        module = importlib.import_module(f"sync_pipeline_tests.{file.removesuffix('.py').replace('/', '.')}")
        assert Path(file).name.startswith("test_")
        assert name.startswith("test_")
        test = getattr(module, name)
        assert callable(test)
        assert not [mark for mark in getattr(test, "pytestmark", []) if mark.name in ("skip", "xfail")]


def test_a_location_becomes_a_client_with_its_id_name_and_address(tmp_path: Path) -> None:
    """All of them, and none is left out; a location without an address has none."""
    with team(tmp_path, clients=0, entries=0) as us:
        us.put_location("one", location_name="Oak & Sons", address="Street 1")
        us.put_location("two", location_name="Elm Ltd")
        us.sync("locations")
        locations = us.at_snapshots("locations")
        clients = {location_id: us.client(row["location_name"].strip()) for location_id, row in locations.items()}
    assert {"one", "two"} < set(locations)
    for location_id, row in locations.items():
        client = clients[location_id]
        assert (client["note"], client["address"]) == (f"location_id: {location_id}", row.get("address"))
