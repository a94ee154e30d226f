"""Train the recipes of benchmarks/users.yaml, and our default one for as many epochs.

python -m benchmarks.users [--data DIR] [--weights DIR] [--only NAME] [--epochs N] [--json FILE]
                           [--recipes benchmarks/strategies.yaml] [--fit crop|squash|pad]

With --recipes it trains those of another file instead, without our default. Without --data it draws
cars. All are trained on the same images and judged once, after their last epoch, on all others: val
and test of the folders, or those that are cut from them. Nothing is chosen by them, so they do not
flatter. One training is one draw, whose luck no interval tells: repeat with other --seed before
making much of a difference. Pretrained weights come from --weights or the hub; recipes that live on
them are left out where there are none.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Cost, describe_machine, now
from benchmarks.photos import draw_photos
from search.data.cache import build_cache
from search.data.check import check_images
from search.data.index import build_index
from search.data.loader import CachedData, open_trial_data
from search.data.splits import make_split
from search.errors import SearchError
from search.records import ImageCache, Metric, Split, write_json
from search.statistics import proportion
from search.terminal import Terminal
from search.yaml_file import read_yaml
from trainables.classifier import train
from trainables.contract import EpochReport, TrialInputs
from trainables.parameters import default_params
from trainables.weights import find_weights

Fit = Literal["crop", "squash", "pad"]
RECIPES = Path(__file__).with_name("users.yaml")
DRAWN_PX = (256, 192)
HELD_OUT = 0.15  # of a folder without splits, for val and for test each


@dataclass(frozen=True)
class Recipe:
    """A fixed configuration; `params` are complete hyperparameters of `classifier`."""

    name: str
    about: str
    epochs: int
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What one training came to.

    Attributes:
        weights: Name of the pretrained weights' file, "" for random ones.
        accuracy: On the images held out, after the last epoch.
        cost: Of the training, with one pass over the images held out in each epoch.
    """

    recipe: Recipe
    weights: str
    accuracy: Metric
    cost: Cost


@dataclass(frozen=True)
class Photos:
    """The images that all recipes share; each opens them at its own size."""

    cache: ImageCache
    split: Split

    def open(self, size_px: int) -> CachedData:
        held_out = np.sort(np.concatenate([self.split.val, self.split.test]))
        return open_trial_data(self.cache, self.split.train, held_out, size_px=size_px)


def main(
    data: Annotated[
        Path | None, typer.Option(help="Photos, a folder per class; drawn cars without it.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with pretrained weights.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Recipes; all without it.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of every recipe.")] = None,
    recipes: Annotated[Path, typer.Option(help="File of recipes.")] = RECIPES,
    fit: Annotated[Fit, typer.Option(help="How an image becomes a square.")] = "crop",
    images: Annotated[int, typer.Option(min=40, help="Number of drawn photos.")] = 600,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
) -> None:
    """Train the users' own recipes and compare them with our default one."""
    console = Console()
    try:
        chosen = [*_chosen(read_recipes(recipes), only or [], epochs)]
        if recipes == RECIPES:
            chosen = [*_beside_our_default(chosen)]
        with tempfile.TemporaryDirectory(prefix="users ") as work:
            size_px = max(recipe.params["size_px"] for recipe in chosen)
            photos = _prepare(data, Path(work), images, size_px, fit)
            outcomes = []
            for recipe in chosen:
                backbone, pretrained = recipe.params["backbone"], recipe.params["pretrained"]
                file = find_weights(backbone, weights)
                if file is None and pretrained is True:  # judged by random ones it would look bad
                    console.print(f"{recipe.name}: left out, as no weights of {backbone} are here")
                    continue
                console.print(f"[dim]{recipe.name}, {recipe.epochs} epochs[/]")
                outcomes.append(train_recipe(recipe, photos, file, seed))
    except SearchError as error:
        Terminal().error(str(error))
        raise typer.Exit(1) from error
    console.print(_table(outcomes))
    if json is not None:
        write_json(json, {"rows": [asdict(o) for o in outcomes], "machine": describe_machine()})


def read_recipes(path: Path = RECIPES) -> dict[str, Recipe]:
    """Read the recipes by name, their parameters completed by our defaults."""
    entries = read_yaml(path)["recipes"]
    defaults = default_params("classifier")
    return {
        name: Recipe(name, entry["about"], entry["epochs"], defaults | entry["params"])
        for name, entry in entries.items()
    }


def _chosen(recipes: Mapping[str, Recipe], only: list[str], epochs: int | None) -> Iterator[Recipe]:
    """Yield the recipes wanted, of the length wanted."""
    if unknown := [name for name in only if name not in recipes]:
        names = ", ".join(recipes)
        raise SearchError(f"--only: must be of {names}, got {', '.join(unknown)}. Choose of these.")
    for name in only or recipes:
        yield replace(recipes[name], epochs=epochs or recipes[name].epochs)


def _beside_our_default(recipes: list[Recipe]) -> Iterator[Recipe]:
    """Yield the recipes by length, before those of one length our default at that length."""
    for length in dict.fromkeys(recipe.epochs for recipe in recipes):
        yield Recipe(
            "our default", "Every parameter left out.", length, default_params("classifier")
        )
        yield from (recipe for recipe in recipes if recipe.epochs == length)


def _prepare(data: Path | None, work: Path, images: int, size_px: int, fit: Fit) -> Photos:
    """Check, split and store the photos, as a study does."""
    if data is None:
        data = work / "drawn"
        draw_photos(data, images, *DRAWN_PX)
    num_workers = os.cpu_count() or 1
    index = check_images(build_index([data]), max_dropped=0.2, num_workers=num_workers).index
    split = make_split(index, val_fraction=HELD_OUT, test_fraction=HELD_OUT, seed=0)
    cache = build_cache(index, work / "store", size_px=size_px, fit=fit, num_workers=num_workers)
    return Photos(cache, split)


def train_recipe(recipe: Recipe, photos: Photos, weights: Path | None, seed: int = 0) -> Outcome:
    """Train one recipe and judge it on the images held out."""
    data = photos.open(recipe.params["size_px"])
    reports: list[EpochReport] = []
    began = now()
    train(
        TrialInputs(
            recipe.params,
            data,
            max_epochs=recipe.epochs,
            seed=seed,
            num_threads=os.cpu_count() or 1,
            weights=weights,
        ),
        lambda report, save: reports.append(report),
    )
    share = reports[-1].val_accuracy
    assert share is not None
    accuracy = proportion(share * data.num_val, data.num_val)
    return Outcome(recipe, weights.name if weights else "", accuracy, now() - began)


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="Accuracy on images held out, with its 95 % interval", show_lines=True)
    table.add_column("recipe")
    for heading in ("epochs", "accuracy", "CPU seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        recipe, accuracy = outcome.recipe, outcome.accuracy
        table.add_row(
            f"{recipe.name}\n[dim]{recipe.about}\n{recipe.params['backbone']}, "
            f"{outcome.weights or 'random'} weights[/]",
            str(recipe.epochs),
            f"{accuracy.value:.3f} ({accuracy.low:.3f}–{accuracy.high:.3f})",
            f"{outcome.cost.cpu_seconds:.0f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
