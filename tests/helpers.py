"""What several tests call: plain functions, where a fixture will not do."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def said_by(script: str, given: Any) -> dict[str, list]:
    """Run a script that reads JSON and prints lists as JSON, one a line, each with its name first."""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return {name: rest for name, *rest in map(json.loads, ran.stdout.splitlines())}


def luminance(rgb: Sequence[float]) -> float:
    """The relative luminance of a colour (WCAG 2), whose parts go from 0 to 1, as sRGB has them."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def small_resnet() -> nn.Module:
    """One block a stage: as a ResNet behaves, at a fraction of the cost."""
    from torchvision.models import (
        resnet,
    )  # not above: conftest imports this file, and torch is slow

    return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)
