"""What the tables of a judgement say, to the last character: of one fixed study and its twin.

`python -m tests.golden.test_judgement_tables` writes them anew after a change that is meant.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from search.report import studies_tables, tables
from search.report.load import read_study
from search.report.studies import read_studies
from search.report.table import Table, write_table
from search.results import ResultsFolder
from tests.compared_studies import make_worse, set_space
from tests.fake_study import write_fake_study

GOLDEN = Path(__file__).with_name("judgement_tables.md")
OF_ONE = ("confirm", "test_metrics", "comparisons", "calibration", "per_class")
OF_TWO = ("differences", "pairs", "side_by_side")


def render(root: Path) -> str:
    """Write two small studies and return their tables as Markdown."""
    first = write_fake_study(root / "first", num_classes=4, num_trials=6, num_images=120)
    second = write_fake_study(root / "second", num_classes=4, num_trials=6, num_images=120)
    make_worse(second, 5)
    set_space(second, seed=1, space={"lr": {"float": [1e-4, 0.1], "log": True}})
    files = read_study(ResultsFolder(first.root))
    both = read_studies([first.root, second.root])
    made: list[Table] = [tables.TABLES[name](files) for name in OF_ONE]
    made += [studies_tables.TABLES[name](both) for name in OF_TWO]
    for table in made:
        write_table(table, root / "tables")
    names = (f"{table.name}.md" for table in made)
    return "\n".join((root / "tables" / name).read_text(encoding="utf-8") for name in names)


@pytest.mark.parametrize("name", [*OF_ONE, *OF_TWO])
def test_tables_are_the_golden_ones(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    golden = GOLDEN.read_text(encoding="utf-8").split("\n# ")
    found = render(tmp_path_factory.mktemp("golden")).split("\n# ")
    place = [*OF_ONE, *OF_TWO].index(name)
    assert found[place] == golden[place]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(render(Path(folder)), encoding="utf-8")
