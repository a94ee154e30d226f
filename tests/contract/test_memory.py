"""A training that does not fit is cut into pieces; one that is over leaves nothing behind."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from bisect import bisect_left
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from tests.memory_data import coloured_noise
from tests.training import Log, fit, params
from trainables.accumulation import Gradients
from trainables.backbones import build_classifier
from trainables.classifier import train
from trainables.contract import TrialInputs
from trainables.lean import LeanReLU6
from trainables.losses import make_loss
from trainables.memory import eval_batch, micro_batch_for, peak_mb, reset_peak
from trainables.precision import MODES, default_mode
from trainables.process import save_checkpoint

FLOAT32 = MODES["float32 channels-last"]
PLAIN = make_loss(label_smoothing=0.0, class_weights="none", train_counts=(1, 1, 1), device="cpu")


class Narrow(nn.Module):
    """Runs out of memory on more than `room` images, as a GPU does."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.room = room
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        out: torch.Tensor = self.layer(x)
        return out


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(15, 4), torch.randint(0, 3, (15,))
    model = Narrow(room=4)
    gradients = Gradients(model, PLAIN, FLOAT32.autocast("cpu"))
    loss, logits = gradients.add(x, y)
    assert model.sizes == [15, 8, 4, 4, 4, 3]
    assert gradients.micro_batch == 4
    assert logits.shape == (15, 3)
    found = model.layer.weight.grad
    expected = PLAIN(model.layer(x), y)
    assert loss == pytest.approx(expected.item())
    (gradient,) = torch.autograd.grad(expected, model.layer.weight)
    assert found is not None
    assert torch.allclose(found, gradient, atol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_pieces_give_the_update_of_the_whole_batch(loss: str, soft: bool) -> None:
    """Also with class weights, where a piece weighs as much as its images do."""
    torch.manual_seed(0)
    x, labels = torch.randn(13, 4), torch.arange(13) // 5
    y = torch.rand(13, 3).softmax(1) if soft else labels
    weighted = make_loss(
        label_smoothing=0.1,
        class_weights="balanced",
        train_counts=(90, 30, 5),
        device="cpu",
        loss=loss,
        focal_gamma=1.5,
    )
    model = Narrow(room=4)
    expected = weighted(model.layer(x), y)
    (gradient,) = torch.autograd.grad(expected, model.layer.weight)
    found, _ = Gradients(model, weighted, FLOAT32.autocast("cpu")).add(x, y)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert model.layer.weight.grad is not None
    assert torch.allclose(model.layer.weight.grad, gradient, atol=1e-6)


@pytest.mark.parametrize("num_images", [2, 3, 5, 7, 9, 64])
def test_no_piece_is_of_one_image_however_little_fits(num_images: int) -> None:
    model = Narrow(room=3)
    images, labels = torch.randn(num_images, 4), torch.zeros(num_images, dtype=torch.int64)
    gradients = Gradients(model, PLAIN, FLOAT32.autocast("cpu"))
    gradients.add(images, labels)
    assert min(model.sizes) >= 2
    assert gradients.micro_batch in (None, 3)


def test_a_lone_image_is_normalised_by_running_statistics() -> None:
    """Batch norm behind global pooling, as in MobileNetV3, cannot train on one image."""
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    gradients = Gradients(model, PLAIN, FLOAT32.autocast("cpu"))
    loss, _ = gradients.add(torch.randn(1, 4), torch.zeros(1, dtype=torch.int64))
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert all(module.training for module in model.modules())
    gradients.add(torch.randn(2, 4), torch.zeros(2, dtype=torch.int64))
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("shape")])
def test_what_pieces_do_not_help_is_raised(error: RuntimeError) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error

    gradients = Gradients(Broken(), PLAIN, FLOAT32.autocast("cpu"))
    with pytest.raises(RuntimeError, match=str(error)):
        gradients.add(torch.zeros(8, 4), torch.zeros(8, dtype=torch.int64))


