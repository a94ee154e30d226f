"""Early stopping: the real scheduler, fed by hand, over the ledger of an earlier process."""

from __future__ import annotations

import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.records import TrialState
from search.rungs import bracket_of, ladders
from search.tune.ledger import Ledger
from search.tune.scheduler import StudyScheduler

MAX_EPOCHS = 9


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "events.jsonl", "val_accuracy", "maximize")


def scheduler_over(ledger: Ledger, rule: str = "asha", brackets: int = 1) -> StudyScheduler:
    return StudyScheduler(
        ledger,
        max_epochs=MAX_EPOCHS,
        min_epochs=1,
        reduction_factor=3,
        brackets=brackets,
        scheduler=rule,
    )


def past(ledger: Ledger, number: int, values: list[float], state: str, **searched: Any) -> None:
    """Write down a trial of an earlier process; without a state it was cut off."""
    ledger.start(number, searched, seed=number)
    for epoch, value in enumerate(values, 1):
        ledger.epoch(number, {"epoch": epoch, ledger.metric: value})
    ledger.end(number, TrialState(state))


def tune_trial(number: int, **searched: Any) -> Any:
    return SimpleNamespace(trial_id=f"t{number}", config={"number": number, "searched": searched})


def report(scheduler: StudyScheduler, number: int, epoch: int, value: Any, **searched: Any) -> bool:
    """Report one epoch as Tune does; tell whether the trial goes on."""
    result = {"epoch": epoch, "val_accuracy": value, "val_loss": value}
    decision = scheduler.on_trial_result(None, tune_trial(number, **searched), result)
    assert (decision == "STOP") == (f"t{number}" in scheduler.pruned)
    return decision == "CONTINUE"


def at_first_rung(scheduler: StudyScheduler, values: list[float]) -> list[bool]:
    return [report(scheduler, number, 1, value) for number, value in enumerate(values, 1)]


def test_the_first_trials_at_a_rung_are_too_few_to_be_judged(ledger: Ledger) -> None:
    assert at_first_rung(scheduler_over(ledger), [0.9, 0.1, 0.2, 0.3]) == [True, True, False, True]


def test_equal_trials_are_not_cut(ledger: Ledger) -> None:
    assert all(at_first_rung(scheduler_over(ledger), [0.125] * 20))
    assert all(at_first_rung(scheduler_over(ledger, "median"), [0.125] * 20))


@pytest.mark.parametrize("rule", ["asha", "hyperband", "median"])
def test_losses_are_better_when_lower(tmp_path: Path, rule: str) -> None:
    ledger = Ledger(tmp_path / "losses.jsonl", "val_loss", "minimize")
    scheduler = scheduler_over(ledger, rule)
    for number in range(60):
        good = report(scheduler, 2 * number + 1, 1, 0.5)
        assert good, "none was better"
        report(scheduler, 2 * number + 2, 1, 9.0)
    assert 30 < len(scheduler.pruned) < 60
    assert all(int(name[1:]) % 2 == 0 for name in scheduler.pruned)


@pytest.mark.parametrize("rule", ["asha", "hyperband", "median", "none"])
def test_the_default_recipe_is_never_stopped(ledger: Ledger, rule: str) -> None:
    for number in range(1, 8):
        past(ledger, number, [0.9] * 9, "complete")
    scheduler = scheduler_over(ledger, rule)
    assert all(report(scheduler, 0, epoch, 0.0) for epoch in range(1, 10))


def test_none_stops_nothing(ledger: Ledger) -> None:
    scheduler = scheduler_over(ledger, "none")
    assert all(at_first_rung(scheduler, [1 - k / 30 for k in range(30)]))


def test_trials_are_compared_at_rungs_only_and_never_at_the_top(ledger: Ledger) -> None:
    for number in range(1, 8):
        past(ledger, number, [0.9] * 9, "complete")
    for epoch in range(1, 10):
        scheduler = scheduler_over(ledger)
        assert report(scheduler, 9, epoch, 0.0) == (epoch not in (1, 3)), epoch


def test_each_trainable_is_compared_with_its_own_kind(ledger: Ledger) -> None:
    for number in range(3):
        past(ledger, number, [0.9], "pruned", trainable="linear_probe")
    scheduler = scheduler_over(ledger)
    assert report(scheduler, 3, 1, 0.3, trainable="classifier")
    assert report(scheduler, 4, 1, 0.5, trainable="classifier")
    assert not report(scheduler, 5, 1, 0.2, trainable="classifier")
    assert not report(scheduler, 6, 1, 0.8, trainable="linear_probe")


def test_brackets_are_separate_and_a_trial_keeps_its_own(ledger: Ledger) -> None:
    """The same losers in every bracket: only who is compared at epoch 1 is cut there."""
    brackets = ladders("hyperband", 1, MAX_EPOCHS, 3, 1)
    assert brackets == ((1, 3), (3,), ())
    scheduler = scheduler_over(ledger, "hyperband")
    for number in range(1, 61):
        worse = 1 - number / 100
        alive, epoch = True, 0
        while alive and epoch < MAX_EPOCHS:
            epoch += 1
            alive = report(scheduler, number, epoch, worse)
        ladder = brackets[bracket_of(number, brackets, 3)]
        assert epoch in (*ladder, MAX_EPOCHS)
    ends = [bracket_of(int(name[1:]), brackets, 3) for name in scheduler.pruned]
    assert set(ends) == {0, 1}, "the last bracket trains to the end"


