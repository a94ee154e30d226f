"""Copies in disguise are found, other images are not; the hash is the library's."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from search.data import matching
from search.data.fitting import fitted
from search.data.hashes import near_hashes, spectra_of
from search.data.look import THUMB_PX
from search.data.matching import CROPS, WHOLE, group_numbers, near_pairs
from search.data.rendered_cars import CLASSES, draw_image

NUM_CARS = 24


def cars(seed: int = 0) -> list[Image.Image]:
    """Draw some cars, no two alike."""
    return [
        Image.fromarray(draw_image(CLASSES[k % len(CLASSES)], k, seed=seed)[0])
        for k in range(NUM_CARS)
    ]


def thumbs_of(images: list[Image.Image]) -> NDArray[np.uint8]:
    size = (THUMB_PX, THUMB_PX)
    return np.array([image.convert("L").resize(size, Image.Resampling.BOX) for image in images])


def pairs_of(images: list[Image.Image]) -> list[tuple[int, int]]:
    pairs, _ = near_pairs(thumbs_of(images), np.arange(len(images)))
    return [(i, j) for i, j in pairs.tolist()]


@pytest.fixture(scope="module")
def originals() -> list[Image.Image]:
    return cars()


def crop(left: float, top: float, share: float) -> Callable[[Image.Image], Image.Image]:
    def apply(image: Image.Image) -> Image.Image:
        x, y = round(left * image.width), round(top * image.height)
        width, height = round(share * image.width), round(share * image.height)
        return image.crop((x, y, x + width, y + height))

    return apply


def recompressed(image: Image.Image) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file)


DISGUISES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "larger": lambda image: image.resize((image.width * 4 // 3, image.height * 4 // 3)),
    "made square": lambda image: image.resize((128, 128)),
    "recompressed": recompressed,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "mirrored": ImageOps.mirror,
    "corner": crop(0.0, 0.05, 0.95),
    "centre": crop(0.025, 0.025, 0.95),
    "anywhere": crop(0.013, 0.04, 0.95),
    "smaller centre": crop(0.05, 0.05, 0.9),
    "mirrored corner": lambda image: crop(0.05, 0.0, 0.95)(ImageOps.mirror(image)),
    "small and recompressed": lambda image: recompressed(image.resize((100, 75))),
}


@pytest.mark.parametrize("disguise", list(DISGUISES))
def test_disguised_copies_are_found(originals: list[Image.Image], disguise: str) -> None:
    copies = [DISGUISES[disguise](image) for image in originals]
    expected = {(k, k + NUM_CARS) for k in range(NUM_CARS)}
    assert set(pairs_of(originals + copies)) == expected


def test_other_images_are_not(originals: list[Image.Image]) -> None:
    assert pairs_of(originals + cars(seed=1)) == []


def test_hash_is_the_library_s(originals: list[Image.Image]) -> None:
    thumbs = thumbs_of(originals)
    _, hashes, mirrored = spectra_of(thumbs, WHOLE)
    for thumb, ours, turned in zip(thumbs, hashes, mirrored, strict=True):
        assert f"{int(ours):016x}" == str(imagehash.phash(Image.fromarray(thumb)))
        assert f"{int(turned):016x}" == str(imagehash.phash(Image.fromarray(thumb[:, ::-1])))


@pytest.mark.parametrize("window", CROPS)
def test_window_is_nearly_the_cropped_image(
    originals: list[Image.Image], window: tuple[float, float, float, float]
) -> None:
    top, left, share, _ = window
    _, windows, _ = spectra_of(thumbs_of(originals), window)
    cropped = thumbs_of([crop(left, top, share)(image) for image in originals])
    _, wholes, _ = spectra_of(cropped, WHOLE)
    assert np.bitwise_count(windows ^ wholes).mean() < 3


def test_lookup_finds_what_comparing_all_finds() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 400, dtype=np.uint64)
    for k in range(200):  # neighbours at 0 to 14 bits
        flips = np.bitwise_or.reduce(
            np.uint64(1) << rng.choice(64, k % 15, replace=False).astype(np.uint64), initial=0
        )
        hashes[200 + k] = hashes[k] ^ np.uint64(flips)
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    for key_bits, max_bits in ((0, 3), (1, 7), (2, 11)):
        found = set()
        for left, right in near_hashes(hashes, hashes, max_bits=max_bits, key_bits=key_bits):
            found |= set(zip(left.tolist(), right.tolist(), strict=True))
        assert found == {(i, j) for i, j in np.argwhere(distance <= max_bits).tolist()}


def test_one_colour_is_never_alike() -> None:
    flat = np.full((50, THUMB_PX, THUMB_PX), 255, np.uint8)
    assert len(near_pairs(flat, np.zeros(50, np.int64))[0]) == 0


def test_enlarged_scans_of_one_digit_are_not_alike() -> None:
    """Tiny scans: the same digit by other hands differs in what an enlarged image lacks."""
    from sklearn.datasets import load_digits

    scans = load_digits().images[:400]
    large = [
        Image.fromarray((scan * 15.9).astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
        for scan in scans
    ]
    assert pairs_of(large) == []
    assert pairs_of([*large, large[7]]) == [(7, 400)]


def test_a_film_needs_only_as_many_pairs_as_connect_it(originals: list[Image.Image]) -> None:
    frame = thumbs_of(originals[:1])[0].astype(int)
    noise = np.random.default_rng(0).normal(0, 1, (300, THUMB_PX, THUMB_PX))
    film = np.clip(frame + noise, 0, 255).astype(np.uint8)
    parts = np.arange(300) % 3
    for of_part in (np.zeros(300, np.int64), parts):
        pairs, _ = near_pairs(film, of_part)
        assert group_numbers(300, pairs).max() == 0
        assert len(pairs) < 10_000  # of 44,850
    both = np.concatenate([pairs, pairs[:, ::-1]])
    known = np.unique(np.column_stack([both[:, 0], parts[both[:, 1]]]), axis=0)
    assert len(known) == 900  # every frame has a look-alike in every part


def test_groups_are_numbered_by_their_first_image() -> None:
    pairs = np.array([[1, 4], [4, 5], [0, 2]])
    assert group_numbers(6, pairs).tolist() == [0, 1, 0, 2, 1, 1]
    assert group_numbers(3, np.empty((0, 2), np.int64)).tolist() == [0, 1, 2]
    assert (
        near_pairs(np.empty((0, THUMB_PX, THUMB_PX), np.uint8), np.empty(0, np.int64))[0].size == 0
    )


def on_one_background(number: int) -> list[Image.Image]:
    """Draw one place with another small thing in each image."""
    place = cars()[0].convert("L")
    things = [image.convert("L") for image in cars(seed=1)]
    rng = np.random.default_rng(0)
    images = []
    for k in range(number):
        image, side = place.copy(), int(rng.integers(place.height // 4, place.height // 2))
        spot = int(rng.integers(place.width - side)), int(rng.integers(place.height - side))
        image.paste(things[k % NUM_CARS].resize((side, side)), spot)
        images.append(image)
    return images


def test_one_background_is_not_fitted_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []

    def counted(thumbs: NDArray[np.uint8], *rest: Any) -> NDArray[np.float32]:
        fits.append(len(thumbs))
        return fitted(thumbs, *rest)

    monkeypatch.setattr(matching, "fitted", counted)
    images = on_one_background(320)
    copies = [DISGUISES[disguise](images[3 * k]) for k, disguise in enumerate(DISGUISES)]
    thumbs = thumbs_of(images + copies)
    rounds: list[tuple[int, int]] = []
    pairs, _ = near_pairs(
        thumbs, np.zeros(len(thumbs), np.int64), lambda *done: rounds.append(done)
    )
    groups = group_numbers(len(thumbs), pairs)
    for k, disguise in enumerate(DISGUISES):
        assert groups[3 * k] == groups[320 + k], disguise
    assert sum(fits) < len(thumbs) ** 2 / 12
    assert rounds == [(k, 1 + len(CROPS)) for k in range(1, 2 + len(CROPS))]


def test_crowded_hashes_are_compared_not_looked_up() -> None:
    rng = np.random.default_rng(1)
    flips = np.uint64(1) << rng.integers(0, 64, (3, 500)).astype(np.uint64)
    hashes = np.uint64(0x123456789ABCDEF0) ^ np.bitwise_or.reduce(flips)
    found = [
        np.column_stack(block) for block in near_hashes(hashes, hashes, max_bits=5, key_bits=2)
    ]
    pairs = np.concatenate(found)
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    assert np.unique(pairs, axis=0).tolist() == np.argwhere(distance <= 5).tolist()
    assert len(pairs) < 1.3 * 500**2
