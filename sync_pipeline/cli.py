"""The command line: parse, call, format; no logic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from sync_pipeline.defs.main_job import SyncReport

OPTIONAL_COLUMNS = ("adopted", "rejected", "excluded", "waiting", "unconfirmed", "repaired")
"""Shown only where one of them is not zero."""
CHECKED_COLUMNS = ("entity", "read", "rejected", "excluded", "waiting", "requests")
"""What a dry run knows; what a sync would write is told by `preview`."""
SHOWN_DELIVERIES = 100
EXIT_INTERRUPTED = 130
INTERRUPTED = "Interrupted. What was delivered stays delivered; run the same command again to go on from there."


class Day(click.ParamType[date]):
    """A UTC day like 2026-01-31."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The day, or a usage error that shows what a day looks like."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day like 2026-01-31", param, ctx)


def _json(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def _range(command: Callable[..., Any]) -> Callable[..., Any]:
    first = click.option("--from", "first", type=Day(), help="First UTC day of time entries.")
    last = click.option("--to", "last", type=Day(), help="Last UTC day of time entries.")
    return first(last(command))


def _entity(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--entity", metavar="ENTITY", help="Only this entity.")(command)


class _Group(click.Group):
    """Every SyncError is one line and an exit code; so is Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SyncError as error:
            _end(ctx, str(error), error.exit_code)
        except KeyboardInterrupt:
            _end(ctx, INTERRUPTED, EXIT_INTERRUPTED)


def _end(ctx: click.Context, problem: str, exit_code: int) -> NoReturn:
    from sync_pipeline import terminal  # only now: it costs more than most commands need to start

    terminal.problem(problem)
    ctx.exit(exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sync-pipeline")
def cli() -> None:
    """Keep Clockify and the Snapshots API in step.

    Exit codes: 0 done (rejects alone included), 1 the job failed, an entity was blocked or drift was found,
    2 wrong usage or configuration.
    """


@cli.command()
@_entity
@_range
@click.option("--dry-run", is_flag=True, help="Read, map and check as a Dagster run, but write nothing.")
@click.option("--verify", "verify_after", is_flag=True, help="Read both sides afterwards and prove that they agree.")
@click.option("--accept-rewrite", is_flag=True, help="Let a changed mapping rewrite most of the target.")
@click.option("--allow-deletes", is_flag=True, help="Let this run delete more than the configured share.")
@click.option("--yes", is_flag=True, help="Sync real accounts at first contact, without a preview.")
@_json
def sync(
    entity: str | None,
    first: date | None,
    last: date | None,
    dry_run: bool,
    verify_after: bool,
    accept_rewrite: bool,
    allow_deletes: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Run the main job: everything, one entity, or some days."""
    from sync_pipeline import terminal
    from sync_pipeline.definitions import build
    from sync_pipeline.defs.main_job import run_main_job
    from sync_pipeline.stages.check import Options
    from sync_pipeline.stages.session import is_first_contact

    options = Options(dry_run, accept_rewrite, allow_deletes, first_contact=yes)
    with _prepared() as settings:
        with _session(settings) as session:
            entities, days = _entities(session, entity), _days(settings, first, last)
            if not yes and is_first_contact(session):
                blocked = _preview(session, entities, days, as_json)
                terminal.warning(
                    "This is the first contact with these accounts, so nothing was sent. Add --yes to sync."
                )
                sys.exit(1 if blocked else 0)
        with terminal.progress():
            report = run_main_job(settings, build(settings), entities, days, options, verify_after=verify_after)
    if as_json:
        _sync_json(report, dry_run)
    else:
        _sync_tables(report, dry_run)
        _next_steps(settings, report.success, bool(report.rejects), dry_run)
    sys.exit(0 if report.success else 1)


@cli.command()
@_range
@_json
def backfill(first: date | None, last: date | None, as_json: bool) -> None:
    """Sync years of time entries in bounded runs of the Dagster daemon; asked again, it goes on where it stopped."""
    from datetime import UTC, datetime

    from sync_pipeline import terminal
    from sync_pipeline.definitions import build
    from sync_pipeline.defs.backfill import run_backfill

    with _prepared() as settings, terminal.progress():
        days = _days(settings, first, last)
        report = run_backfill(settings, build(settings), days, now=lambda: datetime.now(UTC))
    if as_json:
        terminal.as_json(report.document)
    else:
        figures = ("backfill_id", "status", "days", "total", "done", "running", "failed")
        terminal.table("Backfill", [{name: getattr(report, name) for name in figures}])
        _backfill_advice(report)
    sys.exit(0 if report.success else 1)


@cli.command()
@_entity
@_range
@_json
def preview(entity: str | None, first: date | None, last: date | None, as_json: bool) -> None:
    """Show exactly what a sync would create, update and delete; nothing is sent."""
    with _prepared() as settings, _session(settings) as session:
        blocked = _preview(session, _entities(session, entity), _days(settings, first, last), as_json)
    sys.exit(1 if blocked else 0)


@cli.command()
@_entity
@_range
@click.option("--repair", is_flag=True, help="Deliver what differs, then compare once more.")
@_json
def verify(entity: str | None, first: date | None, last: date | None, repair: bool, as_json: bool) -> None:
    """Read both sides in full and report every difference; exits 1 on drift."""
    from sync_pipeline import terminal
    from sync_pipeline.stages.reconcile import verify as compare

    with _prepared() as settings, _session(settings) as session, terminal.progress():
        days = _days(settings, first, last)
        verdicts = [
            compare(session, spec, days if spec.partitioned else None, repair=repair)
            for spec in (session.specs[name] for name in _entities(session, entity))
        ]
    in_sync = all(verdict.in_sync for verdict in verdicts)
    if as_json:
        terminal.as_json(
            {
                "in_sync": in_sync,
                "entities": {
                    v.entity: {**v.figures, "differences": [asdict(d) for d in v.differences]} for v in verdicts
                },
            }
        )
    else:
        terminal.table("Both sides", _verdict_rows(verdicts), optional=OPTIONAL_COLUMNS)
        terminal.table("Differences", [{"entity": v.entity, **asdict(d)} for v in verdicts for d in v.differences][:50])
        if not in_sync:
            terminal.say("`sync-pipeline verify --repair` delivers the differences.")
    sys.exit(0 if in_sync else 1)


@cli.command()
@_json
def check(as_json: bool) -> None:
    """Test the connections, the permissions and the plan: one line each, with the fix."""
    from sync_pipeline import terminal
    from sync_pipeline.stages.diagnose import diagnose

    with _prepared() as settings, _session(settings) as session:
        findings = []
        for finding in diagnose(session):
            findings.append(finding)
            if not as_json:
                terminal.out.print(f"{_mark(finding)} {finding.what}: ", end="")
                terminal.say(f"{finding.detail} {finding.fix}".strip())
    if as_json:
        terminal.as_json({"ok": all(f.ok for f in findings), "checks": [asdict(f) for f in findings]})
    sys.exit(0 if all(finding.ok for finding in findings) else 2)


@cli.command()
@_json
def status(as_json: bool) -> None:
    """Show each entity's last success, what is pending and what was set aside."""
    from sync_pipeline import terminal
    from sync_pipeline.store.records import RecordCounts, counts
    from sync_pipeline.store.rejects import count_rejects
    from sync_pipeline.store.syncs import status as last_syncs

    with _prepared() as settings, _session(settings) as session:
        states, rejects = counts(session.store, session.connection), count_rejects(session.store, session.connection)
        syncs = last_syncs(session.store, session.connection)
        rows = []
        for name in session.specs:
            state = states.get(name, RecordCounts(0, 0, 0, 0, 0, 0, 0, 0))
            last = syncs.get(name)
            success = last.last_success if last else None
            rows.append(
                {
                    "entity": name,
                    "last_success": f"{success.finished_at:%Y-%m-%dT%H:%M:%SZ}"
                    if success and success.finished_at
                    else None,
                    "last_outcome": (last.last.outcome or "interrupted") if last else "never synced",
                    "records": state.records,
                    "delivered": state.delivered,
                    "pending": state.pending + state.pending_deletes,
                    "rejects": rejects.get(name, 0),
                    "unconfirmed": state.unconfirmed,
                    "excluded": state.excluded,
                }
            )
    if as_json:
        terminal.as_json({"entities": {row.pop("entity"): row for row in rows}})
    else:
        terminal.table("Status", rows, optional=OPTIONAL_COLUMNS)


@cli.group()
def rejects() -> None:
    """Look at the records that were set aside, and try them again."""


@rejects.command("list")
@_entity
@click.option("--limit", default=100, show_default=True, help="How many to show.")
@_json
def rejects_list(entity: str | None, limit: int, as_json: bool) -> None:
    """List the open rejects with their reasons."""
    from sync_pipeline import terminal
    from sync_pipeline.store.rejects import list_rejects

    with _prepared() as settings, _session(settings) as session:
        _entities(session, entity)
        rows = [asdict(row) for row in list_rejects(session.store, session.connection, entity=entity, limit=limit)]
    if as_json:
        terminal.as_json({"rejects": rows})
        return
    terminal.table("Rejects", rows, ("entity", "source_id", "origin", "field", "rule", "reason"))
    terminal.say("" if rows else "Nothing is set aside.")


@rejects.command("show")
@click.argument("entity")
@click.argument("source_id")
@_json
def rejects_show(entity: str, source_id: str, as_json: bool) -> None:
    """Show every reason, field and value of one record."""
    from sync_pipeline import terminal
    from sync_pipeline.store.rejects import show

    with _prepared() as settings, _session(settings) as session:
        _entities(session, entity)
        rows = [asdict(row) for row in show(session.store, session.connection, entity, source_id)]
    if not rows:
        raise ConfigError(
            f"No reject of {entity} has the id {source_id}.", fix="`sync-pipeline rejects list` shows them."
        )
    if as_json:
        terminal.as_json({"rejects": rows})
    else:
        terminal.table(f"{entity} {source_id}", rows, ("origin", "field", "rule", "reason", "value", "at"))


@rejects.command("retry")
@click.argument("source_ids", nargs=-1)
@click.option("--entity", required=True, metavar="ENTITY", help="The entity to retry.")
@_json
def rejects_retry(source_ids: tuple[str, ...], entity: str, as_json: bool) -> None:
    """Offer refused records - all of an entity, or these - to the target again at the next sync."""
    from sync_pipeline import terminal
    from sync_pipeline.store.records import clear_refused

    with _prepared() as settings, _session(settings) as session:
        _entities(session, entity)
        count = clear_refused(session.store, session.connection, entity, source_ids or None)
    if as_json:
        terminal.as_json({"retried": count})
    else:
        terminal.say(f"{count} refused records of {entity} will be sent again by the next sync.")


@cli.command()
@_entity
@click.option("--run", "run_id", help="Only the deliveries of this Dagster run.")
@click.option("--record", "source_id", help="Only the deliveries of this record.")
@click.option(
    "--limit", type=click.IntRange(min=1), help="How many to show. [default: 100; all of a run or of a record]"
)
@_json
def deliveries(entity: str | None, run_id: str | None, source_id: str | None, limit: int | None, as_json: bool) -> None:
    """Show the audit: every write that was sent, newest first."""
    from sync_pipeline import terminal
    from sync_pipeline.store.deliveries import recent

    with _prepared() as settings, _session(settings) as session:
        _entities(session, entity)
        limit = limit or (None if run_id or source_id else SHOWN_DELIVERIES)
        found = recent(
            session.store, session.connection, entity=entity, source_id=source_id, run_id=run_id, limit=limit
        )
        rows = [asdict(row) for row in found]
    if as_json:
        terminal.as_json({"deliveries": rows})
        return
    terminal.table("Deliveries", rows, ("at", "entity", "source_id", "target_id", "kind", "phase", "outcome", "reason"))


@cli.group()
def mapping() -> None:
    """Look at the mappings: which source field becomes which target field."""


@mapping.command("show")
@click.argument("entity", required=False)
@_json
def mapping_show(entity: str | None, as_json: bool) -> None:
    """Show the fields of every entity, or of one, as they are in force."""
    from sync_pipeline import terminal
    from sync_pipeline.mapping.load import load_specs
    from sync_pipeline.mapping.spec import describe

    specs = load_specs(load_settings().mappings_dir)
    chosen = [entity] if entity else list(specs)
    _known(specs, chosen)
    if as_json:
        terminal.as_json({name: describe(specs[name]) for name in chosen})
        return
    for name in chosen:
        source, target = specs[name].source.system, specs[name].target.system
        terminal.table(f"{name}: {source} -> {target}", describe(specs[name]))


@mapping.command("validate")
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@_json
def mapping_validate(directory: Path | None, as_json: bool) -> None:
    """Check the mapping files in DIRECTORY (default: SYNC_MAPPINGS_DIR) without touching anything."""
    from sync_pipeline import terminal
    from sync_pipeline.mapping.load import load_specs

    specs = load_specs(directory or load_settings().mappings_dir)
    if as_json:
        terminal.as_json({"valid": True, "entities": {name: len(spec.fields) for name, spec in specs.items()}})
    else:
        terminal.say(f"All mappings are valid: {', '.join(f'{n} ({len(s.fields)} fields)' for n, s in specs.items())}.")


@cli.group()
def webhooks() -> None:
    """Hear of changes in Clockify within seconds: subscribe, and receive."""


@webhooks.command("serve")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; loopback unless you say otherwise."
)
@click.option("--port", default=8760, show_default=True, help="Port to listen on.")
@_json
def webhooks_serve(host: str, port: int, as_json: bool) -> None:
    """Receive Clockify's webhooks until Ctrl-C; /healthz and /metrics tell how it goes."""
    from sync_pipeline import terminal
    from sync_pipeline.webhooks.addon import load_addon_key
    from sync_pipeline.webhooks.receiver import ReceiverOptions
    from sync_pipeline.webhooks.server import serve

    def ready(url: str) -> None:
        if as_json:
            terminal.as_json({"url": url})
        else:
            terminal.say(f"Receiving webhooks at {url} (Ctrl-C ends it)")
        sys.stdout.flush()

    with _prepared() as settings, _session(settings) as session, suppress(KeyboardInterrupt):
        key = load_addon_key(settings.clockify_addon_public_key)
        options = ReceiverOptions(workspace=session.clockify.account.workspace, addon_key=key)
        serve(_hooks(session), options, host=host, port=port, on_ready=ready)


@webhooks.command("register")
@click.option("--url", required=True, help="The public address deliveries reach the receiver at (https).")
@click.option("--enable", is_flag=True, help="Switch hooks of ours on again that Clockify disabled.")
@click.option("--rotate", is_flag=True, help="Change the tokens; the old ones stay good for an hour.")
@click.option("--limit", type=click.IntRange(min=1), help="Hooks to use. [default: what the plan leaves]")
@click.option("--addon", is_flag=True, help="Show the secret address for an add-on's manifest; subscribe nothing.")
@_json
def webhooks_register(url: str, enable: bool, rotate: bool, limit: int | None, addon: bool, as_json: bool) -> None:
    """Subscribe the events that matter, as many as the plan allows; run it again at any time."""
    from sync_pipeline import terminal
    from sync_pipeline.webhooks.registration import Registrar, Wishes

    with _prepared() as settings, _session(settings) as session:
        registrar = Registrar.of(session, _hooks(session), url)
        if addon:
            address = registrar.addon_url()
            if as_json:
                terminal.as_json({"url": address})
            else:
                terminal.say(address)
            return
        report = registrar.register(Wishes(rotate=rotate, enable=enable, limit=limit))
    if as_json:
        terminal.as_json({"is_well": report.is_well, **asdict(report)})
    else:
        terminal.table("Webhooks", [asdict(row) for row in report.hooks], ("event", "id", "action", "problem"))
        _webhook_advice(report)
    sys.exit(0 if report.is_well else 1)


@webhooks.command("list")
@_json
def webhooks_list(as_json: bool) -> None:
    """List the workspace's webhooks and whether they deliver; exits 1 when one of ours does not."""
    from sync_pipeline import terminal
    from sync_pipeline.webhooks.registration import list_hooks

    with _prepared() as settings, _session(settings) as session:
        rows = list_hooks(session, _hooks(session))
    shown = [{"event": r.event, "id": r.id, "ours": r.ours, "problem": r.problem} for r in rows]
    if as_json:
        terminal.as_json({"webhooks": shown})
    else:
        terminal.table("Webhooks", shown)
        terminal.say("" if rows else "There are none: `sync-pipeline webhooks register` subscribes them.")
    sys.exit(1 if any(row.ours and row.problem for row in rows) else 0)


@webhooks.command("remove")
@click.argument("ids", nargs=-1)
@_json
def webhooks_remove(ids: tuple[str, ...], as_json: bool) -> None:
    """Delete our webhooks in Clockify, or those with these IDS, and forget their secrets."""
    from sync_pipeline import terminal
    from sync_pipeline.webhooks.registration import remove_hooks

    with _prepared() as settings, _session(settings) as session:
        rows = remove_hooks(session, _hooks(session), ids)
    if as_json:
        terminal.as_json({"removed": [{"event": row.event, "id": row.id} for row in rows]})
    else:
        terminal.say(f"{len(rows)} webhooks were removed.")


@cli.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; loopback unless you say otherwise."
)
@click.option("--port", default=8750, show_default=True, help="Port to listen on.")
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps the state. [default: in SYNC_HOME]",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the made-up data; used when the file is new.")
@click.option("--users", default=25, show_default=True, help="Clockify users.")
@click.option("--projects", default=40, show_default=True, help="Clockify projects.")
@click.option("--clients", default=15, show_default=True, help="Clockify clients that exist already.")
@click.option("--locations", default=30, show_default=True, help="Snapshots locations.")
@click.option("--entries", default=5000, show_default=True, help="Clockify time entries.")
@click.option("--days", default=90, show_default=True, help="Days the entries are spread over, ending today.")
@click.option("--plan", type=click.Choice(["free", "paid"]), default="paid", show_default=True, help="Clockify plan.")
@_json
def sandbox(host: str, port: int, database: Path | None, as_json: bool, **options: Any) -> None:
    """Serve both APIs on this machine, with realistic made-up data."""
    from sync_pipeline.sandbox.server import list_lines, serve
    from sync_pipeline.sandbox.world import Options

    file = database or _sandbox_file(load_settings(environ={}))
    with suppress(KeyboardInterrupt):  # it has stopped in good order by then
        serve(host, port, file, Options(**options), announce=_sandbox_json if as_json else list_lines)


