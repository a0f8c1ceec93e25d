"""Requests for approval, as the console and the terminal show and decide them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sync_pipeline.session.session import Session
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.guards import with_decision
from sync_pipeline.store import approvals as store
from sync_pipeline.store.approvals import Approval, Decision, Line, State
from sync_pipeline.store.record_search import labels_of

SHOWN = 100
"""Requests that are listed, and records on a page of one."""
NAMED = 3
"""Records that are named where there is little room."""


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """One request for approval, with a title for people."""

    approval: Approval
    state: State
    title: str
    """What would be allowed: `deleting 12 users`."""
    lines: tuple[Line, ...] = ()
    """The records it names, by source id; a page of them."""
    labels: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Entity and id of these records -> their label, if known."""

    @property
    def heading(self) -> str:
        """The title with a capital letter, to begin a sentence."""
        return f"{self.title[:1].upper()}{self.title[1:]}"

    @property
    def some(self) -> str:
        """The first of its records by name, and how many more there are; "" when none was looked up."""
        first = [self.labels.get((self.approval.entity, line.source_id), line.source_id) for line in self.lines[:NAMED]]
        more = self.approval.shown - len(first)
        return f"{', '.join(first)}{f' and {more:,} more' if more > 0 else ''}" if first else ""

    def now(self, reason: str) -> str:
        """Why it was held, with the decision in place of the advice to make one."""
        return with_decision(reason, self.approval)

    @property
    def is_undecided(self) -> bool:
        """Whether records still wait: it is open, or was declined."""
        return self.state in ("open", "declined")


def requests(setup: SetupService, *, every: bool = False) -> list[ApprovalRequest]:
    """What waits for a decision, newest first, and the decisions that count; with ``every`` also the used and expired ones."""
    with setup.reading() as session:
        found = store.list_approvals(session.store, session.pair, setup.now(), limit=SHOWN, every=every)
        return [_request(session, setup, approval) for approval in found]


def request_of(setup: SetupService, approval_id: int, *, limit: int = SHOWN, after: str = "") -> ApprovalRequest | None:
    """One request, with a page of its records."""
    with setup.reading() as session:
        approval = store.approval_of(session.store, session.pair, approval_id)
        if approval is None:
            return None
        lines = tuple(store.lines_of(session.store, approval_id, limit, after))
        return _request(session, setup, approval, lines)


def decide(setup: SetupService, approval_id: int, decision: Decision) -> ApprovalRequest:
    """Allow or decline what a request shows. NotAllowed when it is used up or expired, ConfigError when there is none."""
    with setup.reading() as session:
        approval = store.decide(session.store, session.pair, approval_id, decision, setup.by, setup.now())
        request = _request(session, setup, approval)
    setup.note(f"approval {decision}", f"{request.title} (request {approval_id})")
    return request


def _request(
    session: Session, setup: SetupService, approval: Approval, lines: tuple[Line, ...] = ()
) -> ApprovalRequest:
    labels = labels_of(session.store, session.pair, [(approval.entity, line.source_id) for line in lines])
    return ApprovalRequest(approval, approval.state(setup.now()), title_of(session, approval), lines, labels)


def title_of(session: Session, approval: Approval) -> str:
    """What a request is about, as it reads after "Allow"."""
    spec = session.specs.get(approval.entity)
    removing = "archiving" if spec is not None and spec.target.delete == "archive" else "deleting"
    doing = {
        "deletes": removing,
        "rewrite": "rewriting",
        "creates": "creating",
        "first_contact": "the first sync of",
        "former": "keeping the earlier form of",
    }[approval.guard]
    some = f"{approval.shown:,}" if approval.shown != 1 else "1 of the"
    return f"{doing} {some} {approval.entity.replace('_', ' ')}"
