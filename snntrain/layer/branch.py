"""Paths side by side from one input, joined again: the building blocks of residual nets."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain.arguments import choice, invalid
from snntrain.base import StepModule
from snntrain.functional import repeat, repeated_step
from snntrain.layer.online import apply_online, is_pair

#: name → function of the outputs of all paths, in order, and the dim of their channels.
JOINS: dict[str, Callable[[Sequence[Tensor], int], Tensor]] = {
    "add": lambda parts, channels: reduce(torch.add, parts),
    "and": lambda parts, channels: reduce(torch.mul, parts),
    "iand": lambda parts, channels: (1.0 - parts[0]) * parts[1],
    "concat": lambda parts, channels: torch.cat(list(parts), dim=channels),
}


class _Join(StepModule, nn.Module):
    """Paths to which the same input goes, and the join of their outputs."""

    takes_pairs = True

    def join_outputs(self, x: Any, paths: Sequence[nn.Module]) -> Any:
        """Hand x to every path and join what they give."""
        outputs = [apply_online(path, x) for path in paths]
        pairs = [is_pair(output) for output in outputs]
        if not any(pairs):
            return self.join_tensors(outputs)
        if self.join in ("and", "iand"):
            raise ValueError(
                f"{self._title()}: join {self.join!r} cannot take a pair [spikes, trace] of an OTTT neuron: the trace "
                "of a product of spikes is not a product of traces. Use 'add' or 'concat'."
            )
        if all(pairs):
            return [self.join_tensors(parts) for parts in zip(*outputs, strict=True)]
        # A weight layer ended the pair on another path: what comes out is a current, which has no trace.
        return self.join_tensors([y[0] if pair else y for y, pair in zip(outputs, pairs, strict=True)])

    def join_tensors(self, parts: Sequence[Tensor]) -> Tensor:
        """The join of tensors, of those that all repeat one step (functional.repeat) made once.

        Raises: ValueError if their shapes do not fit.
        """
        channels = 1 if self.step_mode == "s" else 2
        self._check_shapes(parts, channels)
        steps = [repeated_step(part) for part in parts] if self.step_mode == "m" else [None]
        if any(step is None for step in steps):
            return JOINS[self.join](parts, channels)
        return repeat(JOINS[self.join](steps, channels - 1), parts[0].shape[0])

    def _check_shapes(self, parts: Sequence[Tensor], channels: int) -> None:
        shapes = [list(part.shape) for part in parts]
        compared, wanted = shapes, "shapes must be equal"
        if self.join == "concat":
            compared, wanted = (
                [shape[:channels] + shape[channels + 1 :] for shape in shapes],
                "all but channels must agree",
            )
        fits = all(shape == compared[0] for shape in compared)
        if not fits or (self.join == "concat" and any(len(shape) <= channels for shape in shapes)):
            texts = " and ".join(map(str, shapes))
            raise ValueError(f"{self._title()}: cannot join ({self.join}) outputs of shape {texts}: {wanted}.")

    def extra_repr(self) -> str:
        return f"join={self.join}, step_mode={self.step_mode}"


class Residual(_Join):
    """A path with a shortcut around it.

    y = residual(x) + shortcut(x)          add
    y = residual(x)·shortcut(x)            and
    y = (1 − residual(x))·shortcut(x)      iand
    y = [residual(x), shortcut(x)]         concat, along channels

    Args:
        residual: the path; its output must have the shape of the shortcut's, save for the channels in concat.
        shortcut: None is the identity.
        join: one of add, and, iand, concat.
        step_mode: tells where the channels are; residual and shortcut have their own modes.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'). A pair [spikes, trace] of an OTTT neuron goes along both paths as in
    OTTTSequential; pairs are joined part by part, of a pair and a tensor the spikes and the tensor.
    Raises: ValueError naming both shapes if they do not fit, for an unknown join, and for and or iand of pairs.
    Source: He et al., CVPR 2016, arXiv 1512.03385 (add); Fang et al., NeurIPS 2021, arXiv 2102.04159 (and, iand).
    """

    def __init__(
        self, residual: nn.Module, shortcut: nn.Module | None = None, join: str = "add", step_mode: str = "s"
    ) -> None:
        super().__init__()
        for name, path in (("residual", residual), ("shortcut", shortcut)):
            if not (isinstance(path, nn.Module) or (path is None and name == "shortcut")):
                raise invalid(self, name, "a module (torch.nn.Module)", path)
        self.residual = residual
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.join = choice(self, "join", join, tuple(JOINS))
        self.step_mode = step_mode

    def forward(self, x: Tensor | list[Tensor]) -> Any:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        return self.join_outputs(x, (self.residual, self.shortcut))


class Branches(_Join):
    """Several paths side by side.

    y = [b_1(x), …, b_n(x)] along channels (concat), their sum (add) or their product (and).

    Args:
        branches: two paths or more; outputs of one shape, save for the channels in concat.
        join: one of add, and, concat.
        step_mode: tells where the channels are; the paths have their own modes.

    Shapes: x [N, *] ('s') or [T, N, *] ('m'). Pairs [spikes, trace] as in Residual.
    Raises: ValueError naming the shapes if they do not fit, for fewer than two branches, for an unknown join, and for
    and of pairs.
    Source: Szegedy et al., CVPR 2015, arXiv 1409.4842.
    """

    def __init__(self, branches: Sequence[nn.Module], join: str = "concat", step_mode: str = "s") -> None:
        super().__init__()
        branches = list(branches)
        if len(branches) < 2 or not all(isinstance(branch, nn.Module) for branch in branches):
            raise invalid(self, "branches", "at least two modules (torch.nn.Module)", branches)
        self.branch = nn.ModuleList(branches)
        # iand is not symmetric, so it has no meaning for branches in no particular order.
        self.join = choice(self, "join", join, tuple(name for name in JOINS if name != "iand"))
        self.step_mode = step_mode

    def forward(self, x: Tensor | list[Tensor]) -> Any:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        return self.join_outputs(x, self.branch)