@cli.command()
@click.option("--port", default=3000, show_default=True, help="Port of the Dagster UI.")
@_json
def dev(port: int, as_json: bool) -> None:
    """Run the Dagster UI and its daemon (and the sandbox, when no credentials are set) until Ctrl-C."""
    from sync_pipeline import terminal
    from sync_pipeline.defs.launch import run_dagster_dev

    with _prepared() as settings:
        dagster, sandbox = f"http://127.0.0.1:{port}", settings.sandbox_url if settings.sandbox else None
        if as_json:
            terminal.as_json({"dagster": dagster, "sandbox": sandbox})
        else:
            terminal.say(f"Dagster UI: {dagster} (Ctrl-C stops everything)")
            if sandbox:
                terminal.say(f"Sandbox:    {sandbox}")
        sys.stdout.flush()
        sys.exit(run_dagster_dev(settings, port, output=sys.stderr if as_json else None))


@contextmanager
def _prepared() -> Iterator[Settings]:
    """The settings, with the embedded sandbox running when they need it."""
    from sync_pipeline.sandbox.embedded import embedded

    settings = load_settings()
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"SYNC_HOME {home} cannot be used: {error.strerror}.", fix="Name a directory you can write."
        ) from None
    with embedded(settings.sandbox_port, _sandbox_file(settings)) if settings.sandbox else nullcontext():
        yield settings


