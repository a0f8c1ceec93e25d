"""The root command: what it is called with, and how every command ends."""

from __future__ import annotations

import errno
import logging
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from importlib import import_module
from typing import Any, NoReturn

import click

from sync_pipeline import settings
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.options import GLOBAL_OPTIONS, completed, did_you_mean
from sync_pipeline.errors import SyncError
from sync_pipeline.session.progress import WAIT, WARNING, Progress, Report, reporting

INTERRUPTED = "Interrupted. What was delivered stays delivered; run the same command again to go on from there."
STOPPED = "Stopped at a question. What was answered and stored before it stays; run the same command again to go on."
NO_ANSWER = (
    "A question needs an answer, but standard input has ended. Answer with options (see --help), or in a terminal."
)
REFUSED = "Nothing was done."
FULL = "Free some disk space and run it again; everything that was saved before is still there."
NO_ACCESS = "Give this user access to it, or point SYNC_HOME at a directory that can be written."
UNWRITABLE = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: "Raise the limit of this user (`ulimit -f`) and run it again.",
    errno.EROFS: NO_ACCESS,
    errno.EIO: "Check the disk, then run it again.",
}
"""What to do when the system refuses to write, wherever that is noticed."""
NOTES_KEPT = 100
"""Notes that are not repeated."""


class Guarded(click.Group):
    """A group that imports a command when it is called; every SyncError is one line and an exit code; so is Ctrl-C."""

    sections: Mapping[str, Mapping[str, tuple[str, str]]] = {}
    """By section of the help: command -> its module in this package, and its line; those of no section are hidden."""

    @property
    def lazy(self) -> dict[str, tuple[str, str]]:
        """The commands of all sections."""
        return {name: found for section in self.sections.values() for name, found in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names of all commands, sorted."""
        return sorted(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """The command, imported now, with the options that every command takes."""
        if cmd_name not in self.lazy:
            return None
        module = import_module(f"sync_pipeline.cli.{self.lazy[cmd_name][0]}")
        command: click.Command = copy(
            getattr(module, cmd_name.replace("-", "_"))
        )  # an older name may be of a newer one
        command.hidden = cmd_name in self.sections.get("", {})
        return completed(command, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; click itself knows no names to suggest, as commands are imported late."""
        if args[0] not in self.lazy and not args[0].startswith("-") and not ctx.resilient_parsing:
            shown = [name for title, section in self.sections.items() if title for name in section]
            ctx.fail(f"No such command {args[0]!r}.{did_you_mean(args[0], shown)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """The list of commands by section, without importing any."""
        width = max(map(len, self.lazy))
        for title, section in self.sections.items():
            if title:
                with formatter.section(title):
                    formatter.write_dl([(name.ljust(width), text) for name, (_, text) in section.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        token = reporting.set(_listener())
        try:
            with _shown_notices():
                found = super().invoke(ctx)
            _closed()
        except SystemExit:
            _closed()
            raise
        except SyncError as error:
            _end(ctx, error.message, error.exit_code, error.fix)
        except KeyboardInterrupt:
            _end(ctx, INTERRUPTED, ExitCode.INTERRUPTED)
        except click.Abort as abort:
            from sync_pipeline import terminal

            terminal.notice("")  # end the line of the question
            _end(ctx, *_how_it_stopped(abort))
        finally:
            reporting.reset(token)
        return found


def _closed() -> None:
    """Print the last line of a long command."""
    if terminal := sys.modules.get("sync_pipeline.terminal"):
        terminal.closing(_console_url)


def _console_url() -> str:
    """The address of the console that runs on this home, "" when none does."""
    from sync_pipeline.console.sign_in_links import running_url

    found = settings.load_settings()
    return found.public_url or running_url(found.home)


class _Notices(logging.Handler):
    """What there is to say of where settings come from, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        from sync_pipeline import terminal

        show = terminal.warning if record.levelno >= logging.WARNING else terminal.notice
        show(record.getMessage())


@contextmanager
def _shown_notices() -> Iterator[None]:
    handler = _Notices()
    settings.log.addHandler(handler)
    settings.log.setLevel(logging.INFO)
    settings.notice.cache_clear()  # each command says it once
    try:
        yield
    finally:
        settings.log.removeHandler(handler)


def _listener() -> Report:
    """Show what the stages report: progress where a command shows it, and each note about waiting once."""
    said: deque[str] = deque(maxlen=NOTES_KEPT)

    def report(progress: Progress) -> None:
        from sync_pipeline import terminal  # imported late: most commands report nothing

        if progress.stage not in {WAIT, WARNING}:
            terminal.show(progress)
        elif progress.note not in said:
            said.append(progress.note)
            if progress.stage == WAIT:
                terminal.waiting(progress)
            else:
                terminal.warning(progress.note)

    return report


def _how_it_stopped(abort: click.Abort) -> tuple[str, int]:
    """Why a question was not answered: Ctrl-C, the end of the input, or the answer no."""
    if isinstance(abort.__context__, EOFError):
        return NO_ANSWER, ExitCode.USAGE
    if isinstance(abort.__context__, KeyboardInterrupt):
        return STOPPED, ExitCode.INTERRUPTED
    return REFUSED, ExitCode.FAILED


def describe_unwritable(error: OSError) -> tuple[str, str]:
    """What a file that cannot be written means for a user, and what to do; raises any other error of the system again."""
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"{error.filename} cannot be used: {error.strerror}.", NO_ACCESS
    fix = UNWRITABLE.get(error.errno or 0)
    if fix is None:
        raise error
    return f"{error.filename or 'The output'} cannot be written: {error.strerror}.", fix


def _end(ctx: click.Context, problem: str, exit_code: int, fix: str = "") -> NoReturn:
    from sync_pipeline import terminal  # only now: it costs more than most commands need to start

    terminal.problem(problem, fix)
    ctx.exit(exit_code)


CODES = "\b\nExit codes, the worst first:\n" + "\n".join(f"  {code:>3}  {code.meaning}" for code in ExitCode)


@click.group(
    cls=Guarded,
    help="Keep Clockify and the Snapshots API in step.",
    epilog=CODES,
    params=list(GLOBAL_OPTIONS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="sync-pipeline")
def cli() -> None:
    """Run ``sync-pipeline``."""
