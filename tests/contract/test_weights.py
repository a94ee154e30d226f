"""Pretrained weights: where they are looked for, what fits, and what is refused in plain words."""

from __future__ import annotations

import hashlib
import http.server
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import close_session, constants
from safetensors.torch import save_file

from trainables.backbones import build_classifier
from trainables.contract import WeightsError
from trainables.model_names import timm_model_names
from trainables.parameters import default_params
from trainables.weights import find_weights, has_pretrained, hub_reachable

NAME = "mobilenetv3_small_050"
PARAMS = default_params("classifier") | {"backbone": NAME}


@pytest.fixture(scope="module")
def whole_network() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {k: v.contiguous() for k, v in timm.create_model(NAME).state_dict().items()}


@pytest.fixture
def folder(tmp_path: Path, whole_network: dict[str, torch.Tensor]) -> Path:
    folder = tmp_path / "weights, of 'ours'"
    folder.mkdir()
    save_file(whole_network, folder / f"{NAME}.safetensors")
    return folder


def test_names_are_timms_own_and_cost_no_import() -> None:
    assert timm_model_names() == frozenset(timm.list_models())
    code = (
        "import sys, time, trainables.model_names as m; t = time.perf_counter();"
        "assert len(m.timm_model_names()) > 500; print(time.perf_counter() - t);"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(out.stdout) < 0.3


def test_has_pretrained_knows_names_and_tags() -> None:
    assert has_pretrained("resnet18")
    assert has_pretrained("resnet18.a1_in1k")
    assert not has_pretrained("resnet18.made_up")
    assert not has_pretrained("small_cnn")


def test_folder_comes_first_then_default_tag_then_nothing(folder: Path) -> None:
    file = folder / f"{NAME}.safetensors"
    assert find_weights(NAME, folder) == file
    assert find_weights("resnet18", folder) is None
    assert find_weights(NAME, folder / "not there") is None
    assert find_weights("small_cnn", folder) is None
    tagged = file.rename(folder / f"{NAME}.lamb_in1k.safetensors")
    assert find_weights(NAME, folder) == tagged
    assert find_weights(f"{NAME}.lamb_in1k", folder) == tagged
    assert find_weights(f"{NAME}.other", folder) is None


def test_backbone_is_loaded_and_the_old_head_left(
    folder: Path, whole_network: dict[str, torch.Tensor]
) -> None:
    model = build_classifier(PARAMS, 3, 32, find_weights(NAME, folder))
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, whole_network[name]), name
    assert model.head[-1].out_features == 3


@pytest.mark.parametrize(
    "name",
    [
        "resnet10t",
        "densenet121",
        "regnety_002",
        "mobilenetv4_conv_small_035",
        "convnext_atto",
        "deit_tiny_distilled_patch16_224",  # head and head_dist
        "levit_128s",  # a classifier that begins with a batch norm
        "levit_conv_128s",
        "repvit_m0_9",  # two of those
        "efficientformerv2_s0",
        "xcit_nano_12_p8_224",
        "coat_tiny",
        "pit_ti_224",
        "tiny_vit_5m_224",
        "swin_tiny_patch4_window7_224",
    ],
)
def test_every_family_takes_its_own_weights(name: str, tmp_path: Path) -> None:
    """As its training left them, with a classifier of other classes than ours, or of none."""
    torch.manual_seed(1)
    whole = timm.create_model(name, num_classes=7).state_dict()
    save_file({k: v.clone() for k, v in whole.items()}, tmp_path / "whole.safetensors")
    size_px = timm.get_pretrained_cfg(name).input_size[-1]
    model = build_classifier(
        PARAMS | {"backbone": name}, 3, size_px, tmp_path / "whole.safetensors"
    )
    loaded = model.backbone.state_dict()
    assert all(torch.equal(value, whole[key]) for key, value in loaded.items())
    save_file({k: _plain(v) for k, v in loaded.items()}, tmp_path / "bare.safetensors")
    build_classifier(PARAMS | {"backbone": name}, 3, size_px, tmp_path / "bare.safetensors")

    del whole[next(key for key in whole if key in loaded)]
    save_file({k: v.clone() for k, v in whole.items()}, tmp_path / "less.safetensors")
    with pytest.raises(WeightsError, match=f"of the architecture {name}, differs in no "):
        build_classifier(PARAMS | {"backbone": name}, 3, size_px, tmp_path / "less.safetensors")