def _session(settings: Settings) -> Any:
    from sync_pipeline.stages.session import open_session

    return open_session(settings)


def _hooks(session: Any) -> Any:
    from sync_pipeline.store.credentials import open_keyring
    from sync_pipeline.webhooks.hooks import HookStore

    keyring = open_keyring(session.settings.encryption_key, session.settings.encryption_key_file)
    return HookStore(session.store, keyring, session.connection)


def _backfill_advice(report: Any) -> None:
    from sync_pipeline import terminal

    if not report.has_ended:
        terminal.warning(
            "No Dagster daemon is running, so nothing happens yet. The backfill is kept: it starts as soon as a daemon "
            "does (`make dev`); this command, typed again, shows how it goes."
        )
    elif not report.success:
        terminal.say("Look at the failed runs in the Dagster UI; this command, typed again, tries only what is left.")


def _webhook_advice(report: Any) -> None:
    from sync_pipeline import terminal

    if report.refusal:
        terminal.problem(report.refusal)
    if any(row.problem for row in report.hooks):
        terminal.warning("Some webhooks do not deliver; --enable switches on what the plan allows.")
    if report.not_subscribed:
        terminal.say(f"No room for {', '.join(report.not_subscribed)}: polling and re-scans find those changes.")


def _sandbox_file(settings: Settings) -> Path:
    return settings.home / "sandbox.db"


