"""Batch and group normalisation."""

import torch
from torch import Tensor, nn

from snntrain.layer.fold import FoldedLayer
from snntrain.registry import register


class _BatchNorm(FoldedLayer):
    """Constructor and forward of BatchNorm1d, BatchNorm2d and BatchNorm3d."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        step_mode: str = "s",
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.step_mode = step_mode

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and _in_backward()):
            return super().forward(x)
        # Activation checkpointing repeats the forward during backward. Its batch was counted the first time, so this
        # time the running statistics are updated on copies.
        buffers = self._buffers
        self._buffers = {name: None if kept is None else kept.clone() for name, kept in buffers.items()}
        try:
            return super().forward(x)
        finally:
            self._buffers = buffers

    def step_to_run_once(self, x: Tensor) -> Tensor | None:
        step = super().step_to_run_once(x)
        is_too_small = step is not None and self.training and _values_per_channel(step) < 2  # torch refuses it
        return None if is_too_small else step

    def forward_repeated(self, x: Tensor, T: int) -> Tensor:
        """One step has the mean and the variance of its repetitions, save for one thing that is put right here.

        The running variance is unbiased, n/(n − 1) times that of the batch, and n is T times larger.
        """
        if not self.training or self.running_var is None:
            return super().forward_repeated(x, T)
        kept = self.running_var
        self.running_var = kept.clone()  # the graph keeps this one, which must not change any more
        try:
            out = super().forward_repeated(x, T)
        finally:
            updated, self.running_var = self.running_var, kept
        n = _values_per_channel(x)
        factor = 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        with torch.no_grad():
            old = kept * (1.0 - factor)
            kept.copy_(old + (updated - old) * ((n - 1) / n * (T * n) / (T * n - 1)))
        return out


def _values_per_channel(x: Tensor) -> int:
    return x.numel() // max(x.shape[1], 1)


def _in_backward() -> bool:
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


@register("layer")
class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """Batch normalisation of vectors and signals; arguments as in torch.

    Statistics: over N and L of one step ('s'); over T, N and L, with one update of the running ones per sequence ('m').

    Shapes: [N, C] or [N, C, L] ('s'); [T, N, C] or [T, N, C, L] ('m'); output as input. Beware: 's' reads [T, N, C] as
    [N, C, L].
    """

    step_shapes = ("N, C", "N, C, L")


@register("layer")
class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """Batch normalisation of images; arguments as in torch.

    Statistics: over N, H, W of one step ('s'); over T, N, H, W, with one update of the running ones per sequence ('m').

    Shapes: [N, C, H, W] ('s'); [T, N, C, H, W] ('m'); output as input.
    """

    step_shapes = ("N, C, H, W",)


@register("layer")
class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """Batch normalisation of volumes; arguments as in torch.

    Statistics: over N, D, H, W of one step ('s'); over T, N, D, H, W, with one update of the running ones per sequence
    ('m').

    Shapes: [N, C, D, H, W] ('s'); [T, N, C, D, H, W] ('m'); output as input.
    """

    step_shapes = ("N, C, D, H, W",)


@register("layer")
class GroupNorm(FoldedLayer, nn.GroupNorm):
    """Group normalisation of each sample at each step, hence the same in both modes; arguments as in torch.

    Shapes: [N, C, *] ('s'); [T, N, C, *] ('m'); output as input.
    """

    step_shapes = ("N, C, *",)

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, step_mode: str = "s"
    ) -> None:
        super().__init__(num_groups, num_channels, eps, affine)
        self.step_mode = step_mode
