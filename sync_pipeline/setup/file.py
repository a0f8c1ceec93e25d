"""The set-up file: read as a whole, changed key by key, replaced at once. What a person wrote around it stays."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from filelock import FileLock
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, MappingFileError
from sync_pipeline.private import private_directory

HEAD = "The set-up of sync_pipeline, as the console and `sync-pipeline init` store it. Secrets are not in it."


def revision(file: Path) -> str:
    """What tells one state of the file from another; "" when there is none."""
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
        document = _read(file)
        for key, value in values.items():
            _put(document, key.split("."), value)
        _replace(file, _text(document), validate)
        return revision(file)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    try:
        private_directory(file.parent)
        with FileLock(file.with_name(f".{file.name}.lock"), mode=0o600, fallback_to_soft=False):
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
        raise MappingFileError(str(file), line, "file", "is not YAML.", fix="Mend that line by hand.") from None
    if found is None:  # nothing but comments
        return _fresh("\n".join(line.removeprefix("#").strip() for line in file.read_text("utf-8-sig").splitlines()))
    if not isinstance(found, CommentedMap):
        raise MappingFileError(str(file), 1, "file", "holds no mapping of keys to values.", fix="Mend it by hand.")
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
    else:
        trail[-1][last] = value


def _text(document: CommentedMap) -> str:
    out = StringIO()
    _yaml().dump(document, out)
    return out.getvalue()


def _replace(file: Path, text: str, validate: Callable[[Path], object]) -> None:
    """Whole or not at all: a process that reads at this moment sees the old file or the new one."""
    draft = file.with_name(f".{secrets.token_hex(4)}.{file.name}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
        try:
            validate(draft)
        except MappingFileError as error:
            message = error.message.removeprefix(f"{error.file}:{error.line}: {error.field}: ")
            shown = str(file) if error.file == str(draft) else error.file
            raise MappingFileError(shown, error.line, error.field, message, fix=error.fix) from None
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
