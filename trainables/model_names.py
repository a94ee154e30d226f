"""The names timm knows, read from its source text: checking a space file must not import torch."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_REGISTERED = re.compile(rb"^@register_model\b[^\n]*\n(?:@[^\n]*\n)*def (\w+)", re.MULTILINE)


@cache
def timm_model_names() -> frozenset[str]:
    """Return every architecture of the installed timm, without importing it (some 20 ms).

    Tagged names such as "resnet18.a1_in1k" are not listed: the part before the dot is.
    """
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    sources = Path(spec.submodule_search_locations[0]).joinpath("models").glob("*.py")
    return frozenset(
        name.decode() for path in sources for name in _REGISTERED.findall(path.read_bytes())
    )
