"""However an answer misbehaves, it takes no more memory and no more time than it may."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from sync_pipeline.connectors.consent import begin_consent, finish_consent, prove_redirect
from sync_pipeline.connectors.guard import RequestGuard
from sync_pipeline.connectors.http import RequestOptions, RetryPolicy
from sync_pipeline.connectors.profile import OAuthFacts
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.connectors.transport import MEGABYTE, Limits
from sync_pipeline.errors import AmbiguousWrite, ApiError, FatalApiError, NotAuthorized, RetryableApiError, SyncError
from sync_pipeline_tests.connectors.clients import KEY, api, run, snapshots
from sync_pipeline_tests.connectors.scripted import Asked, Reply, Script, Scripted, in_turn, reply, scripted

SMALL = Limits(size=MEGABYTE, seconds=30)
HURRIED = Limits(seconds=0.2)
OK = reply(200, {"ok": True})
HEAD = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
ONCE = RetryPolicy(attempts=1)
NESTED = b"[" * 1000 + b"]" * 1000
"""JSON that can be read, but not be written out as text."""


def bomb(megabytes: int) -> bytes:
    """Megabytes of one letter, packed a thousandfold."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join([*(packer.compress(b"a" * MEGABYTE) for _ in range(megabytes)), packer.flush()])


BOMB = bomb(200)


def endless(head: bytes, piece: bytes) -> Iterator[bytes]:
    """The same bytes repeated without end, as fast as they are read."""
    yield head
    while True:
        yield piece


def dripping(head: bytes, drop: bytes) -> Iterator[bytes]:
    """A drop now and then, never a silence as long as a read may last."""
    yield head
    while True:
        yield drop
        threading.Event().wait(0.01)


