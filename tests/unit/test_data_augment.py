"""The augmentation policy: nothing at 0, more with strength, the same for the same seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from search.data.augment import apply_changes, augment, image_draws, image_rng, plan_changes
from tests.images import draw_image
from trainables.contract import Augmentation

IMAGE = draw_image(0, (72, 72), np.random.default_rng(0))


def augmented(
    strength: float, image_id: int = 0, image: NDArray[np.uint8] = IMAGE
) -> NDArray[np.uint8]:
    out = np.empty((64, 64, 3), np.uint8)
    augment(image, out, Augmentation(strength), image_rng(0, 1, image_id))
    return out


def test_strength_zero_is_the_evaluation_transform() -> None:
    expected = cv2.resize(IMAGE, (64, 64), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(augmented(0.0), expected)
    same_size = np.empty((72, 72, 3), np.uint8)
    augment(IMAGE, same_size, Augmentation(), image_rng(0, 0, 0))
    assert np.array_equal(same_size, IMAGE)


def test_every_image_and_epoch_has_its_own_randomness() -> None:
    first = augmented(0.5, image_id=3)
    assert np.array_equal(first, augmented(0.5, image_id=3))
    assert not np.array_equal(first, augmented(0.5, image_id=4))
    out = np.empty_like(first)
    augment(IMAGE, out, Augmentation(0.5), image_rng(0, 2, 3))
    assert not np.array_equal(first, out)


def test_change_grows_with_strength() -> None:
    plain = augmented(0.0).astype(float)
    change = []
    for strength in (0.02, 0.25, 0.5, 1.0):
        pair = []
        for k in range(60):
            out = augmented(strength, k).astype(float)
            # Half of the images are mirrored at any strength: compare with the closer one.
            pair.append(min(np.abs(out - plain).mean(), np.abs(out - plain[:, ::-1]).mean()))
        change.append(np.mean(pair))
    assert change == sorted(change)
    assert change[0] < 4  # next to nothing
    assert change[-1] > 2 * change[1]


def test_half_of_the_images_are_mirrored() -> None:
    plain = augmented(0.0).astype(float)
    mirrored = sum(
        np.abs(augmented(0.01, k) - plain[:, ::-1]).mean()
        < np.abs(augmented(0.01, k) - plain).mean()
        for k in range(200)
    )
    assert 70 < mirrored < 130


def test_tiny_strength_moves_nothing() -> None:
    """Pixel centres map onto pixel centres: a shift by half a pixel would show."""
    image = np.zeros((72, 72, 3), np.uint8)
    image[:, 36:] = 200  # symmetric under mirroring, but for the sides' colours
    for k in range(20):
        out = augmented(1e-4, k, image)
        left, right = out[:, :31].mean(), out[:, 33:].mean()
        assert sorted((round(left), round(right))) == [0, 200]


@pytest.mark.parametrize(("strength", "low", "high"), [(0.49, 0, 0), (0.5, 30, 70), (1.0, 75, 125)])
def test_erasing_starts_at_a_half(strength: float, low: int, high: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (72, 72, 3), dtype=np.uint8)
    count = 0
    for k in range(200):
        out = augmented(strength, k, noise).astype(int)
        same_as_right = (np.abs(np.diff(out, axis=1)).sum(axis=2) == 0).sum()
        count += int(same_as_right > 50)
    assert low <= count <= high


def test_no_colour_shift_on_average() -> None:
    grey = np.full((72, 72, 3), 128, np.uint8)
    means = np.array([augmented(0.4, k, grey).mean(axis=(0, 1)) for k in range(300)])
    assert np.abs(means.mean(axis=0) - 128).max() < 4
    assert means.std(axis=0).min() > 5


def test_a_vertical_flip_needs_no_strength_and_changes_nothing_else() -> None:
    out, flipped = np.empty_like(IMAGE), 0
    for k in range(200):
        augment(IMAGE, out, Augmentation(vertical_flip=True), image_rng(0, 1, k))
        is_flipped = np.array_equal(out, IMAGE[::-1])
        assert is_flipped or np.array_equal(out, IMAGE)
        flipped += is_flipped
    assert 70 < flipped < 130


def test_hue_turns_colours_and_leaves_greys_and_brightness() -> None:
    colour = np.array([170, 100, 90])
    image = np.full((72, 72, 3), 128, np.uint8)
    image[:, 36:] = colour
    out, seen = np.empty_like(image), []
    for k in range(200):
        augment(image, out, Augmentation(hue=0.5), image_rng(0, 1, k))
        assert (out[:, :36] == 128).all()
        seen.append(out[0, 50].astype(float))
    luma = np.array(seen) @ [0.299, 0.587, 0.114]
    assert np.abs(luma - colour @ [0.299, 0.587, 0.114]).max() < 1.5
    assert {int(np.argmax(values)) for values in seen} == {0, 1, 2}
    augment(image, out, Augmentation(hue=0.02), image_rng(0, 1, 3))
    assert 0 < np.abs(out[0, 50].astype(float) - colour).max() < 12


@pytest.mark.parametrize("stored_px", [97, 144, 200, 288])
def test_much_larger_squares_do_not_alias(stored_px: int) -> None:
    """Lines one pixel wide average to grey; a warp that skips some would show stripes."""
    lines = np.zeros((stored_px, stored_px, 3), np.uint8)
    lines[::2] = 255
    for k in range(20):
        out = augmented(0.2, k, lines).astype(float)
        assert out.std(axis=(0, 1)).max() < 40  # 78 when warped at once, at any of these sizes


def test_a_plan_is_what_one_image_at_a_time_gets() -> None:
    augmentation, ids = Augmentation(0.9, True, 0.2), np.array([7, 3, 11])
    changes = plan_changes(augmentation, image_draws(5, 2, ids), 72, 64)
    for place, image_id in enumerate(ids.tolist()):
        one, all_at_once = np.empty((2, 64, 64, 3), np.uint8)
        augment(IMAGE, one, augmentation, image_rng(5, 2, image_id))
        apply_changes(IMAGE, all_at_once, changes, place)
        assert np.array_equal(one, all_at_once)
