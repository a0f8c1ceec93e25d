"""Webhooks of the marketplace app: an address for each event, bodies signed with the sandbox's own key."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.highlevel.ids import COMPANY
from sync_pipeline.sandbox.highlevel.keys import APP_ID
from sync_pipeline.sandbox.highlevel.objects import stamp
from sync_pipeline.sandbox.highlevel.resource import Json
from sync_pipeline.sandbox.highlevel.settings import Settings
from sync_pipeline.sandbox.webhooks.courier import Delivery
from sync_pipeline.sandbox.world import World


def public_key(seed: str) -> str:
    """The key that verifies signatures, as HighLevel publishes its own: base64 of the SPKI form."""
    public = _key(seed).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(public).decode()


def record_event(world: World, settings: Settings, event: str, record: Json) -> None:
    """Announce a record; neither the event nor the object is named in the body, and every value is a text."""
    texts = [{"key": key, "valueString": _text(value)} for key, value in record["properties"].items()]
    people = {"owners": record["owner"], "followers": record["followers"]}
    body = {"id": record["id"], "locationId": record["locationId"], **people, "properties": texts}
    _announce(world, settings, event, record["locationId"], body)


def location_event(world: World, settings: Settings, event: str, location: Json) -> None:
    """Announce a new or changed location: its name, but not its address."""
    shown = {name: location.get(name, "") for name in ("id", "companyId", "name", "email")}
    _announce(world, settings, event, location["id"], {"type": event} | shown)


def opportunity_event(world: World, settings: Settings, event: str, opportunity: Json) -> None:
    """Announce an opportunity that is new, or of which the status has changed."""
    names = ("id", "locationId", "contactId", "monetaryValue", "name", "pipelineId", "pipelineStageId", "status")
    shown = {name: opportunity[name] for name in names} | {"dateAdded": opportunity["createdAt"]}
    _announce(world, settings, event, opportunity["locationId"], {"type": event} | shown)


def app_event(world: World, settings: Settings, event: str, location: str | None = None) -> None:
    """Announce that the app was added (``INSTALL``) or removed (``UNINSTALL``), in one location or the whole company."""
    place = {"companyId": COMPANY} if location is None else {"locationId": location}
    _announce(world, settings, event, None, {"type": event, "appId": APP_ID} | place)


def _announce(world: World, settings: Settings, event: str, location: str | None, body: Json) -> None:
    url = settings.webhooks.get(event, settings.webhooks.get("*"))
    if not url or location in settings.uninstalled:
        return
    delivery_id = new_id(world.clock.epoch())
    sent = orjson.dumps(body | {"timestamp": stamp(world), "webhookId": delivery_id})
    signature = base64.b64encode(_key(settings.webhook_key).sign(sent)).decode()
    headers = {"user-agent": "HighLevel sandbox", "x-ghl-signature": signature}
    world.courier.put(Delivery(delivery_id, "", event, url, sent, headers=headers))


def _key(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
