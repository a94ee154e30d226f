"""CSV lists of images: every common way to write one is read, every bad line is named."""

from __future__ import annotations

import csv
import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.data.check import check_images
from search.data.index import build_index, read_index, write_index
from search.data.layout import SPLIT_NAMES
from search.data.listing import find_listings, read_listing
from search.errors import DatasetError
from search.records import DatasetIndex
from tests.images import make_folder
from tests.unprivileged import public_folder, unprivileged

PHOTOS = ("x/1.jpg", "x/2.jpg", "y/3.jpg", "y/4.jpg")
GOOD = "path,label\nx/1.jpg,cat\nx/2.jpg,cat\ny/3.jpg,dog\ny/4.jpg,dog\n"


def write_list(folder: Path, text: str | bytes, photos: tuple[str, ...] = PHOTOS) -> Path:
    """Write a list beside empty files: reading a list opens none of them."""
    for photo in photos:
        (folder / photo).parent.mkdir(parents=True, exist_ok=True)
        (folder / photo).touch()
    path = folder / "my list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def triples(index: DatasetIndex) -> list[tuple[str, str, str | None]]:
    return sorted((row.path, row.label, row.split) for row in index.rows)


def refusal(*roots: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        build_index(roots)
    return str(caught.value)


def test_a_list_counts_from_its_folder(tmp_path: Path) -> None:
    index = build_index([write_list(tmp_path, GOOD)])
    assert index.roots == (tmp_path,)
    assert index.classes == ("cat", "dog")
    assert [row.path for row in index.rows] == list(PHOTOS)
    assert index.file(0) == tmp_path / "x" / "1.jpg"
    write_index(tmp_path / "index.csv", index)
    assert read_index(tmp_path / "index.csv", [tmp_path / "my list.csv"]) == index


@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("path,label,split", "pls"),
        ("Split;File Name;CLASS", "spl"),
        ("\ufeffimage\ttarget\tdata set", "pls"),
        ('"number","filename","label","partition"', "npls"),
        ("img_path,path,category,split,label", "npnsl"),  # the column's own name wins
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_headers_and_delimiters(tmp_path: Path, header: str, order: str, end: str) -> None:
    delimiter = next(c for c in "\t;," if c in header)
    words = ("Train", "validation", "TEST ", "")
    cells = [
        {"p": path, "l": label, "s": split, "n": "17"}
        for path, label, split in zip(PHOTOS, ("cat", "dog", "cat", "dog"), words, strict=True)
    ] + [{"p": "5.jpg", "l": "cat", "s": "train", "n": ""}]
    lines = [header, *(delimiter.join(row[key] for key in order) for row in cells), "", ""]
    index = build_index([write_list(tmp_path, end.join(lines), (*PHOTOS, "5.jpg"))])
    assert [row.split for row in index.rows if row.path in PHOTOS] == ["train", "test", "val", None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line must name the columns path and label"),
        ("\ufeff \n\n", "got an empty file"),
        (",,,\n,,\n", "first line must name"),
        ("path,label\n", "must name images, got a header only"),
        ("x/1.jpg,cat\nx/2.jpg,dog\n", "got 'x/1.jpg,cat'. Write path,label above the lines."),
        ("path,split\nx/1.jpg,train\n", "first line must name the columns path and label"),
        ("file,image,label\na,b,c\n", "'file' and 'image' for path. Rename one."),
        ("path,label,label\na,b,c\n", "'label' and 'label' for label. Rename one."),
        (b"path,label\nx/1.jpg,k\xe4fer\n", "must be text in UTF-8, got other bytes in line 2"),
        ("path,label\n".encode("utf-16"), "must be text in UTF-8, got other bytes in line 1"),
    ],
)
def test_files_that_are_no_lists(tmp_path: Path, text: str | bytes, words: str) -> None:
    message = refusal(write_list(tmp_path, text))
    assert words in message
    assert "my list.csv" in message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x,cat", "path must be an image file, got a folder: 'x'"),
        ("pipe.jpg,cat", "path must be an image file, got no plain file: 'pipe.jpg'"),
        ("x/1.jpg", "label must be given, got nothing"),
        ('x/1.jpg," \n "', "label must be given, got nothing"),
        (",cat", "path must be given, got nothing"),
        ("x/1.jpg,cat,tran", "split must be train, val, test or empty, got 'tran'"),
        ("x/1,5.jpg,cat,train", "must have 3 cells as the first line has, got 4. Quote a name"),
        ("x/\0.jpg,cat", "got nothing there: 'x/\\x00.jpg'"),
        ("x/2.jpg,dog", "'x/2.jpg' must have one label and split, got 'dog' after 'cat' in line 4"),
        ("x/2.jpg,cat,test", "got 'cat' in test after 'cat' in line 4"),
        ('x/1.jpg,"cat', "must be CSV, got unexpected end of data. Close the quote"),
        ('x/1.jpg,"c"at', "must be CSV, got ',' expected after '\"'. Close the quote"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, words: str) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    text = f'path,label,split\n"x/1.jpg","cat\n"\nx/2.jpg,cat\n\n{line}\n'
    message = refusal(write_list(tmp_path, text))
    assert "my list.csv, line 6: " in message
    assert words in message
    assert message.count("my list.csv, line ") == 1


