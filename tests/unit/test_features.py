"""Features of frozen backbones: extracted once, shared, and the very ones the model computes."""

from __future__ import annotations

import dataclasses
import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file

from tests.memory_data import MemoryData, coloured_noise
from trainables import features
from trainables.contract import Augmentation, TrialInputs
from trainables.features import Features, frozen_classifier, open_features
from trainables.heads import build_head
from trainables.linear_probe import QuickDropout, ScaledHead, feature_scale, train
from trainables.parameters import default_params

PARAMS = default_params("linear_probe") | {"backbone": "mobilenetv3_small_050"}


@dataclasses.dataclass(frozen=True)
class CountedData(MemoryData):
    """Notes which views of the images were asked for; "val" is one of them."""

    asked: list[int | str] = dataclasses.field(default_factory=list)

    def view_batches(
        self, *, batch_size: int, view: int, augmentation: Augmentation, seed: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        self.asked.append(view)
        return super().view_batches(
            batch_size=batch_size, view=view, augmentation=augmentation, seed=seed
        )

    def val_batches(self, *, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        self.asked.append("val")
        return super().val_batches(batch_size=batch_size)


@pytest.fixture
def data() -> CountedData:
    return CountedData(**vars(coloured_noise()))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "-a store,\nof 'fëatures'"


def opened(
    data: MemoryData, store: Path | None, weights: Path | None = None, **changes: Any
) -> Features:
    inputs = TrialInputs(PARAMS | changes, data, max_epochs=1, weights=weights, feature_store=store)
    return open_features(inputs)


def ignore(report: object, save: object) -> None:
    """Take no notice of an epoch."""


def test_they_are_what_the_backbone_says(data: CountedData, store: Path) -> None:
    stored, held = opened(data, store), opened(data, None)
    model = frozen_classifier(TrialInputs(PARAMS, data, max_epochs=1))
    images = torch.from_numpy(data.images[data.train]).permute(0, 3, 1, 2)
    expected = model.features(images).numpy()
    assert stored.views[0].dtype == np.float16
    assert stored.views[0] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert np.array_equal(stored.labels, data.labels[data.train])
    assert np.array_equal(stored.val[1], data.labels[data.val])
    for one, other in zip((*stored.views, *stored.val), (*held.views, *held.val), strict=True):
        assert np.array_equal(one, other)


def test_trials_share_what_they_have_in_common(data: CountedData, store: Path) -> None:
    opened(data, store)
    assert data.asked == [0, "val"]
    opened(data, store, lr=0.3, dropout=0.7)
    opened(data, store, num_views=5)  # without a strength there are no views
    assert data.asked == [0, "val"]
    with_two = opened(data, store, augment_strength=0.5, num_views=2)
    assert data.asked == [0, "val", 1, 2]
    with_three = opened(data, store, augment_strength=0.5, num_views=3)
    assert data.asked == [0, "val", 1, 2, 3]
    assert [len(f.views) for f in (with_two, with_three)] == [3, 4]
    assert not np.array_equal(with_two.views[0], with_two.views[1])
    opened(data, store, augment_strength=0.25, num_views=1)
    assert data.asked == [0, "val", 1, 2, 3, 1]


def test_other_images_weights_and_backbones_share_nothing(
    data: CountedData, store: Path, tmp_path: Path
) -> None:
    opened(data, store)
    opened(data, store, backbone="mobilenetv3_small_075")
    opened(dataclasses.replace(data, train=data.train[1:]), store)
    files = []
    for number in range(2):
        torch.manual_seed(number)
        state = frozen_classifier(TrialInputs(PARAMS, data, max_epochs=1)).backbone.state_dict()
        state = {name: value.contiguous() for name, value in state.items()}
        state["conv_stem.weight"] += number
        files.append(tmp_path / f"{number}" / "same name.safetensors")
        files[-1].parent.mkdir()
        save_file(state, files[-1])
        opened(data, store, weights=files[-1])
    assert len(list(store.iterdir())) == 5
    asked = len(data.asked)
    files[1].parent.joinpath("other name.safetensors").write_bytes(files[1].read_bytes())
    opened(data, store, weights=files[1].parent / "other name.safetensors")
    assert len(data.asked) == asked


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def of_another_shape(path: Path) -> None:
    np.save(path, np.zeros((2, 3), np.float16))


@pytest.mark.parametrize("damage", [Path.unlink, cut_short, of_another_shape])
@pytest.mark.parametrize("name", ["train-clean.npy", "train-clean.labels.npy"])
def test_a_damaged_block_is_extracted_again(
    data: CountedData, store: Path, damage: Callable[[Path], None], name: str
) -> None:
    before = [array.copy() for array in (*opened(data, store).views, opened(data, store).labels)]
    (folder,) = store.iterdir()
    damage(folder / name)
    after = opened(data, store)
    assert data.asked == [0, "val", 0]
    assert np.array_equal(before[0], after.views[0])
    assert np.array_equal(before[1], after.labels)


def test_an_interrupted_extraction_leaves_nothing_to_be_read(
    data: CountedData, store: Path
) -> None:
    class Cut(CountedData):
        def view_batches(self, **wanted: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            yield from list(super().view_batches(**wanted | {"batch_size": 5}))[:2]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(Cut(**vars(data)), store)
    assert not list(store.rglob("*.npy")), "half a block was left"
    assert len(opened(data, store).views[0]) == len(data.train)


def test_features_that_the_disk_cannot_hold_are_not_begun(
    data: CountedData, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SPARE_BYTES", 10**18)
    with pytest.raises(OSError, match=r"features need .* MB of disk, got .* MB free") as caught:
        opened(data, store)
    assert caught.value.errno == errno.ENOSPC
    assert not [path for path in store.rglob("*") if path.suffix in (".npy", ".tmp")]


def test_trials_at_once_extract_once(data: CountedData, store: Path) -> None:
    found: list[Features] = []
    workers = [threading.Thread(target=lambda: found.append(opened(data, store))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(map(str, data.asked)) == ["0", "val"]
    assert len(found) == 4


def test_what_another_trial_is_extracting_is_waited_for_last(
    data: CountedData, store: Path
) -> None:
    with_views = {"augment_strength": 0.5, "num_views": 2}
    folder = store / features._folder_name(TrialInputs(PARAMS, data, max_epochs=1))
    folder.mkdir(parents=True)
    found: list[Features] = []
    worker = threading.Thread(target=lambda: found.append(opened(data, store, **with_views)))
    with FileLock(folder / ".train-clean.lock"):
        worker.start()
        deadline = time.monotonic() + 120
        while not (folder / "val.npy").exists():
            assert time.monotonic() < deadline, "it waits for the block of another trial"
            time.sleep(0.05)
        assert data.asked == [1, 2, "val"]
    worker.join()
    assert data.asked == [1, 2, "val", 0]
    alone = opened(data, None, **with_views)
    assert all(np.array_equal(a, b) for a, b in zip(found[0].views, alone.views, strict=True))


def test_batches_pass_over_every_image_in_views_drawn_at_random(data: CountedData) -> None:
    features = opened(data, None, augment_strength=0.5, num_views=2)
    batches = list(features.train_batches(batch_size=4, passes=12, epoch=3, seed=5))
    labels = torch.cat([labels for _, labels in batches])
    assert torch.equal(labels.bincount(), 12 * torch.tensor(data.train_counts))
    rows = torch.cat([rows for rows, _ in batches])
    assert rows.dtype == torch.float32
    seen = {row.numpy().tobytes() for row in rows}
    each = [{row.astype(np.float32).tobytes() for row in view} for view in features.views]
    assert seen <= set.union(*each)
    assert all(view & seen for view in each)
    again = features.train_batches(batch_size=4, passes=12, epoch=3, seed=5)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again, strict=True))
    other = features.train_batches(batch_size=4, passes=12, epoch=4, seed=5)
    assert not torch.equal(batches[0][0], next(other)[0])


def test_a_shared_store_does_not_change_a_curve(data: CountedData, store: Path) -> None:
    curves = []
    for folder in (None, store, store):
        losses: list[float] = []
        inputs = TrialInputs(PARAMS, data, max_epochs=3, seed=4, feature_store=folder)
        train(inputs, lambda report, save, losses=losses: losses.append(report.train_loss))
        curves.append(losses)
    assert curves[0] == curves[1] == curves[2]


@pytest.mark.parametrize("hidden_units", [0, 6])
def test_the_scale_is_taken_into_the_weights_without_rounding(hidden_units: int) -> None:
    rng = np.random.default_rng(0)
    features = (300 * rng.random((50, 8))).astype(np.float16)
    scale = feature_scale(features)
    assert scale == 2.0**-8
    head = build_head(8, 3, hidden_units=hidden_units, dropout=0.5)
    scaled = ScaledHead(head, scale).eval()
    rows = torch.from_numpy(features).float()
    assert torch.equal(scaled(rows), scaled.unscaled()(rows))
    assert feature_scale(np.zeros((3, 4), np.float16)) == 1.0


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_quick_dropout_drops_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    ones = torch.ones(301, 333, requires_grad=True)
    dropout = QuickDropout(p)
    dropped = dropout(ones)
    values = dropped.detach()
    assert float((values == 0).float().mean()) == pytest.approx(p, abs=0.01)
    assert float(values.mean()) == pytest.approx(1.0, abs=0.05)
    dropped.sum().backward()
    assert ones.grad is not None
    assert torch.equal(ones.grad, values)
    assert torch.equal(dropout.eval()(ones), ones)
