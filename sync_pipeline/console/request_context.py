"""One request: a signed-in browser asks for a page, or sends a form; and how a page is made from a template."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sync_pipeline.connectors.ports import ConnectedSystem
from sync_pipeline.connectors.registry import connected_systems
from sync_pipeline.console.forms import WHOLE, Form, FormProblems
from sync_pipeline.console.frame import Badges, Frame, frame_of
from sync_pipeline.console.roles import may
from sync_pipeline.console.sessions import BrowserSession
from sync_pipeline.console.sharing import SignIn
from sync_pipeline.console.site import Site
from sync_pipeline.console.times import TimePreferences, instant, marked, moment, when
from sync_pipeline.console.work import Work
from sync_pipeline.errors import ApiError, ChangedMeanwhile, ConfigError, SyncError
from sync_pipeline.mapping.load import records_of
from sync_pipeline.sandbox.embedded import embedded
from sync_pipeline.session.session import Session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.setup.switching import is_paused, would_pause
from sync_pipeline.stages.guards import without_advice
from sync_pipeline.store.activity import Run
from sync_pipeline.store.engine import plain
from sync_pipeline.store.syncs import Sync

PLACES = (
    ("/", "Overview", ("/approvals",)),
    ("/dashboard", "Dashboard", ("/dashboard/",)),
    ("/activity", "Activity", ("/activity/",)),
    ("/records", "Records", ("/records/",)),
    ("/mapping", "Mapping", ("/mapping/", "/draft", "/versions", "/automations")),
    ("/connections", "Connections", ("/connections/", "/setup/clockify", "/setup/snapshots")),
)
"""Address and name of each page that is always one step away, and how the addresses of the pages below it begin."""
CSV = "text/csv; charset=utf-8"
PAUSED = "Live syncing is paused until a preview of the change has passed (step 4) and you turn it on again (step 5)."


_COMMANDS = re.compile(
    r": (?:look at `sync-pipeline approvals show \d+`, then [^.]*|`sync-pipeline rejects list` says why)(?=\.)"
    r"|,? or with `sync-pipeline [^`]*`"
)
"""What is advised for the terminal: by alerts (see ``alerts.derive``), and by messages that name the console first."""


def beside_button(text: str) -> str:
    """A message without the commands that do the same as the button beside it."""
    return _COMMANDS.sub("", without_advice(text))


def words(name: str) -> str:
    """A name as a word: time_entries is time entries."""
    return name.replace("_", " ")


@pass_context
def system(context: Context, name: str) -> str:
    """One of the two systems, as people call it."""
    systems: dict[str, ConnectedSystem] = context.get("systems", {})
    return systems[name].short_title if name in systems else name


def shown(value: object) -> str:
    """A value of a record as people read it."""
    if value is None:
        return "(nothing)"
    if value == "":
        return "(empty)"
    return value if isinstance(value, str) else as_text(value, indent=None)


def took(run: Run) -> str:
    """How long a run took."""
    if run.finished_at is None:
        return "-"
    seconds = max(0.0, (run.finished_at - run.begun_at).total_seconds())  # two clocks may differ by a little
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min"


def steps_of(sync: Sync) -> list[tuple[str, float]]:
    """The seconds of each part of a sync that are known: read and checked, then sent."""
    marks = [("read and checked", sync.begun_at, sync.loaded_at), ("sent", sync.loaded_at, sync.finished_at)]
    return [(name, (end - begin).total_seconds()) for name, begin, end in marks if begin and end]


OUTCOMES = {
    "success": "success",
    "failed": "failed",
    "blocked": "stopped by checks",
    "incomplete": "incomplete",
    "held": "held",
    "running": "running",
    "dry_run": "preview",
    "targeted": "success",
}
"""The names of outcomes on pages."""
TRIGGERS = {
    "change": "Change at the source",
    "schedule": "Schedule",
    "first sync": "First sync",
    "backfill": "Backfill",
    "console": "Console",
    "terminal": "Terminal",
    "by hand": "Dagster UI",
}


def trigger_of(run: Run) -> str:
    """What started a run."""
    return TRIGGERS.get(run.trigger, run.trigger)


def outcome(name: str) -> str:
    """The outcome of a sync, for people."""
    return OUTCOMES.get(name, words(name))


def title_of_run(run: Run) -> str:
    """What a run did, in a few words."""
    what = ", ".join(map(words, run.entities))
    begins = {"running": "Syncing", "dry_run": "Previewed", "targeted": "Synced single records of"}
    if run.outcome in ("failed", "blocked", "incomplete"):
        return f"Sync of {what} {outcome(run.outcome)}"
    return f"{begins.get(run.outcome, 'Synced')} {what}"


def as_text(value: object, indent: int | None = 2) -> str:
    """A record as JSON."""
    return json.dumps(value, indent=indent, ensure_ascii=False, default=str)


TEMPLATES = Environment(
    loader=PackageLoader("sync_pipeline.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters.update(
    beside_button=beside_button,
    numbered=lambda rows: list(enumerate(rows)),
    instant=instant,
    marked=marked,
    when=when,
    took=took,
    steps_of=steps_of,
    title_of_run=title_of_run,
    trigger_of=trigger_of,
    moment=moment,
    outcome=outcome,
    words=words,
    shown=shown,
    system=system,
    tojson_text=as_text,
)
TEMPLATES.globals.update(places=PLACES)


def render(template: str, status: int = 200, **context: Any) -> Response:
    """A page from its template."""
    usual: dict[str, Any] = {
        "browser": None,
        "notices": (),
        "problems": FormProblems(),
        "step": "",
        "here": "",
        "now": None,
        "frame": Frame(),
        "reader": TimePreferences(),
        "badges": {},
    }
    return HTMLResponse(TEMPLATES.get_template(template).render({**usual, **context}), status)


def download(name: str, content: str | bytes, media_type: str) -> Response:
    """A file."""
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@dataclass
class Console:
    """What all requests share."""

    setup: SetupService
    sign_in: SignIn
    work: Work
    site: Site
    dagster: str = ""
    """Where the Dagster UI is; "" when unknown."""
    on_change: Callable[[], None] = lambda: None
    """Called after a change that alters what Dagster shows."""
    badges: Badges = field(default_factory=Badges)
    _held: ExitStack = field(default_factory=ExitStack)
    _lock: Lock = field(default_factory=Lock)
    _keeps: bool = False

    def keep_sandbox(self, settings: Settings) -> None:
        """Keep the embedded sandbox running from now on: a page must not wait for it to start again and again."""
        with self._lock:
            if not self._keeps:
                self._held.enter_context(
                    embedded(settings.sandbox_port, settings.home / "sandbox.db", records_of(settings))
                )
                self._keeps = True

    def close(self) -> None:
        """Let everything end."""
        self.work.stop()
        self._held.close()


@dataclass
class RequestContext:
    """One request of a signed-in browser."""

    console: Console
    request: Request
    browser: BrowserSession
    form: Form = field(default_factory=Form)
    problems: FormProblems = field(default_factory=FormProblems)

    @property
    def setup(self) -> SetupService:
        """The service of the set-up, acting as the signed-in session."""
        role = "" if self.browser.role == "admin" else f", {self.browser.role}"
        return self.console.setup.acting_as(actor("console", f"{self.browser.id}{role}", self.browser.user))

    @property
    def since(self) -> str:
        """The revision the form was made from."""
        return self.form.text("since")

    def frame(self, step: str = "") -> Frame:
        """What is around a page, which may be that of a step of the set-up."""
        found = frame_of(self.setup, step)
        return found if may(self.browser.role, "viewer") else Frame(band="sandbox" if found.is_sandbox else "")

    @property
    def reader(self) -> TimePreferences:
        """How moments are shown."""
        try:
            settings = self.setup.settings()
        except SyncError:  # the database failed: the page reports that, or cannot be shown
            return TimePreferences()
        return TimePreferences(settings.time_zone, settings.date_form)

    @property
    def is_paused(self) -> bool:
        """Whether live syncing was turned on and waits for a trial."""
        try:
            return is_paused(self.setup)
        except SyncError:  # the database failed: the page reports that, or cannot be shown
            return False

    def would_pause(self, entity: str = "") -> bool:
        """Whether saving a change - of this entity's mapping - pauses live syncing."""
        return would_pause(self.setup, entity)

    def param(self, name: str) -> str:
        """A part of the path."""
        return plain(str(self.request.path_params[name]))

    def query(self, name: str) -> str:
        """A parameter of the address."""
        return plain(self.request.query_params.get(name, "").strip())

    def settings(self) -> Settings:
        """The current settings; starts the sandbox if they need it."""
        settings = self.setup.settings()
        if settings.sandbox:
            self.console.keep_sandbox(settings)
        return settings

    @contextmanager
    def reading(self) -> Iterator[Session | None]:
        """A session that only reads what is stored; None while the set-up is not finished."""
        with ExitStack() as stack:
            try:
                session = stack.enter_context(self.setup.reading())
            except ConfigError:
                session = None
            yield session

    def given(self, *variables: str) -> dict[str, str]:
        """Each of the variables, by its name, when the environment decides it; otherwise ""."""
        return {name: name if self.setup.is_given(name) else "" for name in variables}

    def page(
        self, template: str, title: str, *, status: int = 0, revision: str | None = None, **context: Any
    ) -> Response:
        """A page; with problems it says so by its status, too. ``revision`` is the state of the draft that its forms show."""
        notices, self.browser.notices = self.browser.notices, []
        return render(
            template,
            status or (422 if self.problems else 200),
            title=title,
            browser=self.browser,
            csrf=self.browser.csrf,
            revision=self.setup.revision() if revision is None else revision,
            notices=notices,
            problems=self.problems,
            here=self.request.url.path,
            now=self.setup.now(),
            frame=self.frame(str(context.get("step", ""))),
            reader=self.reader,
            badges=self.console.badges.read(self.setup),
            systems=self.systems(),
            **context,
        )

    def systems(self) -> dict[str, ConnectedSystem]:
        """The two systems, with their names for pages; the usual ones while the set-up cannot be read."""
        try:
            return connected_systems(self.setup.settings())
        except SyncError:
            return connected_systems(Settings())

    def part(self, template: str, *, is_under_way: bool, **context: Any) -> Response:
        """The part of a page that changes by itself; it is asked for again while something is under way."""
        usual: dict[str, Any] = {
            "browser": self.browser,
            "csrf": self.browser.csrf,
            "now": self.setup.now(),
            "reader": self.reader,
            "systems": self.systems(),
        }
        answer = render(template, **usual, **context)
        answer.headers["X-Under-Way"] = "yes" if is_under_way else "no"
        return answer

    def go(self, path: str, notice: str = "") -> Response:
        """Redirect to another page, which shows what was done."""
        self.console.badges.forget()
        if notice:
            self.browser.notices.append(notice)
        return RedirectResponse(path, 303)

    def went_wrong(self, error: SyncError, place: str = WHOLE) -> None:
        """Note what a step could not do, beside the field it is about."""
        if isinstance(error, ChangedMeanwhile):
            self.problems.add(
                WHOLE,
                "The set-up was changed in the meantime, in another window or by a command: nothing was overwritten. What you typed is "
                "still here (secrets are not); compare it with the current set-up, and save again.",
            )
        else:
            self.problems.add(place, error.sentence if isinstance(error, ApiError) else str(error))

    def saved(self, path: str, notice: str) -> Response:
        """Redirect after a change of the set-up, with a notice of it and of a pause of live syncing."""
        self.changed()
        return self.go(path, f"{notice} {PAUSED}" if self.is_paused else notice)

    def changed(self) -> None:
        """What Dagster shows follows the set-up."""
        self.console.on_change()
