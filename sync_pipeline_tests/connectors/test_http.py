"""One client: our turn, the request, the retry table, errors that name the fix."""

from __future__ import annotations

import socket
import ssl
from email.utils import formatdate
from typing import Any

import pytest
import trustme

from sync_pipeline.connectors.answers import LONGEST_WAIT, Answer, retry_after
from sync_pipeline.connectors.http import ApiClient, RequestOptions, RetryPolicy
from sync_pipeline.connectors.limiter import memory_limiter
from sync_pipeline.connectors.oauth import HeaderKey
from sync_pipeline.connectors.transport import redact
from sync_pipeline.errors import (
    AmbiguousWrite,
    ConfigError,
    FatalApiError,
    RejectedRecord,
    RetryableApiError,
    SyncError,
)
from sync_pipeline_tests.connectors.clients import KEY, Time, api, run
from sync_pipeline_tests.connectors.scripted import Scripted, in_turn, reply, scripted

OK = reply(200, {"ok": True})
HTML = reply(200, body=b"<!DOCTYPE html><html>Sign in</html>", kind="text/html")


def ask(server: Scripted, method: str = "GET", time: Time | None = None, **options: Any) -> Answer:
    """One request to the server's /things."""

    async def work() -> Answer:
        limiter = options.pop("limiter", None)
        retry_policy = options.pop("retry_policy", None)
        async with api(server.url, time, limiter=limiter, retry_policy=retry_policy) as client:
            return await client.request(method, "/things", **options)

    return run(work())


def refusal(server: Scripted, kind: type[SyncError], method: str = "GET", **options: Any) -> str:
    """What the user reads."""
    with pytest.raises(kind) as caught:
        ask(server, method, **options)
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.parametrize(
    "trouble",
    [
        reply(500, {"message": "x"}),
        reply(502, body=b"<html>bad gateway</html>", kind="text/html"),
        reply(503),
        reply(200, body=b'{"ok": tr'),
        reply(200, body=b'{"ok"', length=500),
        reply(200),
        None,
    ],
    ids=["500", "502 html", "503", "truncated", "cut in the body", "empty", "cut"],
)
def test_trouble_passes(trouble: bytes | None) -> None:
    """What goes wrong once is tried again, and each attempt is counted."""
    with scripted(in_turn(trouble, OK)) as server:
        time = Time()

        async def work() -> ApiClient:
            async with api(server.url, time) as client:
                assert (await client.request("GET", "/things/{id}", ids={"id": "a/b"})).data == {"ok": True}
                return client

        assert run(work()).requests == {"GET /things/{id}": 2}
        assert server.asked[0].path == "/things/a%2Fb"
        assert time.slept == [0.5]


def test_waits_grow_and_end() -> None:
    """Waits double, and patience ends with an error that may be retried later."""
    with scripted(in_turn(reply(503))) as server:
        time = Time()
        message = refusal(server, RetryableApiError, time=time, retry_policy=RetryPolicy(attempts=4))
    assert time.slept == [0.5, 1.0, 2.0]
    assert "Clockify GET /things answered 503" in message


def test_total_wait_is_capped() -> None:
    """However many attempts are left, the total wait is bounded."""
    with scripted(in_turn(reply(503))) as server:
        time = Time()
        refusal(server, RetryableApiError, time=time, retry_policy=RetryPolicy(attempts=99, total_wait=10))
    assert sum(time.slept) <= 10


