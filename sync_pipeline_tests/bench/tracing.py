"""``python -m sync_pipeline_tests.bench.tracing OUT TEXT ID WORD...``: run a command and trace one record through it.

The trace starts with the first function of the package that holds the record's new ``TEXT`` and ends with the answer
to the request that carries it away. In between, a file *passes* the record on when one of its functions has the text or
the id of the record in an argument, a local variable or what it returns: in a string, in a container, a data frame,
an Arrow table or a frozen object of the package. A file whose functions run and never hold it is only *asked*.
What a function could reach but does not hold (a lazy iterator, an open connection, a session) does not count.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import groupby, pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PACKAGE = "sync_pipeline"
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
DEEPEST = 8
"""Levels of containers that are looked into; some hold themselves."""
COLUMNS = {"pandas": "to_numpy", "pyarrow": "to_pylist", "numpy": "tolist"}
"""How a library's table or column becomes something to look into."""


class Record:
    """The traced record, recognized in a value."""

    def __init__(self, *marks: str) -> None:
        self._texts, self._bytes = marks, tuple(mark.encode() for mark in marks)
        self._known: dict[int, tuple[object, bool]] = {}

    def is_in(self, value: object, depth: int = DEEPEST) -> bool:
        """Whether the value holds it."""
        if isinstance(value, str):
            return any(mark in value for mark in self._texts)
        if isinstance(value, bytes | bytearray):
            return any(mark in value for mark in self._bytes)
        if not depth:
            return False
        if not _is_frozen(value):
            return any(self.is_in(part, depth - 1) for part in _parts(value))
        if id(value) not in self._known:  # inspected only once: the same settings and specs are arguments everywhere
            self._known[id(value)] = (value, any(self.is_in(part, depth - 1) for part in _attributes(value)))
        return self._known[id(value)][1]


def _parts(value: object) -> Iterable[object]:
    """What a container, a table, a row of a database or a message of the HTTP library holds."""
    library = type(value).__module__.partition(".")[0]
    if isinstance(value, CONTAINERS) and library in (PACKAGE, "builtins", "collections"):
        return (*value.keys(), *value.values()) if isinstance(value, dict) else value
    if library == "httpx":
        return (getattr(value, "_content", None),)
    if library == "sqlalchemy":
        return tuple(value) if isinstance(value, Sequence) else ()
    convert = getattr(value, COLUMNS.get(library, ""), None)
    found = convert() if callable(convert) and not isinstance(value, type) else ()
    found = found.tolist() if hasattr(found, "tolist") else found
    return found if isinstance(found, list) else ()


def _is_frozen(value: object) -> bool:
    is_ours = type(value).__module__.startswith(PACKAGE) and is_dataclass(value)
    return is_ours and bool(type(value).__dataclass_params__.frozen)  # type: ignore[attr-defined]


def _attributes(value: Any) -> Iterator[object]:
    return (getattr(value, field.name, None) for field in fields(value))


class Trace:
    """A profile function that notes which files of a package hold a record, in order."""

    def __init__(self, root: Path, text: str, record_id: str) -> None:
        self._prefix = f"{root}/"
        self._text, self._record = Record(text), Record(text, record_id)
        self._files: dict[CodeType, str] = {}
        self._holding: set[FrameType] = set()
        self.visits: list[str] = []
        """A file for each call of a function that holds the record."""
        self.run: Counter[str] = Counter()
        """Calls of each file's functions."""
        self.is_started = self.is_ended = False

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        """See one call or return."""
        if self.is_ended or event not in ("call", "return"):
            return
        if not (file := self._file_of(frame.f_code)):
            return
        if file == "httpx":
            self.is_ended = event == "return" and self._is_answer(frame, arg)
            return
        self._look(frame, event, arg, file)

    def _look(self, frame: FrameType, event: str, arg: object, file: str) -> None:
        if event == "call" and self.is_started:
            self.run[file] += 1
        record = self._record if self.is_started else self._text
        held = frame in self._holding
        if not held and any(map(record.is_in, (*frame.f_locals.values(), arg))):
            self.is_started = held = True
            self.visits.append(file)
            self._holding.add(frame)
        if event == "return":
            self._holding.discard(frame)

    def _is_answer(self, frame: FrameType, arg: object) -> bool:
        """Whether the HTTP library returns the answer to a request that carries the record."""
        return arg is not None and self._text.is_in(frame.f_locals.get("request"))

    def _file_of(self, code: CodeType) -> str:
        """The file below the package; `httpx` for what sends a request; "" for anything else."""
        if code not in self._files:
            name, found = code.co_filename, ""
            if name.startswith(self._prefix):
                found = name.removeprefix(self._prefix)
            elif name.endswith("/httpx/_transports/default.py") and code.co_name == "handle_async_request":
                found = "httpx"
            self._files[code] = found
        return self._files[code]


def traced(words: Sequence[str], text: str, record_id: str) -> Trace:
    """Run a command of ours in this process, traced; it ends the way the command ends."""
    import sync_pipeline
    from sync_pipeline.cli import main

    trace = Trace(Path(sync_pipeline.__file__).parent, text, record_id)
    sys.argv = ["sync-pipeline", *words]
    threading.setprofile(trace)
    sys.setprofile(trace)
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return trace


def document_of(trace: Trace) -> dict[str, Any]:
    """What a trace found, as written to the file."""
    passes = dict(Counter(trace.visits))
    stops = [file for file, _ in groupby(trace.visits)]
    packages = [file.partition("/")[0] for file in stops]
    return {
        "passes": passes,
        "asked": {file: calls for file, calls in trace.run.items() if file not in passes},
        "stops": len(stops),
        "changes_of_package": sum(one != other for one, other in pairwise(packages)),
        "is_complete": trace.is_ended,
    }


if __name__ == "__main__":
    OUT, TEXT, ID, *WORDS = sys.argv[1:]
    Path(OUT).write_text(json.dumps(document_of(traced(WORDS, TEXT, ID))))
