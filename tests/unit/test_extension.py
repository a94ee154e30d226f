"""A folder that is asked for more, for less, or for longer trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.errors import ResultsError
from search.identity import refuse_other_study, write_study
from search.intake import keep_done_trials
from search.records import TrialState
from search.results import ResultsFolder
from search.tune.ledger import Ledger
from tests.study_files import load

SPACE = """
name: cars
dataset: {root: photos}
budget: {num_trials: 4, max_epochs: 3}
space: {lr: {float: [1.0e-3, 1.0e-1], log: true}}
"""


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    """A folder with three trials that ended and one that was interrupted."""
    results = ResultsFolder(tmp_path)
    write_study(load(SPACE), results)
    ledger = Ledger(results.events, "val_accuracy", "maximize")
    for number in range(4):
        ledger.start(number, {"lr": 0.01}, seed=number)
        ledger.end(number, TrialState.INTERRUPTED if number == 2 else TrialState.PRUNED)
    return results


def test_more_trials_are_the_same_study(results: ResultsFolder) -> None:
    more = load(SPACE, "budget.num_trials=60")
    refuse_other_study(more, results)
    assert keep_done_trials(more, results) == (more, "")


def test_fewer_trials_than_are_done_take_none_back(results: ResultsFolder) -> None:
    study, text = keep_done_trials(load(SPACE, "budget.num_trials=2"), results)
    assert study.budget.num_trials == 3, "the interrupted one is not owed"
    assert text == "3 trials are done, more than the 2 asked for: all of them count"


def test_a_small_space_that_ended_a_search_early_keeps_its_goal(results: ResultsFolder) -> None:
    results.mark_done("search", "done", 1.0, num_trials=20)
    study, _ = keep_done_trials(load(SPACE, "budget.num_trials=2"), results)
    assert study.budget.num_trials == 20, "so that the search counts as done"


def test_longer_trials_are_another_study(results: ResultsFolder) -> None:
    with pytest.raises(ResultsError) as caught:
        refuse_other_study(load(SPACE, "budget.max_epochs=9"), results)
    text = str(caught.value)
    assert "budget.max_epochs: there 3, now 9" in text
    assert "More trials can be added to a study (--trials), more epochs cannot" in text
    assert "--warm-start" in text
    with pytest.raises(ResultsError) as caught:
        refuse_other_study(load(SPACE, "space.lr.float=[1.0e-3, 1.0e-2]"), results)
    assert "--warm-start" not in str(caught.value)


def test_a_space_has_no_more_trials_than_points() -> None:
    assert load(SPACE).num_trials == 4
    assert load(SPACE, "space.lr={choice: [0.1, 0.2]}").num_trials == 2


def test_another_sampler_is_the_same_study(results: ResultsFolder) -> None:
    refuse_other_study(load(SPACE, "search.sampler=random"), results)
