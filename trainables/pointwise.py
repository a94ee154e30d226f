"""A strided 1 × 1 convolution that does not damage the process's memory."""

from __future__ import annotations

from torch import Tensor, nn

FEWEST_SAFE_CHANNELS = 16


class SafePointwise(nn.Conv2d):
    """The same convolution of the pixels it looks at, taken out beforehand.

    oneDNN's gradient of the weights of a 1 × 1 convolution with a stride and fewer than 16 input
    channels writes past its memory in channels-last order (torch 2.15 on AVX-512): the process
    crashes then, or later. MobileOne and FastViT begin with such a one.
    """

    def forward(self, input: Tensor) -> Tensor:
        down, across = self.stride
        picked = input[:, :, ::down, ::across]
        return nn.functional.conv2d(picked, self.weight, self.bias)


def replace_strided_pointwise(model: nn.Module) -> None:
    """Turn every convolution of this kind into a safe one; names and weights stay."""
    for module in model.modules():
        if (
            type(module) is nn.Conv2d
            and module.in_channels < FEWEST_SAFE_CHANNELS
            and module.groups == 1
            and module.kernel_size == (1, 1)
            and module.stride != (1, 1)
            and module.padding == (0, 0)
        ):
            module.__class__ = SafePointwise
