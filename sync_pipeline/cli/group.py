"""The root command: what it is called with, and how every command ends."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from sync_pipeline.errors import ConfigError, SyncError

EXIT_INTERRUPTED = 130
INTERRUPTED = "Interrupted. What was delivered stays delivered; run the same command again to go on from there."
STOPPED = "Stopped at a question. What was answered and stored before it stays; run the same command again to go on."
NOBODY = "A question needs an answer, but standard input has ended. Answer with options (see --help), or in a terminal."
REFUSED = "Nothing was done."


class Guarded(click.Group):
    """Every SyncError is one line and an exit code; so is Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SyncError as error:
            _end(ctx, str(error), error.exit_code)
        except KeyboardInterrupt:
            _end(ctx, INTERRUPTED, EXIT_INTERRUPTED)
        except click.Abort as abort:
            click.echo(err=True)  # the question still stands in this line
            _end(ctx, *_how_it_stopped(abort))


def _how_it_stopped(abort: click.Abort) -> tuple[str, int]:
    """Why a question was not answered: Ctrl-C, the end of the input, or the answer no."""
    if isinstance(abort.__context__, EOFError):
        return NOBODY, ConfigError.exit_code
    if isinstance(abort.__context__, KeyboardInterrupt):
        return STOPPED, EXIT_INTERRUPTED
    return REFUSED, SyncError.exit_code


def _end(ctx: click.Context, problem: str, exit_code: int) -> NoReturn:
    from sync_pipeline import terminal  # only now: it costs more than most commands need to start

    terminal.problem(problem)
    ctx.exit(exit_code)


@click.group(cls=Guarded, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sync-pipeline")
def cli() -> None:
    """Keep Clockify and the Snapshots API in step.

    Exit codes: 0 done (rejects alone included), 1 the job failed, an entity was blocked or drift was found,
    2 wrong usage or configuration.
    """
