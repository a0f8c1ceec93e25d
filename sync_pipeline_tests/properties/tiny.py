"""A third vendor, served over HTTP: it gives out the ids, takes one record a request, pages by number, and its list lags."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from sync_pipeline.connectors.answers import record_of
from sync_pipeline.connectors.http import MAY_BE_MISSING, ApiClient, ClientOptions, Endpoint, RequestOptions
from sync_pipeline.connectors.limiter import OnTurn
from sync_pipeline.connectors.oauth import HeaderKey
from sync_pipeline.connectors.paging import Page, Record, by_number, rows_of, unshifted
from sync_pipeline.connectors.policy import FIRST_ROWS, LAST_ROWS, Action, PolicyRule
from sync_pipeline.connectors.ports import Expected
from sync_pipeline.connectors.registry import Vendor, register, unregister
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import Request
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.systems import RecordKind, SystemDescription
from sync_pipeline.settings import Settings
from sync_pipeline_tests.harness import Json

PAGE_SIZE = 3
KEY = "the-key-of-tiny"
LONGEST_NAME = 60
THINGS, THING = "/{kind}", "/{kind}/{id}"
FIX = "Check the address of Tiny."
RULES = (
    *FIRST_ROWS,
    PolicyRule(Action.MISSING, "no such record", status=404, methods=("GET", "DELETE")),
    PolicyRule(Action.REJECT, "refused: {detail}", status=422),
    *LAST_ROWS,
)


@dataclass(slots=True)
class Tiny:
    """What it holds: records of any kind by id, and what its lists still show."""

    url: str = ""
    records: dict[str, dict[str, Json]] = field(default_factory=dict)
    listed: dict[str, dict[str, Json]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    last: int = 0

    def settle(self) -> None:
        """The lists show what there is."""
        self.listed = {kind: dict(found) for kind, found in self.records.items()}

    def put(self, kind: str, record_id: str | None = None, **fields: Any) -> Json:
        """Someone creates or edits a record; None clears a field."""
        if record_id is None:
            self.last += 1
            record_id = f"t{self.last}"
        of_kind = self.records.setdefault(kind, {})
        merged = {**of_kind.get(record_id, {"id": record_id}), **fields}
        of_kind[record_id] = {name: value for name, value in merged.items() if value is not None}
        return of_kind[record_id]

    def delete(self, kind: str, record_id: str) -> None:
        """Someone deletes a record."""
        self.records.get(kind, {}).pop(record_id, None)

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Json) -> tuple[int, Any]:
        """Status and body of one request."""
        kind, _, record_id = path.strip("/").partition("/")
        self.asked.append(f"{method} {path}")
        there = self.records.setdefault(kind, {})
        if not record_id:
            return (200, self._list(kind, query)) if method == "GET" else self._create(kind, body)
        if record_id not in there:
            return 404, {"message": "no such record"}
        if method == "GET":
            return 200, there[record_id]
        self.writes.append(method)
        if method == "DELETE":
            return 200, there.pop(record_id)
        return 200, self.put(kind, record_id, **body)

    def _create(self, kind: str, body: Json) -> tuple[int, Json]:
        if len(str(body.get("name"))) > LONGEST_NAME:
            return 422, {"message": "the name is too long"}
        self.writes.append("POST")
        return 201, self.put(kind, **body)

    def _list(self, kind: str, query: Mapping[str, str]) -> list[Json]:
        if "ref" in query:  # a search is current
            return [record for record in self.records[kind].values() if record.get("ref") == query["ref"]]
        rows, start = list(self.listed.get(kind, {}).values()), (int(query["page"]) - 1) * PAGE_SIZE
        return rows[start : start + PAGE_SIZE]


@contextmanager
def serving() -> Iterator[Tiny]:
    """The vendor on a port of this machine, and known to mappings as `tiny`."""
    tiny, lock = Tiny(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            """Answer one request."""
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            with lock:
                known = self.headers.get("X-Tiny-Key") == KEY
                status, found = tiny.answer(self.command, parts.path, query, body) if known else (401, {})
                content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = respond  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server names it
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    tiny.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    register(
        "tiny", Vendor(FACTS, lambda _: tiny.url, lambda settings, options: TinyAccount(tiny.url, settings, options))
    )
    try:
        yield tiny
    finally:
        unregister("tiny")
        server.shutdown()
        server.server_close()


THING_FACTS = RecordKind(("ref", "name", "note"), {"ref": "a thing is found by it"})
FACTS = SystemDescription("Tiny", kinds={"things": THING_FACTS})


class TinyAccount:
    """One account."""

    def __init__(self, url: str, settings: Settings, options: ClientOptions) -> None:
        del settings
        self.requests: Counter[str] = Counter()
        endpoint = Endpoint("Tiny", url, "the address of Tiny", "the key of Tiny")
        auth = HeaderKey(KEY, header="X-Tiny-Key", setting="the key of Tiny")
        self.client = ApiClient(endpoint, auth, RULES, options, requests=self.requests)

    def source(self, spec: EntitySpec, parent: EntitySpec | None = None) -> TinySource:
        """The account as the source of an entity."""
        del parent
        return TinySource(self, spec.entity)

    def target(self, spec: EntitySpec) -> TinyTarget:
        """The account as the target of an entity."""
        return TinyTarget(self, spec.target.kind)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    async def list(self, kind: str) -> AsyncIterator[list[Record]]:
        """Every record, page by page."""
        about = Request("Tiny", "GET", THINGS)

        async def get(number: int) -> Page:
            answer = await self.client.request("GET", THINGS, ids={"kind": kind}, params={"page": number})
            return Page(rows_of(answer, about, asked=PAGE_SIZE), None)

        async for rows in by_number(unshifted(get), about=about, size=PAGE_SIZE):
            yield rows

    async def get(self, kind: str, record_id: str, on_turn: OnTurn | None = None) -> Record | None:
        """One record; None when it does not exist."""
        ids = {"kind": kind, "id": record_id}
        answer = await self.client.request(
            "GET", THING, ids=ids, options=RequestOptions(may_be_missing=True, on_turn=on_turn)
        )
        return None if answer.missing else record_of(answer, Request("Tiny", "GET", THING), FIX)


@dataclass(frozen=True, slots=True)
class TinySource:
    """Records of one kind."""

    account: TinyAccount
    kind: str
    page_size = PAGE_SIZE
    can_fetch = True
    needs_window = False
    notifies = False
    uses_expected = False
    owner_list = ""
    feed = None
    reader = "list"

    def read(self, window: Window | None = None, *, expected: Expected | None = None) -> AsyncIterator[list[Record]]:
        """Every record that the list shows."""
        del window, expected
        return self.account.list(self.kind)

    def read_all(self, window: Window) -> AsyncIterator[list[Record]]:
        """The same."""
        del window
        return self.account.list(self.kind)

    async def fetch(self, record_id: str, parent: str | None = None, on_turn: OnTurn | None = None) -> Record | None:
        """One record; None when it does not exist."""
        del parent
        return await self.account.get(self.kind, record_id, on_turn)

    async def sample(self, limit: int) -> list[Record]:
        """The first page."""
        return [row async for page in self.account.list(self.kind) for row in page][:limit]

    async def prove_complete(self) -> frozenset[str] | None:
        """Everything is shown to everyone."""
        return None


@dataclass(frozen=True, slots=True)
class TinyTarget:
    """Records of one kind, found by `ref`, which may be anyone's: nothing is refused as taken."""

    account: TinyAccount
    kind: str
    assigns_ids: ClassVar[Literal[True]] = True
    can_window = False
    takes_unknown_ids = True
    feed = None
    noun, label, key, unique_names, longest_name = "thing", "Tiny", ("ref",), False, LONGEST_NAME
    id_field, find_lag, at_once, finds = "id", 0.0, 1, True

    def read(self, window: Window | None = None) -> AsyncIterator[list[Record]]:
        """Every record that the list shows."""
        del window
        return self.account.list(self.kind)

    async def find(self, rows: Sequence[Mapping[str, Any]]) -> list[Record]:
        """The records with the `ref` of one of these rows."""
        return [record for row in rows for record in await self._with_ref(str(row["ref"]))]

    async def get(self, target_id: str) -> Record | None:
        """One record; None when it does not exist."""
        return await self.account.get(self.kind, target_id)

    async def create(self, row: Mapping[str, Any]) -> Record:
        """Create a record."""
        answer = await self.account.client.request("POST", THINGS, ids={"kind": self.kind}, json=dict(row))
        return record_of(answer, Request("Tiny", "POST", THINGS), FIX)

    async def update(self, target_id: str, row: Mapping[str, Any]) -> Record | None:
        """Change only these fields; None when the record does not exist."""
        if await self.get(target_id) is None:
            return None
        ids = {"kind": self.kind, "id": target_id}
        answer = await self.account.client.request("PUT", THING, ids=ids, json=dict(row))
        return record_of(answer, Request("Tiny", "PUT", THING), FIX)

    async def remove(self, target_id: str) -> None:
        """Delete a record; an absent one is no error."""
        ids = {"kind": self.kind, "id": target_id}
        await self.account.client.request("DELETE", THING, ids=ids, options=MAY_BE_MISSING)

    def is_own(self, record: Record) -> bool:
        """It does not state who created a thing."""
        del record
        return False

    def can_become(self, target_id: str, row: Mapping[str, Any]) -> bool:
        """An update can change each field."""
        del target_id, row
        return True

    def needs_update(self, record: Record, row: Mapping[str, Any]) -> bool:
        """An update writes what it is given."""
        del record, row
        return False

    def in_event(self, kind: str, body: Mapping[str, Any]) -> None:
        """None: no event shows all of a record."""
        del kind, body

    def is_archived(self, record: Record) -> bool:
        """Nothing is archived here."""
        del record
        return False

    async def _with_ref(self, ref: str) -> list[Record]:
        answer = await self.account.client.request("GET", THINGS, ids={"kind": self.kind}, params={"ref": ref})
        return rows_of(answer, Request("Tiny", "GET", THINGS), asked=PAGE_SIZE)
