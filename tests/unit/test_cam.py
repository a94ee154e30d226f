"""Every backbone family gives a map, and the map finds what the class really depends on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from search.cam import cam_heat, find_target, is_blank
from search.explain import region_share
from trainables.backbones import build_classifier
from trainables.parameters import default_params


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def build(backbone, size_px=96, **changes):
    torch.manual_seed(0)
    params = default_params("classifier") | {"backbone": backbone, "dropout": 0.0, "width": 8}
    return build_classifier(params | changes, 3, size_px)


def noise(size_px=96):
    return np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "backbone",
    [
        "small_cnn",
        "separable_cnn",
        "resnet18",
        "convnext_atto",
        "mobilenetv2_100",
        "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "swin_tiny_patch4_window7_224",
    ],
)
def test_every_family_gives_a_finite_map_of_the_right_shape(backbone):
    # Swin's windows want a multiple of 32 × 7.
    size_px = 224 if backbone.startswith("swin") else 96
    heat, method = cam_heat(build(backbone, size_px), noise(size_px))
    assert heat.shape == (size_px, size_px)
    assert heat.dtype == np.float32
    assert np.isfinite(heat).all()
    assert heat.min() >= 0.0
    assert heat.max() <= 1.0 + 1e-6
    assert method in ("Grad-CAM", "HiResCAM", "Eigen-CAM")
    assert not is_blank(heat)


@pytest.mark.parametrize(
    ("backbone", "size_px", "shape"),
    [
        ("resnet18", 96, (512, 3, 3)),
        ("resnet18", 64, (256, 4, 4)),  # the last stage is 2 × 2: the one before is read
        ("vit_tiny_patch16_224", 96, (192, 6, 6)),
        ("swin_tiny_patch4_window7_224", 224, (768, 7, 7)),
        ("small_cnn", 32, (64, 4, 4)),
    ],
)
def test_the_layer_read_is_the_deepest_with_a_usable_map(backbone, size_px, shape):
    model = build(backbone, size_px)
    target = find_target(model, torch.from_numpy(noise(size_px)).permute(2, 0, 1)[None].float())
    assert target is not None
    assert target.maps.shape == shape


@pytest.mark.parametrize(
    ("backbone", "size_px", "shape"),
    [
        ("mvitv2_tiny", 96, (768, 3, 3)),
        ("twins_pcpvt_small", 64, (320, 4, 4)),  # its last stage is 2 × 2
        ("hrnet_w18_small", 64, (512, 4, 4)),
        ("xcit_nano_12_p8_224", 32, (128, 4, 4)),
        ("coat_tiny", 64, (456, 4, 4)),
        ("pit_ti_224", 224, (768, 7, 7)),
    ],
)
def test_stages_that_give_no_map_are_passed_over(backbone, size_px, shape):
    """They hand on lists or token counts, are named by other names, or keep class tokens apart."""
    model = build(backbone, size_px).eval()
    target = find_target(model, torch.from_numpy(noise(size_px)).permute(2, 0, 1)[None].float())
    assert target is not None
    assert target.maps.shape == shape
    heat, method = cam_heat(model, noise(size_px))
    assert method != "none"
    assert heat.shape == (size_px, size_px)
    assert not is_blank(heat)


def test_token_maps_keep_places_in_order():
    # A token model's patch embedding alone: each token's row and column must come back in place.
    model = build("vit_tiny_patch16_224")
    image = torch.zeros(1, 3, 96, 96)
    target = find_target(model, image)
    tokens = torch.arange(37.0)[None, :, None]  # one class token, then 6 × 6 patches
    maps = target.to_maps(tokens)
    assert maps.shape == (1, 1, 6, 6)
    assert (maps[0, 0] == torch.arange(1.0, 37.0).view(6, 6)).all()


def test_frozen_weights_still_get_a_map():
    model = build("resnet18").requires_grad_(False)
    assert cam_heat(model, noise())[1] == "Grad-CAM"


class Blank(nn.Module):
    """Logits that do not depend on the map in a way a gradient shows."""

    def __init__(self, constant):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 8, stride=8)
        self.constant = constant
        if constant:
            nn.init.zeros_(self.backbone.weight)

    def forward(self, images):
        return self.backbone(images / 255).mean((2, 3)) * 0.0


def test_a_blank_map_falls_back_to_another_method_and_says_so():
    heat, method = cam_heat(Blank(constant=False), noise(32))
    assert method == "Eigen-CAM"
    assert not is_blank(heat)


def test_no_map_at_all_is_said_plainly():
    heat, method = cam_heat(Blank(constant=True), noise(32))
    assert method == "none"
    assert heat.shape == (32, 32)
    assert (heat == 0).all()


def test_a_layer_without_places_has_no_target():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    assert cam_heat(model, noise(8))[1] == "none"


def test_explaining_another_class_gives_another_map():
    model = build("resnet18")
    first, second = (cam_heat(model, noise(), class_index=k)[0] for k in (0, 1))
    assert np.abs(first - second).max() > 0.1


def test_the_model_is_left_as_it_was():
    model = build("small_cnn")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cam_heat(model, noise())
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


COLOURS = ((230, 40, 40), (40, 200, 60), (50, 80, 235))


def planted(num, seed, size_px=64, side=18):
    """Grey noise with one square whose colour is the class, at a random place."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 190, (num, size_px, size_px, 1), dtype=np.uint8).repeat(3, axis=3)
    labels = rng.integers(0, 3, num)
    corners = rng.integers(0, size_px - side, (num, 2))
    for image, label, (x, y) in zip(images, labels, corners, strict=True):
        image[y : y + side, x : x + side] = COLOURS[label]
    boxes = [(x, y, x + side, y + side) for x, y in corners]
    return images, labels, boxes


def test_heat_falls_on_the_planted_square():
    model = build("small_cnn", 64, depth=3)
    images, labels, _ = planted(192, seed=0)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
    targets = torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for epoch in range(6):
        for batch in torch.randperm(192, generator=torch.Generator().manual_seed(epoch)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
    images, labels, boxes = planted(24, seed=1)
    model.eval()
    with torch.no_grad():
        right = model(torch.from_numpy(images).permute(0, 3, 1, 2)).argmax(1).numpy() == labels
    assert right.mean() > 0.9
    heats = [cam_heat(model, image) for image in images]
    shares = [region_share(heat, box) for (heat, _), box in zip(heats, boxes, strict=True)]
    area = 18 * 18 / 64**2
    assert np.median(shares) > 3 * area
    # The hottest place itself lies in the square.
    peaks = [np.unravel_index(heat.argmax(), heat.shape) for heat, _ in heats]
    inside = [
        x0 <= x < x1 and y0 <= y < y1 for (y, x), (x0, y0, x1, y1) in zip(peaks, boxes, strict=True)
    ]
    assert np.mean(inside) > 0.8
