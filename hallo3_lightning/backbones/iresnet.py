"""ArcFace's network in torch (Deng et al., arXiv 1801.07698), for weights of insightface's arcface_torch.

Names of tensors are those of recognition/arcface_torch/backbones/iresnet.py in github.com/deepinsight/insightface.
"""

from einops import rearrange
from torch import Tensor, nn

DEPTHS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
"""Blocks of each stage, by the usual name."""

WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))) + shortcut


class IResNet(nn.Module):
    """The identity of an aligned face."""

    def __init__(self, depth: int = 100, features: int = 512) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        blocks = DEPTHS[depth]
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks[0])
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks[1])
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks[2])
        self.layer4 = _stage(WIDTHS[2], WIDTHS[3], blocks[3])
        self.bn2 = nn.BatchNorm2d(WIDTHS[3])
        self.fc = nn.Linear(WIDTHS[3] * 7 * 7, features)
        self.features = nn.BatchNorm1d(features)

    def forward(self, faces: Tensor) -> Tensor:
        """Aligned faces [B, 3, 112, 112] in red, green, blue, -1..1 -> embeddings [B, 512], not normalised."""
        x = self.prelu(self.bn1(self.conv1(faces)))
        x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return self.features(self.fc(rearrange(x, "b c h w -> b (c h w)")))


def _stage(channels: int, width: int, blocks: int) -> nn.Sequential:
    """Half as high and wide."""
    return nn.Sequential(Block(channels, width, stride=2), *(Block(width, width, stride=1) for _ in range(blocks - 1)))
