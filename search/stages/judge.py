"""Stages that judge: confirm, retrain, evaluate, explain."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace

from search.calibration import choose_temperature
from search.cautions import test_cautions
from search.confirm import confirm_candidates, confirm_trials, confirm_turns
from search.evaluate import evaluate_on_test, read_cautions, read_evaluation
from search.explain import explain_predictions
from search.export import export_model
from search.records import (
    Confirmation,
    Evaluation,
    FinalModel,
    SearchOutcome,
    TrialRecord,
    file_hash,
    fingerprint,
)
from search.results import WEIGHTS
from search.retrain import retrain_winner, rivals
from search.select import default_trial, forecast_seconds, num_retrainings, select_top
from search.slots import Slots
from search.stages.data import Data
from search.stages.preflight import plan
from search.stages.study import Study
from search.stages.trials import make_runner
from search.terminal import describe_params
from search.tune.preflight import Backbone
from search.tune.runner import candidate_name
from search.tune.warm_start import take_warm_start


def confirm(
    study: Study, data: Data, backbones: tuple[Backbone, ...], outcome: SearchOutcome
) -> Confirmation:
    """Train the finalists again with fresh seeds and choose the winner."""
    config = study.config
    wanted, direction = config.confirm, config.objective.direction
    chosen = select_top(outcome.trials, top_k=wanted.top_k, direction=direction)
    default = default_trial(outcome.trials, direction)
    identity = fingerprint(study.identity, [t.number for t in chosen], wanted.num_seeds)
    done = study.is_done("confirm", identity)
    begin = time.monotonic()
    slots = None if done else plan(study, data, backbones)
    finalists = chosen[: _num_finalists(study, outcome, identity, len(chosen), slots)]
    keep = _seconds_to_keep(study, outcome, len(finalists), slots.count) if slots else 0.0
    if slots and wanted.num_seeds and math.isfinite(keep):
        seeds = "1 fresh seed" if wanted.num_seeds == 1 else f"{wanted.num_seeds} fresh seeds"
        also = " and the default recipe" if default.number == 0 else ""
        text = f"top {len(finalists)}{also} × {seeds}"
        study.terminal.line("confirm", text)
    turns = confirm_turns(confirm_candidates(finalists, default), range(1, wanted.num_seeds + 1))
    labels = [f"{candidate_name(trial)}, seed {k}" for k, trial in turns]
    with study.board("confirm", len(turns), labels) as on_change:
        runner = make_runner(study, data, backbones, slots, on_change)
        confirmation = confirm_trials(runner, finalists, default, keep)
    if len(finalists) < len(chosen) and not confirmation.note:
        short = f"confirmed {len(finalists)} of {len(chosen)} finalists: time was short"
        confirmation = replace(confirmation, note=short)
    if slots:
        study.finish("confirm", identity, begin, was_cut_short=bool(confirmation.note))
    if wanted.num_seeds:
        study.warn(confirmation.note)
    _say_winner(study, confirmation)
    return confirmation


def _say_winner(study: Study, confirmation: Confirmation) -> None:
    winner = confirmation.winner
    mean = f" {confirmation.mean:.4f}" if confirmation.mean is not None else ""
    spread = f" ± {confirmation.std:.4f}" if confirmation.std is not None else ""
    searched = study.config.search_space.searched
    params = describe_params({k: v for k, v in winner.params.items() if k in searched}, 12)
    text = f"winner {candidate_name(winner)}{mean}{spread} · {params}"
    study.terminal.line("confirm", text)


def _num_finalists(
    study: Study, outcome: SearchOutcome, identity: str, num_chosen: int, slots: Slots | None
) -> int:
    """Decide how many of the best trials there is time to confirm, once for a time limit.

    A run that goes on has another time left: it must not begin with other finalists.

    Args:
        slots: None where the stage is done.
    """
    before, limit = study.results.read_marker("finalists"), study.config.budget.time_limit
    decided = before.get("fingerprint") == identity
    if slots is None or (decided and before.get("time_limit") == limit):
        return int(before["count"]) if decided else num_chosen
    enough = (
        number
        for number in range(num_chosen, 0, -1)
        if study.clock.seconds_left >= _forecast(study, outcome, number, 1, slots.count)
    )
    count = next(enough, num_chosen)
    study.results.mark_done("finalists", identity, 0.0, count=count, time_limit=limit)
    return count


def _seconds_to_keep(
    study: Study, outcome: SearchOutcome, num_finalists: int, num_slots: int
) -> float:
    """Return the seconds of the limit for what follows; all, if no round of seeds would end."""
    after, with_a_round = (
        _forecast(study, outcome, num_finalists, num_seeds, num_slots) for num_seeds in (0, 1)
    )
    return after if study.clock.seconds_left >= with_a_round else math.inf


def _forecast(
    study: Study, outcome: SearchOutcome, num_finalists: int, num_seeds: int, num_slots: int
) -> float:
    """Return the seconds of a confirmation and of what follows one."""
    config = study.config
    return forecast_seconds(
        outcome.trials,
        outcome.epochs,
        max_epochs=config.budget.max_epochs,
        num_candidates=num_finalists + 1,
        num_seeds=num_seeds,
        num_slots=num_slots,
        direction=config.objective.direction,
        seconds_to_start=study.clock.seconds_to_start,
        num_retrained=num_retrainings(num_finalists + 1, config.confirm.num_seeds),
    )


def retrain(
    study: Study,
    data: Data,
    backbones: tuple[Backbone, ...],
    outcome: SearchOutcome,
    confirmation: Confirmation,
) -> FinalModel:
    """Train the winner on train + val, and the default recipe beside it."""
    winner, results = confirmation.winner, study.results
    numbers = [t.number for t in (winner, confirmation.runner_up) if t is not None]
    identity = fingerprint(study.identity, numbers, confirmation.num_seeds)
    if results.is_done("retrain", identity) and (results.best / WEIGHTS).exists():
        return FinalModel(results.best, data.cache.classes)
    begin = time.monotonic()
    slots = plan(study, data, backbones)
    beside, left_out = _rivals(study, outcome, confirmation, identity, slots.count)
    labels = [candidate_name(trial) for trial in (winner, *beside)]
    study.terminal.line("retrain", f"{', '.join(labels)} on train + val")
    with study.board("retrain", len(labels), labels) as on_change:
        runner = make_runner(study, data, backbones, slots, on_change)
        schedule = runner.request(0, winner.params, 0).params["schedule"]
        temperature = choose_temperature(confirmation, outcome.epochs, schedule)
        model = retrain_winner(runner, confirmation, beside, temperature)
    rival = candidate_name(beside[-1]) if beside and beside[-1].number else ""
    study.finish("retrain", identity, begin, runner_up=rival, left_out=left_out)
    for log in results.best.glob("events-*.jsonl"):
        log.unlink()  # its checkpoints go with Ray's folder: the same winner later trains anew
    return model


def _rivals(
    study: Study,
    outcome: SearchOutcome,
    confirmation: Confirmation,
    identity: str,
    num_slots: int,
) -> tuple[list[TrialRecord], str]:
    """Choose what is trained beside the winner, once: a run that goes on has another time left."""
    default = default_trial(outcome.trials, study.config.objective.direction)
    before = study.results.read_marker("rivals")
    decided = before.get("fingerprint") == identity
    seconds = study.clock.seconds_left
    if decided:
        seconds = 0.0 if before["left_out"] else float("inf")
    beside, left_out = rivals(confirmation, default, seconds_left=seconds, num_slots=num_slots)
    if not decided:
        study.results.mark_done("rivals", identity, 0.0, left_out=left_out)
    return beside, left_out


def evaluate(study: Study, data: Data, model: FinalModel) -> Evaluation:
    """Judge the final model on the test images, once per final model."""
    results = study.results
    weights = file_hash(model.folder / WEIGHTS)
    identity = fingerprint(study.identity, _what_is_compared(study), data.cache.fingerprint)
    if results.is_done("evaluate", identity):
        evaluation = read_evaluation(results)
    else:
        begin = time.monotonic()
        # Where the study began with another one on these images, their first look was there.
        before = take_warm_start(study.config, results, None)
        looks = before.num_test_looks if before else 0
        earlier = results.read_marker("evaluate")
        # The same model beside other rivals gets the same predictions: that is no further look.
        times = earlier.get("times", looks) + (earlier.get("weights") != weights)
        note = results.read_marker("retrain")
        with study.terminal.busy("test", "judging the test images"):
            evaluation = evaluate_on_test(
                results,
                data.cache,
                data.split,
                data.checked.index,
                baseline_folder=results.baseline,
                runner_up=note.get("runner_up", ""),
                cautions=test_cautions(data.checked.problems, data.checked.index, data.split),
                num_threads=os.cpu_count() or 1,
            )
        study.finish("evaluate", identity, begin, times=times, weights=weights)
    times = results.read_marker("evaluate").get("times", 1)
    if times > 1:
        study.warn(
            f"the test images have judged {times} final models, of this study and of those it "
            "began with: with every further look the score is less of a surprise"
        )
    study.warn(results.read_marker("retrain").get("left_out", ""))
    accuracy = evaluation.metrics["accuracy"]
    text = f"accuracy {accuracy.value:.3f}, 95 % interval {accuracy.low:.3f} to {accuracy.high:.3f}"
    study.terminal.line("test", f"{text} · {len(evaluation.ids)} images")
    for caution in read_cautions(results):
        study.terminal.warn(caution)
    return evaluation


def _what_is_compared(study: Study) -> list[str]:
    """Name all that the test's figures depend on: the models, a temperature, the rival's name."""
    results = study.results
    files = (
        *(folder / WEIGHTS for folder in (results.best, results.baseline, results.runner_up)),
        results.best / "calibration.json",
    )
    hashes = [file_hash(file) if file.exists() else "" for file in files]
    return [*hashes, results.read_marker("retrain").get("runner_up", "")]


def explain(study: Study, data: Data, evaluation: Evaluation) -> None:
    """Draw what the model looked at."""
    wanted = study.config.report.cam_images
    identity = fingerprint(study.results.read_marker("evaluate")["fingerprint"], wanted)
    if study.results.is_done("explain", identity):
        return
    begin = time.monotonic()
    with study.terminal.busy("explain", "finding what the model looked at"):
        explain_predictions(
            study.results, evaluation, data.cache, data.checked.index, num_images=wanted
        )
    study.finish("explain", identity, begin)


def export(study: Study) -> None:
    """Copy the final model to where users take it from, parity checked."""
    begin = time.monotonic()
    with study.terminal.busy("export", "checking that the copied model says the same"):
        export_model(study.results)
    study.finish("export", study.results.read_marker("evaluate")["fingerprint"], begin)
