"""A team whose other system is HighLevel: people edit its records by hand, and a check reads past index and limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from sync_pipeline.sandbox.highlevel.objects import make_field, make_folder
from sync_pipeline_tests.harness import Json, Team, id_field, team
from sync_pipeline_tests.properties.oracle import FIELDS

HOME = "sandboxHomeLocation1"
SANDBOX: Json = {"highlevel_prepared": True, "highlevel_requests": 0}
VENDORS: dict[str, Json] = {"generic": {}, "highlevel": {}}
"""How a team is made with either vendor on the target."""
OBJECTS = {entity: f"clockify_{entity}" for entity in ("users", "projects", "time_entries")}
YES_NO = {"yes": True, "no": False}
FLAGS = frozenset({"archived", "billable"})


class HighLevelTeam(Team):
    """The same team: a record is known by our key, whatever id HighLevel gave it."""

    system = "highlevel"

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that point the pipeline at the two tokens of the sandbox's agency."""
        return {
            **super().environ,
            "SNAPSHOTS_PROFILE": "highlevel",
            "SNAPSHOTS_BASE_URL": self.sandbox.highlevel,
            "SNAPSHOTS_API_KEY": "pit-sandbox-home",
            "HIGHLEVEL_AGENCY_KEY": "pit-sandbox-agency",
            "HIGHLEVEL_LOCATION_ID": HOME,
            **self.changes,
        }

    def settle(self) -> None:
        """Let the search show everything."""
        self.sandbox.world.clock.advance(timedelta(minutes=1))

    async def sleep(self, seconds: float) -> None:
        """Time passes in the sandbox: its search shows what it did not show before."""
        self.sandbox.world.clock.advance(timedelta(seconds=seconds))

    def switch(self, **changes: Any) -> None:
        """Change what the vendor's documents leave open."""
        self.control("POST", "highlevel", changes)

    def stored(self, entity: str) -> list[Json]:
        """Every record of an entity as HighLevel keeps it."""
        found: list[Json] = self.control("GET", f"highlevel/records/{OBJECTS[entity]}")["records"]
        return found

    def edit(self, entity: str, **sent: Any) -> Json:
        """Someone adds a record in HighLevel's own app, or changes or removes the one with that ``id``."""
        made: Json = self.control("POST", f"highlevel/records/{OBJECTS[entity]}", sent)
        return made

    def generic(self, version: Json) -> Json:
        """A version of a record under our key, in the form of the generic API."""
        if version["system"] != self.system:  # the sandbox has a Snapshots API as well, which no one asks here
            return version | {"system": version["system"].replace("snapshots", "not asked")}
        entity, body = version["kind"].removeprefix("clockify_"), version["body"]
        if entity == "locations":
            return version | {"system": "snapshots", "body": body and _location(body)}
        fields = body and _fields(entity, body["properties"])
        if fields:
            self.keys[version["id"]] = fields[id_field(entity)]
        return version | {"system": "snapshots", "kind": entity, "id": self.keys.get(version["id"]), "body": fields}

    @cached_property
    def keys(self) -> dict[str, str]:
        """Our keys of the records that were seen, by HighLevel's ids."""
        return {}

    def route(self, generic: str) -> str:
        """Lists are searches, and records are written one by one."""
        routes = {"GET /snapshots/locations": "GET /highlevel/locations/search"}
        route = generic.replace("POST /snapshots/*/batch", "POST /highlevel/*/records")
        return routes.get(generic, route.replace("/snapshots/", "/highlevel/"))

    def writes(self) -> dict[str, int]:
        """Records written through either API, by entity."""
        return {name.removeprefix("clockify_"): number for name, number in super().writes().items()}

    def add_field(self, entity: str, name: str, kind: str = "TEXT") -> None:
        """Someone adds a field to an object in HighLevel's own app."""
        world = self.sandbox.world
        folder = make_folder(world, HOME, OBJECTS[entity], "Theirs")
        body = {"name": name, "dataType": kind, "parentId": folder["id"], "showInForms": False}
        make_field(world, HOME, OBJECTS[entity], name, body)

    def empty_target(self) -> None:
        """No record was ever made."""
        for table in ("highlevel_records", "highlevel_index", "highlevel_deleted"):
            self.sandbox.world.db.execute(f"DELETE FROM {table}")

    def put_location(self, location_id: str, **fields: Any) -> Json:
        """Create or edit a location."""
        names = {"location_name": "name"}
        sent = {names.get(name, name): value for name, value in fields.items()}
        made: Json = self.control("POST", "highlevel/locations", {"id": location_id, **sent})
        return made

    def at_snapshots(self, entity: str) -> dict[str, Json]:
        """Every record of one entity in the form that the generic API has; none is there twice."""
        if entity == "locations":
            return {row["id"]: _location(row) for row in self.control("GET", "highlevel/locations")["locations"]}
        key = id_field(entity)
        rows = [_fields(entity, row["properties"]) for row in self.stored(entity)]
        twice = [name for name, times in Counter(row.get(key) for row in rows).items() if times > 1]
        assert not twice, f"{entity} {twice} exist twice"
        return {row[key]: row for row in rows}

    def snapshots(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Someone edits or deletes one record by hand; ``path`` is that of the generic API."""
        del params
        _, entity, key = path.split("/")
        if entity == "locations":
            if method == "DELETE":  # but no one deletes the one in which records are kept
                return key == HOME or self.control("POST", "highlevel/locations", {"id": key, "remove": True})
            return self.put_location(key, **body)
        (found,) = [row["id"] for row in self.stored(entity) if row["properties"].get(id_field(entity)) == key]
        if method == "DELETE":
            return self.edit(entity, id=found, remove=True)
        return self.edit(entity, id=found, properties={name: _text(value) for name, value in body.items()})


def own_profile(path: Path, **changes: Any) -> str:
    """A file with other facts of HighLevel than the built-in profile; objects are merged."""
    facts = yaml.safe_load((resources.files("sync_pipeline.connectors.profiles") / "highlevel.yaml").read_text("utf-8"))
    for name, value in changes.items():
        facts[name] = facts[name] | value if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(facts, sort_keys=False), "utf-8")
    return str(path)


VENDORS["highlevel"] |= {"kind": HighLevelTeam, **SANDBOX, "highlevel_locations": 4}


@contextmanager
def highlevel_team(root: Path, **options: Any) -> Iterator[HighLevelTeam]:
    """A small team with HighLevel; ``options`` are those of the sandbox."""
    with team(root, **VENDORS["highlevel"] | options) as us:
        assert isinstance(us, HighLevelTeam)
        yield us


def _location(row: Json) -> Json:
    town = " ".join(part for part in (row.get("postalCode"), row.get("city")) if part)
    parts = [row.get("address"), town, row.get("state"), row.get("country")]
    address = ", ".join(part for part in parts if part)
    return {"location_id": row["id"], "location_name": row["name"], "address": address or None}


def _fields(entity: str, properties: Json) -> Json:
    found = dict.fromkeys(FIELDS[entity]) | {
        name: YES_NO.get(value, value) if name in FLAGS else value for name, value in properties.items()
    }
    return {**found, "tags": [line for line in (found.get("tags") or "").split("\n") if line]}


def _text(value: Any) -> Any:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
