"""The HighLevel side against the vendor's documents: every operation, and every correction of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from sync_pipeline.sandbox.highlevel.contacts import OPERATIONS
from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME
from sync_pipeline.sandbox.highlevel.keys import AGENCY_TOKEN, APP_ID
from sync_pipeline.sandbox.highlevel.routes import PATHS
from sync_pipeline_tests.clockify_contract import Exchange
from sync_pipeline_tests.highlevel_contract import (
    FOLDER,
    HOST,
    HighLevelContract,
    corrected,
    corrections,
    originals,
    watching,
)
from sync_pipeline_tests.sandbox.highlevel.agency import LITTLE, Agency, Json
from sync_pipeline_tests.sandbox.highlevel.test_oauth import BACK, CONSENT, consent, of_location, tokens
from sync_pipeline_tests.sandbox.running import running_sandbox

PETS = "custom_objects.pet"
KNOWN: list[Json] = corrections()["corrections"]


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Exchange]]:
    """One request to everything, as a connector of ours sends it, with its answer."""
    with (
        watching() as contract,
        pytest.MonkeyPatch.context() as patch,
        running_sandbox(tmp_path_factory.mktemp("documented"), **LITTLE) as sandbox,
    ):
        kept: list[Exchange] = []
        patch.setattr(contract, "look", kept.append)
        agency = Agency(sandbox)
        agency.http.headers["User-Agent"] = "sync_pipeline"
        read(agency)
        write_crm(agency)
        prepare(agency)
        write(agency)
        authorize(agency)
        refuse(agency)
        agency.http.close()
        yield kept


def read(agency: Agency) -> None:
    """What is only read."""
    saas = {"companyId": COMPANY, "customerId": "cus_sandbox", "subscriptionId": "sub_sandbox"}
    old = {"Version": "2021-04-15"}
    agency.ask("GET", "/locations/search", AGENCY_TOKEN, params={"companyId": COMPANY, "limit": "5", "skip": "0"})
    agency.ask("GET", f"/locations/{HOME}")
    agency.ask("GET", "/saas/locations", AGENCY_TOKEN, params=saas, headers=old)
    agency.refused("GET", "/saas/locations", params=saas, headers=old)
    agency.ask("GET", "/opportunities/search", params={"location_id": HOME, "status": "won", "limit": "1"})
    agency.ask("GET", "/users/search", params={"companyId": COMPANY})


def prepare(agency: Agency) -> None:
    """An object with fields."""
    primary = {"key": f"{PETS}.title", "name": "Title", "dataType": "TEXT"}
    sent: Json = {"locationId": HOME, "key": PETS, "labels": {"singular": "Pet", "plural": "Pets"}}
    agency.ask("POST", "/objects/", json=sent | {"primaryDisplayPropertyDetails": primary})
    folder = {"locationId": HOME, "objectKey": "custom_object.pet", "name": "More"}
    field = {"locationId": HOME, "objectKey": "custom_object.pet", "fieldKey": "custom_object.pet.tag", "name": "Tag"}
    field |= {"parentId": agency.ask("POST", "/custom-fields/folder", json=folder)["id"], "dataType": "TEXT"}
    agency.ask("POST", "/custom-fields/", json=field | {"showInForms": False})
    agency.ask("PUT", f"/objects/{PETS}", json={"locationId": HOME, "searchableProperties": [f"{PETS}.tag"]})
    for path in ("/objects/", f"/objects/{PETS}", f"/custom-fields/object-key/{PETS}"):
        agency.ask("GET", path, params={"locationId": HOME})


def write(agency: Agency) -> None:
    """A record from its creation to its deletion."""
    records, here = f"/objects/{PETS}/records", {"locationId": HOME}
    new = {"locationId": HOME, "properties": {"title": "Rex", "tag": "1"}, "owners": ["u1"]}
    path = f"{records}/{agency.ask('POST', records, json=new)['record']['id']}"
    agency.ask("PUT", path, params=here, json={"properties": {"tag": None}, "owners": {"add": ["u2"]}})
    agency.ask("GET", path)
    query: Json = {"locationId": HOME, "page": 1, "pageLimit": 10, "query": "", "searchAfter": []}
    query |= {
        "filters": [{"field": "properties.title", "operator": "eq", "value": "Rex"}],
        "sort": [{"field": "createdAt", "direction": "asc"}],
    }
    (row,) = agency.ask("POST", f"{records}/search", json=query)["records"]
    agency.ask("POST", f"{records}/search", json=query | {"searchAfter": row["searchAfter"]})
    agency.ask("DELETE", path)


def write_crm(agency: Agency) -> None:
    """A task of a contact and a business, from their creation to their deletion."""
    contact, here = f"/contacts/{OPERATIONS}", {"locationId": HOME}
    agency.ask("GET", contact)
    task: Json = {"title": "Call", "dueDate": "2026-11-27T09:00:00Z", "completed": False}
    path = f"{contact}/tasks/{agency.ask('POST', f'{contact}/tasks', json=task | {'body': 'x'})['task']['id']}"
    agency.ask("GET", f"{contact}/tasks")
    agency.ask("GET", path)
    agency.ask("DELETE", path)
    made = agency.ask("POST", "/businesses/", json=here | {"name": "Harbour House", "city": "Kiel"})
    path = f"/businesses/{made['buiseness']['id']}"
    agency.ask("GET", "/businesses/", params=here | {"limit": "10", "skip": "0"})
    agency.ask("GET", path)
    agency.ask("DELETE", path)


def authorize(agency: Agency) -> None:
    """A consent of a browser, at both addresses of the page, and what its code is good for."""
    agency.http.headers["User-Agent"] = "a browser"
    code = consent(agency)["code"][0]
    assert agency.http.get(f"{agency.sandbox.highlevel}/oauth/chooselocation", params=CONSENT).is_success
    agency.http.headers["User-Agent"] = "sync_pipeline"
    pair = tokens(agency, grant_type="authorization_code", code=code, redirect_uri=BACK)
    tokens(agency, grant_type="refresh_token", refresh_token=pair["refresh_token"])
    tokens(agency, grant_type="refresh_token", refresh_token="none")
    of_location(agency, pair["access_token"], HOME)
    query = {"companyId": COMPANY, "appId": APP_ID, "isInstalled": "true"}
    agency.ask("GET", "/oauth/installedLocations", pair["access_token"], params=query)


def refuse(agency: Agency) -> None:
    """What a document has no answer for, and a limit; these requests are not as they should be."""
    agency.http.headers["User-Agent"] = "a test"
    records = f"/objects/{PETS}/records"
    for method, path, sent in (
        ("DELETE", f"{records}/{'0' * 24}", None),
        ("POST", records, {}),
        ("POST", f"{records}/search", {}),
        ("POST", "/custom-fields/folder", {}),
    ):
        query = {"locationId": HOME} if sent is None else None
        assert agency.refused(method, path, params=query, json=sent)[0] == 422
    agency.switch(day_left=0)
    assert agency.refused("GET", f"/locations/{HOME}")[0] == 429


def test_the_documents_are_the_vendors_byte_for_byte() -> None:
    """With their licence, which allows that, and the commit they are from."""
    source = corrections()["source"]
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.iterdir() if path.suffix != ".yaml"
    }
    assert files == source["sha256"]
    assert "CC0 1.0 Universal" in (FOLDER / "LICENSE-CC0.txt").read_text()
    assert len(source["commit"]) == 40


def test_every_path_is_in_a_document() -> None:
    """The sandbox serves nothing that HighLevel does not have."""
    contract = HighLevelContract(originals())
    served = [Exchange(HOST, method, path) for path, operations in PATHS.items() for method in operations]
    assert [(each.method, each.path) for each in served if contract.operation(each) is None] == []


def test_every_operation_is_as_documented(exchanges: list[Exchange]) -> None:
    """Status, parameters, headers and bodies, after a request that each of them accepts."""
    contract = HighLevelContract(corrected(KNOWN))
    assert [problem for exchange in exchanges for problem in contract.check(exchange)] == []
    served = {contract.operation(Exchange(HOST, method, path)) for path, each in PATHS.items() for method in each}
    assert served | {"POST /oauth/token"} <= contract.accepted


@pytest.mark.parametrize("number", range(len(KNOWN)))
def test_each_correction_is_needed(exchanges: list[Exchange], number: int) -> None:
    """Without it the document contradicts what was seen; and it states why it is right."""
    contract = HighLevelContract(corrected(KNOWN[:number] + KNOWN[number + 1 :]))
    assert [problem for exchange in exchanges for problem in contract.check(exchange)]
    assert len(KNOWN[number]["evidence"]) > 20


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"path": "/objects/unknown/path/too/long"}, "no such operation"),
        ({"query": b"locationId=x&unique=1"}, "unique is not declared"),
        ({"query": b""}, "locationId is required"),
        ({"headers": {"version": "2020-01-01"}}, "header Version"),
        ({"sent": b'{"properties": {}, "locationId": "x"}'}, "locationId is not declared"),
        ({"sent": b"{}"}, '"properties" is a required property'),
        ({"got": b'{"record": {"id": 1}}'}, "required property"),
        ({"status": 418}, "the document has only"),
    ],
)
def test_a_request_or_an_answer_that_is_wrong_is_found(
    exchanges: list[Exchange], change: dict[str, Any], problem: str
) -> None:
    """Each part of an update that succeeded, spoilt."""
    contract = HighLevelContract(corrected(KNOWN))
    good = next(each for each in exchanges if each.method == "PUT" and "records" in each.path)
    wrong = Exchange(**{name: getattr(good, name) for name in good.__dataclass_fields__} | change)
    assert problem in "; ".join(contract.check(wrong))


def test_a_correction_that_changes_nothing_is_an_error() -> None:
    """So that none is left when the vendor corrects a document."""
    with pytest.raises(ValueError, match="says so already"):
        corrected([*KNOWN, KNOWN[1]])