def test_missing_files_are_for_the_check_unless_most_are(tmp_path: Path) -> None:
    make_folder(tmp_path, ("x", "y"), 12)
    photos = [f"{c}/image_{k:03d}.png,{c}\n" for c in "xy" for k in range(12)]
    lost = [f"./x/gone.png,x\n{'y' * 5000}.jpg,y\n"]
    index = build_index([write_list(tmp_path, "path,label\n" + "".join(photos + lost), ())])
    assert len(index.rows) == 26
    checked = check_images(index, max_dropped=0.1, num_workers=1)
    assert [(p.path, p.kind, p.detail) for p in checked.problems if p.action == "dropped"] == [
        ("x/gone.png", "unreadable", "No such file or directory"),
        (f"{'y' * 5000}.jpg", "unreadable", "File name too long"),
    ]
    message = refusal(write_list(tmp_path, "path,label\n" + "".join(photos[:1] + lost), ()))
    assert "line 3: path must be an image file, got nothing there: './x/gone.png'" in message


def test_files_that_may_not_be_seen() -> None:
    with public_folder() as folder:
        listing = write_list(folder, GOOD)
        (folder / "x").chmod(0)
        (folder / "y").chmod(0)
        with unprivileged():
            message = refusal(listing)
    assert "got no permission to see it: 'x/1.jpg'" in message


def test_the_line_of_a_bad_line_counts_line_breaks_in_cells(tmp_path: Path) -> None:
    text = 'path,label\n"x/1.jpg","my\ncat"\n"gone\n.jpg",dog\ngone,dog\n'
    message = refusal(write_list(tmp_path, text))
    assert "line 4: path must be" in message
    assert "line 6: path must be" in message


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    text = GOOD + "".join(f"gone_{k}.jpg,cat\n" for k in range(37))
    message = refusal(write_list(tmp_path, text))
    assert message.startswith("The data has 37 problems:\n")
    assert message.count("gone_") == 20
    assert message.endswith("\n  … and 17 more")


def test_a_line_twice_counts_once(tmp_path: Path) -> None:
    text = GOOD + "./x/1.jpg,cat\n" + f"{tmp_path}/y//3.jpg,dog\n"
    assert len(build_index([write_list(tmp_path, text)]).rows) == 4


def test_paths_as_other_systems_write_them(tmp_path: Path) -> None:
    mac, linux = unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "ü.jpg")
    photos = ("x/1.jpg", mac, linux, " blank .jpg")
    (tmp_path / "sub").mkdir()
    text = (
        f"path,label\nx\\1.jpg,cat\n{unicodedata.normalize('NFC', mac)},cat\n"
        f"{unicodedata.normalize('NFD', linux)},dog\n blank .jpg,dog\n"
    )
    index = build_index([write_list(tmp_path, text, photos)])
    assert {row.path for row in index.rows} == set(photos)


