"""The space: suggesting, completing and counting points, conditions included."""

from __future__ import annotations

import itertools
import math
import pickle
import random
import warnings
from typing import Any

import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from search.ranges import grid, on_grid, range_faults, same
from search.space import Choice, Fixed, Float, Int, Space, SpaceParameter

many = settings(max_examples=100, deadline=None)
some = settings(max_examples=30, deadline=None)
optuna.logging.set_verbosity(optuna.logging.WARNING)

CARS = Space(
    (
        Float("momentum", 0.5, 0.99, when={"optimizer": ("sgd",)}),
        Choice("freeze", ("none", "early"), when={"backbone": ("resnet18",)}),
        Int("stages", 1, 3, when={"freeze": ("early",)}),
        Choice("backbone", ("small_cnn", "resnet18"), default="resnet18"),
        Choice("optimizer", ("adamw", "sgd")),
        Float("lr", 1e-4, 1e-2, log=True),
        Int("hidden_units", 0, 512, step=128),
        Fixed("pretrained", True, when={"backbone": ("resnet18",)}),
        Fixed("seeded", 1),
    )
)
RECIPE = {"backbone": "small_cnn", "optimizer": "adamw", "lr": 2e-3, "hidden_units": 100}


class DiceTrial:
    """Suggests at random and notes every call."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.asked: list[str] = []

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked.append(name)
        return self.random.uniform(low, high) if step is None else self._step(low, high, step)

    def _step(self, low: float, high: float, step: float) -> float:
        return self.random.choice(grid(low, high, step))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        self.asked.append(name)
        return self.random.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        self.asked.append(name)
        return self.random.choice(choices)


def assert_is_a_point(space: Space, params: dict[str, Any]) -> None:
    for parameter in space.parameters:
        active = space.is_active(parameter.name, params)
        assert active == (parameter.name in params), parameter.name
        if active:
            assert parameter.contains(params[parameter.name]), (parameter, params)
    assert params.keys() <= {parameter.name for parameter in space.parameters}


# --- any space


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    parameters: list[SpaceParameter] = []
    for name in "abcdef"[: draw(st.integers(1, 6))]:
        parents = [p for p in parameters if not isinstance(p, Float)]
        when = {}
        if parents and draw(st.booleans()):
            for parent in draw(st.lists(st.sampled_from(parents), max_size=2)):
                when[parent.name] = tuple(
                    draw(st.lists(st.sampled_from(list(parent.values)), min_size=1, max_size=2))
                )
        parameters.append(draw(_parameters(name, when)))
    return Space(tuple(draw(st.permutations(parameters))))


@st.composite
def _parameters(draw: st.DrawFn, name: str, when: dict[str, tuple[Any, ...]]) -> SpaceParameter:
    kind = draw(st.sampled_from(["float", "float step", "int", "choice", "fixed"]))
    if kind == "choice":
        options = draw(st.lists(OPTIONS, min_size=2, max_size=4, unique_by=repr))
        return Choice(name, tuple(options), when, draw(st.none() | st.sampled_from(options)))
    if kind == "fixed":
        return Fixed(name, draw(OPTIONS), when)
    if kind == "float":
        low = draw(st.floats(-1e6, 1e6))
        high = low + draw(st.floats(0.1, 1e6))
        return Float(name, low, high, low > 0 and draw(st.booleans()), when=when)
    low, step, count = draw(st.integers(-50, 50)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    if kind == "int":
        return Int(name, low, low + step * count, step=step, when=when)
    return Float(name, low / 100, (low + step * count) / 100, step=step / 100, when=when)


OPTIONS = st.sampled_from(["none", "some", True, False, 2, 3, 0.5])
ANYTHING = OPTIONS | st.integers(-100, 100) | st.floats() | st.none() | st.text(max_size=3)
POINTS = st.dictionaries(st.sampled_from("abcdefz"), ANYTHING)


def is_kept(value: Any, given: Any) -> bool:
    """Tell whether a value stayed; one a rounding error beside its grid is put on it."""
    near = isinstance(value, float) and math.isclose(value, given, rel_tol=1e-8, abs_tol=1e-8)
    return same(value, given) or near


@many
@given(spaces(), POINTS, POINTS)
def test_every_completed_point_is_in_the_space(
    space: Space, partial: dict[str, Any], recipe: dict[str, Any]
) -> None:
    point = space.complete(partial, recipe)
    assert_is_a_point(space, point)
    assert space.complete(point, recipe) == point
    for parameter in space.parameters:
        if parameter.name in point and parameter.contains(partial.get(parameter.name)):
            assert is_kept(point[parameter.name], partial[parameter.name])


@many
@given(spaces(), st.integers(0, 1000))
def test_every_suggested_point_is_in_the_space(space: Space, seed: int) -> None:
    trial = DiceTrial(seed)
    point = space.suggest(trial)
    assert_is_a_point(space, point)
    assert set(trial.asked) == set(point) & set(space.searched)


@some
@given(spaces())
def test_spaces_pickle(space: Space) -> None:
    again = pickle.loads(pickle.dumps(space))
    assert again == space
    assert again.suggest(DiceTrial(0)) == space.suggest(DiceTrial(0))


@some
@given(spaces())
def test_the_count_is_that_of_all_points(space: Space) -> None:
    values = [parameter.values for parameter in space.parameters]
    assume(None not in values and math.prod(len(v) for v in values if v is not None) <= 300)
    names = [parameter.name for parameter in space.parameters]
    points = {
        repr(sorted(space.complete(dict(zip(names, point, strict=True)), {}).items()))
        for point in itertools.product(*(v for v in values if v is not None))
    }
    assert space.num_configurations == len(points)


@some
@given(spaces(), st.integers(0, 5))
def test_optuna_takes_every_range_without_a_warning(space: Space, seed: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        assert_is_a_point(space, space.suggest(study.ask()))


@some
@given(spaces())
def test_optuna_takes_completed_points_as_they_are(space: Space) -> None:
    point = space.complete({}, {})
    study = optuna.create_study()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns of a value out of range, and takes another
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        study.enqueue_trial({name: point[name] for name in space.searched if name in point})
        assert space.suggest(study.ask()) == point


# --- one space


def test_parents_come_first_and_otherwise_the_order_stays() -> None:
    assert [p.name for p in CARS.parameters] == [
        "backbone", "freeze", "stages", "optimizer", "momentum", "lr", "hidden_units",
        "pretrained", "seeded",
    ]  # fmt: skip
    assert "pretrained" not in CARS.searched
    assert set(CARS.searched) == {
        "backbone", "freeze", "stages", "optimizer", "momentum", "lr", "hidden_units"
    }  # fmt: skip


def test_completing_prefers_given_then_own_default_then_recipe_then_first() -> None:
    assert CARS.complete({}, RECIPE) == {
        "backbone": "resnet18",  # its own default, not the recipe's
        "freeze": "none",  # the first option
        "optimizer": "adamw",
        "lr": 2e-3,
        "hidden_units": 128,  # the nearest to 100
        "pretrained": True,
        "seeded": 1,
    }
    point = CARS.complete({"optimizer": "sgd", "lr": 1.0, "seeded": 5}, RECIPE)
    assert (point["momentum"], point["lr"], point["seeded"]) == (0.5, 1e-2, 1)


def test_a_child_of_an_inactive_parameter_is_inactive() -> None:
    params = {"backbone": "small_cnn", "freeze": "early", "stages": 2}
    assert not CARS.is_active("stages", params)
    assert CARS.is_active("stages", params | {"backbone": "resnet18"})
    assert "stages" not in CARS.complete(params, RECIPE)


def test_counting_conditional_points() -> None:
    own = Choice("backbone", ("small_cnn", "resnet18", "resnet34"))
    width = Int("width", 16, 64, step=16, when={"backbone": ("small_cnn",)})
    assert Space((own, width)).num_configurations == 4 + 2
    assert CARS.num_configurations is None
    never = Float("lr", 0.1, 1.0, when={"backbone": ("vgg",)})
    assert Space((own, never)).num_configurations == 3
    assert Space((Int("a", 0, 10**9), Int("b", 1, 2, when={"a": (7,)}))).num_configurations == (
        10**9 + 2
    )


@pytest.mark.parametrize(
    "parameters",
    [
        (Choice("a", (1, 2), when={"b": (1,)}), Choice("b", (1, 2), when={"a": (1,)})),
        (Choice("a", (1, 2), when={"a": (1,)}),),
        (Choice("a", (1, 2), when={"z": (1,)}),),
        (Fixed("a", 1), Fixed("a", 2)),
    ],
    ids=["cycle", "itself", "unknown parent", "twice"],
)
def test_spaces_that_make_no_sense(parameters: tuple[SpaceParameter, ...]) -> None:
    with pytest.raises(ValueError, match="space"):
        Space(parameters)


def test_true_is_not_one() -> None:
    flags = Choice("a", (True, "auto"))
    assert flags.contains(True)
    assert not flags.contains(1)
    assert Fixed("a", 1).contains(1.0)
    assert not Fixed("a", 1).contains(True)
    assert not Float("a", 0.0, 1.0).contains(True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None, True, [0.5]])
def test_numbers_take_numbers_only(value: Any) -> None:
    assert not Float("a", 0.0, 1.0).contains(value)
    assert Float("a", 0.0, 1.0).nearest(value) is None
    assert Int("a", 0, 1).nearest(value) is None


# --- ranges


@pytest.mark.parametrize(
    ("arguments", "attribute"),
    [
        ((1, 1, False, None), "low"),
        ((2, 1, False, None), "low"),
        ((0, 1, True, None), "low"),
        ((1, 2, True, 1), "step"),
        ((0, 1, False, 0), "step"),
        ((0, 1, False, 2), "step"),
        ((0, 100, False, 16), "step"),
        ((0.0, 1.0, False, 0.3), "step"),
    ],
)
def test_bad_ranges(arguments: tuple[Any, ...], attribute: str) -> None:
    ((found, text),) = range_faults(*arguments)
    assert found == attribute
    assert "got" in text
    low, high, log, step = arguments
    with pytest.raises(ValueError, match=rf"lr\.{attribute}: must"):
        Float("lr", low, high, log, step)


@pytest.mark.parametrize(
    "arguments",
    [(0.0, 1.0, False, 0.1), (0.1, 0.7, False, 0.2), (0, 512, False, 128), (1e-5, 1, True, None)],
)
def test_good_ranges(arguments: tuple[Any, ...]) -> None:
    assert range_faults(*arguments) == []


def test_grids_do_not_drift() -> None:
    assert grid(0.1, 0.7, 0.2) == (0.1, 0.3, 0.5, 0.7)
    assert on_grid(0.69, 0.1, 0.7, 0.2) == 0.7
    assert on_grid(99, 0.0, 1.0, 0.3) == 0.9
    assert on_grid(-99, 0.0, 1.0, 0.3) == 0.0


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (None, ()),
        (Fixed("drop_path", 0.0), ()),
        (Fixed("drop_path", 0.1), ("small_cnn", "resnet18")),
        (Float("drop_path", 0.0, 0.3, when={"backbone": ("resnet18",)}), ("resnet18",)),
    ],
)
def test_backbones_that_a_number_can_come_with(
    parameter: SpaceParameter | None, expected: tuple[str, ...]
) -> None:
    more = (parameter,) if parameter else ()
    space = Space((Choice("backbone", ("small_cnn", "resnet18")), *more))
    assert space.backbones_with("drop_path") == expected