BEYOND_ANY_CALENDAR = (f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT", f"Mon, 01 Jan 2026 00:00:00 +{'9' * 20}")


@pytest.mark.parametrize(
    "said",
    ["9" * 20, "9" * 5000, "²", "-1", "soon", "Fri, 31 Dec 9999 23:59:59 GMT", "", *BEYOND_ANY_CALENDAR],
)
def test_an_impossible_retry_after_is_no_crash(said: str) -> None:
    """Beyond any calendar, or no number at all: one error that names the limit, or another try."""
    found = retry_after({"retry-after": said}, 1000.0)
    assert found is None or found <= 1000.0 + LONGEST_WAIT
    if found is not None:
        with scripted(in_turn(reply(429, Retry_After=said))) as server, pytest.raises(RetryableApiError) as error:
            ask(server)
        assert "too many requests: asked to wait until" in str(error.value)


@pytest.mark.parametrize("said", BEYOND_ANY_CALENDAR)
def test_a_date_beyond_any_calendar_says_nothing_of_a_clock(said: str) -> None:
    """The answer counts; how far the clocks are apart is not known."""

    async def work(url: str) -> float | None:
        async with api(url) as client:
            assert (await client.request("GET", "/things")).data == {"ok": True}
            return client.clock_offset

    with scripted(in_turn(reply(200, {"ok": True}, Date=said))) as server:
        assert run(work(server.url)) is None


@pytest.mark.parametrize("style", ["seconds", "date"])
def test_retry_after_is_honoured(style: str) -> None:
    """A 429 with Retry-After, in seconds or as a date, waits that long and holds back the whole budget."""
    time = Time()
    when = "7" if style == "seconds" else formatdate(time.at + 7, usegmt=True)
    with scripted(in_turn(reply(429, Retry_After=when), OK)) as server:
        limiter = memory_limiter([(100, 1.0)], now=time.now, sleep=time.sleep)
        assert ask(server, time=time, limiter=limiter).data == {"ok": True}
    assert sum(time.slept) >= 7


@pytest.mark.parametrize("answer", [reply(429), reply(429, body=b"slow down", kind="text/plain")])
def test_a_bare_429_backs_off(answer: bytes) -> None:
    """A 429 without a time is waited for like any failure, also for a write that may not be sent twice."""
    with scripted(in_turn(answer, answer, OK)) as server:
        time = Time()
        assert ask(server, "POST", time=time, json={"a": 1}).data == {"ok": True}
    assert time.slept == [0.5, 1.0]


def test_too_long_a_wait_is_reported() -> None:
    """When the target wants more patience than there is, the error states until when."""
    with scripted(in_turn(reply(429, Retry_After="86400"))) as server:
        message = refusal(server, RetryableApiError)
    assert "asked to wait until 2026-01-02 00:00:00 UTC. Run it again then." in message
    assert len(server.asked) == 1


@pytest.mark.parametrize("trouble", [reply(500), reply(200, body=b'{"id": '), None], ids=["500", "truncated", "cut"])
def test_doubtful_writes_are_not_repeated(trouble: bytes | None) -> None:
    """A write that may have arrived is not sent again unless that does no harm."""
    with scripted(in_turn(trouble, OK)) as server:
        refusal(server, AmbiguousWrite, "POST", json={"name": "x"})
        assert len(server.asked) == 1
    with scripted(in_turn(trouble, OK)) as server:
        assert ask(server, "POST", json={"name": "x"}, options=RequestOptions(idempotent=True)).data == {"ok": True}


def test_a_refused_connection_is_no_doubtful_write() -> None:
    """Nothing was sent, so it is simply tried again; the message names address and setting."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server = Scripted(f"http://127.0.0.1:{unused.getsockname()[1]}")
        message = refusal(server, RetryableApiError, "POST", json={})
    assert "nothing answers there" in message
    assert f"Check CLOCKIFY_BASE_URL ({server.url})" in message


@pytest.mark.parametrize("answer", [HTML, reply(404, body=b"<html>nope</html>", kind="text/html")])
def test_html_names_the_base_url(answer: bytes) -> None:
    """A web page instead of JSON means that the address is wrong, and is not tried again."""
    with scripted(in_turn(answer)) as server:
        assert "an HTML page instead of JSON" in (message := refusal(server, FatalApiError))
    assert f"CLOCKIFY_BASE_URL ({server.url})" in message
    assert len(server.asked) == 1


def test_redirects_are_not_followed() -> None:
    """A redirect would carry the key elsewhere: it is refused, saying where it leads but not its query."""
    with scripted(in_turn(reply(302, Location="https://elsewhere.test/login?token=abc"))) as server:
        message = refusal(server, FatalApiError)
    assert "https://elsewhere.test/login is not followed" in message
    assert "abc" not in message


def test_an_untrusted_certificate_is_explained() -> None:
    """A TLS error is final and names the setting."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with scripted(in_turn(OK), tls=context) as server:
        message = refusal(server, FatalApiError)
    assert "secure connection" in message
    assert "CLOCKIFY_BASE_URL" in message


@pytest.mark.parametrize("url", ["api.clockify.me", "ftp://x.test", "https://", "http://[", "https://me:pass@x.test"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    """A base URL no request can be sent to is a configuration error, and a password in it is not shown."""
    with pytest.raises(ConfigError, match="CLOCKIFY_BASE_URL") as caught:
        api(url)
    assert "pass" not in str(caught.value)


def test_secrets_are_redacted() -> None:
    """What the target echoes does not bring the key into a message."""
    answer = reply(400, {"message": f"bad key {KEY}!", "code": 501})
    with scripted(in_turn(answer)) as server, pytest.raises(RejectedRecord) as caught:
        ask(server, "POST", json={})
    assert KEY not in str(caught.value) + repr(caught.value) + str(caught.value.request)
    assert "bad key ***!" in str(caught.value)


@pytest.mark.parametrize("before", range(180, 200))
def test_a_secret_is_not_cut_in_two(before: int) -> None:
    """Wherever a long message is cut off, no half of the key is left."""
    with (
        scripted(in_turn(reply(400, {"message": "." * before + KEY}))) as server,
        pytest.raises(RejectedRecord) as caught,
    ):
        ask(server, "POST", json={})
    assert KEY[:4] not in str(caught.value) + str(caught.value.request)


@pytest.mark.parametrize("before", range(60, 80))
def test_no_half_of_a_secret_is_left_in_a_code(before: int) -> None:
    """Hidden before the code is cut off."""
    with (
        scripted(in_turn(reply(400, {"message": "no", "code": "." * before + KEY}))) as server,
        pytest.raises(RejectedRecord) as caught,
    ):
        ask(server, "POST", json={})
    assert KEY[:4] not in str(caught.value) + str(caught.value.request)


@pytest.mark.parametrize("before", range(160, 180))
def test_no_half_of_a_secret_is_left_in_an_address(before: int) -> None:
    """Hidden before the address of a redirect is cut off."""
    address = "https://elsewhere.test/".ljust(before, ".") + KEY
    with scripted(in_turn(reply(302, Location=address))) as server:
        message = refusal(server, FatalApiError)
    assert KEY[:4] not in message


def test_secrets_are_redacted_in_every_shape() -> None:
    """Also in the form they have in an address, and one that begins like another leaves nothing behind."""
    assert redact("/a/one%2Fkey%3D?k=one/key=", ["one/key="]) == "/a/***?k=***"
    assert redact("key-1 key-1-and-more", ["key-1", "key-1-and-more"]) == "*** ***"


@pytest.mark.parametrize("key", ["", "  ", "ab\ncd", "schlüssel", "a\tb"])
def test_an_impossible_key_is_refused_unseen(key: str) -> None:
    """A key that fits no header is a configuration error that does not show it."""
    with pytest.raises(ConfigError, match="CLOCKIFY_API_KEY") as caught:
        HeaderKey(key, header="X-Api-Key", setting="CLOCKIFY_API_KEY")
    assert not key.strip() or key not in str(caught.value)


@pytest.mark.parametrize("record_id", ["", ".", ".."])
def test_an_id_cannot_be_another_address(record_id: str) -> None:
    """An id that would turn one record's address into another's is refused before anything is sent."""

    async def work() -> None:
        async with api("http://127.0.0.1:9") as client:
            await client.request("DELETE", "/things/{id}", ids={"id": record_id})

    with pytest.raises(RejectedRecord):
        run(work())


def test_a_client_works_in_the_next_loop() -> None:
    """The connection pool belongs to a loop; a second loop gets one of its own."""
    with scripted(in_turn(OK)) as server:
        client = api(server.url)

        async def work() -> None:
            async with client:
                await client.request("GET", "/things")

        run(work())
        run(work())
    assert client.requests == {"GET /things": 2}
