"""Train every configuration of benchmarks/curves.py once, on real images, and keep its curve.

nice python -m benchmarks.record_curves --name digits
nice python -m benchmarks.record_curves --name sea_animals --data DIR

Without --data it takes scikit-learn's digits. Numbers alone are kept, no image. It can be stopped
at any time; the next call trains what is missing. One thread, about twelve minutes of CPU a table.
"""

from __future__ import annotations

import random
import tempfile
import time
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmarks.curves import FOLDER, MAX_EPOCHS, Curve, CurveTable, key_of
from search.data.cache import build_cache
from search.data.check import check_images
from search.data.index import build_index
from search.data.loader import CachedData, open_trial_data
from search.data.sources import write_digits
from search.data.splits import make_split
from search.records import ImageCache, Split
from trainables.classifier import train
from trainables.contract import EpochReport, TrialInputs
from trainables.loop import evaluate
from trainables.parameters import default_params
from trainables.precision import default_mode

SIZE_PX = 32
TEST_FRACTION = 0.3  # large: it says how good a configuration is, val only which to choose


def main(
    name: Annotated[str, typer.Option(help="Of the table.")] = "digits",
    data: Annotated[Path | None, typer.Option(help="Photos, a folder per class.")] = None,
    folder: Annotated[Path, typer.Option(help="Of the tables.")] = FOLDER,
) -> None:
    """Record the curves that are not there yet."""
    table = CurveTable(folder / f"{name}.csv")
    todo = table.missing()
    random.Random(0).shuffle(todo)  # a machine that gets busy slows no corner of the grid alone
    with tempfile.TemporaryDirectory(prefix="curves-") as work:
        if data is None:
            data = Path(work) / "digits"
            write_digits(data)
        cache, split = _prepare(data, Path(work))
        for params in track(todo, name, console=Console(stderr=True)):
            table.add(record(params, cache, split))


def _prepare(data: Path, work: Path) -> tuple[ImageCache, Split]:
    index = check_images(build_index([data]), max_dropped=0.2, num_workers=1).index
    split = make_split(index, val_fraction=0.2, test_fraction=TEST_FRACTION, seed=0)
    return build_cache(index, work / "store", size_px=SIZE_PX, fit="crop", num_workers=1), split


def record(params: dict[str, Any], cache: ImageCache, split: Split) -> Curve:
    """Train one configuration to its end."""
    complete = default_params("classifier") | {"depth": 3, "size_px": SIZE_PX} | params
    data = open_trial_data(cache, split.train, split.val)
    seed = zlib.crc32(repr(key_of(params)).encode())  # another for each, as in a study
    values: list[float] = []
    ends = [time.process_time()]

    def note(report: EpochReport, save: Any) -> None:
        assert report.val_accuracy is not None
        values.append(report.val_accuracy)
        ends.append(time.process_time())

    model = train(TrialInputs(complete, data, max_epochs=MAX_EPOCHS, seed=seed), note)
    seconds = tuple(end - begin for begin, end in pairwise(ends))
    return Curve(params, tuple(values), seconds, _test(model, complete["backbone"], data, split))


def _test(model: Any, backbone: str, data: CachedData, split: Split) -> float:
    return evaluate(
        model,
        data.clean_batches(split.test, batch_size=64),
        autocast=default_mode(backbone, "cpu").autocast("cpu"),
        device="cpu",
        epoch=MAX_EPOCHS,
        num_classes=len(data.classes),
    ).accuracy


if __name__ == "__main__":
    typer.run(main)
