"""Webhooks of the marketplace app: what is sent where, signed, and again when it was refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME
from sync_pipeline.sandbox.highlevel.keys import APP_ID
from sync_pipeline_tests.sandbox.highlevel.agency import PROJECTS, Agency
from sync_pipeline_tests.sandbox.highlevel.test_oauth import consent
from sync_pipeline_tests.sandbox.receiving import Received, Receiver, running_receiver

RECORDS = f"/objects/{PROJECTS}/records"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Something that listens."""
    with running_receiver() as started:
        yield started


def verified(agency: Agency, received: Received) -> bool:
    """Whether the signature is one of the raw body, by the key that the sandbox prints."""
    printed = agency.sandbox.keys["HighLevel webhook public key"]
    key = load_der_public_key(base64.b64decode(printed))
    assert isinstance(key, Ed25519PublicKey)
    key.verify(base64.b64decode(received.headers["x-ghl-signature"]), received.raw)
    return True


def test_records_are_announced_to_the_address_of_their_event(agency: Agency, receiver: Receiver) -> None:
    """Neither event nor object is named in the body, and every value is a text; refused ones come again unchanged."""
    agency.control("webhooks", {"retry_delays": [0, 0]})
    agency.switch(webhooks={"RecordUpdate": f"{receiver.url}/update", "*": f"{receiver.url}/others"})
    receiver.answers = [500]
    made = agency.create(1)
    path = f"{RECORDS}/{made['id']}"
    first, again = receiver.wait(2)
    agency.ask("PUT", path, params={"locationId": HOME}, json={"properties": {"note": "new"}})
    receiver.wait(3)
    agency.ask("DELETE", path)
    *_, update, deletion = receiver.wait(4)

    assert [one.path.rpartition("/")[2] for one in (first, again, update, deletion)] == [
        "others",
        "others",
        "update",
        "others",
    ]
    assert (first.raw, first.headers["x-ghl-signature"]) == (again.raw, again.headers["x-ghl-signature"])
    assert all(verified(agency, one) for one in (first, update, deletion))
    assert len({one.body["webhookId"] for one in (first, update, deletion)}) == 3
    body = update.body
    assert {"key": "note", "valueString": "new"} in body["properties"]
    assert (body["id"], body["locationId"], "type" in body, "objectKey" in body) == (made["id"], HOME, False, False)


def test_locations_and_the_app_are_announced_by_name(agency: Agency, receiver: Receiver) -> None:
    """A location without its address; the app when it is added to the company, and when it is removed."""
    agency.switch(webhooks={"*": receiver.url})
    agency.control("highlevel/locations", {"id": HOME, "name": "Renamed"})
    new = agency.control("highlevel/locations", {"name": "New"})["location"]["id"]
    consent(agency)
    agency.switch(uninstalled=[new])
    agency.control("highlevel/locations", {"id": new, "name": "Not announced"})
    agency.switch(revoke_consents=True)

    bodies = [one.body for one in receiver.wait(5)]
    assert [body["type"] for body in bodies] == [
        "LocationUpdate",
        "LocationCreate",
        "INSTALL",
        "UNINSTALL",
        "UNINSTALL",
    ]
    assert (bodies[0]["name"], "address" in bodies[0]) == ("Renamed", False)
    assert [body.get("locationId", body.get("companyId")) for body in bodies[2:]] == [COMPANY, new, COMPANY]
    assert bodies[2]["appId"] == APP_ID


def test_an_address_must_not_name_the_vendor(agency: Agency) -> None:
    """As in its portal; another key signs from then on."""
    url = f"{agency.sandbox.control}/highlevel"
    answer = agency.http.post(url, json={"webhooks": {"*": "http://127.0.0.1:9/highlevel"}})
    assert (answer.status_code, "Highlevel reference" in answer.text) == (400, True)
    before = agency.control("highlevel")["webhook_public_key"]
    agency.switch(webhook_key="another")
    assert agency.sandbox.keys["HighLevel webhook public key"] != before
