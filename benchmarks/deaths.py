"""Deaths of the driver in the middle of a write, for `benchmarks.drills`.

No signal from outside comes at such a moment often enough to be drilled, so the driver kills itself
there, as abruptly: Python that its process runs before the command.
"""

from __future__ import annotations

from dataclasses import dataclass

_DIE = "os.kill(os.getpid(), signal.SIGKILL)"

_LEDGER_LINE = f"""
import os, signal
from search.tune.ledger import Ledger
write, ends = Ledger._write, []
def write_half(self, line, sync):
    ends.append(1) if b'"event":"end"' in line else None
    if len(ends) == 3:
        write(self, line[:len(line) // 2], False)
        {_DIE}
    write(self, line, sync)
Ledger._write = write_half
"""

_TUNE_SNAPSHOT = f"""
import json, os, signal
dump = json.dump
def dump_half(what, file, *args, **kwargs):
    if 'experiment_state' in str(getattr(file, 'name', '')):
        file.write('{{"trial_data": [')
        file.flush()
        {_DIE}
    dump(what, file, *args, **kwargs)
json.dump = dump_half
"""

_RENAMING = f"""
import os, signal
from pathlib import Path
replace = os.replace
def not_replaced(source, target, **kwargs):
    if Path(target).name == %r:
        {_DIE}
    replace(source, target, **kwargs)
os.replace = not_replaced
"""


@dataclass(frozen=True)
class Death:
    """One write that the driver does not live to finish.

    Attributes:
        when: In words.
        prelude: Python that the driver runs first.
    """

    when: str
    prelude: str


DEATHS: dict[str, Death] = {
    "ledger": Death("in the middle of a ledger line", _LEDGER_LINE),
    "snapshot": Death("in the middle of Tune's snapshot", _TUNE_SNAPSHOT),
    "table": Death("before trials.csv is renamed", _RENAMING % "trials.csv"),
    "model": Death("before the model is renamed", _RENAMING % "weights.safetensors"),
    "summary": Death("before summary.json is renamed", _RENAMING % "summary.json"),
}
