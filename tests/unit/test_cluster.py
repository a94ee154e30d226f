"""What is said of nodes that come and go, and what an autoscaler may add."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.tune.cluster import launchable_nodes
from search.tune.places import describe_change

LAUNCHER = """
provider: {type: aws}
max_workers: 5
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, max_workers: 0}
  cpu: {resources: {CPU: 8}, min_workers: 0, max_workers: 4}
  gpu: {resources: {CPU: 4, GPU: 1}, min_workers: 0, max_workers: 2}
"""


def test_changes_are_named() -> None:
    before = {"1": "lab1", "2": "lab2"}
    assert describe_change(before, before) == ""
    assert describe_change(before, before | {"3": "lab3"}) == "node lab3 joined"
    lost = "node lab1 was lost, its trainings go on elsewhere"
    assert describe_change(before, {"2": "lab2"}) == lost
    assert describe_change(before, {"2": "lab2", "4": "lab1"}) == f"node lab1 joined; {lost}"
    assert describe_change(before, {"2": "lab2"}, {"1"}) == "", "it was left out, which was said"


def test_what_the_autoscaler_may_start_counts(tmp_path: Path) -> None:
    file = tmp_path / "ray_bootstrap_config.yaml"
    assert launchable_nodes(file) == []
    file.write_text(LAUNCHER)
    assert launchable_nodes(file) == [(8, 0)] * 4 + [(4, 1)], "no more than max_workers in all"


@pytest.mark.parametrize(
    "text", ["provider: {type: local}", "a: [", "[]", "provider: {type: aws}", "{max_workers: 2}"]
)
def test_without_an_autoscaler_there_is_nothing_to_come(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ray_bootstrap_config.yaml"
    file.write_text(text)
    assert launchable_nodes(file) == []
