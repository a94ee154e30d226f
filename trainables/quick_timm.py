"""timm, imported without torch's compiler, which no training here uses.

torchvision, timm and every optimizer import `torch._dynamo` at once, to keep their hands off code
that is being compiled. With it come sympy, torch._inductor and triton: more than half of the CPU
seconds that a process takes until it can train. Here a stand-in answers until someone wants more of
the compiler than that, which then is imported after all.

Whoever needs timm takes it from here. Where it was imported before, this changes nothing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

_DYNAMO, _UTILS = "torch._dynamo", "torch._dynamo.utils"


class _OnDemand(ModuleType):
    """A module that knows a few of its names, and is replaced by the real one for any other."""

    def __init__(self, name: str, **known: Any) -> None:
        super().__init__(name)
        vars(self).update(known)

    def __getattr__(self, name: str) -> Any:
        # `inspect` asks every module for its file; who asks for the path wants another submodule.
        if name.startswith("__") and (self.__name__, name) != (_DYNAMO, "__path__"):
            raise AttributeError(name)
        _remove_stand_ins()
        return getattr(importlib.import_module(self.__name__), name)


def _remove_stand_ins() -> None:
    for name in (_UTILS, _DYNAMO):
        if isinstance(sys.modules.get(name), _OnDemand):
            del sys.modules[name]
    if isinstance(vars(torch).get("_dynamo"), _OnDemand):
        del torch._dynamo


def _leave_as_it_is(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """Keep a function from being compiled, where nothing is."""
    return function if function is not None else _leave_as_it_is


def _do_nothing() -> None:
    """Break the graph of what is being compiled, where nothing is."""


def _import_timm() -> Any:
    if _DYNAMO not in sys.modules:
        dynamo = _OnDemand(_DYNAMO, disable=_leave_as_it_is, graph_break=_do_nothing)
        sys.modules[_DYNAMO] = torch._dynamo = dynamo
        sys.modules[_UTILS] = _OnDemand(_UTILS, is_compile_supported=lambda device: False)
    imported = importlib.import_module("timm")
    if isinstance(sys.modules.get(_UTILS), _OnDemand):
        del sys.modules[_UTILS]  # torchvision has asked; whoever comes next wants the real one
    return imported


timm = _import_timm()
