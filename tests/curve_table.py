"""Makes up a table of learning curves for tests of replayed searches."""

from __future__ import annotations

import math
import random
from pathlib import Path

from benchmarks.curves import MAX_EPOCHS, Curve, CurveTable, grid


def make_table(path: Path) -> CurveTable:
    """Fill a table: accuracy follows from lr and width, and the wide are twice as slow."""
    table = CurveTable(path)
    for params in grid():
        top = 0.9 - 0.1 * abs(math.log10(params["lr"]) + 2) - 0.05 * (params["width"] == 8)
        noise = random.Random(repr(params)).uniform(0, 0.01)
        values = tuple(top * (1 - 0.5**epoch) + noise for epoch in range(1, MAX_EPOCHS + 1))
        table.add(Curve(params, values, (params["width"] / 8,) * MAX_EPOCHS, values[-1] - 0.02))
    return table
