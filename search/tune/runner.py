"""What search, confirm and retrain share: whose study, which images, how many at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.clock import Clock
from search.config import StudyConfig
from search.errors import TrialError
from search.goals import architecture_of
from search.records import TrialRecord, TrialState, fingerprint
from search.results import WEIGHTS, ResultsFolder
from search.slots import Slots
from search.tune.cluster import Cluster
from search.tune.engine import RequestSearch, run_tune
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
        say: Told in a sentence what the user should know at once.
        notify: Told in a sentence what matters only now, such as why a trial waits.
        disk_reason: Says why no more may be written, "" while there is room.
        count_slots: Returns the slots that the cluster holds now.
    """

    config: StudyConfig
    results: ResultsFolder
    images: TrainingSet
    backbones: Mapping[str, Backbone]
    slots: Slots | None
    clock: Clock
    on_change: OnChange
    say: Callable[[str], None] = print
    notify: Callable[[str], None] = print
    disk_reason: Callable[[], str] = str
    cluster: Cluster = field(default_factory=Cluster)
    count_slots: Callable[[], Slots] = Slots.none

    @property
    def footprints(self) -> dict[str, dict[str, float]]:
        """Footprints that the probe measured already, by architecture."""
        found: dict[str, dict[str, float]] = {}
        for backbone in self.backbones.values():
            found |= backbone.footprints
        return found

    def request(
        self,
        number: int,
        searched: Mapping[str, Any],
        seed: int,
        *,
        stop_epoch: int | None = None,
        keep_model: bool = False,
        footprint: Mapping[str, float] | None = None,
    ) -> Request:
        """Describe one training: what the space left out is as in the default recipe.

        Args:
            footprint: What its network costs, {} to have it measured; None not to ask for it, nor
                to judge by the constraints.
        """
        params = self.config.recipe_of(searched) | dict(searched)
        max_epochs = self.config.budget.max_epochs
        backbone = self.backbones[params["backbone"]]
        params = backbone.trained_as(params)
        limits = [(limit.metric, limit.sign, limit.bound) for limit in self.config.constraints]
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
            latency_on_cpu=bool(self.slots and self.slots.beside),
            keep_model=keep_model,
            architecture="" if footprint is None else architecture_of(params),
            footprint=dict(footprint or {}),
            constraints=() if footprint is None else tuple(limits),
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
        if self.slots is None or num_trials < 1 or should_stop():
            return

        def must_stop() -> bool:
            self.disk_reason()  # looks at the disk, for its peak, whatever the stage
            return should_stop()

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
                cluster=self.cluster,
                count_slots=self.count_slots,
                should_stop=must_stop,
                on_change=self._timing_the_start(),
                say=self.say,
                notify=self.notify,
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

        Raises:
            TrialError: The machine kept one from being done; without it there is no fair outcome.
        """
        identity = fingerprint([(r.params, r.seed, r.max_epochs, r.stop_epoch) for r in requests])
        ledger = Ledger(folder / f"events-{identity}.jsonl", *objective)
        done = {trial.number for trial in ledger.finished()}
        models = self.results.checkpoints_of(stage, ledger.path)
        done -= {r.number for r in requests if r.keep_model and _lacks_model(ledger, models, r)}
        before = {number: trial.last_event for number, trial in ledger.trials.items()}
        waiting = [request for request in requests if request.number not in done]
        searcher = RequestSearch(waiting)
        self.run(stage, ledger, searcher, FIFOScheduler(), len(waiting), should_stop)
        self.clock.check()
        for trial in ledger.trials.values():
            is_news = trial.last_event != before.get(trial.number)  # not of an earlier process
            if is_news and trial.state is TrialState.INTERRUPTED and trial.error:
                raise TrialError(
                    f"{stage}: training {trial.number} could not be done here because of "
                    f"{trial.error}. Mend the cause: the same command goes on."
                )
        return ledger

    def _timing_the_start(self) -> OnChange:
        """Note how long workers take to begin: on a busy machine many times as long."""
        begin, is_timed = time.monotonic(), False

        def on_change(ledger: Ledger, event: str, number: int) -> None:
            nonlocal is_timed
            if event == "epoch" and not is_timed:
                epochs, is_timed = ledger.trials[number].epochs, True
                seconds = time.monotonic() - begin - (epochs[max(epochs)]["seconds"] or 0.0)
                self.clock.seconds_to_start = max(0.0, seconds)
            self.on_change(ledger, event, number)

        return on_change

    @contextmanager
    def _patience(self) -> Iterator[None]:
        self.clock.wait_for_trials(True)
        try:
            yield
        finally:
            self.clock.wait_for_trials(False)


def _lacks_model(ledger: Ledger, folder: Path, request: Request) -> bool:
    """Tell whether a training ended and its model did not get to where it is kept."""
    trial = ledger.trials.get(request.number)
    is_complete = trial is not None and trial.state is TrialState.COMPLETE
    return is_complete and not (folder / str(request.number) / WEIGHTS).exists()


def candidate_name(trial: TrialRecord) -> str:
    """Return how tables call a configuration."""
    return "default recipe" if trial.number == 0 else f"trial {trial.number}"