def _entities(session: Any, entity: str | None) -> list[str]:
    chosen = [entity] if entity else list(session.specs)
    _known(session.specs, chosen)
    return chosen


def _known(specs: Any, chosen: list[str]) -> None:
    for name in chosen:
        if name not in specs:
            raise click.UsageError(f"There is no entity {name!r}; there are {', '.join(specs)}.")


def _days(settings: Settings, first: date | None, last: date | None) -> Any:
    from datetime import UTC, datetime

    from sync_pipeline.defs.launch import whole_range
    from sync_pipeline.defs.partitions import DAYS_AHEAD
    from sync_pipeline.stages.batch import Days

    whole = whole_range(settings, datetime.now(UTC).date(), DAYS_AHEAD)
    days = Days(first or whole.first, last or whole.last)
    if days.first > days.last:
        raise click.UsageError(f"--from {days.first} lies after --to {days.last}.")
    if days.first < settings.start_date:
        raise click.UsageError(f"--from {days.first} lies before SYNC_START_DATE, {settings.start_date}.")
    if days.last > whole.last:
        raise click.UsageError(
            f"--to {days.last} lies more than {DAYS_AHEAD} days ahead; the last day is {whole.last}."
        )
    return days


def _preview(session: Any, entities: list[str], days: Any, as_json: bool) -> bool:
    from sync_pipeline import terminal
    from sync_pipeline.stages.preview import preview as look

    with terminal.progress():
        previews = [
            look(session, spec, days if spec.partitioned else None) for spec in map(session.specs.get, entities)
        ]
    blocked = [check for preview in previews for check in preview.blocked]
    if as_json:
        terminal.as_json(
            {
                "entities": {p.entity: asdict(p.counts) for p in previews},
                "changes": {p.entity: [asdict(change) for change in p.changes] for p in previews},
                "blocked": [asdict(check) for check in blocked],
            }
        )
        return bool(blocked)
    terminal.table(
        "A sync would", [{"entity": p.entity, **asdict(p.counts)} for p in previews], optional=OPTIONAL_COLUMNS
    )
    for preview in previews:
        rows = [{"action": c.action, "record": c.record, "fields": _shown(c.fields)} for c in preview.changes[:10]]
        terminal.table(f"{preview.entity}: the first {len(rows)} of {len(preview.changes)} changes", rows)
    for check in blocked:
        terminal.problem(f"{check.name} would block: {check.summary}")
    return bool(blocked)


