"""Which images are shown, what is written about them, and where known regions land."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from search.evaluate import evaluate_on_test
from search.explain import explain_predictions, fit_box, overlay_heat, pick_examples, region_share
from search.faithful import MIDDLE
from search.records import Evaluation, ImageRow, write_csv
from tests.tiny_model import SIZE_PX, TinyStudy, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> TinyStudy:
    return make_study(tmp_path_factory.mktemp("study"), epochs=6)


@pytest.fixture(scope="module")
def evaluation(study) -> Evaluation:
    return evaluate_on_test(
        study.results, study.cache, study.split, study.index, baseline_folder=None
    )


def made_up(num_right, num_wrong, num_classes=4):
    """Confidence falls with the position; classes come in runs, so spreading has to work."""
    num = num_right + num_wrong
    y_true = np.sort(np.arange(num) % num_classes)
    guess = y_true.copy()
    guess[np.random.default_rng(0).permutation(num)[:num_wrong]] += 1
    probabilities = np.full((num, num_classes + 1), 0.01)
    probabilities[np.arange(num), guess] = np.linspace(0.99, 0.5, num)
    return Evaluation(tuple("abcde"), np.arange(num) + 100, y_true, probabilities, {})


def by_group(evaluation, num_images):
    groups = {"right": [], "wrong": [], "confident_wrong": [], "confused_pair": []}
    for group, place in pick_examples(evaluation, num_images):
        groups[group].append(place)
    return groups


def test_examples_are_a_third_right_and_as_many_images_as_asked_for():
    evaluation = made_up(40, 20)
    groups = by_group(evaluation, 12)
    right = evaluation.probabilities.argmax(axis=1) == evaluation.y_true
    assert right[groups["right"]].all()
    wrong = [place for name, places in groups.items() if name != "right" for place in places]
    assert not right[wrong].any()
    assert len(groups["right"]) == 4
    assert len({*groups["right"], *wrong}) == 12
    assert (len(groups["confident_wrong"]), len(groups["confused_pair"])) == (2, 4)
    assert not {*groups["wrong"]} & {*groups["confident_wrong"], *groups["confused_pair"]}


def of_kinds(*kinds: tuple[int, int], num_classes=5):
    """One image of each (true, predicted), ever less sure."""
    y_true, guess = np.array(kinds).T
    probabilities = np.full((len(kinds), num_classes), 0.01)
    probabilities[np.arange(len(kinds)), guess] = np.linspace(0.99, 0.5, len(kinds))
    return Evaluation(tuple("abcde"), np.arange(len(kinds)), y_true, probabilities, {})


def test_confused_pairs_come_as_in_the_table_and_show_both_directions():
    # 1 > 0 three times and back once, 2 > 3 twice and never back, 4 > 0 once; the surest first.
    kinds = [(4, 0), (1, 0), (2, 3), (0, 1), (1, 0), (2, 3), (1, 0), (3, 3)]
    groups = by_group(of_kinds(*kinds), 40)
    assert groups["confused_pair"] == [1, 3]
    assert groups["confident_wrong"] == [0, 1, 2]
    assert groups["wrong"] == [4, 5, 6]
    more = of_kinds(*kinds, (0, 1), (0, 1), (0, 1))  # now the other direction is the first
    assert by_group(more, 40)["confused_pair"] == [3, 1, 2, 5]


def test_right_examples_are_spread_over_classes_and_the_surest_of_each():
    evaluation = made_up(40, 20)
    right = evaluation.probabilities.argmax(axis=1) == evaluation.y_true
    groups = by_group(evaluation, 12)
    assert sorted(evaluation.y_true[groups["right"]]) == [0, 1, 2, 3]
    first = [int(np.flatnonzero(right & (evaluation.y_true == k))[0]) for k in range(4)]
    assert sorted(groups["right"]) == first
    assert groups["confident_wrong"] == np.flatnonzero(~right)[:2].tolist()


@pytest.mark.parametrize(
    ("right", "wrong", "num_images", "expected"),
    [
        (40, 0, 12, (12, 0)),
        (40, 1, 12, (11, 1)),
        (40, 3, 12, (9, 3)),
        (2, 40, 12, (2, 10)),
        (0, 40, 12, (0, 12)),
        (3, 2, 12, (3, 2)),
        (40, 40, 1, (1, 0)),
        (40, 40, 0, (0, 0)),
    ],
)
def test_groups_that_run_short_are_filled_by_others(right, wrong, num_images, expected):
    groups = by_group(made_up(right, wrong), num_images)
    mistakes = {p for name, places in groups.items() if name != "right" for p in places}
    assert (len(groups["right"]), len(mistakes)) == expected


def test_files_and_entries_agree(study, evaluation):
    cam = study.results.test / "cam"
    cam.mkdir(parents=True, exist_ok=True)
    (cam / "999.png").write_text("of an earlier model")
    chances = evaluation.probabilities.copy()  # the model is too good to explain mistakes of
    chances[::3] = np.roll(chances[::3], 1, axis=1)
    evaluation = replace(evaluation, probabilities=chances)
    explain_predictions(study.results, evaluation, study.cache, study.index, num_images=6)
    entries = json.loads((cam / "cam.json").read_text("utf-8"))
    assert len({entry["image"] for entry in entries}) == 6
    groups = [entry["group"] for entry in entries]
    assert {*groups} == {"right", "wrong", "confident_wrong", "confused_pair"}
    keys = ("image", "heat", "contrast")
    named = {entry[key] for entry in entries for key in keys if key in entry}
    others = {"cam.json", "faithfulness.json", "attention.json"}
    assert {p.name for p in cam.iterdir()} == named | others
    for entry in entries:
        row = study.index.rows[int(entry["image"].removesuffix(".png"))]
        assert (entry["path"], entry["label"]) == (row.path, row.label)
        assert (entry["label"] == entry["predicted"]) == (entry["group"] == "right")
        assert 0.25 <= entry["confidence"] <= 1.0
        assert entry["method"] in ("Grad-CAM", "HiResCAM", "Eigen-CAM")
        assert bool(entry["note"]) == (entry["method"] != "Grad-CAM")
        assert "region_share" not in entry
        rather_than = entry.get("rather_than")  # not where nothing speaks for what was said
        assert rather_than is not None or entry["group"] != "right"
        if rather_than is not None:
            assert (rather_than == entry["label"]) == (entry["group"] != "right")
            assert rather_than != entry["predicted"]
        guess = evaluation.probabilities.argmax(axis=1)
        kind = [evaluation.classes.index(entry[key]) for key in ("label", "predicted")]
        alike = ((evaluation.y_true == kind[0]) & (guess == kind[1])).sum()
        assert entry.get("mixed_up", [0])[0] == (alike if entry["group"] != "right" else 0)
        for key in (key for key in keys if key in entry):
            with Image.open(cam / entry[key]) as image:
                assert image.size == (SIZE_PX, SIZE_PX)
    believed = json.loads((cam / "faithfulness.json").read_text("utf-8"))
    assert {row["map"] for row in believed} >= {"Grad-CAM", "Finer-CAM", MIDDLE}
    assert all(row["low"] <= row["score"] <= row["high"] for row in believed)


def test_known_regions_are_measured(study, evaluation):
    regions = study.index.roots[0] / "regions.csv"
    boxes = [{"path": path, **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))}
             for path, box in study.boxes.items()]  # fmt: skip
    write_csv(regions, ["path", "x0", "y0", "x1", "y1"], boxes)
    try:
        explain_predictions(study.results, evaluation, study.cache, study.index, num_images=12)
    finally:
        regions.unlink()
    entries = json.loads((study.results.test / "cam" / "cam.json").read_text("utf-8"))
    assert all(e["region_area"] == pytest.approx(20 * 20 / (64 * 48), rel=1e-4) for e in entries)
    shares = [e["region_share"] for e in entries]
    assert np.mean(shares) > 1.5 * entries[0]["region_area"]


def test_someone_elses_regions_file_does_no_harm(study, evaluation):
    regions = study.index.roots[0] / "regions.csv"
    regions.write_text("country,region\nFrance,Bretagne\n")
    try:
        explain_predictions(study.results, evaluation, study.cache, study.index, num_images=1)
    finally:
        regions.unlink()
    assert (study.results.test / "cam" / "cam.json").exists()


def test_no_images_asked_for_is_an_empty_list(study, evaluation):
    explain_predictions(study.results, evaluation, study.cache, study.index, num_images=0)
    for name in ("cam", "faithfulness"):
        path = study.results.test / "cam" / f"{name}.json"
        assert json.loads(path.read_text("utf-8")) == []


def test_region_share_counts_heat_in_the_box():
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[2:4, 2:4] = 1.0
    assert region_share(heat, (2, 2, 4, 4)) == 1.0
    assert region_share(heat, (2, 2, 3, 4)) == 0.5
    assert region_share(heat, (2.5, 2, 4, 4)) == pytest.approx(0.75)
    assert region_share(heat, (5, 5, 8, 8)) == 0.0
    assert region_share(heat, (-10, -10, 99, 99)) == 1.0
    assert region_share(np.zeros_like(heat), (0, 0, 8, 8)) == 0.0
    assert region_share(np.ones_like(heat), (0, 0, 4, 2)) == 8 / 64


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(200, 100), (90, 210), (120, 120)])
def test_boxes_follow_the_photo_into_the_square(tmp_path, fit, width, height):
    from search.data.cache import read_image

    box = (width // 2 - 20, height // 2 - 15, width // 2 + 30, height // 2 + 25)
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    square = read_image(tmp_path / "photo.png", size_px=64, fit=fit)
    row = ImageRow("photo.png", 0, "a", None, width, height)
    placed = fit_box(box, row, size_px=64, fit=fit)
    light = square[..., 0].astype(np.float32)
    assert region_share(light, placed) > 0.9  # padding is rounded to whole pixels
    grown = (placed[0] - 1, placed[1] - 1, placed[2] + 1, placed[3] + 1)
    assert region_share(light, grown) > 0.995
    full = (placed[2] - placed[0]) * (placed[3] - placed[1])
    assert light.sum() / 255 == pytest.approx(full, rel=0.05)


def test_overlay_is_plain_grey_where_there_is_no_heat():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    heat = np.zeros((16, 16), dtype=np.float32)
    heat[8:] = 1.0
    overlay = overlay_heat(image, heat)
    assert overlay.shape == image.shape
    assert overlay.dtype == np.uint8
    assert (overlay[:8].max(axis=2) == overlay[:8].min(axis=2)).all()
    assert (overlay[8:, :, 0].astype(int) - overlay[8:, :, 2] > 40).all()  # warm


def test_a_blank_map_is_noted(study, evaluation, tmp_path):
    import torch

    from trainables.saved import load_model, save_model

    model, info = load_model(study.results.best)
    torch.nn.init.zeros_(model.head[-1].weight)  # the logits no longer depend on the image
    results = replace(study.results, root=tmp_path)
    save_model(model, results.best, info)
    explain_predictions(results, evaluation, study.cache, study.index, num_images=1)
    entry = json.loads((results.test / "cam" / "cam.json").read_text("utf-8"))[0]
    assert entry["method"] == "Eigen-CAM"
    assert "blank" in entry["note"]
