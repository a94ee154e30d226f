"""Hand over the final model: weights, what they expect, how to use them, and proof of parity."""

from __future__ import annotations

from pathlib import Path

import torch

from search.errors import ResultsError
from search.records import write_json, write_text
from search.results import ResultsFolder
from trainables.contract import ModelInfo
from trainables.saved import load_model, save_model

TOLERANCE = 1e-5  # of logits; the same weights on the same device differ by rounding at most
_NUM_IMAGES = 4

_README = """# {title}

An image classifier: {backbone}, {num_classes} classes, {size_px} px input.
`model.json` lists the classes and how to prepare an image; `weights.safetensors` holds the weights.

From the command line:

    python -m search.predict --model {folder} photo.jpg

From Python:

    from pathlib import Path
    import torch
    from search.data.cache import read_image
    from trainables.saved import load_model

    model, info = load_model(Path("{folder}"))
    image = read_image(
        Path("photo.jpg"), size_px=info.size_px, side_px=info.side_px, fit=info.fit
    )
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(image).permute(2, 0, 1)[None])
    chances = (logits / info.temperature).softmax(1)[0]
    print(info.classes[int(chances.argmax())], float(chances.max()))
"""


def export_model(results: ResultsFolder) -> Path:
    """Write export/: weights.safetensors, model.json, README.md and export.json.

    export.json holds the parity check: the largest absolute difference of logits between the final
    model and the export read back from disk, on fixed random images.

    Returns:
        The export folder.

    Raises:
        ResultsError: The export does not give the same logits.
    """
    folder = results.export
    model, info = load_model(results.best)
    save_model(model, folder, info)
    write_text(folder / "README.md", _readme(results, info))
    difference = logit_difference(results.best, folder)
    if not difference <= TOLERANCE:
        raise ResultsError(
            f"{folder}: the export must give the final model's logits, got a difference of "
            f"{difference:.2g}. Check the disk, then run the same command again."
        )
    write_json(
        folder / "export.json",
        {
            "max_abs_logit_difference": difference,
            "tolerance": TOLERANCE,
            "num_images": _NUM_IMAGES,
            "files": ["weights.safetensors", "model.json", "README.md"],
        },
    )
    return folder


def logit_difference(folder_a: Path, folder_b: Path) -> float:
    """Return the largest absolute difference of two saved models' logits on fixed random images."""
    logits = []
    for folder in (folder_a, folder_b):
        model, info = load_model(folder)
        shape = (_NUM_IMAGES, 3, info.size_px, info.size_px)
        images = torch.randint(
            0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
        with torch.inference_mode():
            logits.append(model.eval()(images))
    return float((logits[0] - logits[1]).abs().max())


def _readme(results: ResultsFolder, info: ModelInfo) -> str:
    return _README.format(
        title=results.root.name,
        backbone=info.params.get("backbone", info.trainable),
        num_classes=len(info.classes),
        size_px=info.size_px,
        folder=f"results/{results.root.name}/export",
    )