def test_files_outside_the_folder_are_taken_as_they_are(tmp_path: Path) -> None:
    photos = ("../up.jpg", str(tmp_path / "far" / "away.jpg"), str(tmp_path / "in" / "near.jpg"))
    (tmp_path / "in").mkdir()
    text = "path,label\n" + "".join(f"{p},{c}\n" for p, c in zip(photos, "aab", strict=True))
    index = build_index([write_list(tmp_path / "in", text, photos)])
    assert [row.path for row in index.rows] == [*photos[:2], "near.jpg"]
    assert all(index.file(k).is_file() for k in range(3))


def test_lists_and_folders_are_merged(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", ("cat", "dog"), 2)
    photos = ("1.png", "cat/image_000.png")
    text = "path;class;split\n1.png;eel;train\ncat/image_000.png;cat;\n"
    listing = write_list(root, text, photos[:1])
    other = write_list(tmp_path, GOOD)
    index = build_index([root, listing, other])
    assert index.roots == (root, tmp_path)
    assert index.classes == ("cat", "dog", "eel")
    assert len(index.rows) == 4 + 4 + 1
    assert read_index(tmp_path / "none.csv", [root, listing, other]).roots == index.roots
    assert not [text for text in index.warnings if "not used" in text]


def test_a_file_with_two_labels_in_two_roots(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", ("cat", "dog"), 2)
    listing = write_list(root, "path,label\ncat/image_000.png,dog\n", ())
    assert (
        "must have one label and split in all --data, got cat in no split and dog in no split"
        in (refusal(root, listing))
    )


def test_a_list_that_folders_contradict_is_pointed_at(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", ("photos", "more photos"), 2)
    listing = write_list(root, "path,label\nphotos/image_000.png,cat\n", ())
    (warning,) = build_index([root]).warnings
    assert warning.startswith(f"{listing}: not used, though it has labels that are no folder")
    listing.write_text("path,label\nanything.png,photos\n")
    assert build_index([root]).warnings == ()
    assert find_listings(tmp_path, max_depth=1) == [listing]


def test_unreadable_list() -> None:
    with public_folder() as folder:
        listing = write_list(folder, GOOD)
        listing.chmod(0)
        with unprivileged():
            assert "my list.csv: must be readable, got Permission denied" in refusal(listing)


def test_missing_list(tmp_path: Path) -> None:
    assert "gone.csv: must be a .csv list, got nothing there" in refusal(tmp_path / "gone.csv")


NAMES = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and name.strip())


@given(
    rows=st.lists(
        st.tuples(
            NAMES.filter(lambda name: len(name.encode()) < 200),
            NAMES,
            st.sampled_from(["", *SPLIT_NAMES]),
        ),
        min_size=2,
        unique_by=(lambda row: row[0], lambda row: row[1].strip().casefold()),
    ),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
)
@settings(max_examples=150, deadline=None)
def test_what_a_csv_writer_writes_is_read(
    rows: list[tuple[str, str, str]], delimiter: str, quoting: int, encoding: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for path, _, _ in rows:
            (folder / "p").mkdir(exist_ok=True)
            (folder / "p" / path).touch()
        listing = folder / "list.csv"
        with listing.open("w", newline="", encoding=encoding) as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=quoting)
            writer.writerow(["path", "label", "split"])
            writer.writerows((f"p/{path}", *rest) for path, *rest in rows)
        found = read_listing(listing, 0)
        assert found.problems == []
        assert [(row.path, row.label, row.split) for row in found.rows] == [
            (
                f"p/{path}",
                unicodedata.normalize("NFC", " ".join(label.split())),
                SPLIT_NAMES.get(split),
            )
            for path, label, split in rows
        ]


@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(alphabet='ab,;\t"\n\r\0 é\u2028pathlabel', max_size=300).map(str.encode),
        st.text(max_size=200).map(lambda text: f"path,label,split\n{text}".encode()),
    )
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        listing = Path(name) / "list.csv"
        listing.write_bytes(data)
        with pytest.raises(DatasetError) as caught:
            build_index([listing])
        str(caught.value).encode()
