"""Train the finalists again with fresh seeds: the best value of a search is partly luck."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from search.calibration import temperature_epoch
from search.records import Confirmation, ConfirmRun, TrialRecord, TrialState, write_csv
from search.select import rank_trials
from search.tune.ledger import Ledger
from search.tune.runner import Runner, candidate_name
from search.tune.worker import Request

CONFIRM_SEED = 10_000
"""Added to the study's seed: no trial of the search shares a seed with a confirmation."""


def confirm_trials(
    runner: Runner,
    finalists: Sequence[TrialRecord],
    default: TrialRecord,
    seconds_to_keep: float,
) -> Confirmation:
    """Train each finalist and the default recipe to the full budget under the same fresh seeds.

    Runs are ordered by seed, so that a time limit leaves whole rounds to compare.

    Args:
        default: Trial 0.
        seconds_to_keep: Of the time limit, for the stages that follow.

    Returns:
        All runs, and the winner and runner-up by mean over the seeds that every candidate has.
    """
    config, results, clock = runner.config, runner.results, runner.clock
    candidates = confirm_candidates(finalists, default)
    seeds = [config.seed + CONFIRM_SEED + k for k in range(config.confirm.num_seeds)]
    turns = confirm_turns(candidates, seeds)
    requests = [runner.request(k, t.params, seed) for k, (seed, t) in enumerate(turns)]
    ledger = runner.run_requests(
        "confirm",
        requests,
        results.confirm,
        (config.objective.metric, config.objective.direction),
        should_stop=lambda: clock.stop_requested or clock.seconds_left < seconds_to_keep,
    )
    outcomes = (_run(ledger, r, t) for r, (_, t) in zip(requests, turns, strict=True))
    runs = [run for run in outcomes if run is not None]
    columns = [name for name in ConfirmRun.__dataclass_fields__ if name != "params"]
    write_csv(results.confirm / "confirm.csv", columns, (vars(run) for run in runs))
    confirmation = choose_winner(
        runs, candidates, direction=config.objective.direction, max_epochs=config.budget.max_epochs
    )
    if 0 < confirmation.num_seeds < len(seeds):
        note = (
            f"confirmed over {confirmation.num_seeds} of {len(seeds)} fresh seeds: time was short"
        )
        return replace(confirmation, note=note)
    return confirmation


def confirm_candidates(finalists: Sequence[TrialRecord], default: TrialRecord) -> list[TrialRecord]:
    """Return what is confirmed: the finalists and, beside them, the default recipe."""
    return [*finalists, *(t for t in [default] if t not in finalists)]


def confirm_turns(
    candidates: Sequence[TrialRecord], seeds: Sequence[int]
) -> list[tuple[int, TrialRecord]]:
    """Return the runs in their order: seed by seed."""
    return [(seed, trial) for seed in seeds for trial in candidates]


def choose_winner(
    runs: Sequence[ConfirmRun],
    candidates: Sequence[TrialRecord],
    *,
    direction: str,
    max_epochs: int,
) -> Confirmation:
    """Pick the best mean over the seeds that every surviving candidate finished. Pure.

    Without a single full round the search's own best stands, and the note says so.
    """
    scores: dict[int, dict[int, ConfirmRun]] = {t.number: {} for t in candidates}
    for run in runs:
        if run.value is not None and run.epochs_run >= max_epochs and not run.error:
            scores[run.trial_number][run.seed] = run
    by_number = {t.number: t for t in candidates}
    # Only a candidate that failed drops out; one that got no turn yet was not beaten.
    failed = {run.trial_number for run in runs if run.error}
    started = {number: done for number, done in scores.items() if done or number not in failed}
    shared = set.intersection(*(set(done) for done in started.values())) if started else set()
    if not shared:
        winner = next(iter(rank_trials(candidates, direction)), candidates[0])
        note = "the winner is not confirmed: no full round of fresh seeds was trained"
        return Confirmation(tuple(runs), winner, None, None, note)
    sign = 1 if direction == "maximize" else -1
    means = {n: statistics.fmean(_values(done, shared)) for n, done in started.items()}
    ranked = sorted(means, key=lambda n: (-sign * means[n], n))
    values = _values(started[ranked[0]], shared)
    return Confirmation(
        runs=tuple(runs),
        winner=by_number[ranked[0]],
        mean=means[ranked[0]],
        std=statistics.stdev(values) if len(values) > 1 else None,
        num_seeds=len(shared),
        means={number: means[number] for number in ranked},
        runner_up=by_number[ranked[1]] if len(ranked) > 1 else None,
    )


def _values(done: Mapping[int, ConfirmRun], seeds: set[int]) -> list[float]:
    return [
        run.value for seed, run in sorted(done.items()) if seed in seeds and run.value is not None
    ]


def _run(ledger: Ledger, request: Request, trial: TrialRecord) -> ConfirmRun | None:
    """Return what came of one request, None if it never got anywhere."""
    done = ledger.trials.get(request.number)
    if done is None or (not done.epochs and done.state is not TrialState.FAILED):
        return None
    best, last = ledger.best(done), max(done.epochs, default=0)
    stop = temperature_epoch(request.params["schedule"], best[0] if best else None, last)
    row = done.epochs.get(stop, {})
    return ConfirmRun(
        candidate=candidate_name(trial),
        trial_number=trial.number,
        params=trial.params,
        seed=request.seed,
        value=best[1] if best else None,
        best_epoch=best[0] if best else None,
        epochs_run=last,
        seconds=round(done.seconds, 2),
        error=done.error,
        temperature=row.get("val_temperature") if done.state is TrialState.COMPLETE else None,
    )
