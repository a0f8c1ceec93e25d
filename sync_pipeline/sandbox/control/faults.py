"""Carry out the fault rules around the real application, on the real connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync_pipeline.sandbox.control.pages import asked_page, rows_of, shift
from sync_pipeline.sandbox.control.rules import FaultRule, Faults

if TYPE_CHECKING:  # World holds the Faults: importing it here would go round in a circle.
    from sync_pipeline.sandbox.world import World

__all__ = ["FaultMiddleware", "Faults"]

LOGIN_PAGE = "<!doctype html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>"


@dataclass
class Answer:
    """A whole HTTP answer, held back."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def collect(self, message: Message) -> None:
        """Stand in for ``send``."""
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

    def __init__(self, app: ASGIApp, world: World) -> None:
        self.app = app
        self.world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the fault it was chosen for."""
        if not self.world.faults.rules or scope["type"] != "http" or scope["path"].startswith("/_control"):
            await self.app(scope, receive, send)
            return
        await _Spoiled(self.app, self.world.faults, scope, receive, send).serve()


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
            if rule.kind in _PAGED:
                # These look at every covered request: the page they spoil depends on the page before it.
                await _PAGED[rule.kind](self, rule)
                return
            if rule.strikes():
                await _PLAIN[rule.kind](self, rule)
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

    async def cut_before(self, _rule: FaultRule) -> None:
        """Close the connection; the request was never carried out."""
        await _drain(self.receive)
        await _hang_up(self.receive, self.send)

    async def cut_after(self, _rule: FaultRule) -> None:
        """Carry the request out, then close the connection without a word."""
        await self.app(self.scope, self.receive, Answer().collect)
        await _hang_up(self.receive, self.send)

    async def truncated_json(self, _rule: FaultRule) -> None:
        """Answer well, but with the second half of the body missing."""
        answer = await self._answer(self.receive)
        answer.body = answer.body[: len(answer.body) // 2]
        await answer.deliver(self.send)

    async def duplicate_page(self, rule: FaultRule) -> None:
        """Answer the page before once more."""
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
    """The first row of this page slid to the page before, which was read without it: nobody sees it."""
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
    """A ``receive`` that tells the application a body that was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


async def _hang_up(receive: Receive, send: Send) -> None:
    """Close the socket without an answer.

    ASGI has no word for this, so it asks uvicorn's request cycle, whose method ``send`` is at the outermost layer.
    Waiting for the disconnect lets uvicorn see that the client is gone: it does not complain about the missing answer.
    """
    cycle = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise RuntimeError("cutting a connection needs uvicorn with nothing between it and the fault layer")
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


_Step = Callable[[_Spoiled, FaultRule], Awaitable[None]]
_PAGED: dict[str, _Step] = {"duplicate_page": _Spoiled.duplicate_page, "shifted_page": _Spoiled.shifted_page}
_PLAIN: dict[str, _Step] = {
    "status": _Spoiled.status,
    "html": _Spoiled.html,
    "stall": _Spoiled.stall,
    "cut_before": _Spoiled.cut_before,
    "cut_after": _Spoiled.cut_after,
    "truncated_json": _Spoiled.truncated_json,
}