def _sandbox_json(addresses: Mapping[str, str], keys: Mapping[str, str]) -> None:
    from sync_pipeline import terminal

    terminal.as_json({"addresses": dict(addresses), "keys": dict(keys)})
    sys.stdout.flush()


def _sync_json(report: SyncReport, dry_run: bool) -> None:
    from sync_pipeline import terminal

    document: dict[str, Any] = {
        "success": report.success,
        "dry_run": dry_run,
        "run_ids": report.run_ids,
        "entities": {name: dict(counts) for name, counts in report.entities.items()},
        "errors": report.errors,
        "warnings": report.warnings,
    }
    if report.verdicts:
        document["verify"] = {verdict.entity: verdict.figures for verdict in report.verdicts}
    terminal.as_json(document)


def _sync_tables(report: SyncReport, dry_run: bool) -> None:
    from sync_pipeline import terminal

    title = "Dry run: what was read and checked" if dry_run else "Synced"
    rows = [
        {"entity": name, "read": counts["extracted"], **{k: v for k, v in counts.items() if k != "extracted"}}
        for name, counts in report.entities.items()
    ]
    terminal.table(title, rows, CHECKED_COLUMNS if dry_run else None, optional=() if dry_run else OPTIONAL_COLUMNS)
    terminal.table("Both sides", _verdict_rows(report.verdicts), optional=OPTIONAL_COLUMNS)
    for line in report.warnings:
        terminal.warning(line)
    for line in report.errors:
        terminal.problem(line)


