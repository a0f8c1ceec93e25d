"""What a browser that is not signed in gets: the page that explains how to sign in, and the address that redeems a link."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sync_pipeline.console.request_context import render
from sync_pipeline.console.sign_in_links import TOKEN
from sync_pipeline.console.site import USER

PREFETCH = ("prefetch", "prerender", "preview")
SECURE = "__Host-"
"""Browsers accept a cookie of such a name only over TLS, from the host itself, for no other host."""
Redeem = Callable[[str], tuple[str, str] | None]


def take_link(request: Request, redeem: Redeem, is_member: Callable[[], bool]) -> Response:
    """Redeem a link and redirect to the home page."""
    if request.method == "HEAD":
        return not_by_head()
    purpose = f"{request.headers.get('sec-purpose', '')} {request.headers.get('purpose', '')}".lower()
    if any(word in purpose for word in PREFETCH):
        return Response(status_code=503)  # a browser that guesses must not use the link up
    token = request.query_params.get(TOKEN, "")
    cookie = redeem(token)
    if cookie is None:
        if is_member():
            return RedirectResponse("/", 303)
        return render("signed_out.html", 403 if token else 401, title="Sign in", used=bool(token))
    answer = RedirectResponse("/", 303)
    set_cookie(answer, cookie)
    return answer


def set_cookie(answer: Response, cookie: tuple[str, str]) -> None:
    """Give a browser its session. Not `secure` over plain http, which loopback alone carries."""
    answer.set_cookie(*cookie, httponly=True, samesite="lax", path="/", secure=cookie[0].startswith(SECURE))


def remove_cookie(answer: Response, name: str) -> None:
    """Take its session from a browser."""
    answer.delete_cookie(name, path="/", httponly=True, samesite="lax", secure=name.startswith(SECURE))


def not_by_head() -> Response:
    """Refuse HEAD, with which programs check links: it must not use a link up."""
    return Response(status_code=405, headers={"Allow": "GET"})


def signed_out(request: Request) -> Response:
    """The page for a user who is not signed in, or not any more."""
    is_posted, user = request.method == "POST", request.scope[USER]
    return render("signed_out.html", 401, title="Signed out", used=False, posted=is_posted, user=user)


def refused(_: Request, status: int, title: str, why: str, *, link: str = "", words: str = "") -> Response:
    """The page of a refusal; ``words`` are those of the link, which is its address without them."""
    return render("problem.html", status, title=title, sentence=why, link=link, words=words or link)
