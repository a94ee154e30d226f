"""Which hyperparameters mattered, by two evaluators that answer different questions."""

from __future__ import annotations

import math
import random
import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from search.records import TrialState, write_csv
from search.results import ResultsFolder
from search.space import Space
from search.tune.ledger import Ledger
from search.tune.sampler import distributions

MIN_TRIALS = 6
MAX_TRIALS = 300  # for f-ANOVA, which takes 15 ms of CPU for each; more change its figures little


def write_importance(results: ResultsFolder, ledger: Ledger, space: Space, seed: int) -> None:
    """Write study/importance.csv: evaluator, parameter, importance (sums to 1 per evaluator).

    f-ANOVA (Hutter et al. 2014) tells what explains the spread of all trials; PED-ANOVA (Watanabe
    et al. 2023) what separates the best ones from the rest. Both judge by the best epoch seen, so
    stopped trials count too: on a small study the complete ones alone are too few to tell.
    """
    # Imports scikit-learn: a second, which the first trial need not wait for.
    from optuna.importance import (
        FanovaImportanceEvaluator,
        PedAnovaImportanceEvaluator,
        get_param_importances,
    )

    known = distributions(space)
    trials = _judged(ledger, known)
    rows: list[dict[str, Any]] = []
    if len(trials) >= MIN_TRIALS:
        always = [n for n in known if all(n in t.params for t in trials)]
        some = random.Random(seed).sample(trials, min(len(trials), MAX_TRIALS))
        evaluations = (
            ("fanova", FanovaImportanceEvaluator(seed=seed), some),
            ("ped_anova", PedAnovaImportanceEvaluator(), trials),
        )
        for name, evaluator, judged in evaluations:
            study = optuna.create_study(direction=StudyDirection[ledger.direction.upper()])
            study.add_trials(judged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = get_param_importances(study, evaluator=evaluator, params=always)
                except (ValueError, RuntimeError):  # every value equal, or one value per parameter
                    continue
            total = sum(found.values()) or 1.0
            rows += [
                {"evaluator": name, "parameter": p, "importance": round(v / total, 4)}
                for p, v in found.items()
            ]
    write_csv(results.study / "importance.csv", ["evaluator", "parameter", "importance"], rows)


def _judged(ledger: Ledger, known: dict[str, BaseDistribution]) -> list[FrozenTrial]:
    """Return the trials that say something, as complete ones with their best value."""
    trials = []
    for trial in ledger.finished():
        best = ledger.best(trial)
        params = {name: value for name, value in trial.params.items() if name in known}
        if best is None or trial.state is TrialState.FAILED or not math.isfinite(best[1]):
            continue
        domains = {name: known[name] for name in params}
        trials.append(create_trial(value=best[1], params=params, distributions=domains))
    return trials
