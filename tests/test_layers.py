"""Hold the source to the house rules: one-way imports, lengths, and what is never used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.source_rules import (
    BEFORE_TRIALS,
    FREE_OF,
    HEAVY,
    MAX_FILE_LINES,
    MAX_FUNCTION_LINES,
    MODULES,
    PACKAGES,
    PRODUCT,
    QUICK,
    REPO,
    SLOW,
    Import,
    imports,
    is_within,
    long_functions,
    parse,
    python_files,
    repo_files,
    row_of,
    stray_libraries,
    unsafe_lines,
    upward_imports,
)


def all_imports() -> list[tuple[str, list[Import]]]:
    return [
        (module, list(imports(parse(path), module, path.name == "__init__.py")))
        for module, path in MODULES.items()
    ]


def test_every_module_has_a_row() -> None:
    packages = {*PACKAGES}
    homeless = [name for name in MODULES if row_of(name) is None and name not in packages]
    assert homeless == [], "name their row in ROWS and in ARCHITECTURE.md"


def test_imports_point_one_way() -> None:
    assert [line for name, found in all_imports() for line in upward_imports(name, found)] == []


def test_libraries_stay_in_their_rows() -> None:
    assert [line for name, found in all_imports() for line in stray_libraries(name, found)] == []


@pytest.mark.parametrize(
    ("prefixes", "libraries"),
    [*FREE_OF.items(), (QUICK, (*HEAVY, "matplotlib")), (BEFORE_TRIALS, SLOW)],
)
def test_importing_stays_light(prefixes: tuple[str, ...], libraries: tuple[str, ...]) -> None:
    """What the source alone can't show: libraries that come in through other modules."""
    names = [name for name in MODULES if is_within(name, prefixes)]
    assert names
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found = sorted(set({libraries!r}) & set(sys.modules))\n"
        "    assert not found, f'importing {name} brings in {found}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_are_short() -> None:
    files = PRODUCT + python_files("tests")
    lines = {str(p.relative_to(REPO)): len(p.read_text("utf-8").splitlines()) for p in files}
    assert {name: count for name, count in lines.items() if count > MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = {str(path.relative_to(REPO)): long_functions(parse(path)) for path in PRODUCT}
    assert {name: found for name, found in long.items() if found} == {}


def test_nothing_unsafe_or_swallowed() -> None:
    unsafe = {str(path.relative_to(REPO)): unsafe_lines(parse(path)) for path in PRODUCT}
    assert {name: found for name, found in unsafe.items() if found} == {}


def test_one_line_hands_out_the_test_images() -> None:
    """Others may count them, or look up whether their groups reach into train."""
    uses = {
        str(path.relative_to(REPO)): len(re.findall(r"(?<!len\()\bsplit\.test\b", text))
        for path in python_files(*PACKAGES)
        if "split.test" in (text := path.read_text("utf-8"))
    }
    assert {name: count for name, count in uses.items() if count} == {
        "search/evaluate.py": 1,
        "search/cautions.py": 1,
    }


def test_no_utils_module() -> None:
    assert [path for path in PRODUCT if path.stem in ("utils", "util", "helpers", "misc")] == []


def test_no_file_names_a_registry_host() -> None:
    """Installs follow the user's own settings. Patterns in pieces: this file is read too."""
    pieces = (("py", r"pi\.org"), ("python", "hosted"), ("download", r"\.pytorch"))
    pieces += (("registry", r"\.npm"), ("deb", r"\.debian"), ("index", r"-url\s*[= ]\s*http"))
    hosts = re.compile("|".join(first + rest for first, rest in pieces), re.IGNORECASE)
    binary = {".png", ".jpg", ".jpeg", ".safetensors", ".ico", ".woff2"}
    texts = {p: p.read_text("utf-8") for p in repo_files() if p.suffix not in binary}
    assert [str(p.relative_to(REPO)) for p, text in texts.items() if hosts.search(text)] == []
    assert [str(p.relative_to(REPO)) for p in texts if p.name == "uv.lock"] == []


# --- each of these checks can fail


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("search.records", "from search.tune.study import search_trials"),
        ("search.records", "def f():\n    import trainables.loop"),
        ("search.data.cache", "from ..report import page"),
        ("trainables.loop", "from search import errors"),
        ("trainables.contract", "import trainables.backbones"),
    ],
)
def test_an_upward_import_is_found(module: str, source: str) -> None:
    assert upward_imports(module, list(imports(ast.parse(source), module)))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("search.run", "import ray"),
        ("search.data.loader", "from optuna.trial import Trial"),
        ("search.report.page", "import torch.nn as nn"),
        ("trainables.model_names", "def f():\n    import timm"),
        ("search.evaluate", "import matplotlib.pyplot as plt"),
    ],
)
def test_a_stray_library_is_found(module: str, source: str) -> None:
    assert stray_libraries(module, list(imports(ast.parse(source), module)))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("search.tune.study", "import ray\nfrom search.data.cache import build_cache"),
        ("search.config", "from trainables.parameters import CLASSIFIER"),
        ("trainables.contract", "if TYPE_CHECKING:\n    import torch"),
        ("trainables.loop", "import torch, timm"),
        ("search.data.loader", "import torch"),
    ],
)
def test_a_rightful_import_passes(module: str, source: str) -> None:
    found = list(imports(ast.parse(source), module))
    assert upward_imports(module, found) + stray_libraries(module, found) == []


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept OSError:\n    pass",
        "import pickle",
        "from pickle import loads",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_an_unsafe_line_is_found(source: str) -> None:
    assert unsafe_lines(ast.parse(source))


def test_a_long_function_is_found() -> None:
    assert long_functions(ast.parse("def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES))
