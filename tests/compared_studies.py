"""Results folders that differ in known ways, for tests of comparisons."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from search.records import read_csv, write_csv, write_json, write_text
from search.results import ResultsFolder
from tests.fake_study import write_fake_study

HOSTILE = "<script>alert(1)<b> & 'a'"


def make_worse(folder: ResultsFolder, num_images: int) -> None:
    """Turn the first right answers of a study's test into wrong ones."""
    rows = read_csv(folder.test / "predictions.csv")
    names = [name[2:] for name in rows[0] if name.startswith("p.")]
    for row in [row for row in rows if row["label"] == row["predicted"]][:num_images]:
        row["predicted"] = next(name for name in names if name != row["label"])
    write_csv(folder.test / "predictions.csv", list(rows[0]), rows)


def set_space(folder: ResultsFolder, **settings: object) -> None:
    space = yaml.safe_load(folder.study_file.read_text(encoding="utf-8"))
    write_text(folder.study_file, yaml.safe_dump(space | settings))


def write_studies(root: Path) -> Path:
    """Write a; the same with worse answers, another space and flags; and two with other images."""
    a = write_fake_study(root / "a", num_classes=4, num_trials=8)
    b = write_fake_study(root / HOSTILE, num_classes=4, num_trials=8)
    make_worse(b, 25)
    set_space(b, space={"lr": {"float": [1e-4, 0.3], "log": True}, "mixup": {"value": 0.2}})
    command = (
        "python -m search.run --space spaces/cars.yaml --data 'my photos' --set space.mixup=.2"
    )
    environment = json.loads(b.environment.read_text(encoding="utf-8"))
    write_json(b.environment, environment | {"command": f"{command} --weights '<b>w</b>'"})
    write_fake_study(root / "c", num_classes=4, num_trials=8, seed=3)
    write_fake_study(root / "other", num_classes=7, num_trials=4)
    assert a.root != b.root
    return root
