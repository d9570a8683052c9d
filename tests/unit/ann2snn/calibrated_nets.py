"""Nets to calibrate, and what their layers put out before and after conversion."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from watched_nets import outputs_of

from snntrain.ann2snn import SpikingNet, prepare, rectifiers, to_spiking
from snntrain.ann2snn.method import make_method
from snntrain.functional import set_backend

X = torch.randn(256, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def three_layers() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 4)),
    )
    for layer in (net[0], net[2], net[6]):
        layer.bias.data.abs_()  # few channels are nearly dead
    return net.eval()


class Joined(nn.Module):
    """A residual add and a concatenation."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.c, self.last = nn.Conv2d(12, 6, 1), nn.Linear(6 * 64, 4)

    def forward(self, x):
        y = F.relu(self.a(x))
        z = F.relu(self.b(y) + y)
        return self.last(F.relu(self.c(torch.cat([y, z], 1))).flatten(1))


def joined() -> nn.Module:
    torch.manual_seed(0)
    return Joined().eval()


def converted(net: nn.Module, x: Tensor = X, T: int = 4, method: str = "channel_mse"):
    """The prepared net, and the spiking one, not calibrated."""
    gm = prepare(net, x)
    snn = to_spiking(gm, make_method(method).fit(gm, [x], T))
    set_backend(snn, "torch")
    return gm, snn


def responses(gm: nn.Module, snn: SpikingNet, x: Tensor, T: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Name → output of the ANN's activation, mean output of the neurons."""
    with torch.no_grad(), outputs_of(rectifiers(gm)) as analog, outputs_of(snn.neurons) as spiking:
        gm(x)
        snn.predict(x, T)
    return {name: (y.float(), spiking[name][-1].float().unflatten(0, (T, -1)).mean(0)) for name, (y,) in analog.items()}
