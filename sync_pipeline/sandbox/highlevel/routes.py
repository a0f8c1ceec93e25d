"""Every address of the HighLevel side, in the order they are matched."""

from __future__ import annotations

from starlette.routing import BaseRoute, Mount, Route

from sync_pipeline.sandbox.highlevel import businesses, contacts, locations, oauth, objects, opportunities, records
from sync_pipeline.sandbox.highlevel.auth import Budget
from sync_pipeline.sandbox.highlevel.resource import Operation, Resource
from sync_pipeline.sandbox.highlevel.search import search_records
from sync_pipeline.sandbox.world import World

EVERY = ("agency", "location")
READS, WRITES = "objects/record.readonly", "objects/record.write"
SCHEMA, FIELDS = "objects/schema", "locations/customFields"
PATHS: dict[str, dict[str, Operation]] = {
    "/locations/search": {"GET": Operation(locations.search_locations, "locations.readonly", EVERY, lags=True)},
    "/locations/{id}": {"GET": Operation(locations.read_location, "locations.readonly", EVERY)},
    "/saas/locations": {"GET": Operation(locations.saas_locations, "saas/location.read", ("agency",))},
    "/users/search": {"GET": Operation(locations.search_users, "users.readonly", EVERY)},
    "/objects/": {
        "GET": Operation(objects.list_objects, f"{SCHEMA}.readonly"),
        "POST": Operation(objects.create_object, f"{SCHEMA}.write", ("schema",)),
    },
    "/objects/{key}": {
        "GET": Operation(objects.read_object, f"{SCHEMA}.readonly"),
        "PUT": Operation(objects.update_object, f"{SCHEMA}.write", ("schema",)),
    },
    "/objects/{key}/records": {"POST": Operation(records.create_record, WRITES)},
    "/objects/{key}/records/search": {"POST": Operation(search_records, READS, lags=True)},
    "/objects/{key}/records/{id}": {
        "GET": Operation(records.read_record, READS),
        "PUT": Operation(records.update_record, WRITES),
        "DELETE": Operation(records.delete_record, WRITES),
    },
    "/custom-fields/object-key/{key}": {"GET": Operation(objects.list_fields, f"{FIELDS}.readonly")},
    "/custom-fields/folder": {"POST": Operation(objects.create_folder, f"{FIELDS}.write")},
    "/custom-fields/": {"POST": Operation(objects.create_field, f"{FIELDS}.write")},
    "/opportunities/search": {
        "GET": Operation(opportunities.search_opportunities, "opportunities.readonly", lags=True)
    },
    "/contacts/{id}": {"GET": Operation(contacts.read_contact, "contacts.readonly")},
    "/contacts/{id}/tasks": {
        "GET": Operation(contacts.list_tasks, "contacts.readonly", lags=True),
        "POST": Operation(contacts.create_task, "contacts.write"),
    },
    "/contacts/{id}/tasks/{task}": {
        "GET": Operation(contacts.read_task, "contacts.readonly"),
        "DELETE": Operation(contacts.delete_task, "contacts.write"),
    },
    "/businesses/": {
        "GET": Operation(businesses.list_businesses, "businesses.readonly", lags=True),
        "POST": Operation(businesses.create_business, "businesses.write"),
    },
    "/businesses/{id}": {
        "GET": Operation(businesses.read_business, "businesses.readonly"),
        "DELETE": Operation(businesses.delete_business, "businesses.write"),
    },
    "/oauth/locationToken": {"POST": Operation(oauth.location_token, "oauth.write", ("agency",))},
    "/oauth/installedLocations": {"GET": Operation(oauth.installed_locations, "oauth.readonly", ("agency",))},
    "/{rest:path}": {},
}


def routes(world: World) -> list[BaseRoute]:
    """The HighLevel API under ``/highlevel``."""
    budget = Budget(world)
    paths = [Route(path, Resource(world, budget, each)) for path, each in PATHS.items()]
    return [Mount("/highlevel", routes=[*oauth.oauth_routes(world), *paths])]
