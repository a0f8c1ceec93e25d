"""The facts of one vendor behind the Snapshots side: what a profile may say, and says of itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from sync_pipeline.connectors.answers import ErrorFormat, RateHeaders
from sync_pipeline.connectors.policy import FIRST_ROWS, LAST_ROWS, Action, PolicyRule, RetryTable

EntityPath = Annotated[str, Field(pattern=r"^/.*\{entity\}")]
ItemPath = Annotated[str, Field(pattern=r"^/.*\{entity\}.*\{id\}")]
OAuthPath = Annotated[str, Field(pattern=r"^(/|https://)[^{}]*$")]
Positive = Annotated[int, Field(ge=1)]


class ProfilePart(BaseModel):
    """Part of a profile; an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiKeyFacts(ProfilePart):
    """Where an API key is sent: a header, perhaps behind a word such as ``Bearer``."""

    header: str
    prefix: str = ""


class SaysFacts(ProfilePart):
    """Part of a message, and the code to use for it where the vendor sends none."""

    text: str
    code: str


class ErrorFacts(ProfilePart):
    """Where an error says what it is."""

    code: str = "code"
    message: str = "message"
    scope: str = "scope"
    request_id: str = "x-request-id"
    says: tuple[SaysFacts, ...] = ()

    def format(self, rate: RateHeaders | None = None) -> ErrorFormat:
        """The same, as answers are read by it."""
        says = tuple((each.text, each.code) for each in self.says)
        return ErrorFormat(self.code, self.message, self.scope, self.request_id, says, rate or RateHeaders())


class OAuthFacts(ProfilePart):
    """Where a client gets its tokens and a person gives consent, relative to the base URL or as whole URLs.

    ``lost`` are the error codes by which the token address says that a code or refresh token is worth nothing.
    """

    token_path: OAuthPath
    authorize_path: OAuthPath | None = None
    lost: Annotated[tuple[str, ...], Field(min_length=1)] = ("invalid_grant",)
    pkce: bool = True
    """Whether the token address takes a proof that it was us who asked (RFC 7636); some refuse it."""
    fields: dict[str, str] = {}
    """Sent with every request for tokens."""
    consent_at: dict[str, str] = {}
    """Where the page for consent is, by the base URL, where that is another address."""
    client_credentials: bool = True
    """Whether a client gets tokens without a person."""
    scopes: tuple[str, ...] = ()
    """What a person is asked for, where that is not what the entities need."""
    account: str = ""
    """The field of an answer that names the account of the tokens, in snake_case."""
    errors: ErrorFacts = ErrorFacts(code="error", message="error_description")
    """Where the token address says what is wrong."""

    def token_url(self, base_url: str) -> str:
        """Where tokens are asked for."""
        return _whole(base_url, self.token_path)

    def authorize_url(self, base_url: str) -> str | None:
        """The page on which a person gives consent; None when there is none."""
        base_url = base_url.rstrip("/")
        return self.authorize_path and _whole(self.consent_at.get(base_url, base_url), self.authorize_path)


class AuthFacts(ProfilePart):
    """The kinds of credentials the system takes."""

    api_key: ApiKeyFacts | None = None
    oauth: OAuthFacts | None = None


class RateFacts(ProfilePart):
    """So many requests in so many seconds."""

    requests: Positive
    seconds: Annotated[float, Field(gt=0)]


class ScopeFacts(ProfilePart):
    """The scopes an entity's reads and writes need; only named in messages."""

    read: str = ""
    write: str = ""


class ListFacts(ProfilePart):
    """How a list is read: cursor paging."""

    path: EntityPath
    items: str
    size_parameter: str
    page_size: Positive
    cursor_parameter: str
    next_cursor: str


class ItemFacts(ProfilePart):
    """Where one record is read, written and deleted."""

    path: ItemPath


class BatchFacts(ProfilePart):
    """How many records one request writes, and how the answer reports the outcome of each."""

    path: EntityPath
    items: str
    size: Positive
    results: str
    id: str
    status: str
    accepted: Annotated[tuple[str, ...], Field(min_length=1)]
    refused: Annotated[tuple[str, ...], Field(min_length=1)]
    error: str
    code: str
    field: str
    message: str


class RateHeaderFacts(ProfilePart):
    """The headers in which the vendor says how far its limits are used up; what share of a day is left to others."""

    interval_ms: str = ""
    day_limit: str = ""
    day_left: str = ""
    keep_for_others: Annotated[float, Field(ge=0, lt=1)] = 0.0


