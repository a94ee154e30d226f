"""Objectives and constraints: what a space file may say, and what it means."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from search.errors import ResultsError, SpaceError
from search.goals import (
    METRICS,
    Constraint,
    Goals,
    architecture_of,
    best_epoch,
    footprint_of,
    number_text,
    single_goal,
)
from search.identity import refuse_other_study, study_identity, write_study
from search.objective_section import read_goals
from search.results import ResultsFolder
from search.schema import study_schema
from search.yaml_file import dump_yaml
from tests.study_files import MINIMAL, load, problems

BOTH = "objective: [{metric: val_accuracy}, {metric: latency_ms}]\n"
LIMITS = 'constraints: {num_parameters: <= 5e6, latency_ms: "<10.5", val_accuracy: ">= 0.8"}\n'


def test_a_trade_off_and_its_limits_load() -> None:
    study = load(MINIMAL + BOTH + LIMITS)
    assert [(o.metric, o.direction) for o in study.objective.every] == [
        ("val_accuracy", "maximize"),
        ("latency_ms", "minimize"),
    ]
    assert (study.objective.metric, study.objective.direction) == ("val_accuracy", "maximize")
    assert study.goals.text() == (
        "val_accuracy and latency_ms, with num_parameters <= 5e6, latency_ms < 10.5, "
        "val_accuracy >= 0.8"
    )
    again = load(
        MINIMAL + dump_yaml({k: study.resolved()[k] for k in ("objective", "constraints")})
    )
    assert again == study
    assert read_goals(study.resolved()["objective"], study.resolved()["constraints"]) == study.goals


@pytest.mark.parametrize("text", [MINIMAL, MINIMAL + "objective: [{metric: val_accuracy}]\n"])
def test_one_objective_is_the_study_that_it_always_was(text: str) -> None:
    study = load(text)
    assert study.goals == single_goal("val_accuracy", "maximize")
    assert study.resolved()["objective"] == {"metric": "val_accuracy", "direction": "maximize"}
    identity = study_identity(study)
    assert identity["objective.metric"] == "val_accuracy"
    assert not [name for name in identity if name.startswith("constraints")], "folders of before"


def test_all_problems_are_told_at_once_and_once() -> None:
    found = problems(
        MINIMAL
        + "objective: [{metric: latency}, {metric: latency_ms, direction: up}, 3, {metric: a}]\n"
    )
    assert found == [
        "objective: must have one to 3 entries, got 4. A limit to keep is one of `constraints`."
    ]
    found = problems(
        MINIMAL
        + "objective: [{metric: latency}, {metric: latency_ms, direction: up, weight: 1}, 3]\n"
        + "constraints: {num_params: <= 5e6, latency_ms: 5e6, model_mb: <= five, val_loss: = 3,\n"
        + '  val_accuracy: ">= 80", num_parameters: < -1}\n'
    )
    assert found == [
        "objective[0].metric: must be one of val_accuracy, val_balanced_accuracy, val_macro_f1, "
        "val_loss, latency_ms, num_parameters, model_mb, got 'latency'. Did you mean latency_ms?",
        "objective[1].weight: unknown name. Known: metric, direction.",
        "objective[1].direction: must be minimize for latency_ms, got 'up'.",
        "objective[2]: must be a section of `name: value` lines, got 3. For example metric: "
        "val_loss.",
        "constraints.num_params: must be a metric (Did you mean num_parameters?)",
        'constraints.latency_ms: must say which side to keep, got 5000000.0. Write "<= 5e6"?',
        "constraints.model_mb: must have a number after <=, got '<= five'. "
        'For example model_mb: "<= 20".',
        "constraints.val_loss: must be one of <= >= < > and a number, got '= 3'. "
        'For example val_loss: "<= 0.5".',
        "constraints.val_accuracy: must be a share from 0 to 1, got '>= 80'. "
        'For example val_accuracy: ">= 0.8".',
        "constraints.num_parameters: must leave something above 0, got '< -1'. "
        'For example num_parameters: "<= 5e6".',
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("objective={metric: model_mb}", "objective.metric: must be one of val_accuracy, val_bal"),
        ("objective=[{metric: latency_ms}]", "objective[0].metric: must be one of val_accuracy"),
        ("objective=[{}]", "objective[0].metric: must be given, got nothing."),
        ("objective=[]", "objective: must have one to 3 entries, got 0."),
        ("objective=[{metric: val_loss}, {metric: val_loss}]", "objective[1].metric: is given twi"),
        ("constraints=5", "constraints: must be a section of `name: value` lines, got 5."),
        ("constraints.latency_ms='<= inf'", "constraints.latency_ms: must have a finite number"),
        ("constraints.val_loss=", "constraints.val_loss: must be one of <= >= < > and a number"),
    ],
)
def test_one_problem(override: str, problem: str) -> None:
    (line,) = problems(MINIMAL, override)
    assert line.startswith(f"--set {problem}"), line


@pytest.mark.parametrize("lines", ["  val_accuracy: >= 0.8", "  latency_ms: > 3"])
def test_an_unquoted_sign_that_yaml_takes_for_a_text(lines: str) -> None:
    with pytest.raises(SpaceError, match=r'Put it in quotes: ">= 0\.8"'):
        load(f"{MINIMAL}constraints:\n{lines}\n")


def test_the_schema_knows_both_sections() -> None:
    validator = jsonschema.Draft202012Validator(study_schema())
    value = yaml.safe_load((MINIMAL + BOTH + LIMITS).replace("1e-", "1.0e-"))
    validator.validate(value)
    for wrong in (
        {"objective": [{"metric": "latency_ms"}]},
        {"objective": {"metric": "model_mb"}},
        {"constraints": {"num_params": "<= 5"}},
        {"constraints": {"num_parameters": 5}},
        {"constraints": {"num_parameters": "at most 5"}},
    ):
        assert list(validator.iter_errors(value | wrong)), wrong


def test_a_changed_goal_is_another_study(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path)
    write_study(load(MINIMAL + BOTH + LIMITS), results)
    refuse_other_study(load(MINIMAL + BOTH + LIMITS.replace("5e6", "5000000")), results)
    with pytest.raises(ResultsError, match=r"constraints\.latency_ms: there '< 10\.5', now '< 11'"):
        refuse_other_study(load(MINIMAL + BOTH + LIMITS.replace("10.5", "11")), results)
    with pytest.raises(ResultsError, match="objective: there"):
        refuse_other_study(load(MINIMAL + LIMITS), results)


# --- what a limit means


@given(
    st.sampled_from(METRICS),
    st.sampled_from(("<=", ">=", "<", ">")),
    st.floats(1e-3, 1e9),
    st.floats(0, 1e9),
)
def test_a_limit_is_broken_as_its_sign_says(
    metric: str, sign: str, bound: float, value: float
) -> None:
    limit = Constraint(metric, sign, bound)
    is_kept = {"<=": value <= bound, ">=": value >= bound, "<": value < bound, ">": value > bound}
    assert (limit.excess(value) <= 0) == is_kept[sign]
    assert bool(limit.fault(value)) != is_kept[sign]
    assert Constraint(metric, *limit.limit.split()[:1], float(limit.limit.split()[1])) == limit


def test_a_fault_is_said_in_plain_words() -> None:
    limit = Constraint("num_parameters", "<=", 5e6)
    assert limit.fault(11.2e6) == "num_parameters must be <= 5e6, has 11.2e6"
    assert limit.fault(5_000_001) == "num_parameters must be <= 5e6, has 5.000001e6"
    goals = Goals((), (limit, Constraint("latency_ms", "<", 10)))
    assert goals.faults({"num_parameters": 6e6, "latency_ms": 10}) == (
        "num_parameters must be <= 5e6, has 6e6; latency_ms must be < 10, has 10"
    )
    assert goals.faults({}) == "", "what is not known breaks nothing"
    assert goals.excesses({"num_parameters": 1e6}) == {"num_parameters <= 5e6": -0.8}


@given(st.floats(1e-6, 1e12))
def test_numbers_are_short_and_near(value: float) -> None:
    text = number_text(value)
    assert float(text) == pytest.approx(value, rel=0.006)
    assert len(text) <= 9


def test_a_network_is_named_by_what_changes_it() -> None:
    own = {"backbone": "small_cnn", "size_px": 32, "hidden_units": 0, "depth": 3, "width": 8,
           "kernel_size": 3, "lr": 0.1}  # fmt: skip
    assert architecture_of(own) == architecture_of(own | {"lr": 0.2, "dropout": 0.5})
    for name, value in {"size_px": 64, "hidden_units": 8, "depth": 4, "width": 9}.items():
        assert architecture_of(own | {name: value}) != architecture_of(own), name
    timm = own | {"backbone": "resnet18"}
    assert architecture_of(timm) == architecture_of(timm | {"depth": 9}), "of no effect there"


def test_the_best_epoch_of_equals_has_the_least_loss() -> None:
    epochs = {
        1: {"val_accuracy": 0.5, "val_loss": 2.0},
        2: {"val_accuracy": 0.9, "val_loss": 1.0},
        3: {"val_accuracy": 0.9, "val_loss": 0.5},
        4: {"val_accuracy": None, "val_loss": 0.1},
    }
    assert best_epoch(epochs, "val_accuracy", "maximize") == (3, 0.9)
    assert best_epoch(epochs, "val_loss", "minimize") == (4, 0.1)
    assert best_epoch({}, "val_loss", "minimize") is None


def test_half_a_footprint_is_none() -> None:
    whole = {"latency_ms": 1.5, "num_parameters": 3, "model_mb": 0.1}
    assert footprint_of(whole | {"epoch": 3}) == whole
    assert footprint_of({"latency_ms": 1.5, "num_parameters": 3}) == {}
