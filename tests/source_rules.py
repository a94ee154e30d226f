"""The house rules that a machine can hold, and the reading of source they need."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
PACKAGES = ("search", "trainables")

# From the bottom up: a module imports from its own row or a lower one. The longest name that fits a
# module decides its row, so `trainables.contract` is at the bottom and `trainables` is not.
# fmt: off
ROWS: tuple[tuple[str, ...], ...] = (
    ("search.clock", "search.errors", "search.findings", "search.folder_lock", "search.ranges",
     "trainables.contract", "trainables.model_names", "trainables.parameter_types",
     "trainables.parameters"),
    ("search.accept", "search.board", "search.budget", "search.budget_section",
     "search.calibration", "search.calibration_error", "search.cautions", "search.config",
     "search.confusions", "search.dataset_section", "search.disk", "search.environment",
     "search.forecast", "search.goals", "search.identity", "search.lease", "search.mirror",
     "search.mirroring",
     "search.objective_section", "search.optimism",
     "search.overrides", "search.pareto", "search.progress", "search.reach",
     "search.records", "search.results",
     "search.rungs", "search.schema", "search.scores", "search.sections", "search.select",
     "search.slots", "search.space", "search.space_check", "search.start_with", "search.statistics",
     "search.storage", "search.summary", "search.tensorboard", "search.terminal",
     "search.trainable_table", "search.trial_table", "search.verdicts", "search.yaml_file"),
    ("trainables",),
    ("search.data",),
    ("search.tune",),
    ("search.attention", "search.cam", "search.confirm", "search.evaluate", "search.explain",
     "search.faithful", "search.retrain"),
    ("search.export", "search.report"),
    ("search.finished", "search.intake", "search.pipeline", "search.plan", "search.stages"),
    ("search.compare", "search.data.__main__", "search.predict", "search.run"),
)
# fmt: on
LIGHT = ROWS[0] + ROWS[1]

# Library -> the only modules that may import it, by prefix.
HOMES: dict[str, tuple[str, ...]] = {
    "ray": ("search.tune",),
    "optuna": ("search.tune",),
    "matplotlib": ("search.report", "search.explain"),
}
# Modules, by prefix -> libraries that importing them must not bring in, directly or through others.
HEAVY = ("torch", "torchvision", "timm", "ray", "optuna")
FREE_OF: dict[tuple[str, ...], tuple[str, ...]] = {
    LIGHT: (*HEAVY, "matplotlib"),
    ("search.report",): HEAVY,
    ("search.data", "search.export", "trainables"): ("ray", "optuna"),
}
# The commands answer `--help`, and wrong input, without waiting for any of them.
QUICK = (
    "search.compare",
    "search.data.__main__",
    "search.finished",
    "search.plan",
    "search.predict",
    "search.run",
)
# What the driver imports before its first trial, which waits for it.
BEFORE_TRIALS = ("search.stages.preflight", "search.stages.trials", "search.tune.study")
SLOW = ("torch", "torchvision", "timm", "sklearn", "matplotlib")
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}

MAX_FILE_LINES = 320  # written to be under 300 and 40; the rest is room for a rename
MAX_FUNCTION_LINES = 50


@dataclass(frozen=True)
class Import:
    """One imported module.

    Attributes:
        name: Dotted name; for `from a import b` also `a.b`, as a second Import.
        lineno: Line of the statement.
        typing_only: It stands under `if TYPE_CHECKING:`.
    """

    name: str
    lineno: int
    typing_only: bool


def repo_files() -> list[Path]:
    """List what git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    if listing.returncode != 0:
        pytest.skip(f"needs a git checkout: {listing.stderr.strip()}")
    paths = [REPO / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPO / folder).rglob("*.py"))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in python_files(*PACKAGES)}
PRODUCT = python_files(*PACKAGES, "benchmarks")


def imports(tree: ast.Module, module: str, is_package: bool = False) -> Iterator[Import]:
    """Yield every import of a file, those inside functions included."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, id(node) in typing_only)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = module.split(".")
                keep = len(parents) - node.level + is_package
                origin = ".".join([*parents[:keep], *([node.module] if node.module else [])])
            yield Import(origin, node.lineno, id(node) in typing_only)
            for alias in node.names:
                yield Import(f"{origin}.{alias.name}", node.lineno, id(node) in typing_only)


def is_within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def row_of(module: str) -> int | None:
    fits = [(len(p), row) for row, ps in enumerate(ROWS) for p in ps if is_within(module, (p,))]
    return max(fits)[1] if fits else None


def upward_imports(module: str, found: list[Import]) -> list[str]:
    """Tell which imports of one module go up a row, or from trainables into search."""
    row = row_of(module)
    problems = []
    for entry in found:
        target = row_of(entry.name)
        up = row is not None and target is not None and target > row
        if up or (is_within(module, ("trainables",)) and is_within(entry.name, ("search",))):
            problems.append(f"{module}:{entry.lineno}: imports {entry.name}, which is above it")
    return problems


def stray_libraries(module: str, found: list[Import]) -> list[str]:
    """Tell which imports of one module are of libraries that live elsewhere."""
    problems = []
    for entry in found:
        if entry.typing_only:
            continue
        library = entry.name.split(".")[0]
        homes = HOMES.get(library)
        banned = [ls for prefixes, ls in FREE_OF.items() if is_within(module, prefixes)]
        if (homes and not is_within(module, homes)) or any(library in ls for ls in banned):
            problems.append(f"{module}:{entry.lineno}: imports {library}, which it must not")
    return problems


def long_functions(tree: ast.Module) -> list[tuple[str, int]]:
    return [
        (f"line {node.lineno}, {node.name}", length)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]


def unsafe_lines(tree: ast.Module) -> list[str]:
    """Tell where a file swallows an error or reads data in a way that can run code."""
    problems = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and [type(n) for n in node.body] == [ast.Pass]:
            problems.append(f"{node.lineno}: swallows an error with a bare `pass`")
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
                problems.append(f"{node.lineno}: calls {called}, only yaml.safe_load is safe")
            if called == "torch.load" and keywords.get("weights_only") != "True":
                problems.append(f"{node.lineno}: calls torch.load without weights_only=True")
            if keywords.get("allow_pickle") == "True":
                problems.append(f"{node.lineno}: calls {called} with allow_pickle=True")
    for entry in imports(tree, ""):
        if entry.name in PICKLES:
            problems.append(f"{entry.lineno}: imports {entry.name}; records are CSV and JSON")
    return problems
