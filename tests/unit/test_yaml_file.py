"""Reading YAML: the traps of PyYAML, and files that are no space file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import SpaceError
from search.yaml_file import MAX_BYTES, dump_yaml, parse_yaml, read_yaml


def refusal(text: str) -> str:
    with pytest.raises(SpaceError) as caught:
        parse_yaml(text, "my file.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5e1", 5.0),
        ("1.0e-4", 1e-4),
        ("3", 3),
        ("'1e-4'", "1e-4"),
        ("e4", "e4"),
        ("1e4m", "1e4m"),
        ("20m", "20m"),
        ("no", False),
        ("none", "none"),
        ("null", None),
        ("2024-01-31", "2024-01-31"),
        ("2024-99-99", "2024-99-99"),
        ("kaggle:a/b", "kaggle:a/b"),
        ("", None),
        ("# nothing", None),
        ("[1e-3, 1e-2]", [1e-3, 1e-2]),
        ('["a, b", "c: d #1"]', ["a, b", "c: d #1"]),
    ],
)
def test_values(text: str, value: Any) -> None:
    read = parse_yaml(text, "here")
    assert read == value
    assert type(read) is type(value)


def test_names_given_twice_are_all_refused_with_their_lines() -> None:
    message = refusal("a: 1\nb: {c: 1, c: 2}\na: 2\n")
    assert message == (
        "my file.yaml has 2 problems:\n"
        "  line 2: c is given twice, first in line 2. Keep one of them.\n"
        "  line 3: a is given twice, first in line 1. Keep one of them."
    )


def test_an_anchor_can_be_used_again() -> None:
    text = "a: &own [x, y]\nb: *own\nc: &more {d: 1, e: 2}\nf: {<<: *more, d: 3}\n"
    read = parse_yaml(text, "here")
    assert read["b"] == ["x", "y"]
    assert read["f"] == {"d": 3, "e": 2}


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "at most 20000 values" in refusal("\n".join(lines))


def test_a_value_that_contains_itself_is_refused() -> None:
    assert "must not contain itself" in refusal("a: &a [1, *a]")


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("a: 1\nb:\n\tc: 2\n", "my file.yaml:3 ", "spaces, got a tab"),
        ("\ta: 1\n", "my file.yaml:1 ", "spaces, got a tab"),
        ("a: [1, 2\nb: 3\n", "my file.yaml:2 ", "Check the indentation"),
        ("a: 'open\n", "my file.yaml:2 ", "must be YAML"),
        ("a: b: c\n", "my file.yaml:1 ", "must be YAML"),
        ("a: 1\n---\nb: 2\n", "my file.yaml:2 ", "one study"),
        ("a: *nobody\n", "my file.yaml:1 ", "Define the &anchor"),
        ("a: 1\nb: \x07\n", "my file.yaml:2 ", "unprintable"),
        ("x: !!python/object/apply:os.getcwd []\n", "my file.yaml has", "line 1: must be a plain"),
        ("a: 1\nyes: 1\n", "my file.yaml has", "line 2: a name before a colon must be text"),
        ("? [a, b]\n: 1\n", "my file.yaml has", "line 1: a name before a colon must be text"),
        ("a: !!int five\n", "my file.yaml has", "readable values"),
        ("a: {<<: 3}\n", "my file.yaml:1 ", "must be YAML"),
        ("[" * 20_000, "my file.yaml has", "nested"),
    ],
)
def test_refusals_say_where_and_what(text: str, where: str, words: str) -> None:
    message = refusal(text)
    assert message.startswith(where), message
    assert words in message
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"# only a remark\n", "an empty file"),
        (b"- a\n- b\n", "a list"),
        (b"cars\n", "a single value"),
        (b"name: caf\xe9\n", "UTF-8"),
        ("name: x\n".encode("utf-16"), "UTF-8"),
        (b"name: x\n" + b"#" * MAX_BYTES, "at most 100 kB"),
    ],
)
def test_files_that_are_no_space_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "-my 'file'\n.yaml"
    path.write_bytes(content)
    with pytest.raises(SpaceError, match=words):
        read_yaml(path)


def test_the_line_of_a_wrong_byte_is_given(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"name: x\nb: \xff\n")
    with pytest.raises(SpaceError, match=r"a\.yaml:2 has 1 problem"):
        read_yaml(path)


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufeffname: é\r\nseed: 1\r\n".encode())
    assert read_yaml(path) == {"name": "é", "seed": 1}


def test_a_folder_a_missing_file_and_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "cars.yaml").write_text("name: cars\n")
    with pytest.raises(SpaceError, match="got a folder"):
        read_yaml(tmp_path)
    with pytest.raises(SpaceError, match=r"Did you mean .*cars\.yaml\?"):
        read_yaml(tmp_path / "crs.yaml")
    with pytest.raises(SpaceError, match="Check the path"):
        read_yaml(tmp_path / "nowhere" / "zzzzzzzz.yaml")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpaceError, match="a device or pipe"):
        read_yaml(tmp_path / "pipe")


@pytest.mark.parametrize("broken", ["a" * 300, "\0"])
def test_names_no_file_can_have(broken: str) -> None:
    with pytest.raises(SpaceError, match="must be"):
        read_yaml(Path(broken))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_the_right_to_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: x\n")
    path.chmod(0)
    with pytest.raises(SpaceError, match="Permission denied"):
        read_yaml(path)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
    | st.from_regex(r"[-+.0-9eE_:]{1,8}", fullmatch=True)
    | st.sampled_from(["no", "on", "1e-4", "2024-01-01", "~", "null", "0x1f", "1:30", "=", "<<"])
)
names = st.text("abcxyz_ é'\"#", min_size=1, max_size=8) | st.sampled_from(["no", "1e-4", "<<"])


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(names, x, max_size=3))
)
def test_what_is_dumped_reads_back_equal(value: Any) -> None:
    assert parse_yaml(dump_yaml(value), "dump") == value


def test_shared_values_are_written_out() -> None:
    shared = ["a"]
    assert "*" not in dump_yaml({"one": shared, "two": shared})