class AnswerFacts(ProfilePart):
    """One row of the retry table that is this vendor's own."""

    status: Annotated[int, Field(ge=100, le=599)]
    action: Action
    message: str
    code: str | None = None
    methods: tuple[str, ...] | None = None
    fix: str = ""


class WindowFacts(ProfilePart):
    """The parameters that limit a list to a span of time: ``from`` is included, ``before`` is not."""

    from_: Annotated[str, Field(alias="from")]
    before: str


class EntityFacts(ProfilePart):
    """What is different about one entity."""

    id: str | None = None
    scopes: ScopeFacts | None = None
    window: WindowFacts | None = None


class AnalyticsFacts(ProfilePart):
    """Where figures of projects are read, a row for each project, month and currency, and what they are called there."""

    path: Annotated[str, Field(pattern=r"^/[^{}]*$")]
    from_: Annotated[str, Field(alias="from")]
    to: str
    """The parameters with the first and the last month, such as 2026-03."""
    scope: str = ""
    project: str
    month: str
    currency: str
    revenue: str
    budget: str
    margin: str

    def names(self) -> dict[str, str]:
        """The fields that say what a row is about."""
        return {"project": self.project, "month": self.month, "currency": self.currency}

    def numbers(self) -> dict[str, str]:
        """The fields with its figures."""
        return {"revenue": self.revenue, "budget": self.budget, "margin": self.margin}


class LabFacts(ProfilePart):
    """A button of the sandbox lab: the control it uses, and what to expect."""

    label: str
    help: str
    path: str
    sent: dict[str, Any]


class SandboxFacts(ProfilePart):
    """The address at which the embedded sandbox acts as this vendor, and the settings for its account there."""

    path: str
    settings: dict[str, str] = {}
    app: dict[str, str] = {}
    """The ``id`` and the ``secret`` of an app there."""
    lab: dict[str, LabFacts] = {}
    """The buttons of the sandbox lab that are about this vendor."""
    repair: dict[str, Any] = {}
    """The switches that these buttons change, in their normal state."""
    lab_states: dict[str, str] = {}
    """The note shown while one of these switches is changed."""


class TokenFacts(ProfilePart):
    """The words for a vendor that is connected by two tokens: one for an account, one for the agency it is part of."""

    key: str
    agency_key: str
    account: str
    """What an account is called there."""
    where: str = ""
    """How a person gets tokens, click by click."""
    app: str = ""
    """How a person gets an app of its own that is authorized in place of tokens; "" where that is not possible."""
    hints: dict[str, str] = {}
    """What each token is for: ``account`` and ``agency``."""
    scopes_at: dict[str, str] = {}
    """Where a person ticks the scopes of each token, and of an ``app``."""


class ListedFacts(ProfilePart):
    """Events about the records of a list."""

    events: tuple[str, ...]
    only: dict[str, str] = {}
    """What a body says of a record that the list holds; about any other record there is nothing to read."""


class WebhookFacts(ProfilePart):
    """The webhooks of an app at the vendor, whose bodies it signs (Ed25519)."""

    signature: str
    """The header with the signature, in base64."""
    unsigned: str = ""
    """What that header may say instead."""
    public_key: str
    """In place of SNAPSHOTS_WEBHOOK_KEY where that is not set: base64 of its SPKI form."""
    sent_at: str
    """Where a body says when it was sent."""
    valid_seconds: Positive
    repeated_seconds: Positive = 1
    """For how long a delivery that was not taken comes again, unchanged: one that says which it is may be so old."""
    ids: tuple[str, ...]
    """Where it may say which delivery it is."""
    about: dict[str, str]
    """Events about records of the source, and their entity."""
    lists: dict[str, ListedFacts] = {}
    """Events about records of other lists, for the entities and automations that read them."""
    changed: tuple[str, ...]
    """Events about records that we keep there."""
    installed: tuple[str, ...] = ()
    """Events that say that the app was installed in an account, or in all of the agency."""
    uninstalled: tuple[str, ...] = ()
    """Events that say that it was removed there."""

    @property
    def app(self) -> tuple[str, ...]:
        """Events about the app itself, which are noted in the audit trail."""
        return (*self.installed, *self.uninstalled)

    @property
    def events(self) -> tuple[str, ...]:
        """Those that are worth an address."""
        listed = (event for each in self.lists.values() for event in each.events)
        return (*self.about, *listed, *self.changed, *self.app)

    def list_of(self, event: str, body: Mapping[str, Any]) -> str:
        """The list that holds the record which an event is about; "" when none does."""
        for name, each in self.lists.items():
            if event in each.events and all(body.get(key, value) == value for key, value in each.only.items()):
                return name
        return ""