def _verdict_rows(verdicts: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"entity": v.entity, "in_sync": "yes" if v.in_sync else "NO", **v.figures} for v in verdicts]


def _mark(finding: Any) -> str:
    if not finding.ok:
        return "[bold red]FAIL[/]"
    return "[yellow]warn[/]" if finding.fix else "[green]ok  [/]"


def _shown(fields: dict[str, tuple[Any, Any]]) -> str:
    changes = (
        f"{name}: {new!r}" if old is None else f"{name}: {old!r} -> {new!r}" for name, (old, new) in fields.items()
    )
    return "\n".join(changes)


def _next_steps(settings: Settings, success: bool, rejects: bool, dry_run: bool) -> None:
    from sync_pipeline import terminal

    if dry_run:
        terminal.say("Nothing was written: `sync-pipeline preview` shows what a sync would write.")
        return
    if rejects:
        terminal.say("Some records were set aside: `sync-pipeline rejects list` shows why.")
    if not success:
        terminal.say("What was delivered stays delivered; mend the cause and run the same command again.")
    elif settings.sandbox:
        terminal.say("Next: `make dev` shows the assets, checks and runs; `make sync` again changes nothing.")
        terminal.say("To sync real accounts, copy .env.example to .env, fill it in and run `sync-pipeline check`.")
    else:
        terminal.say("Next: `make dev` shows the assets, checks and runs.")


def main() -> None:
    """Entry point."""
    cli()


if __name__ == "__main__":
    main()
