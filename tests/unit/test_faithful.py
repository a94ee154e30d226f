"""Maps of a model that is known to look at one corner are judged by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search.attention import GRID, RIM_AREA, class_attention, rim_share
from search.cam import contrast_heat
from search.faithful import MIDDLE, faithfulness, middle_heat, summarize_faithfulness
from search.records import Evaluation

SIDE = 32


class LooksAtCorner(nn.Module):
    """Says class 1 the surer, the brighter the 8 × 8 pixels at the top left are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.1))

    def forward(self, images: Tensor) -> Tensor:
        light = self.weight * (images[:, :, :8, :8].mean(dim=(1, 2, 3)) - 128)
        return torch.stack([-light, light], dim=1)


def bright_corner() -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 80, (SIDE, SIDE, 3), dtype=np.uint8)
    image[:8, :8] = 220
    return image


def corner_heat() -> np.ndarray:
    heat = np.zeros((SIDE, SIDE), dtype=np.float32)
    heat[:8, :8] = 1.0
    return heat


def test_the_right_map_scores_high_its_opposite_low_and_one_that_knows_nothing_between() -> None:
    heats = {
        "right": corner_heat(),
        "opposite": 1 - corner_heat(),
        "blind": np.full((SIDE, SIDE), 0.5, dtype=np.float32),
    }
    scores = faithfulness(LooksAtCorner(), bright_corner(), heats, 1)
    assert scores["right"] > 0.3
    assert scores["opposite"] == pytest.approx(-scores["right"], abs=0.05)
    assert abs(scores["blind"]) < 0.15
    assert scores == faithfulness(LooksAtCorner(), bright_corner(), heats, 1), "no chance in it"


def test_the_middle_is_hottest_in_the_middle() -> None:
    heat = middle_heat(SIDE)
    assert 0 <= heat.min() <= heat.max() <= 1
    assert heat[16, 16] > heat[16, 2] > heat[2, 2]


def test_scores_become_a_mean_with_its_interval() -> None:
    scores = [{"Grad-CAM": k / 10, MIDDLE: 0.0} for k in range(-2, 8)] + [{MIDDLE: 0.0}]
    grad, middle = summarize_faithfulness(scores)
    assert (grad["map"], grad["num_images"], middle["num_images"]) == ("Grad-CAM", 10, 11)
    assert grad["score"] == pytest.approx(0.25)
    assert grad["low"] < 0.25 < grad["high"]
    assert grad["share_above_zero"] == 0.7
    assert grad["beyond"] == pytest.approx(0.25)
    assert grad["beyond_low"] < 0.25 < grad["beyond_high"]
    assert "beyond" not in middle
    assert summarize_faithfulness([]) == []


class TwoPlaces(nn.Module):
    """Classes 0 and 1 share what is at the left; class 1 alone has what is at the right."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 2, 1, bias=False))
        with torch.no_grad():
            self.backbone[1].weight.zero_()
            self.backbone[1].weight[0, 0] = self.backbone[1].weight[1, 1] = 1.0
        self.backbone.feature_info = [{"module": "1", "num_chs": 2}]
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.6, 1.0]]))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images).mean(dim=(2, 3)))


def test_a_contrast_leaves_out_what_both_classes_share() -> None:
    image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    image[:, :12, 0] = 200  # red at the left, green at the right
    image[:, 20:, 1] = 200
    heat = contrast_heat(TwoPlaces(), image, 1, 0)
    assert heat is not None
    assert heat[:, 22:].mean() > 10 * heat[:, :10].mean() + 0.1


def test_the_average_heat_of_a_class_is_where_its_images_have_it() -> None:
    images = np.zeros((6, SIDE, SIDE, 3), dtype=np.uint8)
    images[:3, :, :12, 0], images[3:, :, 20:, 1] = 200, 200
    surer = np.where(np.arange(6)[:, None] < 3, [[0.8, 0.2, 0.0]], [[0.3, 0.7, 0.0]])
    evaluation = Evaluation(("left", "right", "never"), np.arange(6), np.arange(6) // 3, surer, {})
    left, right = class_attention(TwoPlaces(), evaluation, lambda places: list(images[places]))
    assert (left["class"], left["num_images"], right["num_images"]) == ("left", 3, 3)
    for entry, half in ((left, np.s_[:, : GRID // 2]), (right, np.s_[:, GRID // 2 :])):
        grid = np.array(entry["grid"])
        assert (grid.shape, grid.max()) == ((GRID, GRID), 1.0)
        assert grid[half].sum() > 0.8 * grid.sum()


def test_the_rim_has_its_area_of_even_heat() -> None:
    assert rim_share(np.ones((GRID, GRID))) == pytest.approx(RIM_AREA)
    assert rim_share(np.zeros((GRID, GRID))) == 0.0
    inside = np.zeros((GRID, GRID))
    inside[4:8, 4:8] = 1.0
    assert rim_share(inside) == 0.0
