"""Profiles from their files, the built-in ones and those of users; each is checked by the model of its connector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, overload

import yaml
from pydantic import BaseModel, ValidationError

from sync_pipeline.connectors.highlevel.profile import HighLevelProfile
from sync_pipeline.connectors.profile import BaseProfile, Profile
from sync_pipeline.errors import ConfigError
from sync_pipeline.private_files import require_trusted

BUILT_IN = "sync_pipeline.connectors.profiles"
MODELS: Mapping[str, type[BaseProfile]] = {"rest": Profile, "highlevel": HighLevelProfile}
"""The facts that each connector needs."""


def built_in_profiles() -> dict[str, str]:
    """The name of each built-in profile, with what it says of itself."""
    names = sorted(file.name for file in resources.files(BUILT_IN).iterdir() if file.name.endswith(".yaml"))
    return {name: load_profile(name).description for name in (name.removesuffix(".yaml") for name in names)}


def needs_another(profile: BaseProfile, why: str, *, lists: str = "", catalogue: str = "") -> ConfigError | None:
    """The error about what only the vendor of another built-in profile has, a list or operations; None where none has it.

    ``why`` is the sentence before "NAME, which is not connected".
    """
    if lists in profile.lists or (catalogue and catalogue == profile.catalogue):
        return None
    for name in built_in_profiles():
        other = load_profile(name)
        if lists in other.lists or (catalogue and catalogue == other.catalogue):
            command = f"sync-pipeline init --snapshots-profile {name}"
            fix = f"Connect {other.named} in place of {profile.named}: `{command}`."
            return ConfigError(f"{why} {other.named}, which is not connected.", fix=fix)
    return None


@overload
def load_profile() -> Profile: ...


@overload
def load_profile(name: str) -> BaseProfile: ...


def load_profile(name: str = "generic") -> BaseProfile:
    """The built-in profile of that name, or the YAML file at that path.

    Raises ConfigError with file and line when there is none or it is not understood.
    """
    built_in = resources.files(BUILT_IN)
    source = built_in / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        source = Path(name)
    if not source.is_file():
        known = sorted(f.name.removesuffix(".yaml") for f in built_in.iterdir() if f.name.endswith(".yaml"))
        raise ConfigError(
            f"SNAPSHOTS_PROFILE: there is no profile {name!r}.",
            fix=f"Built in: {', '.join(known)}. A file of your own ends in .yaml.",
        )
    if isinstance(source, Path) and source != built_in / source.name:  # it says where secrets are sent
        require_trusted(source)
    file = str(source) if isinstance(source, Path) else f"{name}.yaml"
    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} cannot be read as text in UTF-8: {error}.", fix="Save the profile as UTF-8."
        ) from error
    return parse_profile(text, file)


@cache
def parse_profile(text: str, file: str) -> BaseProfile:
    """The profile in ``text``; ``file`` is named in errors."""
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}:{line}: not YAML: {error.problem}.", fix="Correct that line.") from None
    model = _model_of(data, file)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = sorted(
            error.errors(include_url=False, include_context=False), key=lambda each: each["type"] == "missing"
        )
        tree = yaml.compose(text, yaml.SafeLoader)  # has the lines
        raise ConfigError(" ".join(_explain(model, file, tree, each) for each in found)) from None


def _model_of(data: object, file: str) -> type[BaseProfile]:
    name = data.get("connector", "rest") if isinstance(data, dict) else "rest"
    if name not in MODELS:
        known = ", ".join(sorted(MODELS))
        raise ConfigError(f"{file}: connector: there is no {name!r}.", fix=f"There are: {known}.")
    return MODELS[name]


def _explain(model: type[BaseProfile], file: str, tree: yaml.Node | None, error: Any) -> str:
    loc = error["loc"]
    line, siblings = _locate(tree, loc)
    text = f"{file}:{line}: {'.'.join(map(str, loc)) or 'profile'}: {error['msg'].lower()}"
    if error["type"] == "extra_forbidden":
        text = f"{file}:{line}: {'.'.join(map(str, loc))}: this key is not known"
        close = get_close_matches(str(loc[-1]), _known_keys(model, loc) - set(siblings), n=1)
        text += f" - did you mean {close[0]}?" if close else "."
        return text
    return text + "." if error["type"] == "missing" else f"{text}, found {error['input']!r}."


def _locate(node: yaml.Node | None, loc: Sequence[str | int]) -> tuple[int, list[str]]:
    """The line of what ``loc`` names (or of what should hold it), and the keys beside it."""
    line, keys = 1, []
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            keys = [str(key.value) for key, _ in node.value]
            pair = next(((key, value) for key, value in node.value if key.value == step), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line, keys


def _known_keys(model: Any, loc: Sequence[str | int]) -> set[str]:
    """The keys the part that holds ``loc`` may have."""
    for step in loc[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel) and step in model.model_fields:
            model = _model_in(model.model_fields[str(step)].annotation) or model
    return {info.alias or name for name, info in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as ``tuple[Model, ...]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in getattr(annotation, "__args__", ()) if (found := _model_in(part))), None)