def test_pieces_are_foreseen_from_what_two_images_keep() -> None:
    model = build_classifier(params(backbone="resnet18"), 3, 64).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    sizes = [
        micro_batch_for(model, 64, 64, FLOAT32, limit)
        for limit in (10**12, 4 * 10**8, 3 * 10**8, 2 * 10**8, 0)
    ]
    assert sizes[0] == 64
    assert sizes[-1] == 3
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 2
    half = micro_batch_for(model, 64, 64, MODES["bfloat16 channels-last"], 3 * 10**8)
    assert half > sizes[2]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_forecast_is_near_the_truth() -> None:
    """The rise of the process's peak lies between what is kept and the limit that would cut."""
    code = (
        "import torch;from tests.contract.test_memory import rise;torch.set_num_threads(1);"
        "print(*rise())"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, needed = map(float, done.stdout.split())
    assert 0.6 * needed < taken < 1.1 * needed


def rise() -> tuple[float, float]:
    """Return how many MB a step takes, and the smallest limit that leaves its batch whole."""
    model = build_classifier(params(backbone="mobilenetv2_100"), 3, 96).train()
    images = torch.zeros(32, 96, 96, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    reset_peak("cpu")
    before = peak_mb("cpu")
    gradients = Gradients(model, PLAIN, FLOAT32.autocast("cpu"))
    gradients.add(images, torch.zeros(32, dtype=torch.int64))
    taken = peak_mb("cpu") - before

    def fitting(megabytes: int) -> int:
        return micro_batch_for(model, 32, 96, FLOAT32, megabytes * 10**6)

    return taken, bisect_left(range(3000), 32, key=fitting)


def test_a_limit_shows_in_the_reports_and_holds_after_a_resume(tmp_path: Path) -> None:
    data, whole, rest = coloured_noise(), Log(tmp_path / "at 1", at=1), Log()
    few = TrialInputs(params(), data, max_epochs=3, memory_bytes=0)
    train(few, whole)
    assert {report.micro_batch for report in whole.reports} == {3}
    fit(data, rest, epochs=3, resume_from=whole.path)  # on a machine with more memory
    assert rest.curve == whole.curve[1:]


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_a_cpu_without_room_goes_on_in_pieces() -> None:
    code = (
        "import resource, torch\n"
        "from tests.training import Log, fit\n"
        "from tests.memory_data import coloured_noise\n"
        "log, data = Log(), coloured_noise(100, 64)\n"
        "fit(data, Log(), epochs=1, batch_size=8, width=64)\n"
        "with open('/proc/self/statm') as file:\n"
        "    used = int(file.read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 450 * 2**20,) * 2)\n"
        "fit(data, log, epochs=1, batch_size=225, width=64)\n"
        "print(log.reports[0].micro_batch)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 3 <= int(done.stdout) < 225


@pytest.mark.parametrize("wide", [False, True])
def test_lean_relu6_is_relu6(wide: bool) -> None:
    torch.manual_seed(0)
    x = (torch.randn(200) * 5).to(torch.bfloat16 if wide else torch.float32)
    x[:4] = torch.tensor([0.0, 6.0, -1e-9, float("inf")])
    gradients = []
    for module in (nn.ReLU6(inplace=True), LeanReLU6(inplace=True)):
        leaf = x.clone().requires_grad_()
        out = module(leaf * 1)
        (out * torch.arange(200)).sum().backward()
        gradients.append((out.detach(), leaf.grad))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_counting_a_step_leaves_nothing_behind() -> None:
    model = build_classifier(params("classifier", backbone="resnet18", pretrained=False), 3, 96)
    sizes = []
    for _ in range(6):
        micro_batch_for(model, 32, 96, MODES["float32 channels-last"], 10**10)
        sizes.append(psutil.Process().memory_info().rss)
    assert sizes[-1] - sizes[1] < 40 * 2**20  # a graph is 60 MB


def test_fifty_trainings_leave_nothing_behind() -> None:
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    data, sizes = coloured_noise(), []
    for k in range(50):
        recipe = {"backbone": "mobilenetv3_small_050"} if k % 10 == 0 else {}
        fit(data, epochs=1, ema=0.9, batch_size=9 + k % 3, **recipe)
        sizes.append(psutil.Process().memory_info().rss)
    assert max(sizes[40:]) - max(sizes[10:20]) < 20 * 2**20
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.cuda.is_available() or torch.cuda.memory_allocated() == 0


def test_the_default_mode_is_channels_last() -> None:
    assert default_mode("resnet18", "cpu").channels_last


def test_a_checkpoint_has_the_checksums_by_which_damage_is_known(tmp_path: Path) -> None:
    fit(coloured_noise(), Log(tmp_path / "at 1", at=1), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["at 1"]
    with zipfile.ZipFile(tmp_path / "at 1") as file:
        assert file.testzip() is None


def test_half_a_checkpoint_does_not_stay(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters())
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        save_checkpoint(tmp_path / "a.pt", 1, layer, optimizer, more=lambda: None)
    assert not list(tmp_path.iterdir())


def test_validation_forwards_few_large_images_at_once_on_a_cpu() -> None:
    sizes = [eval_batch(size_px, "cpu") for size_px in (28, 64, 96, 128, 160, 224, 512)]
    assert sizes == [64, 50, 22, 12, 8, 8, 8]
    assert eval_batch(224, "cuda") == 64