class BaseProfile(ProfilePart):
    """What every profile has, whichever connector it is for."""

    profile: str
    description: str = ""
    connector: str = "rest"
    """What speaks to the vendor, and the model of its facts: connectors/registry.py, connectors/profile_files.py."""
    system: str = "Snapshots"
    """What messages call the vendor."""
    title: str = "Snapshots API"
    """What people call it."""
    tokens: TokenFacts | None = None
    """None: one key is all it takes."""
    prepares: bool = False
    """Whether something has to exist there before records are written."""
    catalogue: str = ""
    """What the catalogue of operations calls the vendor; "" where it describes none of its operations."""
    lists: tuple[str, ...] = ("locations",)
    """The lists that the vendor is known to have, as mappings name them."""
    base_url: str = ""
    """In place of SNAPSHOTS_BASE_URL where that is not set."""
    required: dict[str, str] = {}
    """The settings it cannot be without beside address and key, each with what it is in words."""
    sandbox: SandboxFacts | None = None
    mappings: dict[str, Any] = {}
    """What is laid over the shipped mapping files with this profile; mapping/load.py reads it."""
    headers: dict[str, str] = {}
    auth: AuthFacts
    webhooks: WebhookFacts | None = None
    rate: tuple[RateFacts, ...] = ()
    rate_headers: RateHeaderFacts = RateHeaderFacts()
    errors: ErrorFacts = ErrorFacts()
    answers: tuple[AnswerFacts, ...] = ()

    @property
    def named(self) -> str:
        """What people call it within a sentence."""
        return f"the {self.title}" if self.title.endswith(" API") else self.title

    @abstractmethod
    def scope(self, entity: str, *, write: bool = False) -> str:
        """The scope a read or write of ``entity`` needs."""

    def as_measured(self, facts: Sequence[Mapping[str, Any]]) -> Self:
        """The profile with what was measured in place of what was assumed."""
        del facts
        return self

    @property
    def token_scopes(self) -> dict[str, tuple[str, ...]]:
        """The scopes that each of its tokens needs; empty where there are no two of them."""
        return {}

    @property
    def windows(self) -> tuple[tuple[int, float], ...]:
        """The rate limits, as a limiter takes them."""
        return tuple((rate.requests, rate.seconds) for rate in self.rate)

    @property
    def retry(self) -> RetryTable:
        """The whole retry table: troubles any server may have, this vendor's rows, what HTTP says."""
        rows = (
            PolicyRule(row.action, row.message, row.fix, status=row.status, code=row.code, methods=row.methods)
            for row in self.answers
        )
        return (*FIRST_ROWS, *rows, *LAST_ROWS)

    @property
    def error_format(self) -> ErrorFormat:
        """Where answers say what is wrong, and how far the limits are used up."""
        return self.errors.format(RateHeaders(**self.rate_headers.model_dump()))


class Profile(BaseProfile):
    """All facts of one flavour of the REST API."""

    id: str
    scopes: ScopeFacts = ScopeFacts()
    list: ListFacts
    item: ItemFacts
    batch: BatchFacts
    analytics: AnalyticsFacts | None = None
    """None: the API has no figures of projects."""
    checks_references: bool = False
    """Whether it refuses a record that refers to one it does not have."""
    entities: dict[str, EntityFacts] = {}

    def of(self, entity: str) -> EntityFacts:
        """What is different about ``entity``; nothing, for one the file does not name."""
        return self.entities.get(entity, EntityFacts())

    def id_field(self, entity: str) -> str:
        """The field that holds the id of an entity's records."""
        return self.of(entity).id or self.id.format(singular=singular(entity), entity=entity)

    def scope(self, entity: str, *, write: bool = False) -> str:
        """The scope a read or write of ``entity`` needs."""
        scopes = self.of(entity).scopes or self.scopes
        return (scopes.write if write else scopes.read).format(entity=entity)


def _whole(base_url: str, path: str) -> str:
    return path if path.startswith("https://") else base_url.rstrip("/") + path


def singular(entity: str) -> str:
    """The name of one record of an entity."""
    if entity.endswith("ies"):
        return entity[:-3] + "y"
    return entity.removesuffix("s")
