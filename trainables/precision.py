"""Which arithmetic a training uses: a fixed rule, so that the same seed gives the same curve."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

# bfloat16 was measured 1.6 to 2.2 times as fast in these (dense convolutions and matrix products),
# no faster in depthwise ones such as MobileNet and EfficientNet (AMD EPYC, avx512_bf16).
FAST_IN_BF16 = ("small_cnn", "separable_cnn", "resnet", "vgg", "vit_")


def autocast_for(backbone: str, device: str) -> AbstractContextManager[None]:
    """Return the autocast context in which to run a backbone's forward pass.

    bfloat16 on GPUs that have it, on CPUs with bfloat16 instructions for the families that gain
    from it, float32 elsewhere. Weights, loss and optimizer are float32 in every case.

    References:
        Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        enabled = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        enabled = backbone.startswith(FAST_IN_BF16) and cpu_has_bf16()
    return torch.autocast(kind, torch.bfloat16, enabled=enabled)


def cpu_has_bf16() -> bool:
    """Tell whether the CPU multiplies bfloat16 natively (avx512_bf16 or amx_bf16)."""
    if not torch.backends.mkldnn.is_available():
        return False
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return native and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
