"""The training benchmark measures what it says, on the smallest of jobs."""

from __future__ import annotations

import pytest

from benchmarks.steps import Job, bare_steps, make_noise, our_round, plain_round, second_epoch
from benchmarks.training import MOST_SAVING, Row, saving_share
from trainables.precision import MODES

JOB = Job("small_cnn", 32, 2, "float32 channels-last")


@pytest.mark.parametrize("backbone", ["small_cnn", "mobilenetv3_small_050"])
def test_both_sides_train(backbone: str) -> None:
    job = Job(backbone, 32, 2, "float32 channels-last")
    ours, plain = our_round(job), plain_round(job)
    row = Row(job, (ours,), (plain,), aim=1e9)
    assert ours.cost.cpu_seconds > 0
    assert row.ratio.median == pytest.approx(plain.cost.cpu_seconds / ours.cost.cpu_seconds)
    assert row.met is False
    assert ours.peak_mb > 100


def test_an_epoch_is_never_cheaper_than_its_bare_steps() -> None:
    data = make_noise(JOB)
    ratios = [
        second_epoch(JOB, data).cpu_seconds / bare_steps(JOB, data).cpu_seconds for _ in range(5)
    ]
    assert max(ratios) > 1


def test_saving_is_a_small_share_of_an_epoch() -> None:
    assert JOB.mode in MODES
    assert 0 < saving_share(JOB) < MOST_SAVING
