"""Our Converter beside that of SpikingJelly 0.0.0.0.14, the last release whose modes these are: the same scales."""

import importlib.metadata

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from snntrain.ann2snn import Converter

pytestmark = pytest.mark.optional

VERSION = "0.0.0.0.14"


@pytest.fixture(scope="module")
def theirs():
    try:
        found = importlib.metadata.version("spikingjelly")
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found != VERSION:
        pytest.skip(
            f"SpikingJelly {VERSION} is not installed, but {found}: pip install --no-deps spikingjelly=={VERSION}"
        )
    return pytest.importorskip("spikingjelly.activation_based.ann2snn")


def scales(converted: nn.Module) -> list[float]:
    """Every second scaler holds s, the one before it 1/s."""
    kinds = {name: module for name, module in converted.named_modules() if type(module).__name__ == "VoltageScaler"}
    return [float(module.scale) for module in kinds.values()]


@pytest.mark.parametrize("mode", ["max", "Max", "99.9%", "90%", "100%", 1.0, 0.8, 0.05])
@pytest.mark.parametrize("momentum", [0.1, 0.7])
def test_the_same_scales_in_the_same_order(theirs, mode, momentum):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 12), nn.ReLU(), nn.Linear(12, 3)),
    )
    x = torch.randn(50, 1, 12, 12)
    net(x)  # statistics of the normalization
    loader = DataLoader(TensorDataset(x, torch.zeros(50)), batch_size=16)
    ours = scales(Converter(loader, mode=mode, momentum=momentum)(net))
    wanted = scales(theirs.Converter(loader, mode=mode, momentum=momentum, device="cpu")(net.eval()))
    assert len(ours) == 6 and ours == pytest.approx(wanted, rel=1e-6)
