"""Every command, flag, file and link that the documents name exists, and every space file loads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from search.config import load_study

REPO = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/limits.md")
SPACES = ("animals10", "cars", "cats_dogs", "digits", "sea_animals")
FOLDERS = ("search", "trainables", "spaces", "tests", "benchmarks", "docs", ".ci")
ROOT_FILE = re.compile(
    r"[A-Z]+\.md|LICENSE|Makefile|pyproject\.toml|requirements\.lock|cluster[\w.]*\.yaml"
)
FLAG = r"(?<![\w-])--?[a-zA-Z][\w-]*"

Checker = Callable[[str], list[str]]


def read(name: str) -> str:
    return (REPO / name).read_text(encoding="utf-8")


# --- what a document says


def blocks(markdown: str) -> list[str]:
    """Return the lines of all code blocks, lines that end in a backslash joined to the next."""
    lines: list[str] = []
    fenced = indented = False
    before = ""
    for line in markdown.replace("\\\n", " ").splitlines():
        if re.match(r"\s*(```|~~~)", line):
            fenced = not fenced
            continue
        indented = line.startswith("    ") and (indented or not before.strip())
        if fenced or indented:
            lines.append(line)
        before = line
    return lines


def spans(markdown: str) -> list[str]:
    """Return what stands between backticks in the running text."""
    prose = re.sub(r"(?ms)^\s*(```|~~~).*?^\s*\1", "", markdown)
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose)


def commands(markdown: str) -> list[tuple[tuple[str, ...], set[str]]]:
    """Return the project's own commands, (module, subcommand if any), and the flags given."""
    found = []
    for line in blocks(markdown) + spans(markdown):
        line = re.split(r"\s#\s", line)[0]
        for module, rest in re.findall(r"python[\d.]* -m (search(?:\.\w+)+)([^|;&]*)", line):
            word = re.match(r"\s+([a-z]+)(?=\s|$)", rest)
            found.append(((module, word[1]) if word else (module,), set(re.findall(FLAG, rest))))
        for _, rest in re.findall(r"make run .*?ARGS=([\"'])(.*?)\1", line):
            found.append((("search.run",), set(re.findall(FLAG, rest))))
    return found


def paths(markdown: str) -> list[str]:
    """Return the files and folders of this repository that the code of a document names."""
    words = " ".join(blocks(markdown) + spans(markdown)).split()
    words = [word.strip("()[],;:'\"").rstrip(".") for word in words]
    return [
        word
        for word in words
        if word != "utils.py"  # named as what must not be
        if not re.search(r"[<>{}$…~%=]|\.\.|://", word)
        if word.startswith(tuple(f"{folder}/" for folder in FOLDERS))
        or re.search(r"\w\.py$", word)
        or ROOT_FILE.fullmatch(word)
    ]


def slugs(markdown: str) -> set[str]:
    """Return the anchors of a document's headings, as code hosts build them."""
    headings = re.findall(r"(?m)^#+\s+(.+?)\s*$", markdown)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- what there is


def exists(path: str) -> bool:
    """Tell whether a path, a module named from within its package, or a pattern is there."""
    path = path.strip("/")
    return any(any(REPO.glob(pattern)) for pattern in [path, *(f"{f}/**/{path}" for f in FOLDERS)])


def runs(module: str) -> bool:
    path = REPO / module.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@cache
def flags_of(command: tuple[str, ...]) -> frozenset[str]:
    """Return the flags that `python -m COMMAND --help` lists."""
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"],
        cwd=REPO,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"python -m {' '.join(command)} --help: {done.stderr}"
    return frozenset(re.findall(FLAG, done.stdout))


# --- the checks


def wrong_targets(markdown: str) -> list[str]:
    lines = blocks(markdown) + spans(markdown)
    named = [name for line in lines for name in re.findall(r"\bmake ([a-z][\w-]*)", line)]
    targets = re.findall(r"(?m)^([a-z-]+):", read("Makefile"))
    return [f"make {name}: no such target" for name in named if name not in targets]


def wrong_variables(markdown: str) -> list[str]:
    lines = [line for line in blocks(markdown) + spans(markdown) if re.search(r"\bmake ", line)]
    named = [name for line in lines for name in re.findall(r"(?<=\s)([A-Z]+)=", line)]
    variables = re.findall(r"(?m)^([A-Z]+) \?=", read("Makefile"))
    return [f"make {name}=: no such variable" for name in named if name not in variables]


