"""Measure what a search costs its driver as the cluster grows: many of Ray's nodes on one machine.

python -m benchmarks.nodes [--nodes 2 --nodes 20] [--one-node] [--seconds 45] [--epoch-seconds 1]

Each node is a raylet with its agents and one CPU that it only claims to have; the driver's own has
none. Trials wait an epoch out and report made-up curves; everything around them is real: Tune,
sampler, ASHA, ledger, courier, the watch over the nodes. With --one-node there is one node instead,
which claims 200 CPUs, and so many trials run on it at once. There is no network between such nodes,
and all of them share this machine's cores: what is measured is the driver, not a wire.

A size that would leave less than 5 GB of memory free is cut to what fits, and it says so.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.load import Load, loads_table
from benchmarks.measure import describe_machine
from benchmarks.processes import in_process
from benchmarks.raylets import Plan, measure_loads
from search.records import write_json


def main(
    nodes: Annotated[list[int] | None, typer.Option(help="So many; repeat it, ascending.")] = None,
    one_node: Annotated[bool, typer.Option(help="So many trials at once on one node.")] = False,
    seconds: Annotated[float, typer.Option(min=1, help="To measure at each size.")] = 45.0,
    epoch_seconds: Annotated[float, typer.Option(min=0, help="Of an epoch; 0: at once.")] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep every figure.")] = None,
) -> None:
    """Print the figures, and write them down if asked to."""
    plan = Plan(sorted(nodes or [2, 20]), one_node, seconds, epoch_seconds)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="nodes ") as folder:
        loads: list[Load] = in_process(measure_loads, Path(folder), plan)
    console.print(loads_table(loads))
    if (most := plan.counts[-1]) > (reached := loads[-1].at_once):
        console.print(f"{reached} instead of {most}: more would leave too little memory")
    figures = {"loads": [asdict(load) for load in loads], "machine": describe_machine()}
    if json_file is not None:
        write_json(json_file, figures)
    console.print_json(json.dumps(figures, default=str))


if __name__ == "__main__":
    typer.run(main)
