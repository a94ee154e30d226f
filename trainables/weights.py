"""Pretrained weights: a local folder first, then the hub's cache, then the hub itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

from huggingface_hub import constants, get_session, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from trainables.parameters import OWN_BACKBONES
from trainables.quick_timm import timm

SUFFIXES = (".safetensors", ".pth", ".bin")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
CONNECT_SECONDS = 2.0
PROXY_REFUSES = (401, 403, 407)
"""Statuses that the hub's front page never has: something in between does not let us pass."""


def has_pretrained(model_name: str) -> bool:
    """Tell whether timm knows pretrained weights for this name (with or without tag)."""
    return model_name not in OWN_BACKBONES and timm.is_model_pretrained(model_name)


def find_weights(model_name: str, folder: Path | None, *, download: bool = True) -> Path | None:
    """Find the pretrained weights of a timm model, or None when none can be had.

    Looked for in this order: `<folder>/<model_name>.safetensors` (.pth, .bin), the same with the
    tag of timm's default weights (`resnet18.a1_in1k.safetensors`), the local hub cache, the hub.

    Args:
        model_name: timm name, with or without tag; an own CNN has no weights.
        folder: Local weights folder, None for none.
        download: Whether the hub may be asked. Offline that costs one connection attempt of at
            most 2 seconds per process; HF_HUB_OFFLINE and proxy variables are honoured.

    Returns:
        A .safetensors file or a torch checkpoint that `build_classifier` can load.
    """
    if model_name in OWN_BACKBONES or not timm.is_model(model_name):
        return None
    try:
        cfg = timm.get_pretrained_cfg(model_name)
    except RuntimeError:  # a tag timm does not know: only a file of that name can be meant
        cfg = None
    if folder is not None and (local := _in_folder(model_name, cfg, folder)):
        return local
    if cfg is None or not cfg.hf_hub_id:
        return None
    names = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else HUB_FILES
    for name in names:
        if isinstance(cached := try_to_load_from_cache(cfg.hf_hub_id, name), str):
            return Path(cached)
    if download and hub_reachable():
        return _download(cfg.hf_hub_id, names)
    return None


def _in_folder(model_name: str, cfg: Any, folder: Path) -> Path | None:
    stems = [model_name]
    if "." not in model_name and cfg is not None and cfg.tag:
        stems.append(f"{model_name}.{cfg.tag}")
    candidates = (folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


@cache
def hub_reachable() -> bool:
    """Ask the hub once per process, for at most 2 seconds; its own retries would take minutes."""
    if constants.HF_HUB_OFFLINE:
        return False
    answers: list[int] = []

    def ask() -> None:
        try:
            answer = get_session().head(constants.ENDPOINT, timeout=CONNECT_SECONDS)
        except Exception:  # whatever the reason (no route, proxy, certificate), it is not there
            return
        answers.append(answer.status_code)

    # In a thread because looking up a name has no time limit of its own.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return bool(answers) and answers[0] < 500 and answers[0] not in PROXY_REFUSES


def _download(repo: str, names: tuple[str, ...]) -> Path | None:
    """Fetch the first of these files that the repository has into the hub's cache."""
    for name in names:
        try:
            return Path(hf_hub_download(repo, name))
        except LocalEntryNotFoundError:  # the connection was lost
            return None
        except EntryNotFoundError:  # the repository has no such file
            continue
        except Exception:  # gated, moved, disk full: training goes on without
            return None
    return None
