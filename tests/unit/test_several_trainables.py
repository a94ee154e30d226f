"""Studies over several trainables: `trainable` is searched, and names belong to some of them."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from search.schema import study_schema
from search.yaml_file import dump_yaml
from tests.study_files import REPO, load, problems
from trainables.parameters import TRAINABLES, default_params

BOTH = """
name: both
dataset: {root: "data/my photos, 'all' of them", size_px: 96}
trainable: [linear_probe, classifier]
space:
  lr: {float: [1e-4, 1e-2], log: true}
"""
PHOTOS = (REPO / "spaces" / "photos.yaml").read_text(encoding="utf-8")


def both(*lines: str) -> str:
    return BOTH + "".join(f"  {line}\n" for line in lines)


def test_trainable_is_a_parameter_like_any_other() -> None:
    study = load(both("passes: {int: [1, 9], when: {trainable: linear_probe}}"))
    assert study.trainables == ("linear_probe", "classifier")
    assert study.search_space.searched == ("trainable", "lr", "passes")
    assert study.start_points == [{"trainable": "linear_probe", "lr": 3e-3, "passes": 2}]
    assert load(dump_yaml(study.resolved())) == study


def test_each_trial_has_the_recipe_of_its_own_trainable() -> None:
    study = load(BOTH)
    assert study.recipe == default_params("linear_probe") | {"size_px": 96}
    assert study.recipe_of({"trainable": "classifier", "lr": 0.1}) == (
        default_params("classifier") | {"size_px": 96}
    )


def test_start_points_may_name_the_trainable() -> None:
    text = (
        both("batch_size: {choice: [32, 256]}")
        + "start_with: [{trainable: classifier}, {trainable: linear_probe}]\n"
    )
    assert load(text).start_points == [
        {"trainable": "linear_probe", "lr": 3e-3, "batch_size": 256},
        {"trainable": "classifier", "lr": 1e-3, "batch_size": 32},
    ]


def test_what_a_trial_can_be_includes_the_defaults_of_each_trainable() -> None:
    assert load(BOTH).possible_values("backbone") == ("mobilenetv2_100", "small_cnn")
    assert load(both("backbone: resnet18")).possible_values("backbone") == ("resnet18",)
    assert load(BOTH).possible_values("pretrained") == ("auto",)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "passes: {int: [1, 9]}",
            "passes: has no effect when trainable is classifier. "
            "Add when: {trainable: linear_probe}.",
        ),
        (
            "mixup: {float: [0.1, 0.4], when: {trainable: linear_probe}}",
            "mixup: has no effect when trainable is linear_probe, as it always is here. Remove it.",
        ),
        (
            "backbone: {choice: [small_cnn, resnet18]}",
            "backbone.choice[0]: must be a timm model, got 'small_cnn'. For example resnet18. "
            "Or add when: {trainable: classifier}.",
        ),
        (
            "backbone: {choice: [resnet81, resnet18]}",
            "backbone.choice[0]: must be a timm model, got 'resnet81'. Did you mean resnet18?",
        ),
        (
            "augment_strength: {float: [0, 1]}",
            "augment_strength.float: must be a choice, got float. Write {choice: [0.0, 0.25]}. "
            "Or add when: {trainable: classifier}.",
        ),
        (
            "pretrained: {choice: [true, false]}",
            "pretrained.choice[1]: must be one of auto, true, got false (YAML reads an unquoted no,"
            " off and false as false). Put the word in quotes if you mean it. "
            "Or add when: {trainable: classifier}.",
        ),
        (
            "dropout: {float: [0, 0.5], when: {trainable: clasifier}}",
            "dropout.when.trainable: must be one of linear_probe, classifier, got 'clasifier'. "
            "Did you mean classifier?",
        ),
        ("trainable: classifier", "trainable: must stand at the top of the file. Move it there."),
        (
            "num_views: {int: [1, 4], when: {trainable: linear_probe}}",
            "num_views: has no effect when augment_strength is 0.0, as it always is here. "
            "Remove it.",
        ),
        (  # the classifier's own backbone by default, with nothing to freeze
            "freeze: {choice: [none, backbone], when: {trainable: classifier}}",
            "freeze: has no effect when backbone is small_cnn, as it always is here. Remove it.",
        ),
    ],
)
def test_what_only_some_can_use_must_say_so(line: str, problem: str) -> None:
    assert problems(both(line)) == [f"space.{problem}"]


@pytest.mark.parametrize(
    "lines",
    [
        ("backbone: {choice: [small_cnn, resnet18], when: {trainable: classifier}}",),
        ("augment_strength: {float: [0, 1], when: {trainable: classifier}}",),
        ("augment_strength: 0.5",),
        (
            "augment_strength: {choice: [0, 0.25]}",
            "num_views: {int: [1, 4], when: {trainable: linear_probe, augment_strength: 0.25}}",
        ),
        (
            "backbone: {choice: [vgg11, resnet18], when: {trainable: classifier}}",
            "freeze: {choice: [none, backbone], when: {backbone: resnet18}}",
        ),
    ],
)
def test_what_says_whom_it_is_for_is_read_by_that_ones_rules(lines: tuple[str, ...]) -> None:
    text = both(*lines)
    assert load(text)
    value = yaml.safe_load(text.replace("1e-", "1.0e-"))
    jsonschema.Draft202012Validator(study_schema()).validate(value)


@pytest.mark.parametrize(
    ("trainable", "problem"),
    [
        ("[linear_prob, classifier]", "must be a trainable (Did you mean linear_probe?), got"),
        ("[classifier, classifier]", "must be a trainable, or a list of different ones, got"),
        ("[]", "must be a trainable, or a list of different ones, got []."),
        ("7", "must be a trainable (Known: classifier, linear_probe.), got 7."),
    ],
)
def test_trainables_that_cannot_be(trainable: str, problem: str) -> None:
    (only,) = problems(BOTH, f"trainable={trainable}")
    assert only.startswith(f"--set trainable: {problem}")


@pytest.mark.parametrize("trainable", TRAINABLES)
def test_one_of_several_can_be_chosen_on_the_command_line(trainable: str) -> None:
    study = load(PHOTOS, f"trainable={trainable}")
    names = {parameter.name for parameter in study.search_space.parameters}
    assert ("freeze" in names) == (trainable == "classifier")
    assert ("hidden_units" in names) == (trainable == "linear_probe")
    assert "trainable" not in study.search_space.searched
    for point in study.start_with:
        assert point.get("trainable", trainable) == trainable
    assert load(dump_yaml(study.resolved())) == study
    assert load(PHOTOS, f"trainable=[{trainable}]") == study


def test_a_study_of_probes_alone_knows_only_what_they_know() -> None:
    text = BOTH.replace("[linear_probe, classifier]", "linear_probe")
    assert load(text).start_points == [{"lr": 3e-3}]
    assert problems(text + "  backbone: separable_cnn\n  pases: 3\n  mixup: 0.2\n") == [
        "space.backbone: must be a timm model, got 'separable_cnn'. For example resnet18.",
        "space.pases: unknown name. Did you mean passes?",
        "space.mixup: has no effect when trainable is linear_probe, as it always is here. "
        "Remove it.",
    ]


def test_the_schema_knows_whom_a_name_is_for() -> None:
    validator = jsonschema.Draft202012Validator(study_schema())
    value = yaml.safe_load(PHOTOS)
    validator.validate(value)
    value["trainable"] = "linear_probe"
    found = {str(error.absolute_path[-1]) for error in validator.iter_errors(value)}
    assert "space" in found  # freeze is no name of a probe
    value["trainable"] = "linear_prob"
    assert [error.absolute_path[0] for error in validator.iter_errors(value)] == ["trainable"]


def test_what_all_of_them_refuse_is_told_once() -> None:
    lines = ("dropout: {float: [0.0, 0.5], wen: {trainable: classifier}}", "warmup_fraction: 2")
    assert problems(both(*lines)) == [
        "space.dropout.wen: unknown name. Did you mean when?",
        "space.warmup_fraction: must be <= 0.9, got 2. Allowed are 0.0 to 0.9.",
    ]
