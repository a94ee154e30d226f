"""The export gives the very logits of the final model, and its README works as written."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch

from search import export
from search.errors import ResultsError
from search.export import export_model, logit_difference
from tests.tiny_model import CLASSES, TinyStudy, make_study, train_model
from trainables.contract import WeightsError
from trainables.saved import load_model


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> TinyStudy:
    return make_study(tmp_path_factory.mktemp("study"), per_class=4, epochs=1)


def test_the_export_gives_the_same_logits(study):
    folder = export_model(study.results)
    assert folder == study.results.export
    assert {p.name for p in folder.iterdir()} == {
        "weights.safetensors",
        "model.json",
        "README.md",
        "export.json",
    }
    noted = json.loads((folder / "export.json").read_text("utf-8"))
    assert noted["max_abs_logit_difference"] == 0.0
    model, info = load_model(folder)
    best, _ = load_model(study.results.best)
    images = torch.rand(2, 3, info.size_px, info.size_px) * 255
    with torch.no_grad():
        assert torch.equal(model(images), best(images))
    assert info.classes == tuple(sorted(CLASSES))


def test_exporting_again_replaces_the_export(study):
    first = export_model(study.results) / "model.json"
    before = first.read_text("utf-8")
    export_model(study.results)
    assert first.read_text("utf-8") == before


def test_the_difference_of_other_weights_is_seen(study, tmp_path):
    train_model(tmp_path, study.cache, study.split, epochs=0, seed=9)
    assert logit_difference(study.results.best, tmp_path) > 1e-3


def test_an_export_that_differs_is_an_error(study, tmp_path, monkeypatch):
    other = train_model(tmp_path, study.cache, study.split, epochs=0, seed=9)
    save = export.save_model
    monkeypatch.setattr(export, "save_model", lambda _, folder, info: save(other, folder, info))
    with pytest.raises(ResultsError, match="logits"):
        export_model(study.results)


def test_no_final_model_is_a_clear_error(study, tmp_path):
    with pytest.raises(WeightsError, match="must hold"):
        export_model(replace(study.results, root=tmp_path))


def test_the_python_of_the_readme_runs(study, tmp_path, monkeypatch, capsys):
    folder = export_model(study.results)
    text = (folder / "README.md").read_text("utf-8")
    code = "\n".join(re.findall(r"^    (?!python -m)(.*)$", text, re.MULTILINE))
    (tmp_path / "photo.jpg").symlink_to(study.index.file(0))
    (tmp_path / "results" / "tiny").mkdir(parents=True)
    (tmp_path / "results" / "tiny" / "export").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    name, _, chance = capsys.readouterr().out.removesuffix("\n").rpartition(" ")
    assert name in CLASSES
    assert 1 / len(CLASSES) <= float(chance) <= 1
