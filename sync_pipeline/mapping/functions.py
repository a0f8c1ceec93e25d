"""The user's own Python functions, found by name in the mappings directory."""

from __future__ import annotations

import ast
import hashlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from sync_pipeline.mapping.spec import UserFunction
from sync_pipeline.private_files import require_trusted
from sync_pipeline.yaml_source import Node, closest, refuse


class FunctionFinder:
    """Loads each module of one mappings directory at most once."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._modules: dict[Path, tuple[ModuleType, str]] = {}

    def find(self, node: Node, where: str, name: str) -> UserFunction:
        """The function called ``module.function``; a missing one is the mapping file's error."""
        if self._directory is None:
            message = f"names {name!r}, but there is no mappings directory to look for it in."
            raise refuse(node, where, message, "Set SYNC_MAPPINGS_DIR.")
        *parts, attribute = name.split(".")
        if not parts or not all(part.isidentifier() for part in (*parts, attribute)):
            fix = "Write it as my_functions.clean for the function `clean` of my_functions.py."
            raise refuse(node, where, f"found {name!r}, expected module.function.", fix)
        module, digest = self._module(node, where, self._directory.joinpath(*parts).with_suffix(".py"))
        return UserFunction(name, digest, _attribute(node, where, module, attribute))

    def _module(self, node: Node, where: str, path: Path) -> tuple[ModuleType, str]:
        if path not in self._modules:
            if not path.is_file():
                there = [found.stem for found in path.parent.glob("*.py")]
                raise refuse(
                    node, where, f"names {path.name}, which is not in {path.parent}.", closest(path.stem, there)
                )
            require_trusted(path)
            self._modules[path] = _loaded(node, where, path)
        return self._modules[path]


def _loaded(node: Node, where: str, path: Path) -> tuple[ModuleType, str]:
    try:
        code = path.read_bytes()
        # Comments and layout change no outcome: the digest is of the syntax tree.
        tree = ast.parse(code, filename=str(path))
        digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]
        module = ModuleType(f"sync_pipeline_user_mappings.{path.stem}_{digest}")
        module.__file__ = str(path)
        # Dataclasses and pickling look their module up there; the digest keeps versions apart.
        sys.modules[module.__name__] = module
        exec(compile(tree, str(path), "exec"), module.__dict__)  # noqa: S102  # running the user's code is the feature
    except Exception as error:  # whatever the user's module raises, the mapping cannot be used
        raise refuse(node, where, f"{path.name} cannot be loaded: {_described(path, error)}.") from error
    return module, digest


def _described(path: Path, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg} on line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f" on line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}: {error}{place}"


def _attribute(node: Node, where: str, module: ModuleType, name: str) -> Callable[[object], object]:
    found = getattr(module, name, None)
    if callable(found):
        function: Callable[[object], object] = found
        return function
    file = Path(str(module.__file__)).name
    if found is not None:
        raise refuse(node, where, f"{file} has {name}, but it is no function.")
    functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    raise refuse(node, where, f"{file} has no function {name!r}.", closest(name, functions))
