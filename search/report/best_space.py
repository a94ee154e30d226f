"""The winner as a space file of its own, to train again or to search on from."""

from __future__ import annotations

from typing import Any

from search.config import load_study
from search.errors import ResultsError, SpaceError
from search.records import write_text
from search.report.answer import winner_params
from search.report.load import NothingToShowError, StudyFiles
from search.yaml_file import dump_yaml, read_yaml

_NAME_LENGTH = 95  # of the 100 that a study's name may have


def best_space(files: StudyFiles) -> dict[str, Any]:
    """Turn the study's space file into one whose default recipe, its only trial, is the winner.

    The ranges stay, so that more trials search on from the winner.

    Raises:
        NothingToShowError: There is no winner yet.
        SpaceError: The study's own space file cannot be read.
    """
    params = winner_params(files)
    if not params:
        raise NothingToShowError("No winner was chosen yet, so there is no space file of it.")
    study = read_yaml(files.folder.study_file)
    study["name"] = f"{str(study.get('name'))[:_NAME_LENGTH]}-best"
    study["budget"] = {**_mapping(study.get("budget")), "num_trials": 1}
    study["space"] = {
        name: {**entry, "default": params[name]}
        if isinstance(entry, dict) and "value" not in entry and params.get(name) is not None
        else entry
        for name, entry in _mapping(study.get("space")).items()
    }
    if isinstance(study.get("trainable"), list) and "trainable" in params:
        others = [name for name in study["trainable"] if name != params["trainable"]]
        study["trainable"] = [params["trainable"], *others]
    if "size_px" in params:  # the recipe's size is the data set's
        study["dataset"] = {**_mapping(study.get("dataset")), "size_px": params["size_px"]}
    study.pop("start_with", None)
    return study


def write_best_space(files: StudyFiles) -> str:
    """Write report/best.yaml, or remove it where it would not be accepted.

    Returns:
        "" when it is there, otherwise why it is not.
    """
    path = files.folder.report / "best.yaml"
    try:
        space = best_space(files)
        write_text(path, f"{_heading(files)}\n{dump_yaml(space)}")
        load_study(path)
    except (NothingToShowError, ResultsError, SpaceError, ValueError) as error:
        path.unlink(missing_ok=True)
        if isinstance(error, NothingToShowError):
            return str(error)
        first = str(error).replace(str(path), path.name).splitlines()
        return f"There is no space file of the winner: {' '.join(first[:2])}"
    return ""


def _heading(files: StudyFiles) -> str:
    name = " ".join(str(files.study.get("name") or files.folder.root.name).split())
    return (
        f"# The winner of {name}, as defaults: the one trial of this study trains it.\n"
        "# Paths are as in the study; --trials 20 searches on from here."
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