LARGE: dict[str, Callable[[], Reply]] = {
    "gzip": lambda: reply(200, body=BOMB, Content_Encoding="gzip"),
    "deflate": lambda: reply(200, body=zlib.compress(b"a" * 200 * MEGABYTE, 9), Content_Encoding="deflate"),
    "plain": lambda: endless(HEAD, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "behind the packed end": lambda: endless(
        HEAD.replace(b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type") + b"18\r\n" + gzip.compress(b"null") + b"\r\n",
        b"10000\r\n" + b" " * 65536 + b"\r\n",
    ),
}  # fmt: skip
SLOW: dict[str, Callable[[], Reply]] = {
    "body": lambda: dripping(HEAD, b"1\r\n \r\n"),
    "headers": lambda: dripping(b"HTTP/1.1 200 X\r\nX-Long: ", b"x"),
    "one more moment": lambda: dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a refusal": lambda: dripping(HEAD.replace(b"200", b"400"), b"1\r\n \r\n"),
}


def ask(server: Scripted, limits: Limits, method: str = "GET", **options: Any) -> Any:
    """One request, tried once."""

    async def work() -> Any:
        async with api(server.url, guard=RequestGuard(limits=limits), retry_policy=ONCE) as client:
            return (await client.request(method, "/things", **options)).data

    return run(work())


def peak(work: Callable[[], object]) -> int:
    """The most bytes that were held meanwhile."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_answer_is_not_taken(kind: str) -> None:
    """Packed or not: reading ends at the limit, and the message names system, path, limit and setting."""
    answer = LARGE[kind]()
    said = []

    def read() -> None:
        with scripted(lambda _: answer) as server, pytest.raises(FatalApiError) as caught:
            ask(server, SMALL)
        said.append((str(caught.value), server.url))

    assert peak(read) < 20 * MEGABYTE
    (message, url) = said[0]
    assert message == (
        f"Clockify GET /things: the answer is too large (more than 1 MB). Check CLOCKIFY_BASE_URL ({url}). "
        "If its answers may be that large, raise SYNC_MAX_ANSWER_MB."
    )


def test_an_answer_of_too_many_values_is_not_taken() -> None:
    """Within the size, and yet in memory many times as large: not decoded. A larger size allows for more of them."""
    answer = reply(200, body=gzip.compress(b"[" + b"0," * 4_000_000 + b"0]", 1), Content_Encoding="gzip")
    with scripted(lambda _: answer) as server:
        with pytest.raises(FatalApiError) as caught:
            ask(server, Limits())
        assert len(ask(server, Limits(size=128 * MEGABYTE))) == 4_000_001
    assert str(caught.value) == (
        f"Clockify GET /things: the answer is too large (more than 4,000,000 JSON values). Check CLOCKIFY_BASE_URL "
        f"({server.url}). If its answers may be that large, raise SYNC_MAX_ANSWER_MB."
    )


def test_what_comes_after_the_packed_end_is_not_kept() -> None:
    """It is counted, and that is all: what is kept would be copied with every chunk that follows."""
    packed, junk, pieces = gzip.compress(b"null"), b"\0" * 65536, 400
    head = f"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed) + len(junk) * pieces}\r\n\r\n"

    def read() -> None:
        with scripted(lambda _: [head.encode() + packed, *[junk] * pieces]) as server:
            assert ask(server, Limits()) is None

    assert peak(read) < 10 * MEGABYTE


def test_a_proxy_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes through one is limited like everything else."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    limits = Limits(size=MEGABYTE, plain_http=("http://api.test",))

    def read() -> None:
        with scripted(in_turn(reply(200, body=BOMB, Content_Encoding="gzip"))) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            with pytest.raises(FatalApiError, match="too large"):
                ask(Scripted("http://api.test"), limits)
            assert proxy.asked[0].path == "http://api.test/things"

    assert peak(read) < 20 * MEGABYTE


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "scope"])
def test_a_token_that_fits_in_no_header_is_not_kept(name: str) -> None:
    """An answer within the limit, and still nothing to store or to send."""
    given = {"access_token": "a", "refresh_token": "r", "scope": "s", name: "x" * 16_001}
    client = Credentials(client_id="me", client_secret="s3cret-of-ours")
    with scripted(in_turn(reply(200, given))) as server:
        asked = begin_consent(facts(), server.url, "me", (), "http://127.0.0.1:1/back")
        with pytest.raises(FatalApiError, match="does not fit in a header") as caught:
            run(finish_consent(client.endpoint(facts(), server.url), asked, "c0de"))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_for_a_token_that_is_nested_deep_is_no_crash(status: int) -> None:
    """What cannot be written out counts as not given."""
    body = b",".join(
        b'"%s":%s' % (name, NESTED) for name in (b"scope", b"refresh_token", b"error", b"error_description")
    )
    client = Credentials(client_id="me", client_secret="s3cret-of-ours")
    with scripted(in_turn(reply(status, body=b'{"access_token":"a",' + body + b"}"))) as server:
        asked = begin_consent(facts(), server.url, "me", (), "http://127.0.0.1:1/back")
        work = finish_consent(client.endpoint(facts(), server.url), asked, "c0de")
        if status == 200:
            assert run(work).refresh_token == ""
        else:
            with pytest.raises(NotAuthorized, match="no access token was given"):
                run(work)


@pytest.mark.parametrize("name", ["message", "code", "detail"])
def test_a_refusal_that_is_nested_deep_is_no_crash(name: str) -> None:
    """What cannot be written out counts as not given."""
    body = b'{"%s":%s}' % (name.encode(), NESTED)
    with scripted(in_turn(reply(401, body=body))) as server, pytest.raises(NotAuthorized) as caught:
        ask(server, Limits())
    assert "answered 401: the key was not accepted (no reason given)." in str(caught.value)


def test_what_fits_is_taken() -> None:
    """Up to the last byte, packed as it may be."""
    document = b'"' + b"a" * (MEGABYTE - 2) + b'"'
    for packed, encoding in (
        (document, "identity"),
        (gzip.compress(document), "gzip"),
        (zlib.compress(document), "deflate"),
    ):
        with scripted(in_turn(reply(200, body=packed, Content_Encoding=encoding))) as server:
            assert ask(server, SMALL) == orjson.loads(document)
            assert server.asked[0].headers["accept-encoding"] == "gzip"
    more = reply(200, body=gzip.compress(document + b" "), Content_Encoding="gzip")
    with scripted(in_turn(more)) as server, pytest.raises(FatalApiError, match="too large"):
        ask(server, SMALL)


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, body=gzip.compress(b'{"ok": true}')[:-9], Content_Encoding="gzip"),
        reply(200, body=b"not packed at all", Content_Encoding="gzip"),
        reply(200, body=b'{"ok": true}', Content_Encoding="br"),
        reply(200, body=gzip.compress(gzip.compress(b'{"ok": true}')), Content_Encoding="gzip, gzip"),
    ],
    ids=["cut off", "not packed", "packed otherwise", "packed twice"],
)
def test_what_cannot_be_unpacked_is_asked_for_again(answer: bytes) -> None:
    """Half an answer is none."""
    with scripted(in_turn(answer)) as server, pytest.raises(RetryableApiError, match="before the answer was complete"):
        ask(server, SMALL)


@pytest.mark.parametrize("status", [400, 404, 500])
def test_of_a_refusal_only_the_beginning_is_read(status: int) -> None:
    """Its status decides what happens, however much follows."""

    def read() -> None:
        answer = reply(status, body=BOMB, Content_Encoding="gzip")
        with scripted(in_turn(answer)) as server, pytest.raises(ApiError, match=f"answered {status}:"):
            ask(server, Limits())

    assert peak(read) < 16 * MEGABYTE


def test_a_large_answer_to_a_write_leaves_it_unknown() -> None:
    """It may have been carried out: not the record's fault, and not sent again."""
    with scripted(lambda _: reply(201, body=BOMB, Content_Encoding="gzip")) as server:
        with pytest.raises(AmbiguousWrite, match="too large"):
            ask(server, SMALL, "POST", json={"name": "x"})
        with pytest.raises(FatalApiError, match="too large"):
            ask(server, SMALL, "POST", json={"name": "x"}, options=RequestOptions(idempotent=True))


@pytest.mark.parametrize("kind", SLOW)
def test_an_answer_that_drips_comes_to_an_end(kind: str) -> None:
    """Each byte arrives in time, and yet the whole is too late: an attempt has a deadline."""
    with scripted(lambda _: SLOW[kind]()) as server, pytest.raises(RetryableApiError) as caught:
        ask(server, HURRIED)
    assert str(caught.value) == (
        "Clockify GET /things: the answer was not complete after 0.2 s. Try again later; where that is normal, raise "
        "SYNC_MAX_ANSWER_SECONDS."
    )


def test_what_drips_once_is_asked_for_again() -> None:
    """The next attempt has a deadline of its own."""
    with scripted(lambda asked: OK if asked.number else dripping(HEAD, b"1\r\n \r\n")) as server:

        async def work() -> Any:
            async with api(server.url, guard=RequestGuard(limits=HURRIED)) as client:
                return (await client.request("GET", "/things")).data

        assert run(work()) == {"ok": True}


@pytest.mark.parametrize("line", [b"X-Long: " + b"x" * 65536, b"X: y\r\n" * 9000], ids=["one header", "many headers"])
def test_headers_end(line: bytes) -> None:
    """A head without an end is no answer."""

    def read() -> None:
        with scripted(lambda _: endless(b"HTTP/1.1 200 X\r\n", line)) as server, pytest.raises(RetryableApiError):
            ask(server, Limits())

    assert peak(read) < 20 * MEGABYTE


def test_cookies_do_not_pile_up() -> None:
    """Nothing of an answer is kept for the next request, and nothing of it is sent back."""

    def script(asked: Asked) -> Reply:
        return reply(200, {"ok": True}, Set_Cookie=f"c{asked.number}={'x' * 4000}")

    async def work(url: str) -> None:
        async with api(url) as client:
            for _ in range(3):
                await client.request("GET", "/things")

    with scripted(script) as server:
        run(work(server.url))
        assert not [asked for asked in server.asked if "cookie" in asked.headers]


@pytest.mark.parametrize("first", [True, False], ids=["the first answer", "the second one"])
def test_a_refused_key_is_bounded_too(first: bool) -> None:
    """A key that is being replaced is tried twice in one request: both answers are limited."""
    big = reply(401, body=BOMB, Content_Encoding="gzip")
    replies = (big, reply(200, {"data": []})) if first else (reply(401), big)

    async def work(url: str) -> None:
        credentials = Credentials(api_key=KEY, fallback="another-key")
        async with snapshots(
            url, credentials=credentials, guard=RequestGuard(limits=SMALL), retry_policy=ONCE
        ) as client:
            await client.probe("users")

    def read() -> None:
        with scripted(in_turn(*replies)) as server:
            if first:
                run(work(server.url))
            else:
                with pytest.raises(FatalApiError, match="answered 401"):
                    run(work(server.url))
            assert len(server.asked) == 2

    assert peak(read) < 20 * MEGABYTE


def facts() -> OAuthFacts:
    """How the shipped profile gets its tokens."""
    found = load_profile().auth.oauth
    assert found is not None
    return found


TOKENS: dict[str, tuple[Script, Limits, type[SyncError], str]] = {
    "large": (lambda _: reply(200, body=BOMB, Content_Encoding="gzip"), SMALL, SyncError, "too large (more than 1 MB)"),
    "slow": (lambda _: SLOW["body"](), HURRIED, RetryableApiError, "not complete after 0.2 s"),
    "large refusal": (lambda _: reply(400, body=BOMB, Content_Encoding="gzip"), SMALL, SyncError, "answered 400"),
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_no_larger_and_no_later(kind: str) -> None:
    """A client's own token, a person's consent: the same limits, and no secret in any message."""
    script, limits, error, said = TOKENS[kind]
    client = Credentials(client_id="me", client_secret="s3cret-of-ours")

    async def credentials(url: str) -> None:
        async with snapshots(url, credentials=client, guard=RequestGuard(limits=limits), retry_policy=ONCE) as there:
            await there.probe("users")

    async def consent(url: str) -> None:
        asked = begin_consent(facts(), url, "me", (), "http://127.0.0.1:1/back")
        await finish_consent(client.endpoint(facts(), url, limits=limits), asked, "c0de-that-is-secret")

    for work in (credentials, consent):
        messages: list[str] = []

        def read(work: Any = work, messages: list[str] = messages) -> None:
            with scripted(script) as server, pytest.raises(error) as caught:
                run(work(server.url))
            messages.append(str(caught.value))

        assert peak(read) < 20 * MEGABYTE
        assert said in messages[0]
        assert "POST /oauth/token" in messages[0]
        assert "s3cret" not in messages[0]


@pytest.mark.parametrize("kind", ["large", "slow"])
def test_a_consent_page_is_no_larger_and_no_later(kind: str) -> None:
    """It is asked for once, before a person is sent there."""
    script, limits, _, said = TOKENS[kind]
    with scripted(script) as server:
        asked = begin_consent(facts(), server.url, "me", (), "http://127.0.0.1:1/back")
        with pytest.raises(RetryableApiError) as caught:
            run(prove_redirect(asked, limits=limits))
    assert said in str(caught.value)


def test_what_an_error_quotes_is_short_and_printable() -> None:
    """Message, code, request id and redirect: one short line, whatever they hold."""
    evil = "\x1b]0;title\x07\u202e\x9b31m" + "x" * 100_000
    bodies = [
        reply(400, {"message": evil, "code": evil}, x_request_id="\u202e\x9b" + "y" * 5000),
        reply(302, Location="https://x.example/\u202e" + "z" * 5000),
        reply(401, {"message": [evil], "code": {"a": evil}}),
    ]
    for body in bodies:
        with scripted(in_turn(body)) as server, pytest.raises(FatalApiError) as caught:
            ask(server, Limits())
        assert len(str(caught.value)) < 900
        assert str(caught.value).isprintable()
        assert "\\x1b" in str(caught.value) or "\\u202e" in str(caught.value)
