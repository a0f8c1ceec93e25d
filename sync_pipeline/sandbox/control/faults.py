"""Carry out the fault rules around the real application, on the real connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync_pipeline.sandbox.control.pages import asked_page, rows_of, shift
from sync_pipeline.sandbox.control.rules import FaultRule, Faults

PAGED = ("duplicate_page", "shifted_page")
LONGEST_HOLD, LOOK_SECONDS = 60.0, 0.005
LOGIN_PAGE = "<!doctype html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>"


@dataclass
class Answer:
    """A whole HTTP answer, held back."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def collect(self, message: Message) -> None:
        """Take the place of ``send``."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    async def deliver(self, send: Send) -> None:
        """Send it after all, with the length it has now."""
        headers = [(name, value) for name, value in self.headers if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class FaultMiddleware:
    """Spoils the requests the rules name. Without rules it is one look at an empty list."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self.app = app
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the fault it was chosen for."""
        self.faults.drop_ended()
        if not self.faults.rules or scope["type"] != "http" or scope["path"].startswith("/_control"):
            await self.app(scope, receive, send)
            return
        await _Spoiled(self.app, self.faults, scope, receive, send).serve()


class _Spoiled:
    """One request while rules are in force."""

    def __init__(self, app: ASGIApp, faults: Faults, scope: Scope, receive: Receive, send: Send) -> None:
        self.app, self.faults = app, faults
        self.scope, self.receive, self.send = scope, receive, send

    async def serve(self) -> None:
        route = f"{self.scope['method']} {self.scope['path']}"
        for rule in self.faults.rules:
            if not rule.covers(route):
                continue
            # The paged ones look at every covered request: the page they spoil depends on the page before it.
            if rule.kind in PAGED or rule.strikes():
                await getattr(self, rule.kind)(rule)
                return
        await self.app(self.scope, self.receive, self.send)

    async def status(self, rule: FaultRule) -> None:
        """Answer an error instead of serving the request."""
        await _drain(self.receive)
        status = rule.status or 500
        body = rule.body if rule.body is not None else {"code": status, "message": "injected fault"}
        content = body.encode() if isinstance(body, str) else orjson.dumps(body)
        await _plain_answer(rule, status, content, b"application/json").deliver(self.send)

    async def html(self, rule: FaultRule) -> None:
        """Answer a web page, as a proxy or a wrong address would."""
        await _drain(self.receive)
        body = rule.body if isinstance(rule.body, str) else LOGIN_PAGE
        await _plain_answer(rule, rule.status or 200, body.encode(), b"text/html; charset=utf-8").deliver(self.send)

    async def stall(self, rule: FaultRule) -> None:
        """Keep the client waiting, then serve the request."""
        await asyncio.sleep(rule.seconds)
        await self.app(self.scope, self.receive, self.send)

    async def hold_before(self, rule: FaultRule) -> None:
        """Keep the client waiting until the rule is out of force, then serve the request."""
        await self._hold(rule)
        await self.app(self.scope, self.receive, self.send)

    async def hold_after(self, rule: FaultRule) -> None:
        """Serve the request now, and keep the answer back until the rule is out of force: it is old by then."""
        answer = await self._answer(self.receive)
        await self._hold(rule)
        await answer.deliver(self.send)

    async def _hold(self, rule: FaultRule) -> None:
        """Poll instead of waiting for a signal, since other threads remove rules, too."""
        rule.holding += 1
        deadline = asyncio.get_running_loop().time() + LONGEST_HOLD
        while self.faults.has(rule) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - see above
            await asyncio.sleep(LOOK_SECONDS)
        rule.holding -= 1

    async def cut_before(self, _rule: FaultRule) -> None:
        """Close the connection; the request was never carried out."""
        await _drain(self.receive)
        await _hang_up(self.receive, self.send)

    async def cut_after(self, _rule: FaultRule) -> None:
        """Carry the request out, then close the connection without an answer."""
        await self.app(self.scope, self.receive, Answer().collect)
        await _hang_up(self.receive, self.send)

    async def truncated_json(self, _rule: FaultRule) -> None:
        """Answer well, but with the second half of the body missing."""
        answer = await self._answer(self.receive)
        answer.body = answer.body[: len(answer.body) // 2]
        await answer.deliver(self.send)

    async def empty_object(self, _rule: FaultRule) -> None:
        """Carry the request out, and answer an empty object in place of what it made."""
        answer = await self._answer(self.receive)
        answer.body = b"{}"
        await answer.deliver(self.send)

    async def duplicate_page(self, rule: FaultRule) -> None:
        """Answer the previous page again."""
        body = await _drain(self.receive)
        asked = asked_page(self.scope["method"], self.scope["path"], self.scope["query_string"], body)
        previous = None if asked.first else rule.memory.get(asked.key)
        if previous is not None and rule.strikes():
            await previous.deliver(self.send)
            return
        answer = await self._answer(_replay(body))
        rule.memory[asked.key] = answer
        await answer.deliver(self.send)

    async def shifted_page(self, rule: FaultRule) -> None:
        """Answer as if a row had been inserted (or deleted: ``drop``) at the top since the page before."""
        body = await _drain(self.receive)
        asked = asked_page(self.scope["method"], self.scope["path"], self.scope["query_string"], body)
        answer = await self._answer(_replay(body))
        try:
            content = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            content = None
        if rule.drop:
            _drop_row(rule, asked.first, answer, content)
        else:
            _shift_page(rule, asked.key, asked.first, answer, content)
        await answer.deliver(self.send)

    async def _answer(self, receive: Receive) -> Answer:
        answer = Answer()
        await self.app(self.scope, receive, answer.collect)
        return answer


def _shift_page(rule: FaultRule, key: str, first: bool, answer: Answer, content: Any) -> None:
    """Shift this page if its list is shifted already or the rule strikes now; remember where it ended."""
    rows = rows_of(content)
    memory = {} if first else rule.memory.get(key, {})
    rule.memory[key] = {**memory, "last": rows[-1] if rows else None}
    if memory.get("last") is None or not (memory.get("shifted") or rule.strikes()):
        return
    rule.memory[key] = {"last": shift(content, memory["last"], dict(answer.headers)), "shifted": True}
    answer.body = orjson.dumps(content)


def _drop_row(rule: FaultRule, first: bool, answer: Answer, content: Any) -> None:
    """The first row of this page moved to the previous page, which was read without it: no reader sees it."""
    rows = rows_of(content)
    if rows and not first and rule.strikes():
        del rows[0]
        answer.body = orjson.dumps(content)


def _plain_answer(rule: FaultRule, status: int, body: bytes, media_type: bytes) -> Answer:
    named = [(name.lower().encode(), value.encode()) for name, value in rule.headers.items()]
    if body and b"content-type" not in dict(named):
        named.append((b"content-type", media_type))
    return Answer(status, named, body)


async def _drain(receive: Receive) -> bytes:
    """Read the whole request, as a server does before it fails."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


def _replay(body: bytes) -> Receive:
    """A ``receive`` that passes the application a body that was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


async def _hang_up(receive: Receive, send: Send) -> None:
    """Close the socket without an answer.

    ASGI has no message for this, so it uses uvicorn's request cycle, whose method ``send`` is at the outermost layer.
    Waiting for the disconnect lets uvicorn notice it: it does not complain about the missing answer.
    """
    cycle = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise RuntimeError("cutting a connection needs uvicorn with nothing between it and the fault layer")
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
