"""Schedules, weight decay, losses and figures against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score
from sklearn.utils.class_weight import compute_class_weight

from trainables.backbones import build_classifier
from trainables.contract import NonFiniteLossError
from trainables.loop import RunningLoss, accuracies
from trainables.losses import balanced_weights, effective_weights, make_loss
from trainables.optim import Schedule, lr_factor, make_optimizer
from trainables.own_cnns import OwnCNN
from trainables.parameters import default_params

SCHEDULES = ("cosine", "one_cycle", "step", "constant")


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(progress=st.floats(0, 1), warmup=st.floats(0, 0.9))
def test_rate_stays_between_zero_and_its_peak(
    schedule: str, progress: float, warmup: float
) -> None:
    assert 0 <= lr_factor(progress, schedule, warmup) <= 1
    assert lr_factor(warmup, schedule, warmup) == pytest.approx(
        1 if schedule != "step" or warmup < 0.5 else 0.1 if warmup < 0.75 else 0.01
    )


def test_shapes_of_the_schedules() -> None:
    assert lr_factor(0.05, "cosine", 0.1) == pytest.approx(0.5)
    assert lr_factor(0.55, "cosine", 0.1) == pytest.approx(0.5)
    assert lr_factor(1.0, "one_cycle", 0.1) == pytest.approx(0)
    assert lr_factor(0.0, "one_cycle", 0.1) == pytest.approx(1 / 25)
    steps = [lr_factor(p, "step", 0.1) for p in (0.3, 0.5, 0.74, 0.75, 1.0)]
    assert steps == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])
    assert lr_factor(1.0, "constant", 0.0) == 1
    with pytest.raises(ValueError, match="schedule: must be cosine"):
        lr_factor(0.5, "linear", 0.0)


@pytest.mark.parametrize(
    ("optimizer", "key", "high"),
    [("sgd", "momentum", 0.9), ("rmsprop", "momentum", 0.9), ("adamw", "betas", 0.95)],
)
def test_one_cycle_lowers_momentum_at_the_peak(optimizer: str, key: str, high: float) -> None:
    model = torch.nn.Linear(2, 2)
    schedule = Schedule(make_optimizer(model, optimizer, 1.0, 0.9, 0.0), "one_cycle", 1.0, 0.9, 0.5)
    seen = []
    for progress in (0.5, 1.0):
        schedule.set(progress)
        value = schedule.optimizer.param_groups[0][key]
        seen.append(value[0] if isinstance(value, tuple) else value)
    assert seen == pytest.approx([high - 0.1, high])


@pytest.mark.parametrize("backbone", ["small_cnn", "test_vit"])
def test_biases_norms_and_position_tables_are_not_decayed(backbone: str) -> None:
    model = build_classifier(default_params("classifier") | {"backbone": backbone}, 3, 32)
    decayed, plain = make_optimizer(model, "adamw", 1e-3, 0.9, 0.05).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kept = {names[id(parameter)] for parameter in plain["params"]}
    assert {names[id(p)] for p in decayed["params"]} | kept == set(names.values())
    assert "head.1.bias" in kept
    assert "head.1.weight" not in kept
    assert ("backbone.pos_embed" in kept) == (backbone == "test_vit")


def test_unknown_optimizer_is_named() -> None:
    with pytest.raises(ValueError, match="optimizer: must be sgd"):
        make_optimizer(torch.nn.Linear(2, 2), "adamm", 1.0, 0.9, 0.0)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat([0, 1, 2], [30, 5, 1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights((30, 5, 1)).numpy() == pytest.approx(expected)
    assert torch.isfinite(balanced_weights((4, 0))).all()


def test_effective_numbers_lie_between_no_weights_and_balanced_ones() -> None:
    counts = (10, 100, 100_000)
    found = effective_weights(counts)
    expected = torch.tensor([(1 - 0.999) / (1 - 0.999**n) for n in counts])
    assert found.numpy() == pytest.approx((expected / expected.mean()).numpy(), rel=1e-5)
    balanced = balanced_weights(counts)
    assert 1 < found[0] / found[2] < balanced[0] / balanced[2]
    assert torch.isfinite(effective_weights((4, 0))).all()


@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("soft", [False, True])
def test_focal_loss_is_the_cross_entropy_of_images_that_are_hard(weights: str, soft: bool) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 3), torch.randint(0, 3, (12,))
    targets = torch.rand(12, 3).softmax(1) if soft else labels
    known = {"label_smoothing": 0.1, "class_weights": weights, "train_counts": (9, 5, 2)}
    plain = make_loss(**known, device="cpu")(logits, targets)
    same, focal = (
        make_loss(**known, device="cpu", loss="focal", focal_gamma=gamma)(logits, targets)
        for gamma in (0.0, 2.0)
    )
    assert same.item() == pytest.approx(plain.item(), rel=1e-5)
    assert focal < plain
    one = make_loss(label_smoothing=0, class_weights="none", train_counts=(1, 1), device="cpu",
                    loss="focal", focal_gamma=2.0)  # fmt: skip
    p = 1 / (1 + math.exp(-2))
    found = one(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).item()
    assert found == pytest.approx(-((1 - p) ** 2) * math.log(p), rel=1e-5)


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_smoothing_favours_no_class_however_rare(kind: str) -> None:
    """Where images of a class look alike, weights must not move what is best for them."""
    loss = make_loss(
        label_smoothing=0.3,
        class_weights="balanced",
        train_counts=(960, 30, 10),
        device="cpu",
        loss=kind,
        focal_gamma=2.0,
    )
    for label in range(3):
        logits = torch.zeros(1, 3, requires_grad=True)
        loss(logits, torch.tensor([label])).backward()
        assert logits.grad is not None
        one, other = (logits.grad[0, k].item() for k in range(3) if k != label)
        assert one == pytest.approx(other, rel=1e-4)  # rare or not, both are as wrong


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_an_image_weighs_as_much_as_its_class(kind: str) -> None:
    known = {"label_smoothing": 0.2, "device": "cpu", "loss": kind, "focal_gamma": 1.0}
    weighted = make_loss(class_weights="balanced", train_counts=(6, 2), **known)
    plain = make_loss(class_weights="none", train_counts=(6, 2), **known)
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 0, 1])
    each = [plain(logits[k : k + 1], labels[k : k + 1]).item() for k in range(4)]
    weights = [2 / 3, 2 / 3, 2 / 3, 2]
    expected = np.average(each, weights=weights)
    assert weighted(logits, labels).item() == pytest.approx(expected, rel=1e-5)
    assert float(weighted.mass(labels)) == pytest.approx(sum(weights))


def test_focal_loss_has_gradients_where_the_model_is_sure() -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
    loss = make_loss(
        label_smoothing=0.1,
        class_weights="none",
        train_counts=(1, 1, 1),
        device="cpu",
        loss="focal",
        focal_gamma=0.5,
    )
    loss(logits, torch.tensor([0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_loss_smooths_and_stays_float32() -> None:
    loss = make_loss(label_smoothing=0.2, class_weights="none", train_counts=(1, 1), device="cpu")
    found = loss(torch.tensor([[2.0, 0.0]], dtype=torch.bfloat16), torch.tensor([0]))
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert found.item() == pytest.approx(0.9 * right + 0.1 * wrong)
    assert found.dtype == torch.float32


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40),
)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_figures_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    y_true, y_pred = zip(*pairs, strict=True)
    confusion = confusion_matrix(y_true, y_pred, labels=range(4))
    accuracy, balanced, f1 = accuracies(confusion)
    assert accuracy == pytest.approx(np.mean(np.equal(y_true, y_pred)))
    assert balanced == pytest.approx(balanced_accuracy_score(y_true, y_pred))
    assert f1 == pytest.approx(f1_score(y_true, y_pred, average="macro"))


def test_running_loss_weighs_by_images_and_names_the_bad_step() -> None:
    running = RunningLoss("epoch 2", "cpu")
    running.add(torch.tensor(1.0), 3)
    running.add(torch.tensor(5.0), 1)
    assert running.mean() == pytest.approx(2)
    with pytest.raises(NonFiniteLossError, match="epoch 2, step 3: loss must be finite, got nan"):
        running.add(torch.tensor(float("nan")), 1)


def test_running_loss_asks_a_gpu_late_but_names_the_first_bad_step() -> None:
    running = RunningLoss("epoch 1", "cuda")  # the rule follows the name; the tensors may be here
    for value in (1.0, float("inf"), float("nan")):
        running.add(torch.tensor(value), 1)
    with pytest.raises(NonFiniteLossError, match="step 2: loss must be finite, got inf"):
        running.mean()


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize(("depth", "size_px", "map_px"), [(1, 32, 16), (4, 128, 8), (8, 20, 5)])
def test_own_cnns_take_any_depth_and_size(
    separable: bool, depth: int, size_px: int, map_px: int
) -> None:
    net = OwnCNN(depth=depth, width=8, kernel_size=5, size_px=size_px, separable=separable)
    maps = net.blocks(torch.zeros(2, 3, size_px, size_px))
    assert maps.shape == (2, min(8 * 2 ** (depth - 1), 64), map_px, map_px)
    assert net.num_features == maps.shape[1] == net.feature_info[-1]["num_chs"]


@pytest.mark.parametrize("separable", [False, True])
def test_signals_keep_their_size_through_fresh_layers(separable: bool) -> None:
    torch.manual_seed(0)
    net = OwnCNN(depth=6, width=16, kernel_size=3, size_px=64, separable=separable)
    features = net.train()(torch.randn(16, 3, 64, 64))
    assert 0.1 < features.std() < 2