def test_median_rule_waits_then_stops_what_is_below_the_running_averages(ledger: Ledger) -> None:
    scheduler = scheduler_over(ledger, "median")
    for number, last in enumerate([0.2, 0.4, 0.6, 0.8], 1):
        assert all(report(scheduler, number, epoch, last) for epoch in (1, 2))
    assert not report(scheduler, 5, 1, 0.45), "the median of the four is 0.5"
    assert report(scheduler, 6, 1, 0.5), "as good as it"
    assert report(scheduler, 6, 2, 0.1), "its best epoch counts"


def test_median_rule_spares_the_first_epochs(ledger: Ledger) -> None:
    for number in range(1, 8):
        past(ledger, number, [0.9] * 9, "complete")
    scheduler = StudyScheduler(
        ledger,
        max_epochs=9,
        min_epochs=4,
        reduction_factor=3,
        brackets=1,
        scheduler="median",
    )
    assert [report(scheduler, 8, epoch, 0.0) for epoch in range(1, 5)] == [True] * 3 + [False]


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_figure_is_neither_judged_nor_compared_with(ledger: Ledger, value: Any) -> None:
    scheduler = scheduler_over(ledger)
    assert all(report(scheduler, number, 1, value) for number in range(1, 9))
    assert at_first_rung(scheduler, [0.5, 0.5, 0.4]) == [True, True, False]


def test_a_failed_configuration_has_no_epoch_to_judge(ledger: Ledger) -> None:
    result = {"failure": "loss is nan"}
    assert scheduler_over(ledger).on_trial_result(None, tune_trial(1), result) == "CONTINUE"


def test_a_resumed_trial_is_not_judged_again_at_rungs_it_passed(ledger: Ledger) -> None:
    for number in range(1, 8):
        past(ledger, number, [0.9] * 9, "complete")
    past(ledger, 8, [0.95, 0.65], "interrupted")
    scheduler = scheduler_over(ledger)
    assert all(report(scheduler, 8, epoch, 0.0) for epoch in (1, 2)), "trained again from scratch"
    assert not report(scheduler, 8, 3, 0.0), "a rung it had not reached"


@pytest.mark.parametrize("rule", ["asha", "hyperband", "median"])
@pytest.mark.parametrize("seed", range(8))
def test_a_resumed_study_prunes_as_if_it_had_never_stopped(
    tmp_path: Path, rule: str, seed: int
) -> None:
    """Three trials at a time; at some point the process dies and its trials go on in another."""
    draw, number_of_trials = random.Random(seed), 14
    # Coarse: equal values are part of it.
    values = [draw.randint(0, 6) / 6 for _ in range(MAX_EPOCHS * number_of_trials)]

    def run(path: Path, dies_at: int | None) -> dict[int, int]:
        """Train all in turns of one epoch; return how far each trial got."""
        ledger = Ledger(path, "val_accuracy", "maximize")
        scheduler = scheduler_over(ledger, rule)
        waiting, running, steps = list(range(number_of_trials)), list[int](), 0
        while waiting or running:
            while waiting and len(running) < 3:
                running.append(waiting.pop(0))
                ledger.start(running[-1], {}, seed=0)
            number = running.pop(0)
            epoch = max(ledger.trials[number].epochs, default=0) + 1
            value = values[MAX_EPOCHS * number + epoch - 1]
            goes_on = report(scheduler, number, epoch, value)
            ledger.epoch(number, {"epoch": epoch, "val_accuracy": value})
            steps += 1
            if goes_on and epoch < MAX_EPOCHS:
                running.append(number)
            else:
                ledger.end(number, TrialState.COMPLETE if goes_on else TrialState.PRUNED)
            if steps == dies_at:
                ledger = Ledger(path, "val_accuracy", "maximize")
                scheduler = scheduler_over(ledger, rule)
        return {n: max(trial.epochs) for n, trial in ledger.trials.items()}

    undisturbed = run(tmp_path / "one", None)
    assert len(set(undisturbed.values())) > 1, "some were stopped, some were not"
    assert run(tmp_path / "two", draw.randint(1, 40)) == undisturbed


def test_the_waiting_trial_of_the_lowest_number_starts_next(ledger: Ledger) -> None:
    def chosen(**statuses: str) -> Any:
        trials = [
            SimpleNamespace(config={"number": int(name[1:])}, status=status)
            for name, status in statuses.items()
        ]
        tune: Any = SimpleNamespace(get_live_trials=lambda: trials)
        return scheduler_over(ledger).choose_trial_to_run(tune)

    assert chosen(t2="RUNNING", t12="PENDING", t7="PENDING").config["number"] == 7
    assert chosen(t2="RUNNING") is None
