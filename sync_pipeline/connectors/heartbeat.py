"""A regular request to a monitoring address of the user's, which alerts when the requests stop."""

from __future__ import annotations

import logging
from contextvars import ContextVar

import anyio

from sync_pipeline.connectors.policy import Failure
from sync_pipeline.connectors.transport import HttpClient, Limits, NoAnswer
from sync_pipeline.errors import ConfigError

SETTING = "SYNC_HEARTBEAT_URL"
SECONDS = 5.0
SIZE = 100_000


def send_heartbeat(url: str, plain_http: tuple[str, ...]) -> str:
    """Ask for the address once; returns why it was not taken, without the address, which is a secret: "" when it was."""
    return anyio.run(_asked, url, Limits(SIZE, SECONDS, plain_http))


_IS_SECRET: ContextVar[bool] = ContextVar("_IS_SECRET", default=False)


def _is_shown(_record: logging.LogRecord) -> bool:
    """The HTTP library logs each address."""
    return not _IS_SECRET.get()


async def _asked(url: str, limits: Limits) -> str:
    logging.getLogger("httpx").addFilter(_is_shown)
    _IS_SECRET.set(True)
    try:
        return await _answered(HttpClient(url, SETTING, limits), url)
    except ConfigError as error:
        return str(error)
    except ValueError:
        return PROBLEMS[Failure.BAD_URL]


async def _answered(client: HttpClient, url: str) -> str:
    try:
        with anyio.fail_after(SECONDS):
            answer = await client.exchange("GET", url, writes=False)
    except TimeoutError:
        return "no answer came in time"
    except NoAnswer as error:
        return PROBLEMS.get(error.failure, "no answer came that can be used")
    finally:
        await client.aclose()
    return "" if answer.is_success else f"it answered {answer.status_code}"


PROBLEMS = {
    Failure.REFUSED: "nothing answers there",
    Failure.TOO_LARGE: "its answer is too large",
    Failure.BAD_URL: "it is no address",
}
