"""The house: who may import whom, what a plain import may load, what a package exports."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import entropilot

SOURCE = Path(entropilot.__file__).parent

# Lowest first. A module may import from its own floor and from those before it.
FLOORS = (
    "errors",
    "files",
    "kernel_cache",
    "information",
    "traces",
    "diagnosis",
    "models",
    "policy",
    "learning",
    "physics",
    "studies",
    "report",
    "experiments",
    "cli",
    "__main__",
)


def floor_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.startswith("entropilot")}


def modules() -> list[Path]:
    return [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


def test_every_folder_is_a_known_floor() -> None:
    assert {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in modules()} <= set(
        FLOORS
    )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_module_imports_from_a_higher_floor(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for name in imports(path):
        floor = floor_of(name)
        if floor in FLOORS:
            assert FLOORS.index(floor) <= FLOORS.index(own), f"{path} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_module_imports_a_private_name_of_another_package(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("entropilot."):
            package = tuple((node.module or "").split(".")[1:])
            if package[: len(own)] == own and own:
                continue
            private = [
                a.name for a in node.names if a.name.startswith("_") and a.name != "__version__"
            ]
            assert not private, f"{path} imports {private} from {node.module}"


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE.parent)},
    )
    return {line.partition(".")[0] for line in output.stdout.splitlines()}


@pytest.mark.parametrize("statement", ["import entropilot", "import entropilot.cli"])
def test_a_plain_import_loads_nothing_heavy(statement: str) -> None:
    heavy = {"torch", "transformers", "matplotlib", "polars", "pyarrow", "numba", "scipy", "ray"}
    assert not loaded_by(statement) & heavy


@pytest.mark.parametrize(
    "package",
    [
        "entropilot",
        "entropilot.information",
        "entropilot.traces",
        "entropilot.diagnosis",
        "entropilot.report",
    ],
)
def test_exports_are_documented_and_there(package: str) -> None:
    module = importlib.import_module(package)
    assert len(module.__all__) == len(set(module.__all__))
    for name in module.__all__:
        value = getattr(module, name)
        assert name == "__version__" or value.__doc__, f"{package}.{name} has no docstring"
