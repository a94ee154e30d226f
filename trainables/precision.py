"""Which arithmetic a training uses: number format and memory order, decided before it starts.

Once per study and backbone, never within a trial: the same seed then gives the same curve, in every
worker.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

# bfloat16 was measured 1.6 to 2.2 times as fast in these (dense convolutions and matrix products),
# no faster in depthwise ones such as MobileNet and EfficientNet (AMD EPYC, avx512_bf16).
FAST_IN_BF16 = ("small_cnn", "separable_cnn", "resnet", "vgg", "vit_")


@dataclass(frozen=True)
class Mode:
    """How the forward and backward passes compute. Weights, loss and optimizer are float32.

    Attributes:
        bfloat16: Run the forward pass under autocast to bfloat16, else in float32.
        channels_last: Keep images and weights in channels-last memory order, else contiguous.

    References:
        Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019.
    """

    bfloat16: bool
    channels_last: bool

    def __str__(self) -> str:
        order = "channels-last" if self.channels_last else "contiguous"
        return f"{'bfloat16' if self.bfloat16 else 'float32'} {order}"

    def autocast(self, device: str) -> AbstractContextManager[None]:
        """Return the context in which to run the forward pass."""
        return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=self.bfloat16)

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


MODES = {
    str(mode): mode
    for mode in (Mode(bf16, last) for bf16 in (False, True) for last in (True, False))
}
"""Every mode by its name."""


def default_mode(backbone: str, device: str) -> Mode:
    """Return the mode of a backbone where nothing was measured.

    Channels-last, in bfloat16 on GPUs that have it and on CPUs with bfloat16 instructions for the
    families that gain from it.
    """
    if torch.device(device).type == "cuda":
        return Mode(torch.cuda.is_bf16_supported(including_emulation=False), channels_last=True)
    return Mode(backbone.startswith(FAST_IN_BF16) and cpu_has_bf16(), channels_last=True)


def cpu_has_bf16() -> bool:
    """Tell whether the CPU multiplies bfloat16 natively (avx512_bf16 or amx_bf16)."""
    if not torch.backends.mkldnn.is_available():
        return False
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return native and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
