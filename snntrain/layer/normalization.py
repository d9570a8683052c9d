"""Batch normalization, also over several processes, and group normalization."""

from typing import Any

import torch
from torch import Tensor, distributed, nn

from snntrain.layer.fold import FoldedLayer
from snntrain.layer.per_step import with_step_modes_of
from snntrain.registry import register


class BatchStatistics(nn.Module):
    """Mixin to be put in front of a batch normalization of torch: what it counts, and over which processes.

    A forward that activation checkpointing repeats during backward does not update the running statistics again. With
    synchronized = True, statistics in training are those of the batches of all processes, as in torch.nn.SyncBatchNorm.
    """

    synchronized = False
    process_group: Any = None  # all processes
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels  # called by its forward

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and _in_backward()):
            return self._normalize(x)
        # The batch was counted the first time, so this time the running statistics are updated on copies.
        buffers = self._buffers
        self._buffers = {name: None if kept is None else kept.clone() for name, kept in buffers.items()}
        try:
            return self._normalize(x)
        finally:
            self._buffers = buffers

    def _normalize(self, x: Tensor) -> Tensor:
        return nn.SyncBatchNorm.forward(self, x) if self.synchronized else super().forward(x)

    def joins_processes(self) -> bool:
        """Whether a forward now takes its statistics over more than one process."""
        return (
            self.synchronized
            and self.training
            and distributed.is_available()
            and distributed.is_initialized()
            and distributed.get_world_size(self.process_group) > 1
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + ", synchronized=True" * self.synchronized


class FoldedBatchNorm(FoldedLayer, BatchStatistics):
    """Forward of the batch normalizations whose statistics, in 'm', are those of a whole sequence."""

    def step_to_run_once(self, x: Tensor) -> Tensor | None:
        step = super().step_to_run_once(x)
        if step is None or not self.training or self.joins_processes():  # joined processes must decide alike
            return step
        return step if _values_per_channel(step) > 1 else None  # torch refuses a single one

    def forward_repeated(self, x: Tensor, T: int) -> Tensor:
        """One step has the mean and the variance of its repetitions, save for one thing that is put right here.

        The running variance is unbiased, n/(n − 1) times that of the batch, and n is T times larger.
        """
        if not self.training or self.running_var is None or _in_backward():
            return super().forward_repeated(x, T)
        kept = self.running_var
        self.running_var = kept.clone()  # the graph keeps this one, which must not change any more
        try:
            out = super().forward_repeated(x, T)
        finally:
            updated, self.running_var = self.running_var, kept
        n = _values_per_channel(x)
        if self.joins_processes():
            n = torch.tensor(float(n), dtype=torch.double, device=x.device)
            distributed.all_reduce(n, group=self.process_group)
        factor = 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        with torch.no_grad():
            old = kept * (1.0 - factor)
            kept.copy_(old + (updated - old) * ((n - 1) / n * (T * n) / (T * n - 1)))
        return out


def _values_per_channel(x: Tensor) -> int:
    return x.numel() // max(x.shape[1], 1)


def _in_backward() -> bool:
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def convert_sync_batchnorm(model: nn.Module) -> nn.Module:
    """Let every batch normalization take its training statistics over the batches of all processes.

    To be used instead of torch.nn.SyncBatchNorm.convert_sync_batchnorm, which knows no step modes. Layers of snntrain
    are switched in place: class, step mode, parameters, keys and state stay. Those of torch are replaced, as torch does
    it. Without several processes nothing changes; with them, torch wants the data on a GPU.

    Returns: the model; a new module if the model itself is a batch normalization of torch.
    """
    if isinstance(model, BatchStatistics):
        model.synchronized = True
        return model
    if isinstance(model, nn.modules.batchnorm._BatchNorm) and not isinstance(model, nn.SyncBatchNorm):
        return with_step_modes_of(model, nn.SyncBatchNorm.convert_sync_batchnorm(model))
    for name, child in model.named_children():
        setattr(model, name, convert_sync_batchnorm(child))
    return model


@register("layer")
class BatchNorm1d(FoldedBatchNorm, nn.BatchNorm1d):
    """Batch normalization of vectors and signals; arguments as in torch.

    Statistics: over N and L of one step ('s'); over T, N and L, with one update of the running ones per sequence ('m').

    Shapes: [N, C] or [N, C, L] ('s'); [T, N, C] or [T, N, C, L] ('m'); output as input. Beware: 's' reads [T, N, C] as
    [N, C, L].
    """


@register("layer")
class BatchNorm2d(FoldedBatchNorm, nn.BatchNorm2d):
    """Batch normalization of images; arguments as in torch.

    Statistics: over N, H, W of one step ('s'); over T, N, H, W, with one update of the running ones per sequence ('m').

    Shapes: [N, C, H, W] ('s'); [T, N, C, H, W] ('m'); output as input.
    """


@register("layer")
class BatchNorm3d(FoldedBatchNorm, nn.BatchNorm3d):
    """Batch normalization of volumes; arguments as in torch.

    Statistics: over N, D, H, W of one step ('s'); over T, N, D, H, W, with one update of the running ones per sequence
    ('m').

    Shapes: [N, C, D, H, W] ('s'); [T, N, C, D, H, W] ('m'); output as input.
    """


@register("layer")
class SyncBatchNorm(FoldedBatchNorm, nn.SyncBatchNorm):
    """Batch normalization of any rank whose training statistics are those of all processes; arguments as in torch.

    Without several processes, and in evaluation, it is the BatchNorm of that rank.

    Args:
        process_group: processes whose batches count together; None: all.

    Shapes: [N, C, *] ('s'); [T, N, C, *] ('m'); output as input.
    """

    step_shapes = ("N, C, *",)
    synchronized = True


@register("layer")
class GroupNorm(FoldedLayer, nn.GroupNorm):
    """Group normalization of each sample at each step, hence the same in both modes; arguments as in torch.

    Shapes: [N, C, *] ('s'); [T, N, C, *] ('m'); output as input.
    """

    step_shapes = ("N, C, *",)
