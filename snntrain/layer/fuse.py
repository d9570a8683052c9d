"""How the layers of a net run: one by one, fused where that changes no bit, or with sparse products as well."""

from torch import nn

from snntrain.arguments import FUSE, choice


class ChoosesFuse:
    """Mixin of modules that run in one of several ways.

    Attributes:
        fuse: 'exact', 'fast' or 'off'; see set_fuse.
    """

    _fuse = "exact"

    @property
    def fuse(self) -> str:
        return self._fuse

    @fuse.setter
    def fuse(self, value: str) -> None:
        self._fuse = choice(self, "fuse", value, FUSE)


def set_fuse(net: nn.Module, fuse: str) -> None:
    """Choose how the layers of a net run: every Sequential, Linear, Conv2d and recurrent container in it.

    Args:
        net: a network, or one layer.
        fuse: 'exact', the default: a neuron and its neighbors run as one kernel where that changes no bit; 'fast': so
            they do, and products with the weights of a Linear or a 1×1 Conv2d, and for the gradient of fed back
            weights, are of those inputs only that are not zero, where these are few, which rounds otherwise; 'off':
            every layer runs by itself.

    Raises: ValueError for another value.
    """
    choice("set_fuse", "fuse", fuse, FUSE)
    for module in net.modules():
        if isinstance(module, ChoosesFuse):
            module.fuse = fuse
