"""The study as one short function: from photos to a report."""

from __future__ import annotations

import time

from search.identity import settings_fingerprint
from search.records import Confirmation, Evaluation, SearchOutcome
from search.stages.data import Data, prepare_data
from search.stages.study import Study
from search.summary import describe_dataset, write_summary


def run_pipeline(study: Study) -> None:
    """Do every stage that is not done yet.

    Raises:
        SearchError: Something the user can act on; finished stages and trials stay on disk.
        Interrupted: Ctrl-C or SIGTERM; likewise.
    """
    data = prepare_data(study)
    # Ray is imported while the images are read; torch in the workers, and here after the search.
    with study.terminal.busy("probe", "waiting for Ray"):
        study.session.wait_for_imports()
    from search.stages.preflight import probe
    from search.stages.trials import search

    backbones = probe(study, data)
    outcome = search(study, data, backbones)
    from search.stages.judge import confirm, evaluate, explain, export, retrain

    confirmation = confirm(study, data, backbones, outcome)
    model = retrain(study, data, backbones, outcome, confirmation)
    evaluation = evaluate(study, data, model)
    explain(study, data, evaluation)
    export(study)
    report(study, data, outcome, confirmation, evaluation)


def report(
    study: Study,
    data: Data,
    outcome: SearchOutcome,
    confirmation: Confirmation,
    evaluation: Evaluation,
) -> None:
    """Write summary.json and the report; both again whenever something before them changed."""
    from search.report.page import write_report

    begin = time.monotonic()
    dataset = describe_dataset(study.config, data.checked, data.split, study.fetched.is_sample)

    def summarise() -> None:
        write_summary(
            study.results,
            study.config,
            dataset=dataset,
            outcome=outcome,
            confirmation=confirmation,
            evaluation=evaluation,
            warnings=study.warnings,
        )

    summarise()
    study.live.stop()
    with study.terminal.busy("report", "drawing plots and tables"):
        write_report(study.results, beside=True)
    study.finish(
        "report",
        study.identity,
        begin,
        settings=settings_fingerprint(study.config, study.weights_folder),
        was_cut_short=outcome.reason.startswith("time limit") or bool(confirmation.note),
    )
    summarise()
