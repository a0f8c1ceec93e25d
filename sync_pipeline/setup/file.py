"""The set-up file: read as a whole, changed key by key, replaced as a whole. What a person wrote around it stays."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, MappingFileError
from sync_pipeline.mapping.text import is_plain
from sync_pipeline.private_files import private_directory

T = TypeVar("T")

HEAD = "The set-up of sync_pipeline, as the console and `sync-pipeline init` store it. Secrets are not in it."


def revision(file: Path) -> str:
    """What distinguishes one state of the file from another; "" when there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.exists() else ""


def change_file(
    file: Path, values: Mapping[str, Any], validate: Callable[[Path], object], *, since: str | None = None
) -> str:
    """Set the dotted keys (None takes one out) and return the new revision.

    ``validate`` is shown the new file before it takes the old one's place, and may raise. ``since`` is the revision
    that was looked at: ChangedMeanwhile when it is not the present one. ConfigError when the file cannot be written.
    """
    with _alone(file):
        if since is not None and since != revision(file):
            raise ChangedMeanwhile(
                "The set-up was changed meanwhile, in another window or by hand: nothing was overwritten.",
                fix="Look at it as it is now, and make your change again.",
            )
        with _draft(file, values) as draft:
            _validated(file, draft, validate)
            draft.replace(file)
        return revision(file)


def validate_file_change(file: Path, values: Mapping[str, Any], look: Callable[[Path], T]) -> T:
    """What ``look`` finds in the file as it would be with the dotted keys set; the file itself stays as it is."""
    with _writable(file), _draft(file, values) as draft:
        return _validated(file, draft, look)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with _writable(file), FileLock(file.with_name(f".{file.name}.lock"), mode=0o600, fallback_to_soft=False):
        yield


@contextmanager
def _writable(file: Path) -> Iterator[None]:
    try:
        private_directory(file.parent)
        yield
    except OSError as error:
        raise ConfigError(
            f"The set-up file {file} cannot be written: {error.strerror}.", fix="Check its directory."
        ) from None


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _read(file: Path) -> CommentedMap:
    if not file.exists():
        return _fresh(HEAD)
    try:
        found = _yaml().load(file.read_text(encoding="utf-8-sig"))
    except (YAMLError, UnicodeDecodeError) as error:
        line = error.problem_mark.line + 1 if getattr(error, "problem_mark", None) else 1  # type: ignore[union-attr]  # asked for
        raise MappingFileError(str(file), line, "file", "is not YAML.", fix="Correct that line by hand.") from None
    if found is None:  # nothing but comments
        return _fresh("\n".join(line.removeprefix("#").strip() for line in file.read_text("utf-8-sig").splitlines()))
    if not isinstance(found, CommentedMap):
        raise MappingFileError(str(file), 1, "file", "holds no mapping of keys to values.", fix="Correct it by hand.")
    return found


def _fresh(comment: str) -> CommentedMap:
    document = CommentedMap()
    document.yaml_set_start_comment(comment)
    return document


def _put(document: CommentedMap, path: list[str], value: Any) -> None:
    """Set what ``path`` leads to; sections come and go as they are needed."""
    *above, last = path
    trail = [document]
    for step in above:
        below = trail[-1].get(step)
        if not isinstance(below, CommentedMap):
            if value is None:
                return
            below = CommentedMap()
            trail[-1][step] = below
        trail.append(below)
    if value is None:
        trail[-1].pop(last, None)
        for holder, step, section in reversed(list(zip(trail, above, trail[1:], strict=False))):
            if not section:
                holder.pop(step, None)
    elif isinstance(value, CommentedMap) and _is_own(present := trail[-1].get(last)):
        _become(present, value)
    else:
        trail[-1][last] = value


def _is_own(present: Any) -> bool:
    """Whether a mapping says all it says by itself, without YAML's `<<`."""
    return isinstance(present, CommentedMap) and not present.merge


def _become(present: CommentedMap, value: CommentedMap) -> None:
    """Change a mapping key by key: what is written around the keys that stay, stays."""
    for key in [key for key in present if key not in value]:
        del present[key]
    for key, item in value.items():
        if key not in present or present[key] != item:
            present[key] = item


def _text(document: CommentedMap) -> str:
    out = StringIO()
    _yaml().dump(document, out)
    return out.getvalue()


@contextmanager
def _draft(file: Path, values: Mapping[str, Any]) -> Iterator[Path]:
    """The file with the dotted keys set, beside it; a process that reads at this moment sees the old file."""
    document = _read(file)
    for key, value in values.items():
        _put(document, key.split("."), _storable(value))
    draft = file.with_name(f".{secrets.token_hex(4)}.{file.name}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as out:
            out.write(_text(document))
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _validated(file: Path, draft: Path, look: Callable[[Path], T]) -> T:
    """What ``look`` finds; an error in the draft is reported as one of the file."""
    try:
        return look(draft)
    except MappingFileError as error:
        message = error.message.removeprefix(f"{error.file}:{error.line}: {error.field}: ")
        shown = str(file) if error.file == str(draft) else error.file
        raise MappingFileError(shown, error.line, error.field, message, fix=error.fix) from None


def _storable(value: Any) -> Any:
    """The value with text in quotes where the reader (YAML 1.1) would take it for something else: on, 1_000, 12:30."""
    if isinstance(value, str):
        if any(0xD800 <= ord(sign) <= 0xDFFF for sign in value):
            raise ConfigError("A text holds half a character, which no file can hold.", fix="Type it again.")
        return value if is_plain(value) else DoubleQuotedScalarString(value)
    if isinstance(value, Mapping):
        return CommentedMap({_storable(key): _storable(item) for key, item in value.items()})
    return [_storable(item) for item in value] if isinstance(value, list | tuple) else value
