"""What a network costs whoever uses it: measured on the exported form, the same for the same."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search.goals import FOOTPRINT_METRICS, architecture_of
from trainables.backbones import build_classifier
from trainables.footprint import measure_footprint
from trainables.parameters import default_params
from trainables.saved import WEIGHTS_FILE, describe, load_model, save_model

SMALL = default_params("classifier") | {"depth": 2, "width": 8, "size_px": 32}


def test_size_is_that_of_the_exported_files(tmp_path: Path) -> None:
    found = measure_footprint(SMALL, 5)
    model = build_classifier(SMALL, 5, 32)
    info = describe(model, params=SMALL, classes=tuple("abcde"), size_px=32, side_px=32, fit="crop")
    save_model(model, tmp_path, info)
    exported, _ = load_model(tmp_path)
    assert found.num_parameters == sum(p.numel() for p in exported.parameters())
    header = 0.02  # names and shapes
    size = (tmp_path / WEIGHTS_FILE).stat().st_size / 1e6
    assert found.model_mb <= size <= found.model_mb + header
    assert tuple(asdict(found)) == FOOTPRINT_METRICS


def test_a_larger_network_takes_longer_and_nothing_is_left_behind() -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    begin = time.process_time()
    small = measure_footprint(SMALL, 5)
    large = measure_footprint(SMALL | {"depth": 4, "width": 48, "size_px": 96}, 5)
    assert time.process_time() - begin < 1, "well under half a second each"
    assert large.latency_ms > 4 * small.latency_ms > 0
    assert large.num_parameters > small.num_parameters
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_networks_of_one_name_have_the_same_size(data: st.DataObject) -> None:
    def draw() -> dict[str, Any]:
        drawn = {
            "backbone": data.draw(st.sampled_from(["small_cnn", "separable_cnn"])),
            "depth": data.draw(st.integers(2, 3)),
            "width": data.draw(st.sampled_from([8, 16])),
            "hidden_units": data.draw(st.sampled_from([0, 8])),
            "dropout": data.draw(st.floats(0, 0.9)),
            "optimizer": data.draw(st.sampled_from(["adamw", "sgd"])),
        }
        return SMALL | drawn

    one, other = draw(), draw()
    counts = [sum(p.numel() for p in build_classifier(x, 3, 32).parameters()) for x in (one, other)]
    if architecture_of(one) == architecture_of(other):
        assert counts[0] == counts[1]
    else:
        assert counts[0] != counts[1]


def test_a_network_that_cannot_be_built_says_so() -> None:
    with pytest.raises(ValueError, match="timm model name"):
        measure_footprint(SMALL | {"backbone": "resnet9000"}, 5)
