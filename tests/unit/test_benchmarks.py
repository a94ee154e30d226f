"""The benchmarks start, measure what they say, and compare like with like."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from benchmarks import data_path, linear_probe
from benchmarks.measure import Comparison, Cost, Figure, compare, cost_of
from benchmarks.photos import bits_per_pixel, draw_photos, link_photos
from benchmarks.torchvision_path import build_with_pillow, torchvision_loader
from benchmarks.waiting import Stopwatch
from search.data.cache import build_cache
from search.data.index import build_index
from search.data.store import open_images
from tests.images import make_folder


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def burn_in_a_thread() -> None:
    thread = threading.Thread(target=burn, args=(0.2,))
    thread.start()
    thread.join()


def burn_in_a_child() -> None:
    code = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)


@pytest.mark.parametrize("work", [lambda: burn(0.2), burn_in_a_thread, burn_in_a_child])
def test_cpu_of_threads_and_children_counts(work: Callable[[], None]) -> None:
    assert 0.19 <= cost_of(work).cpu_seconds < 0.4


def test_sleep_costs_no_cpu() -> None:
    cost = cost_of(lambda: time.sleep(0.2))
    assert cost.cpu_seconds < 0.1
    assert cost.wall_seconds >= 0.2


def test_turns_and_ratios() -> None:
    turns: list[str] = []
    compare("", "", 1, lambda: turns.append("ours"), lambda: turns.append("theirs"), rounds=2)
    assert turns == ["ours", "theirs"] * 3  # once to warm up
    ours = (Cost(1, 1), Cost(1, 2), Cost(1, 1))
    theirs = (Cost(3, 2), Cost(3, 20), Cost(6, 3))
    row = Comparison("", "", 1, ours, theirs, aim=3)
    assert row.cpu_ratio == Figure(3, 2, 10)  # of each round's own ratio
    assert row.wall_ratio == Figure(3, 3, 6)
    assert row.met
    assert Comparison("", "", 1, ours, theirs, aim=3.1).met is False
    assert Comparison("", "", 1, ours, theirs).met is None


def test_stopwatch_counts_what_blocks() -> None:
    def batches():  # type: ignore[no-untyped-def]
        for k in range(3):
            time.sleep(0.02)
            yield torch.tensor(k), torch.tensor(k)

    watch = Stopwatch()
    for _ in watch.watch(batches()):
        time.sleep(0.04)
    assert watch.waiting_seconds >= 0.06
    assert watch.seconds - watch.waiting_seconds >= 0.12


def test_drawn_photos_decode_like_real_ones(tmp_path: Path) -> None:
    draw_photos(tmp_path / "drawn", 16, 500, 375)
    files = sorted((tmp_path / "drawn").rglob("*.jpg"))
    assert len(files) == 16
    assert 2.0 < bits_per_pixel(files) < 2.8
    assert len({file.read_bytes() for file in files}) == 16


def test_linked_photos_are_spaced_evenly(tmp_path: Path) -> None:
    index = build_index([make_folder(tmp_path / "it's", ("-a b", 'c"\n'), per_class=12)])
    link_photos(tmp_path / "links", index, 5)
    linked = build_index([tmp_path / "links"])
    assert [linked.file(i).resolve() for i in range(5)] == [
        index.file(i).resolve() for i in (0, 5, 11, 17, 23)
    ]


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_torchvision_hands_out_what_ours_does(tmp_path: Path, strength: float) -> None:
    make_folder(tmp_path / "data", per_class=3)
    loader = torchvision_loader(
        tmp_path / "data", size_px=32, strength=strength, batch_size=6, num_workers=0
    )
    [(images, labels)] = list(loader)
    assert images.shape == (6, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert sorted(labels.tolist()) == [0, 0, 0, 1, 1, 1]


def test_pillow_makes_the_squares_that_ours_does(tmp_path: Path) -> None:
    draw_photos(tmp_path / "drawn", 12, 500, 375)
    index = build_index([tmp_path / "drawn"])
    files = [index.file(i) for i in range(12)]
    cache = build_cache(index, tmp_path / "store", size_px=128, fit="crop", num_workers=1)
    images, _ = open_images(cache)
    _, resample, draft = data_path.PILLOW[0]
    build_with_pillow(files, tmp_path / "squares.npy", 144, resample=resample, draft=draft)
    squares = np.load(tmp_path / "squares.npy")
    differences = [np.abs(images[i].astype(int) - squares[i]).mean() for i in range(12)]
    assert max(differences) < 8  # grey levels, of grain that differs by 13


def test_data_path_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "figures.json"
    data_path.main(data=None, images=20, training_images=20, rounds=1, json=figures)
    out = capsys.readouterr().out
    assert "Images per CPU-second" in out
    assert "spent waiting" in out
    record = json.loads(figures.read_text())
    assert [row["aim"] for row in record["comparisons"] if row["aim"]] == [5.0, 5.0, 2.5]
    assert len(record["comparisons"]) == 5 + 2 * len(data_path.PILLOW)
    assert all(row["cpu_ratio"]["median"] > 0 for row in record["comparisons"])
    assert [row["num_threads"] for row in record["waiting"]] == [1, 2]
    for row in record["waiting"]:
        assert 0 < row["ours"][0]["waiting_seconds"] < row["ours"][0]["seconds"]
    assert record["machine"]["versions"]["torch"]


def test_missing_photos_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as refusal:
        data_path.main(data=tmp_path / "no such", images=20, training_images=20, rounds=1)
    assert refusal.value.exit_code == 2
    assert "no such: must be a data folder" in capsys.readouterr().err


def test_linear_probe_counts_all_trials_and_their_extraction(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    linear_probe.main(weights=None, images=40, size_px=32, rounds=1, json=file)
    found = json.loads(file.read_text(encoding="utf-8"))
    probes, frozen = (found[f"{name}_cpu_seconds"]["median"] for name in ("probes", "frozen"))
    assert probes > 0
    assert found["ratio"]["median"] == pytest.approx(frozen / probes)
    costs = [(Cost(9.0, 2.0), Cost(9.0, 3.0))]
    assert linear_probe._figures(costs)["ratio"].median == 80 * 3.0 / 2.0