def _plain(value: torch.Tensor) -> torch.Tensor:
    """Return a copy as the format wants it: contiguous, and sharing no memory with another."""
    return value.clone(memory_format=torch.contiguous_format)


def test_torch_checkpoint_loads_as_well(
    tmp_path: Path, whole_network: dict[str, torch.Tensor]
) -> None:
    torch.save({"state_dict": whole_network}, tmp_path / f"{NAME}.pth")
    path = find_weights(NAME, tmp_path)
    model = build_classifier(PARAMS, 3, 32, path)
    assert torch.equal(model.backbone.conv_stem.weight, whole_network["conv_stem.weight"])


def test_position_table_is_resampled_to_the_image_size(tmp_path: Path) -> None:
    name = "test_vit"
    state = timm.create_model(name).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / f"{name}.safetensors")
    params = default_params("classifier") | {"backbone": name}
    model = build_classifier(params, 3, 64, tmp_path / f"{name}.safetensors")
    assert model.backbone.pos_embed.shape[1] < state["pos_embed"].shape[1]
    assert torch.equal(model.backbone.blocks[0].attn.qkv.weight, state["blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize("backbone", ["resnet18", "test_vit", "mobilenetv3_small_075"])
def test_other_architecture_is_named_with_its_keys(folder: Path, backbone: str) -> None:
    expected = rf"must be of the architecture {backbone}, differs in .*; .* more\. Put"
    with pytest.raises(WeightsError, match=expected):
        build_classifier(PARAMS | {"backbone": backbone}, 3, 64, folder / f"{NAME}.safetensors")


def test_damaged_and_missing_files_are_named(folder: Path) -> None:
    file = folder / f"{NAME}.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"could not be read .*Fetch it again"):
        build_classifier(PARAMS, 3, 32, file)
    with pytest.raises(WeightsError, match="must be a file, found none"):
        build_classifier(PARAMS, 3, 32, folder / "gone.safetensors")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_a_checkpoint_that_runs_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, write in (("a.pth", torch.save), ("b.bin", _plain_pickle)):
        write(Bomb(), tmp_path / name)
        with pytest.raises(WeightsError, match="plain tensors"):
            build_classifier(PARAMS, 3, 32, tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def _plain_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


def test_unknown_backbone_and_unfit_size_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="timm model name, got 'resnet81'"):
        build_classifier(PARAMS | {"backbone": "resnet81"}, 3, 32)
    with pytest.raises(ValueError, match=r"got 'resnet18\.made_up'"):
        build_classifier(PARAMS | {"backbone": "resnet18.made_up"}, 3, 32)
    with pytest.raises(ValueError, match=r"cannot take images of 32 × 32 px .*Use 299 px"):
        build_classifier(PARAMS | {"backbone": "inception_v3"}, 3, 32)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as a download needs: one file in every repository."""

    content: bytes

    def do_HEAD(self) -> None:
        found = self.path == "/" or self.path.endswith("/model.safetensors")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(folder: Path) -> Iterator[str]:
    handler = type("OneFileHub", (Hub,), {})
    handler.content = (folder / f"{NAME}.safetensors").read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Turn the hub library to another address, with an empty cache; undone afterwards."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub cache"))

    def turn(endpoint: str, offline: bool = False) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        close_session()  # it was opened for the settings before
        hub_reachable.cache_clear()

    yield turn
    close_session()
    hub_reachable.cache_clear()


def test_hub_is_asked_then_its_cache(
    hub: str, online: Callable[..., None], folder: Path, tmp_path: Path
) -> None:
    online(hub, offline=True)
    assert find_weights(NAME, None) is None
    online(hub)
    assert find_weights(NAME, None, download=False) is None
    fetched = find_weights(NAME, tmp_path)  # a folder that lacks the name falls through
    assert fetched is not None
    assert fetched.read_bytes() == (folder / f"{NAME}.safetensors").read_bytes()
    online("http://127.0.0.1:9", offline=True)
    assert find_weights(NAME, None) == fetched


def test_a_silent_hub_costs_two_seconds_once(online: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        online(f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.perf_counter()
        assert find_weights(NAME, None) is None
        assert 1.5 < time.perf_counter() - started < 9
        assert find_weights("resnet18", None) is None
        assert time.perf_counter() - started < 9


def test_a_proxy_that_refuses_is_no_hub(hub: str, online: Callable[..., None]) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(407)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        online(f"http://127.0.0.1:{server.server_port}")
        assert not hub_reachable()
    online(hub)
    assert hub_reachable()
