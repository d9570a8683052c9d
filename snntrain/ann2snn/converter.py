"""Conversion with one scale per activation, in the three modes that users of SpikingJelly know."""

import itertools
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn

from snntrain.ann2snn.activation import Rectifier, separate_rectifiers
from snntrain.ann2snn.converted import ConversionWarning, pool_rates
from snntrain.ann2snn.graph import prepare
from snntrain.ann2snn.method import to_net
from snntrain.ann2snn.scaler import VoltageHook, VoltageScaler, parse_mode
from snntrain.arguments import flag, real
from snntrain.graph import call_after, call_before, fuse, input_of, module_at, replace_node, tidy
from snntrain.neuron.integrate_and_fire import IFNode

_TAILOR = "snn tailor"


class Converter(nn.Module):
    """Convert a net of ReLUs into one of integrate-and-fire neurons.

    The result is called with one step [N, *] at a time; the mean of its outputs over T calls, from reset neurons
    (functional.reset_net), approaches the output of the net. Each activation s·clip(x/s, 0, 1) becomes
    VoltageScaler(1/s) → IFNode → VoltageScaler(s), with s from VoltageHook.

    For fewer steps see snntrain.ann2snn.convert.

    Args:
        dataloader: batches x, or (x, …), with which the scales are found.
        device: where to find them, and where the result is put; None: where the net is.
        mode: 'max', a percentage such as '99.9%', or a number 0 < f ≤ 1, a multiple of the maximum.
        momentum: of the scales over the batches, 0 to 1.
        fuse_flag: join batch normalizations with the layers before them.

    Shapes: forward takes the net and returns a torch.fx.GraphModule; the net stays as it is.
    Raises: ConversionError naming a node that cannot be converted.
    Source: Diehl et al., IJCNN 2015; Rueckauer et al., Front. Neurosci. 2017.
    """

    def __init__(
        self,
        dataloader: Iterable[Any],
        device: torch.device | str | None = None,
        mode: str | float = "max",
        momentum: float = 0.1,
        fuse_flag: bool = True,
    ) -> None:
        super().__init__()
        parse_mode(self, mode)
        self.dataloader = dataloader
        self.device = device
        self.mode = mode
        self.momentum = real(self, "momentum", momentum, at_least=0, at_most=1)
        self.fuse_flag = flag(self, "fuse_flag", fuse_flag)

    @torch.no_grad()
    def forward(self, ann: nn.Module) -> fx.GraphModule:
        batches = iter(self.dataloader)
        first = next(batches, None)
        if first is None:
            raise ValueError("Converter: the dataloader has no batches.")
        gm = prepare(ann, input_of(first), fuse_norms=self.fuse_flag)
        if self.device is not None:
            gm.to(self.device)
        self.set_voltagehook(gm, self.mode, self.momentum)
        hooks = [module for module in gm.modules() if isinstance(module, VoltageHook)]
        for hook in hooks:
            hook.train()
        for batch in itertools.chain([first], batches):
            gm(to_net(gm, batch))
        return self.replace_by_ifnode(gm).eval()

    @staticmethod
    def fuse(fx_model: fx.GraphModule, fuse_flag: bool = True) -> fx.GraphModule:
        """Join convolution → BatchNorm and Linear → BatchNorm1d, in the form of evaluation, where the first has no
        other user.

        Args:
            fx_model: changed in place; the modules it shares with a net are not. A BatchNorm1d after a Linear is taken
                to be one of vectors [N, F].
            fuse_flag: False does nothing.

        Returns: fx_model.
        """
        if fuse_flag:
            fuse(fx_model, forwards=False)
            tidy(fx_model, dead_code=False)
        return fx_model

    @staticmethod
    def set_voltagehook(fx_model: fx.GraphModule, mode: str | float = "max", momentum: float = 0.1) -> fx.GraphModule:
        """Put a VoltageHook after every ReLU, ReLU6, Hardtanh(0, a) and clamp, each use of one by itself.

        Returns: fx_model, changed in place.
        """
        separate_rectifiers(fx_model)
        index = 0
        for node in list(fx_model.graph.nodes):
            if not isinstance(module_at(fx_model, node), Rectifier):
                continue
            path = f"{_TAILOR}.{index}.0"
            tracker = VoltageHook(momentum=momentum, mode=mode).to(_device_of(fx_model))
            hook = call_after(fx_model, node, path, tracker)
            node.replace_all_uses_with(hook, delete_user_cb=lambda user, hook=hook: user is not hook)
            index += 1
        tidy(fx_model, dead_code=False)
        return fx_model

    @staticmethod
    def replace_by_ifnode(fx_model: fx.GraphModule) -> fx.GraphModule:
        """Replace every activation and its VoltageHook by VoltageScaler(1/s) → IFNode → VoltageScaler(s).

        They are the children 0, 1, 2 of the submodule `snn tailor.<index>`. Max pooling after them becomes
        RatePooling.

        Returns: fx_model, changed in place.
        """
        index = 0
        for hook in list(fx_model.graph.nodes):
            tracker = module_at(fx_model, hook)
            if not isinstance(tracker, VoltageHook):
                continue
            activation = hook.args[0]
            rectifier = module_at(fx_model, activation)
            if not isinstance(rectifier, Rectifier):
                continue
            scale = _safe_scale(tracker.scale.item(), activation.target, rectifier.cap)
            parts = (VoltageScaler(1.0 / scale), IFNode(v_threshold=1.0, v_reset=None), VoltageScaler(scale))
            value = activation.args[0]
            for number, part in enumerate(parts):
                path = f"{_TAILOR}.{index}.{number}"
                value = call_before(fx_model, hook, path, part.to(_device_of(fx_model)), value)
            replace_node(fx_model, hook, value)
            if not activation.users:
                fx_model.graph.erase_node(activation)
            index += 1
        pool_rates(fx_model)
        tidy(fx_model, dead_code=False)
        return fx_model


def _safe_scale(scale: float, name: str, cap: float | None) -> float:
    if scale > 0:
        return scale if cap is None else min(scale, cap)
    warnings.warn(
        f"ann2snn: {name} is dead: its input was never positive on the calibration data. It got a safe threshold.",
        ConversionWarning,
        stacklevel=3,
    )
    return cap or 1.0


def _device_of(gm: fx.GraphModule) -> torch.device:
    return next((p.device for p in gm.parameters()), torch.device("cpu"))
