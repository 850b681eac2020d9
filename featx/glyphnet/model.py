"""The architecture of GlyphNet and the preprocessing that belongs to it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import interpolate

from featx.pixels import as_grey, check_pixels

__all__ = ["CLASSES", "IMAGE_SIZE", "GlyphNet", "normalize", "preprocess"]

#: The 52 letters that the head tells apart, in the order of its outputs.
CLASSES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

#: Height and width of the images that the network takes, in pixels.
IMAGE_SIZE = 32

# Mean and spread of the training images' pixels, rounded.
_MEAN, _STD = 0.30, 0.35

_WIDTHS = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """A residual block of two 3x3 convolutions, as `torchvision.models.resnet.BasicBlock`, names included.

    Parameters
    ----------
    inputs, outputs
        Channels.
    stride
        Of the first convolution.
    """

    # Torchvision's own would be as good, but to import it takes seconds.
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        shortcut = None
        if stride != 1 or inputs != outputs:
            # first: so it was when the weights were trained, and a seed draws the same numbers again
            shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(outputs),
            )
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute maps ``(N, outputs, H / stride, W / stride)`` of maps ``(N, inputs, H, W)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x += shortcut
        return self.relu(x)


class GlyphNet(nn.Module):
    """A small residual network with torchvision's names, for images of 1 x 32 x 32.

    One `BasicBlock` a stage, widths 32, 64, 128 and 256. The shapes of one image on its way:
    ``1x32x32 -> conv1 32x16x16 -> layer1 32x16x16 -> layer2 64x8x8 -> layer3 128x4x4 -> layer4 256x4x4 ->
    avgpool 256 -> fc``.

    Parameters
    ----------
    num_classes
        Outputs of the head; the 52 letters when pretrained.

    Examples
    --------
    >>> import torch
    >>> GlyphNet(num_classes=10)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = len(CLASSES)) -> None:
        super().__init__()
        stem, *deeper = _WIDTHS
        self.conv1 = nn.Conv2d(1, stem, kernel_size=5, stride=2, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(stem, stem, stride=1))
        self.layer2 = nn.Sequential(BasicBlock(stem, deeper[0], stride=2))
        self.layer3 = nn.Sequential(BasicBlock(deeper[0], deeper[1], stride=2))
        # No stride here: a map of 4x4 places holds more than one of 2x2.
        self.layer4 = nn.Sequential(BasicBlock(deeper[1], deeper[2], stride=1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(deeper[2], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute class scores ``(N, num_classes)`` of preprocessed images ``(N, 1, 32, 32)``."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def preprocess(images: torch.Tensor) -> torch.Tensor:
    """Turn images into what GlyphNet was trained on: grey, 32 x 32, normalised, bright on dark.

    Parameters
    ----------
    images
        uint8 0-255 or float 0-1; ``(H, W)``, ``(N, H, W)``, ``(C, H, W)`` or ``(N, C, H, W)`` with C
        of 1 or 3. Three dimensions of which the first is 1 or 3 are read as one image ``(C, H, W)``.

    Returns
    -------
    torch.Tensor
        float32 ``(N, 1, 32, 32)``, or ``(1, 32, 32)`` for one image.

    Raises
    ------
    FeatxError
        When the shape or the type is not one of these.

    Examples
    --------
    >>> import torch
    >>> preprocess(torch.zeros(5, 8, 8, dtype=torch.uint8)).shape
    torch.Size([5, 1, 32, 32])
    """
    x = torch.as_tensor(images)
    one_image = x.ndim == 2 or (x.ndim == 3 and x.shape[0] in (1, 3))
    x = check_pixels(x[None] if one_image else x, 1)
    x = interpolate(as_grey(x), (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    x = normalize(x)
    return x[0] if one_image else x


def normalize(x: torch.Tensor) -> torch.Tensor:
    """Shift and scale pixels of 0-1 to the range that the network was trained on."""
    return (x - _MEAN) / _STD