def wrong_commands(markdown: str) -> list[str]:
    modules = {module for (module, *_), _ in commands(markdown)}
    missing = [module for module in sorted(modules) if not runs(module)]
    if missing:
        return [f"python -m {module}: no such module" for module in missing]
    return [
        f"python -m {' '.join(command)} {flag}: no such flag"
        for command, flags in commands(markdown)
        for flag in sorted(flags - flags_of(command))
    ]


def wrong_lone_flags(markdown: str) -> list[str]:
    """Find flags named by themselves that no command of the document takes."""
    named = [match[0] for span in spans(markdown) if (match := re.match(FLAG, span))]
    known = {flag for command, _ in commands(markdown) for flag in flags_of(command)}
    return [f"{flag}: no command named here takes it" for flag in named if flag not in known]


def wrong_paths(markdown: str) -> list[str]:
    return [f"{path}: not there" for path in paths(markdown) if not exists(path)]


def wrong_links(markdown: str) -> list[str]:
    targets = re.findall(r"\]\(<?([^)\s>]+)", markdown) + re.findall(
        r"(?:src|href)=\"([^\"]+)", markdown
    )
    problems = []
    for target in targets:
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        if path and not (REPO / path).exists():
            problems.append(f"{target}: no such file")
        elif anchor and anchor not in slugs(read(path) if path else markdown):
            problems.append(f"{target}: no such heading")
    return problems


CHECKS: tuple[Checker, ...] = (
    wrong_targets,
    wrong_variables,
    wrong_commands,
    wrong_lone_flags,
    wrong_paths,
    wrong_links,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_document(document: str, check: Checker) -> None:
    assert check(read(document)) == []


def test_readme_starts_with_its_two_commands() -> None:
    first_screen = blocks("\n".join(read("README.md").splitlines()[:40]))
    for command in ("make run", "make test"):
        assert any(command in line for line in first_screen), f"{command} on the first screen"


def test_the_known_spaces_are_there() -> None:
    assert set(SPACES) <= {path.stem for path in (REPO / "spaces").glob("*.yaml")}


@pytest.mark.parametrize("path", sorted((REPO / "spaces").glob("*.yaml")), ids=lambda p: p.stem)
def test_space_file_loads(path: Path) -> None:
    assert load_study(path).name == path.stem
    schema = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text("utf-8"))
    assert schema, "its first line names the schema, for editors"
    assert (path.parent / schema[1]).is_file()


# --- each check can fail


@pytest.mark.parametrize(
    ("check", "markdown"),
    [
        (wrong_targets, "    make everything"),
        (wrong_targets, "call `make coffee`"),
        (wrong_variables, "`make run ARG=--fresh`"),
        (wrong_commands, "```\npython -m search.walk\n```"),
        (wrong_commands, "`python -m search.stages`"),
        (wrong_commands, "`.venv/bin/python -m search.run --spaec spaces/cars.yaml`"),
        (wrong_commands, "```\npython -m search.run \\\n  --no-such-flag\n```"),
        (wrong_commands, "`make run ARGS='--fersh'`"),
        (wrong_lone_flags, "`--fersh` starts anew; `python -m search.run` does not"),
        (wrong_paths, "see `spaces/bikes.yaml`"),
        (wrong_paths, "    python -m search.run --space spaces/bikes.yaml"),
        (wrong_paths, "`tune/nothing.py`"),
        (wrong_paths, "`GUIDE.md`"),
        (wrong_links, "[guide](docs/guide-to-nothing.md)"),
        (wrong_links, '<img src="docs/no-picture.png">'),
        (wrong_links, "# Title\n[below](#titel)"),
    ],
)
def test_a_wrong_document_is_found(check: Checker, markdown: str) -> None:
    assert check(markdown)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_right_document_passes(check: Checker) -> None:
    markdown = """# Seed Search: a title
Do not make things up. [Title](#seed-search-a-title), [site](https://example.org/x#y).

    make run ARGS="--fresh"   # or: python -m search.run --space spaces/cars.yaml
    .venv/bin/python -m search.run --space FILE [--fresh]

`--fresh` keeps `results/<study>`; see `records.py`, `search/tune/`, `tests/test_*.py`, `LICENSE`.
"""
    assert check(markdown) == []
