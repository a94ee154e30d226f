"""A process that trains imports no compiler, and has it as soon as it asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

TRAIN = """
import sys
from trainables.quick_timm import timm
import torch, torchvision
from trainables.averaging import Average
from trainables.optim import clip_gradients, make_optimizer
model = timm.create_model("test_resnet.r160_in1k", pretrained=False)
optimizer = make_optimizer(model, {optimizer!r}, lr=0.1, momentum=0.9, weight_decay=0.0)
model(torch.zeros(2, 3, 64, 64)).sum().backward()
clip_gradients(model.parameters(), 1.0)
before = model.get_parameter("fc.bias").detach().clone()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
optimizer.zero_grad()
assert not torch.equal(before, model.get_parameter("fc.bias"))
"""
IS_ABSENT = """
found = [name for name in sys.modules if name.startswith(("sympy", "torch._inductor", "triton"))]
assert not found, found[:3]
"""
COMPILE = """
double = torch.compile(lambda x: x + x, backend="eager")
assert double(torch.ones(2)).tolist() == [2.0, 2.0]
import torch._dynamo.config
from torch._dynamo.utils import is_compile_supported
assert is_compile_supported("cpu") and type(sys.modules["torch._dynamo"]).__name__ == "module"
torch._dynamo.explain(lambda x: x + x)(torch.ones(2))
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "nadam"])
def test_a_training_imports_no_compiler(optimizer: str) -> None:
    run(TRAIN.format(optimizer=optimizer) + IS_ABSENT)


def test_the_compiler_comes_when_it_is_asked_for() -> None:
    run(TRAIN.format(optimizer="adamw") + COMPILE)


def test_where_timm_was_imported_before_nothing_changes() -> None:
    run("import timm, sys\nreal = sys.modules['torch._dynamo']\n" + TRAIN.format(optimizer="lamb")
        + "assert sys.modules['torch._dynamo'] is real\n" + COMPILE)  # fmt: skip
