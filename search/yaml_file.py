"""Read and write YAML without its traps: `1e-4` is a number, a name given twice is an error.

PyYAML follows YAML 1.1, where `1e-4` is text, `no` is a boolean, a date is a date and the last of
two equal names wins. The reader here mends the first and third, refuses the last, and leaves the
second to whoever knows what was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from search.errors import SpaceError
from search.findings import closest

MAX_BYTES = 100_000
MAX_VALUES = 20_000

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
_EXPONENT = re.compile(r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+")


class _Loader(yaml.SafeLoader):
    """The safe loader, with `1e-4` a number and no dates."""


class _Dumper(yaml.SafeDumper):
    """The safe dumper, with quotes where `_Loader` would otherwise read something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _resolver in (_Loader, _Dumper):
    _resolver.yaml_implicit_resolvers = {
        first: [(tag, rule) for tag, rule in rules if tag != _TAG + "timestamp"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _resolver.add_implicit_resolver(
        _TAG + "float", re.compile(f"^(?:{_EXPONENT.pattern})$"), list("-+.0123456789")
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the `name: value` lines of a file.

    Raises:
        SpaceError: The file cannot be read, is not YAML, or is not a mapping; says the line.
    """
    where = str(path)
    value = parse_yaml(_read_text(path), where)
    if value is None:
        raise SpaceError(
            where, ["must describe a study, got an empty file. Copy spaces/cars.yaml."]
        )
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a single value"
        raise SpaceError(where, [f"must be `name: value` lines, got {kind}."])
    return value


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text, None when it holds none.

    Args:
        where: What to call the text in errors.

    Raises:
        SpaceError: Not YAML, or something of YAML that a space file has no use for.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        problems = [f"line {line}: {text}" for line, text in _faults(node)]
        if problems:
            raise SpaceError(where, problems)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SpaceError(f"{where}:{line}", [_plain_sentence(error, text, line)]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise SpaceError(
            f"{where}:{line}",
            ["must be plain text, got an unprintable character. Delete it."],
        ) from error
    except RecursionError as error:
        raise SpaceError(where, ["must not be nested this deeply. Check the brackets."]) from error
    except ValueError as error:
        if isinstance(error, SpaceError):
            raise
        raise SpaceError(
            where, [f"must hold readable values, got one that is not: {error}."]
        ) from error


def dump_yaml(value: Any) -> str:
    """Write plain values as YAML that `parse_yaml` reads back equal, names in the order given."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _read_text(path: Path) -> str:
    where = str(path)
    try:
        if path.is_dir():
            raise SpaceError(where, ["must be a YAML file, got a folder. Name a file in it."])
        if not path.exists():
            raise SpaceError(
                where, [f"must be a YAML file, got no such file.{_similar_file(path)}"]
            )
        if not path.is_file():
            raise SpaceError(
                where, ["must be a YAML file, got a device or pipe. Save it to a file."]
            )
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpaceError(where, [f"must be readable, got: {error.strerror}."]) from error
    if len(data) > MAX_BYTES:
        raise SpaceError(
            where, [f"must be at most {MAX_BYTES // 1000} kB, got more. Is this a space file?"]
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpaceError(
            f"{where}:{line}", ["must be UTF-8 text, got other bytes. Save it as UTF-8."]
        ) from error


def _similar_file(path: Path) -> str:
    nearby = {file.name: file for folder in (Path("spaces"), path.parent) if folder.is_dir()
              for file in sorted(folder.glob("*.yaml"))}  # fmt: skip
    name = closest(path.name, nearby) or closest(f"{path.name}.yaml", nearby)
    return f" Did you mean {nearby[name]}?" if name else " Check the path."


def _faults(root: yaml.Node) -> list[tuple[int, str]]:
    """List what a space file may not hold: names given twice, tags, values repeated without end."""
    found: list[tuple[int, str]] = []
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            found.append((_line(node), "must not contain itself. Remove the *alias."))
            return 0
        if id(node) not in sizes:
            open_nodes.add(id(node))
            found.extend(_node_faults(node))
            # A node used twice counts twice: what aliases of aliases would grow to.
            sizes[id(node)] = 1 + sum(size(child) for child in _children(node))
            open_nodes.discard(id(node))
        return sizes[id(node)]

    if size(root) > MAX_VALUES:
        found.append((_line(root), f"must hold at most {MAX_VALUES} values, *aliases written out."))
    return sorted(found)


def _node_faults(node: yaml.Node) -> Iterator[tuple[int, str]]:
    if node.tag not in _PLAIN_TAGS and node.tag != _TAG + "merge":
        yield _line(node), f"must be a plain value, got the tag {node.tag}. Remove it."
    if not isinstance(node, yaml.MappingNode):
        return
    first_lines: dict[str, int] = {}
    for key, _ in node.value:
        if key.tag not in (_TAG + "str", _TAG + "merge") or not isinstance(key.value, str):
            got = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
            yield (
                _line(key),
                (f"a name before a colon must be text, got {got}. Put it in quotes."),
            )
        elif key.value in first_lines:
            yield (
                _line(key),
                (
                    f"{key.value} is given twice, first in line {first_lines[key.value]}. "
                    "Keep one of them."
                ),
            )
        else:
            first_lines[key.value] = _line(key)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (key, value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _plain_sentence(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    if "\t" in here[: len(here) - len(here.lstrip())] or "'\\t'" in str(error.problem):
        return "must be indented with spaces, got a tab. Replace the tab by spaces."
    if "single document" in str(error.context):
        return "must hold one study, got a second `---`. Keep one file per study."
    if "alias" in str(error.problem):
        return f"must be YAML: {error.problem}. Define the &anchor before the *alias."
    if re.search(r"(^|:)\s*>=?\s*[\d.]", here):
        return 'must be YAML, where > starts a text of several lines. Put it in quotes: ">= 0.8".'
    doing = f"{error.context}: " if error.context else ""
    return (
        f"must be YAML: {doing}{error.problem}. "
        "Check the indentation, colons, quotes and brackets here and just above."
    )
