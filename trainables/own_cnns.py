"""Two small networks to train from scratch: plain and depthwise-separable convolutions."""

from __future__ import annotations

from torch import Tensor, nn

SMALLEST_MAP_PX = 4


class OwnCNN(nn.Module):
    """Blocks of convolution, batch norm, ReLU and 2 × 2 max pooling, then global average pooling.

    Channels double from block to block, up to 8 × `width`. A block whose output would be smaller
    than 4 × 4 does not pool any more, so any depth works at any image size.

    Args:
        depth: Number of blocks.
        width: Channels of the first block.
        kernel_size: Side of the convolutions, odd.
        size_px: Side of the square images.
        separable: Replace all convolutions but the first by a depthwise and a pointwise one.

    Attributes:
        num_features: Channels of the last block, the length of the feature vector.
        feature_info: The last block's name, channels and reduction, in timm's form.

    References:
        Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017.
    """

    def __init__(
        self, *, depth: int, width: int, kernel_size: int, size_px: int, separable: bool
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        in_channels, side_px = 3, size_px
        for k in range(depth):
            channels = width * min(2**k, 8)
            halves = side_px // 2 >= SMALLEST_MAP_PX
            conv = _separable if separable and k > 0 else _plain
            blocks.append(_block(conv(in_channels, channels, kernel_size), channels, halves))
            in_channels, side_px = channels, side_px // 2 if halves else side_px
        self.blocks = nn.Sequential(*blocks)
        self.num_features = in_channels
        self.feature_info = [
            {
                "module": f"blocks.{depth - 1}",
                "num_chs": in_channels,
                "reduction": size_px // side_px,
            }
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.groups > 1:  # fan_out counts all channels, a depthwise filter feeds one
                    module.weight.data *= module.groups**0.5

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, S, S) to features (B, num_features)."""
        maps: Tensor = self.blocks(x)
        return maps.mean((2, 3))


def _plain(in_channels: int, channels: int, kernel_size: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False)]


def _separable(in_channels: int, channels: int, kernel_size: int) -> list[nn.Module]:
    padding = kernel_size // 2
    depthwise = nn.Conv2d(
        in_channels, in_channels, kernel_size, padding=padding, groups=in_channels, bias=False
    )
    return [depthwise, nn.Conv2d(in_channels, channels, 1, bias=False)]


def _block(conv: list[nn.Module], channels: int, halves: bool) -> nn.Sequential:
    # ReLU commutes with max pooling: applied after it, it has a quarter of the pixels to do.
    pool = [nn.MaxPool2d(2)] if halves else []
    return nn.Sequential(*conv, nn.BatchNorm2d(channels), *pool, nn.ReLU(inplace=True))
