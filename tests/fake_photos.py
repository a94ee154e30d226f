"""Put photos where a fake study says that its images lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from search.records import write_json
from search.report.load import read_study
from search.results import ResultsFolder


def write_photos(folder: ResultsFolder, root: Path) -> None:
    """Write a small coloured image for every row of the index, and name `root` in the summary."""
    summary = read_study(folder).summary
    write_json(folder.summary, summary | {"dataset": summary["dataset"] | {"roots": [str(root)]}})
    rng = np.random.default_rng(0)
    index = pd.read_csv(folder.data / "index.csv", dtype=str, keep_default_na=False)
    for path in index["path"]:
        blocks = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blocks).resize((80, 60), Image.Resampling.NEAREST).save(root / path)
