"""What is said of a search's luck, of a test's images; which finalists and rivals are trained."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from search.cautions import test_cautions as cautions_of
from search.optimism import measure_optimism
from search.records import (
    Confirmation,
    ConfirmRun,
    DatasetIndex,
    ImageRow,
    Problem,
    Split,
    TrialRecord,
    TrialState,
)
from search.results import ResultsFolder
from search.retrain import rivals
from search.stages import judge
from search.summary import tuning_answer

TRIALS = [
    TrialRecord(number, TrialState.COMPLETE, best_value=value, best_epoch=7)
    for number, value in ((0, 0.80), (4, 0.90), (7, 0.89), (8, 0.5))
]
DEFAULT, FOUR, SEVEN, _ = TRIALS


def confirmed(means: dict[int, float], seconds: float = 10.0) -> Confirmation:
    by_number = {trial.number: trial for trial in TRIALS}
    ranked = [by_number[number] for number in means]
    runs = tuple(
        ConfirmRun(f"trial {n}", n, {}, 1, mean, 7, 9, seconds) for n, mean in means.items()
    )
    next_best = ranked[1] if len(ranked) > 1 else None
    return Confirmation(runs, ranked[0], means[ranked[0].number], 0.0, "", 1, means, next_best)


def test_the_best_of_many_trials_was_too_good_by_so_much() -> None:
    found = measure_optimism(TRIALS, confirmed({7: 0.88, 4: 0.87, 0: 0.80}), "maximize")
    assert found is not None
    assert (found["best_trial"], found["num_finalists"], found["num_trials"]) == (4, 2, 4)
    assert found["best"] == pytest.approx(0.03), "of the search's best, not of the winner"
    assert found["finalists"] == pytest.approx(0.02)
    assert "too good by 0.0300" in found["text"]
    assert "the best of many noisy values is partly luck" in found["text"]


def test_a_loss_is_too_good_when_it_is_too_low() -> None:
    found = measure_optimism(TRIALS[1:3], confirmed({4: 0.95, 7: 0.90}), "minimize")
    assert found is not None
    assert (found["best_trial"], found["best"]) == (7, pytest.approx(0.01))


def test_a_value_that_held_is_not_called_luck() -> None:
    found = measure_optimism(TRIALS, confirmed({4: 0.91, 0: 0.8}), "maximize")
    assert found is not None
    assert found["text"].endswith("the search did not flatter it")


def test_less_than_seeds_differ_is_not_called_luck_either() -> None:
    chosen = replace(confirmed({4: 0.89, 0: 0.8}), std=0.02)
    found = measure_optimism(TRIALS, chosen, "maximize")
    assert found is not None
    assert found["text"].endswith("no more too good than seeds differ")


def test_without_a_confirmed_finalist_there_is_nothing_to_say() -> None:
    nobody = Confirmation((), DEFAULT, None, None)
    assert measure_optimism(TRIALS, nobody, "maximize") is None
    assert measure_optimism(TRIALS, confirmed({0: 0.8}), "maximize") is None


def test_default_and_runner_up_are_trained_beside_the_winner() -> None:
    chosen = confirmed({7: 0.88, 4: 0.87, 0: 0.80})
    assert rivals(chosen, DEFAULT, seconds_left=float("inf"), num_slots=2) == ([DEFAULT, FOUR], "")


def test_the_default_recipe_is_not_trained_twice() -> None:
    as_next = confirmed({7: 0.88, 0: 0.87, 4: 0.80})
    assert rivals(as_next, DEFAULT, seconds_left=float("inf"), num_slots=2) == ([DEFAULT], "")
    as_winner = confirmed({0: 0.88, 4: 0.87})
    assert rivals(as_winner, DEFAULT, seconds_left=float("inf"), num_slots=2) == ([FOUR], "")
    stand_in = confirmed({7: 0.88, 4: 0.87})  # trial 0 failed
    assert rivals(stand_in, FOUR, seconds_left=float("inf"), num_slots=2) == ([FOUR], "")


def test_short_of_time_the_runner_up_is_left_out_and_that_is_said() -> None:
    chosen = confirmed({7: 0.88, 4: 0.87, 0: 0.80}, seconds=60.0)
    for seconds_left, num_slots, found in ((120.0, 2, 1), (250.0, 2, 2), (180.0, 3, 2)):
        beside, left_out = rivals(chosen, DEFAULT, seconds_left=seconds_left, num_slots=num_slots)
        assert len(beside) == found
        assert bool(left_out) == (found == 1)
        assert "trial 4" in left_out or not left_out


def index_of(*groups: int) -> DatasetIndex:
    rows = tuple(ImageRow(f"a/{k}.png", 0, "a", group=group) for k, group in enumerate(groups))
    return DatasetIndex((Path(),), ("a",), rows)


def split_of(train: list[int], test: list[int]) -> Split:
    return Split(np.array(train), np.array([], dtype=np.int64), np.array(test), seed=0)


def test_a_clean_test_split_needs_no_caution() -> None:
    assert cautions_of([], index_of(1, 2, 3, -1, -1), split_of([0, 1, 3], [2, 4])) == ()


def test_look_alikes_across_and_within_the_test_split_are_counted() -> None:
    across, within = cautions_of([], index_of(1, 2, 1, 5, 5, 5), split_of([0, 1], [2, 3, 4, 5]))
    assert across.startswith("1 image of the test split look")
    assert "likely too high" in across
    assert within.startswith("2 images of the test split")


def test_leaks_and_doubtful_labels_of_the_data_stage_are_repeated() -> None:
    leak = Problem("b/1.png", "b", "leak", "", "dropped")
    clash = Problem("a/1.png", "a", "conflicting_label", "", "kept")
    elsewhere = replace(clash, path="a/0.png")
    split = split_of([0], [1])
    leaked, doubtful = cautions_of([leak, leak, clash, elsewhere], index_of(1, 2), split)
    assert leaked.startswith("2 images stood in two of the given splits")
    assert doubtful.startswith("1 image of the test split look")


def test_whether_tuning_paid_is_one_sentence() -> None:
    gained = {"text": "Tuning gained 2.0 points.", "worth_it": "not shown"}
    told = tuning_answer({"comparison": gained})
    assert told == "was tuning worth it here? not shown: tuning gained 2.0 points."
    won = {"confirm": {"winner": "default recipe"}}
    many, few = {"complete": 6, "pruned": 14, "failed": 3}, {"complete": 2, "interrupted": 9}
    assert tuning_answer(won | {"trials": many}) == (
        "was tuning worth it here? no: the default recipe won against 19 other trials"
    )
    assert "not shown: the default recipe won, but against 1 other trial only" in tuning_answer(
        won | {"trials": few}
    )
    assert tuning_answer({"confirm": {"winner": "trial 4"}, "comparison": None}) == ""


def test_finalists_are_chosen_once_for_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def number(limit: float | None, seconds_left: float, *, done: bool = False) -> int:
        study: Any = SimpleNamespace(
            results=results,
            config=SimpleNamespace(budget=SimpleNamespace(time_limit=limit)),
            clock=SimpleNamespace(seconds_left=seconds_left),
        )
        slots: Any = None if done else SimpleNamespace(count=2)
        return judge._num_finalists(study, cast(Any, None), "these trials", 3, slots)

    results = ResultsFolder(tmp_path)
    monkeypatch.setattr(judge, "_forecast", lambda *asked: 100.0 * asked[2])
    assert number(None, math.inf) == 3
    assert number(600, 250) == 2, "there is time for a round of two"
    assert number(600, 120) == 2, "a run that goes on has less left, and does the same"
    assert number(600, 0, done=True) == 2
    assert number(900, 500) == 3, "given more time it is asked anew"
    assert number(30, 10) == 3, "none fits: confirm says so itself"


def test_a_test_counts_as_done_for_the_very_models_it_compared(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path)
    study: Any = SimpleNamespace(results=results)
    seen = [judge._what_is_compared(study)]
    for path in (
        results.best / "weights.safetensors",
        results.baseline / "weights.safetensors",
        results.runner_up / "weights.safetensors",
        results.best / "calibration.json",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.parent.name)
        seen.append(judge._what_is_compared(study))
    results.mark_done("retrain", "its inputs", 0.0, runner_up="trial 7")
    seen.append(judge._what_is_compared(study))
    assert all(one != other for one, other in pairwise(seen))
    assert judge._what_is_compared(study) == seen[-1]
