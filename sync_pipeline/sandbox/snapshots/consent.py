"""The authorization endpoint: a page on which a person sees the scopes and allows or denies access."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sync_pipeline.sandbox.snapshots import grants
from sync_pipeline.sandbox.snapshots.clients import Client, find_client
from sync_pipeline.sandbox.snapshots.grants import CODE_SECONDS, Grant
from sync_pipeline.sandbox.world import World

CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>{title} - sandbox</title>
<style>body{{font:16px/1.5 system-ui;max-width:32rem;margin:4rem auto;padding:0 1rem}}
button{{font:inherit;padding:.4rem 1.4rem;margin-right:.5rem}}code{{background:#8882;padding:.1rem .3rem}}</style>
<h1>{title}</h1>{content}"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A consent request whose client and redirect address are known to belong together."""

    client: Client
    redirect_uri: str
    scope: str | None
    state: str | None
    challenge: str
    method: str
    response_type: str

    def fault(self) -> tuple[str, str] | None:
        """What is wrong with the request: an error name and a sentence, returned to the client."""
        if self.response_type != "code":
            return "unsupported_response_type", "response_type must be code"
        if self.scope is None:
            return "invalid_scope", "the client may not ask for all of these scopes"
        if self.method != "S256" or not CHALLENGE.fullmatch(self.challenge):
            return "invalid_request", "PKCE is required: code_challenge with code_challenge_method=S256"
        return None

    def back(self, **answer: str) -> Response:
        """Send the browser back to the client with the answer and its own state."""
        query = answer if self.state is None else {**answer, "state": self.state}
        joint = "&" if "?" in self.redirect_uri else "?"
        return RedirectResponse(f"{self.redirect_uri}{joint}{urlencode(query)}", 302, HEADERS)


def consent_endpoint(world: World) -> Callable[[Request], Awaitable[Response]]:
    """``GET`` shows the page, ``POST`` with ``decision=approve|deny`` carries the answer back."""

    async def authorize(request: Request) -> Response:
        posted = request.method == "POST"
        body = (await request.body()).decode("utf-8", "replace") if posted else request.url.query
        params = dict(parse_qsl(body, keep_blank_values=True))
        asked = _understand(world, params)
        if isinstance(asked, str):
            # Never redirect to an address that is not the client's own.
            return _page("Cannot connect", f"<p>{html.escape(asked)}</p>", 400)
        if (fault := asked.fault()) is not None:
            return asked.back(error=fault[0], error_description=fault[1])
        if not posted:
            return _consent_page(asked, params)
        if params.get("decision") != "approve":
            return asked.back(error="access_denied", error_description="the person said no")
        return asked.back(code=_issue_code(world, asked))

    return authorize


def _understand(world: World, params: Mapping[str, str]) -> Asked | str:
    client = find_client(world.db, params.get("client_id", ""))
    if client is None:
        return "This application is not registered here (client_id)."
    redirect_uri = params.get("redirect_uri", "")
    if not client.returns_to(redirect_uri):
        return "The return address (redirect_uri) is not one the application registered."
    return Asked(
        client,
        redirect_uri,
        client.grantable(params.get("scope")),
        params.get("state"),
        params.get("code_challenge", ""),
        params.get("code_challenge_method", ""),
        params.get("response_type", ""),
    )


def _issue_code(world: World, asked: Asked) -> str:
    detail = {"redirect_uri": asked.redirect_uri, "challenge": asked.challenge}
    expires_at = world.clock.epoch() + CODE_SECONDS
    family = secrets.token_hex(16)
    return grants.issue(world.db, Grant("code", asked.client.id, asked.scope or "", family, expires_at, detail=detail))


def _consent_page(asked: Asked, params: Mapping[str, str]) -> Response:
    scopes = "".join(f"<li><code>{html.escape(name)}</code></li>" for name in (asked.scope or "").split())
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in params.items()
        if name != "decision"
    )
    content = (
        f"<p><b>{html.escape(asked.client.id)}</b> asks for access to the sandbox's Snapshots data:</p>"
        f'<ul>{scopes}</ul><form method="post">{hidden}'
        '<button name="decision" value="approve">Allow</button>'
        '<button name="decision" value="deny">Refuse</button></form>'
    )
    return _page("Allow access?", content, 200)


def _page(title: str, content: str, status: int) -> Response:
    return HTMLResponse(PAGE.format(title=title, content=content), status, HEADERS)
