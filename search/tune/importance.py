"""Which hyperparameters mattered, by two evaluators that answer different questions."""

from __future__ import annotations

import math
import warnings

import optuna
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.study import StudyDirection

from search.records import TrialState, write_csv
from search.results import ResultsFolder
from search.space import Space
from search.tune.ledger import Ledger
from search.tune.optuna_search import distributions

MIN_TRIALS = 6


def write_importance(results: ResultsFolder, ledger: Ledger, space: Space, seed: int) -> None:
    """Write study/importance.csv: evaluator, parameter, importance (sums to 1 per evaluator).

    f-ANOVA (Hutter et al. 2014) tells what explains the spread of all trials; PED-ANOVA (Watanabe
    et al. 2023) what separates the best ones from the rest. Both judge by the best epoch seen, so
    stopped trials count too: on a small study the complete ones alone are too few to tell.
    """
    study = optuna.create_study(direction=StudyDirection[ledger.direction.upper()])
    known = distributions(space)
    for trial in ledger.finished():
        best = ledger.best(trial)
        params = {name: value for name, value in trial.params.items() if name in known}
        if best is None or trial.state is TrialState.FAILED or not math.isfinite(best[1]):
            continue
        study.add_trial(
            optuna.trial.create_trial(
                value=best[1],
                params=params,
                distributions={name: known[name] for name in params},
            )
        )
    rows = []
    if len(study.trials) >= MIN_TRIALS:
        always = [n for n in known if all(n in t.params for t in study.trials)]
        evaluators = {
            "fanova": FanovaImportanceEvaluator(seed=seed),
            "ped_anova": PedAnovaImportanceEvaluator(),
        }
        for name, evaluator in evaluators.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = optuna.importance.get_param_importances(
                        study, evaluator=evaluator, params=always
                    )
                except (ValueError, RuntimeError):  # every value equal, or one value per parameter
                    continue
            total = sum(found.values()) or 1.0
            rows += [
                {"evaluator": name, "parameter": p, "importance": round(v / total, 4)}
                for p, v in found.items()
            ]
    write_csv(results.study / "importance.csv", ["evaluator", "parameter", "importance"], rows)
