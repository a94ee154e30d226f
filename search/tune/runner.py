"""What search, confirm and retrain share: whose study, which images, how many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.clock import Clock
from search.config import StudyConfig
from search.records import TrialRecord, fingerprint
from search.results import ResultsFolder
from search.tune.engine import RequestSearch, Slots, run_tune
from search.tune.ledger import Ledger
from search.tune.preflight import Backbone
from search.tune.recorder import OnChange
from search.tune.worker import Request, TrainingSet


@dataclass(frozen=True)
class Runner:
    """Runs trainings of one study.

    Attributes:
        images: What the trainings may see.
        backbones: Weights and arithmetic of each backbone, by its name.
        slots: What one training gets; None to train no more, only to read what was done.
        on_change: Told of every start, epoch and end.
    """

    config: StudyConfig
    results: ResultsFolder
    images: TrainingSet
    backbones: Mapping[str, Backbone]
    slots: Slots | None
    clock: Clock
    on_change: OnChange

    def request(
        self,
        number: int,
        searched: Mapping[str, Any],
        seed: int,
        *,
        stop_epoch: int | None = None,
        keep_model: bool = False,
        resume_from: str = "",
    ) -> Request:
        """Describe one training: what the space left out is as in the default recipe."""
        params = self.config.recipe_of(searched) | dict(searched)
        max_epochs = self.config.budget.max_epochs
        backbone = self.backbones[params["backbone"]]
        return Request(
            number=number,
            params=params,
            searched=dict(searched),
            seed=seed,
            trainable=searched.get("trainable", self.config.trainables[0]),
            max_epochs=max_epochs,
            stop_epoch=stop_epoch or max_epochs,
            weights=backbone.weights if params["pretrained"] else None,
            num_threads=self.slots.num_threads if self.slots else 1,
            mode=backbone.mode,
            memory_bytes=self.slots.memory_bytes if self.slots else None,
            resume_from=resume_from,
            keep_model=keep_model,
        )

    def run(
        self,
        stage: str,
        ledger: Ledger,
        searcher: Searcher,
        scheduler: TrialScheduler,
        num_trials: int,
        should_stop: Callable[[], bool],
    ) -> None:
        """Run a searcher's trainings; Ctrl-C ends them in order."""
        if self.slots is None or num_trials < 1:
            return
        with self._patience():
            run_tune(
                stage=stage,
                results=self.results,
                ledger=ledger,
                searcher=searcher,
                scheduler=scheduler,
                training_set=self.images,
                num_trials=num_trials,
                slots=self.slots,
                should_stop=should_stop,
                on_change=self.on_change,
            )

    def run_requests(
        self,
        stage: str,
        requests: Sequence[Request],
        folder: Path,
        objective: tuple[str, str],
        should_stop: Callable[[], bool],
    ) -> Ledger:
        """Train given requests to their end, without a search.

        Those done by an earlier process are not repeated, unfinished ones go on from their
        checkpoint. Other requests start another log in `folder`.
        """
        identity = fingerprint([(r.params, r.seed, r.max_epochs, r.stop_epoch) for r in requests])
        ledger = Ledger(folder / f"events-{identity}.jsonl", *objective)
        done = {trial.number for trial in ledger.finished()}
        checkpoints = {number: trial.checkpoint for number, trial in ledger.trials.items()}
        waiting = [
            replace(request, resume_from=checkpoints.get(request.number, ""))
            for request in requests
            if request.number not in done
        ]
        searcher = RequestSearch(waiting)
        self.run(stage, ledger, searcher, FIFOScheduler(), len(waiting), should_stop)
        self.clock.check()
        return ledger

    @contextmanager
    def _patience(self) -> Iterator[None]:
        self.clock.wait_for_trials(True)
        try:
            yield
        finally:
            self.clock.wait_for_trials(False)


def candidate_name(trial: TrialRecord) -> str:
    """Return how tables call a configuration."""
    return "default recipe" if trial.number == 0 else f"trial {trial.number}"
