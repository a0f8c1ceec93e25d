"""The JSON schemas of what commands print with ``--json``, in docs/json-schemas.json: taken from documents of a scenario.

``python -m sync_pipeline_tests.document_schemas`` writes the file; it is no part of ``make docs``, because it runs every command.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sync_pipeline.session.session import open_session
from sync_pipeline.store.requests import WorkScope, ask
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.harness import CLOCKIFY_KEY, ENTITIES, Team, morning, team
from sync_pipeline_tests.setup.agency import at_highlevel

FILE = ROOT / "docs" / "json-schemas.json"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
FIGURES = frozenset(
    {"amount", "cost", "margin", "billable_share", "budget", "budget_used", "estimate_hours", "estimate_used"}
)
FIGURES |= {"revenue", "revenue_budget", "revenue_margin"}
"""Numbers that may be null, whatever the sandbox happens to hold: rates may be hidden, and revenue unknown."""
KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
BY_NAME = {
    "changes",
    "labels",
    "left",
    "counts",
    "requests",
    "writes",
    "pages",
    "config",
    "samples",
    "versions",
    "failures",
    "words",
}
"""Objects whose keys are data - ids, routes, fields, figures - wherever they are."""
FREE = {"answer", "request"}
"""What a vendor decides the form of."""
ON_THE_SANDBOX = ("--clockify-region", "sandbox", "--snapshots-region", "sandbox")


def documents(root: Path) -> Iterator[dict[str, Any]]:
    """What the commands print, on accounts of the environment and on those that were set up."""
    with team(root / "office") as us:
        us.add_entry(us.users()[0]["id"], morning(1), description="")  # its label is null
        for words in (_on_accounts, _set_up):
            with shell_for(us, root / words.__name__) as shell:
                yield from words(us, shell)


def _on_accounts(us: Team, shell: Shell) -> Iterator[dict[str, Any]]:
    def printed(*words: str) -> dict[str, Any]:
        found: dict[str, Any] = shell(*words, "--json").document
        return found

    yield printed("preview", "--out", "plan.jsonl")
    held = shell.with_(SYNC_MAX_CREATES="1")
    yield held("sync", "users", "--json").document
    waiting = printed("approvals", "list")
    yield waiting
    for verb in ("show", "decline", "allow"):
        yield printed("approvals", verb, str(waiting["approvals"][0]["id"]))
    yield printed("apply", "plan.jsonl")
    for number in range(2):
        us.put_location(f"twin-{number}", location_name="One name", address=str(number))
    first = shell.sync("--verify")
    yield first
    yield shell("sync", "users", "--dry-run", "--json").document
    user = next(iter(us.at_snapshots("users")))
    us.snapshots("PUT", f"/users/{user}", {"name": "Somebody Else"})
    yield printed("verify")
    yield printed("records", "sync", "users", user)
    with open_session(shell.settings()) as session:
        ask(session.store, session.pair, "verify", WorkScope("users"), "Ana")
    run = first["run_ids"][0]
    for words in (
        "rejects list", "rejects show locations twin-0", "rejects ignore locations twin-0 --note test", "rejects retry users",
        "records list", f"records show users {user}", f"records history users {user}", "runs list", f"runs show {run}",
        f"runs retry {run}", "deliveries", "audit list", "status", "check", "settings list", "settings get SYNC_MODE",
        "connections list", "connections show clockify", "mapping show", "mapping validate", "mapping test",
        "mapping fields users", "credentials list", "completion bash", "support-bundle", "migrate", "live status", "webhooks list",
        "webhooks addresses --url https://hooks.example.com",
        "report performance", "report hours", "report people", "report clients", "alerts list --all", "alerts destinations", "alerts rules",
        "webhooks remove", "operations list", "operations list --triggers", "operations search project template",
        "operations show clockify.clients.create", "operations show highlevel.contacts.upsert",
        "operations run clockify.tags.create -f name=typed --dry-run", "operations run clockify.tags.create -f name=typed --yes --once k",
        "operations run clockify.tags.create -f name=typed --yes --once k", "operations run clockify.tags.list",
        "automations list", "automations show starter_projects", "rejects accept users nobody",
        "automations on starter_projects --set templateProjectId=5fa --yes", "automations off starter_projects",
    ):  # fmt: skip
        yield printed(*words.split())
    yield shell.with_(**at_highlevel(us))("prepare", "--yes", "--json").document
    (rules := shell.root / "rules.yaml").write_text("{rules: {budget: }, subscriptions: {all: {about: new_entries}}}")
    yield shell.with_(SYNC_ALERT_RULES_FILE=str(rules))("alerts", "rules", "--json").document
    port = str(urlsplit(us.sandbox.url).port)
    for words in (
        "fault status --count 1",
        "fault stall --lasts 60",
        "status",
        "fault --clear",
        "clock",
        "reset --yes",
    ):
        yield printed("sandbox", *words.split(), "--port", port)


def _set_up(us: Team, shell: Shell) -> Iterator[dict[str, Any]]:
    nothing = dict.fromkeys((*us.environ, "SYNC_MODE"))
    port, home = str(urlsplit(us.sandbox.url).port), str(shell.root.parent / "office")
    typed = shell.with_(**{**nothing, "SYNC_SANDBOX_PORT": port, "SYNC_HOME": home})
    yield typed("init", "--json", *ON_THE_SANDBOX).document
    (shell.root / "key").write_text(CLOCKIFY_KEY)
    for words in (
        "setup export", "setup export setup.yaml", "setup diff setup.yaml", "mapping set time_entries note --source description",
        "mapping drop users name", "mapping restore users name", "setup import setup.yaml", "trial", "live on",
        "live status", "status", "credentials rotate clockify.api_key --file key", "credentials list",
        "credentials retire clockify.api_key", "credentials encrypt-again", "connections list", "audit list", "live off",
        "credentials remove clockify.api_key", "connections disconnect snapshots --yes",
    ):  # fmt: skip
        yield typed(*words.split(), "--json").document


def schemas(found: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """By the name of the document, the schema that all of its samples fit."""
    samples: dict[str, list[Any]] = {}
    for document in found:
        samples.setdefault(document["schema"], []).append(document)
    return {name: {"title": name, **_schema(samples[name], "")} for name in sorted(samples)}


def _schema(samples: Sequence[Any], name: str) -> dict[str, Any]:
    """One schema for all of these values."""
    if name in FREE:
        return {}
    objects = [one for one in samples if isinstance(one, Mapping)]
    lists = [one for one in samples if isinstance(one, list)]
    kinds = {KINDS[type(one)] for one in samples if type(one) in KINDS}
    kinds |= ({"object"} if objects else set()) | ({"array"} if lists else set())
    if name in FIGURES and kinds <= {"integer", "number", "null"}:
        kinds |= {"number", "null"}
    if name == "label" and kinds <= {"string", "null"}:  # a record may have none, or hide it
        kinds = {"string", "null"}
    found: dict[str, Any] = {"type": sorted(kinds) if len(kinds) != 1 else next(iter(kinds))}
    if "integer" in kinds and "number" in kinds:
        found["type"] = sorted(kinds - {"integer"})
    texts = [one for one in samples if isinstance(one, str)]
    if texts and all(map(INSTANT.fullmatch, texts)):
        found["format"] = "date-time"
    if lists and (items := [item for one in lists for item in one]):
        found["items"] = _schema(items, name)
    if objects:
        found |= _members(objects, name)
    return found if samples else {}


def _members(objects: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    keys = list(dict.fromkeys(key for one in objects for key in one))
    if name in BY_NAME or (keys and set(keys) <= {*ENTITIES, "clockify", "snapshots"}):
        values = [value for one in objects for value in one.values()]
        return {"additionalProperties": _schema([*values, None], "")} if values else {}
    required = [key for key in keys if all(key in one for one in objects)]
    properties = {key: _schema([one[key] for one in objects if key in one], key) for key in keys}
    return {"properties": properties, "required": required}


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as directory:
        found = schemas(documents(Path(directory)))
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
