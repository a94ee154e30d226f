"""Classify photos with an exported model: `python -m search.predict --model FOLDER PHOTO...`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from search.data.walk import IMAGE_EXTENSIONS
from search.errors import DatasetError, ResourceError, ResultsError, SearchError
from search.records import write_csv
from trainables.contract import ModelInfo, WeightsError

BATCH_SIZE = 32


@dataclass(frozen=True)
class Guess:
    """What the model says of one photo: classes and probabilities, likeliest first."""

    path: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Expand folders (with their subfolders) into sorted image files; keep files as they are.

    Raises:
        DatasetError: A path is missing, or a folder holds no images; all of them are listed.
    """
    found: dict[Path, None] = {}
    problems = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if _is_image(p))
            found.update(dict.fromkeys(inside))
            if not inside:
                problems.append(f"{path}: must hold images, found none. Name another folder.")
        elif path.exists():
            found[path] = None
        else:
            problems.append(f"{path}: must exist, found nothing there. Check the path.")
    if problems:
        raise DatasetError("\n".join(problems))
    return list(found)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS and path.is_file() and path.name[0] != "."


def predict_images(
    model_folder: Path, paths: Sequence[Path], *, device: str = "cpu"
) -> tuple[list[Guess], list[str]]:
    """Classify image files with a saved model.

    Args:
        model_folder: results/<study>/export, or any folder `save_model` wrote.

    Returns:
        A guess per readable image, in order, and one line per unreadable one.

    Raises:
        WeightsError: The folder holds no model, or a damaged one.
        ResourceError: There is no such device.
    """
    # Heavy: the command line checks its paths before paying for them.
    import numpy as np
    import torch

    from search.data.cache import read_image

    model, info = _load(model_folder, device)
    guesses: list[Guess] = []
    unreadable: list[str] = []
    for start in range(0, len(paths), BATCH_SIZE):
        images = {}
        for path in paths[start : start + BATCH_SIZE]:
            try:
                images[path] = read_image(
                    path, size_px=info.size_px, side_px=info.side_px, fit=info.fit
                )
            except DatasetError as error:
                unreadable.append(str(error))
        if images:
            batch = torch.from_numpy(np.stack(list(images.values()))).permute(0, 3, 1, 2)
            with torch.inference_mode():
                logits = model(batch.to(device)).double() / info.temperature
            probabilities = logits.softmax(1).cpu().numpy()
            rows = zip(images, probabilities, strict=True)
            guesses += [_guess(path, info.classes, row) for path, row in rows]
    return guesses, unreadable


def _load(folder: Path, device: str) -> tuple[Any, ModelInfo]:
    from trainables.saved import load_model

    model, info = load_model(folder)
    try:
        return model.to(device), info
    except (RuntimeError, AssertionError) as error:  # torch has no kind of its own for this
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ResourceError(
            f"--device {device}: must be a device of this machine, got: {reason}. "
            "Leave it out to use the CPU."
        ) from error


def _guess(path: Path, classes: Sequence[str], probabilities: Any) -> Guess:
    order = (-probabilities).argsort(kind="stable")
    return Guess(
        path,
        tuple(classes[k] for k in order),
        tuple(float(probabilities[k]) for k in order),
    )


def guess_lines(guesses: Iterable[Guess], top: int) -> list[str]:
    """Return one line per image: its path and the likeliest classes."""
    return [
        f"{guess.path}: "
        + ", ".join(
            f"{name} {100 * p:.1f} %"
            for name, p in zip(guess.classes[:top], guess.probabilities[:top], strict=True)
        )
        for guess in guesses
    ]


def write_guesses(path: Path, guesses: Iterable[Guess], top: int) -> None:
    """Write a CSV with one row per image and guess: path, rank (1 = likeliest), class, probability.

    Raises:
        ResultsError: The file cannot be written.
    """
    rows = (
        {"path": guess.path, "rank": k + 1, "class": name, "probability": f"{p:.6g}"}
        for guess in guesses
        for k, (name, p) in enumerate(
            zip(guess.classes[:top], guess.probabilities[:top], strict=True)
        )
    )
    try:
        write_csv(path, ["path", "rank", "class", "probability"], rows)
    except OSError as error:
        raise ResultsError(
            f"--csv {path}: must be writable, got {error.strerror}. Name another file."
        ) from error


def main(
    images: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.")],
    model: Annotated[
        Path, typer.Option(help="A study's export folder, such as results/cars/export.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes to show per photo.")] = 3,
    csv: Annotated[Path | None, typer.Option(help="Also write the guesses to this file.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
) -> None:
    """Classify photos with a trained model.

    Exits with 2 when the model is missing or no photo could be read.
    """
    try:
        _check_model(model)
        paths = find_images(images)
        guesses, unreadable = predict_images(model, paths, device=device)
        print("\n".join(guess_lines(guesses, top)))
        if csv is not None and guesses:
            write_guesses(csv, guesses, top)
    except (SearchError, WeightsError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    if unreadable:
        print(f"{len(unreadable)} of {len(paths)} images could not be read:", file=sys.stderr)
        print("\n".join(f"  {line}" for line in unreadable), file=sys.stderr)
    if not guesses:
        raise typer.Exit(2)


def _check_model(folder: Path) -> None:
    missing = [n for n in ("model.json", "weights.safetensors") if not (folder / n).is_file()]
    if missing:
        raise ResultsError(
            f"--model {folder}: must hold a saved model, found no {' and no '.join(missing)}. "
            "Name the export folder of a finished study, such as results/cars/export."
        )


if __name__ == "__main__":
    typer.run(main)
