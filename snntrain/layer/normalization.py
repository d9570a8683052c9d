"""Batch normalization, also over several processes, and group normalization."""

from typing import Any

import torch
from torch import Tensor, distributed, nn

from snntrain.functional import repeated_step
from snntrain.kernel.norm import Norm, affine_of, folds, inverse_of_batch, inverse_of_running, meets_torch
from snntrain.layer.fold import FoldedLayer
from snntrain.layer.padding import padding
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
        if self.training and (now := padding()) is not None:
            return self._normalize_real_steps(x, now.of(self, x))
        if not (self.training and _in_backward()):
            return self._normalize(x)
        # The batch was counted the first time, so this time the running statistics are updated on copies.
        buffers = self._buffers
        self._buffers = {name: None if kept is None else kept.clone() for name, kept in buffers.items()}
        try:
            return self._normalize(x)
        finally:
            self._buffers = buffers

    def _normalize_real_steps(self, x: Tensor, mask: Tensor) -> Tensor:
        """Leave padded steps out of the statistics; they come out as 0."""
        if not bool(mask.any()):
            return torch.zeros_like(x)
        found = self._normalize(x[mask])
        return torch.zeros_like(x, dtype=found.dtype).masked_scatter(
            mask.view(-1, *[1] * (x.dim() - 1)).expand_as(x), found
        )

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
        factor = 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self._count_repetitions(kept, updated, x, T, factor)
        return out

    def _count_repetitions(self, kept: Tensor, updated: Tensor, x: Tensor, T: int, factor: float) -> None:
        """Update the running variance for T steps that are all x, from what torch made of it for x alone."""
        n = _values_per_channel(x)
        if self.joins_processes():
            n = torch.tensor(float(n), dtype=torch.double, device=x.device)
            distributed.all_reduce(n, group=self.process_group)
        with torch.no_grad():
            old = kept * (1.0 - factor)
            kept.copy_(old + (updated - old) * ((n - 1) / n * (T * n) / (T * n - 1)))

    # --- folded into the kernel of the neuron that follows -----------------------------------------------------------

    def fold(self, x: Tensor) -> Norm | None:
        """The normalization of a sequence, for a kernel that applies it while it reads x; the batch is counted.

        Args:
            x: [T, N, C, *] on a CPU, in step mode 'm'.

        Returns: None for what no kernel can do to the last bit as a call of this layer; nothing is counted then.
        """
        if type(self).forward is not FoldedLayer.forward or not self._fits_a_step(x.dim() - 1):
            return None
        given = [*self._parameters.values(), self.running_mean, self.running_var]
        if x.shape[2] != self.num_features or any(value is not None and value.dtype != x.dtype for value in given):
            return None
        if self.training and (padding() is not None or self.joins_processes()):
            return None
        step, T = repeated_step(x), x.shape[0]
        if step is None and T > 1 and x.stride(0) != x.shape[1] * x.stride(1):
            return None  # T and N cannot be joined without a copy
        flat = x.flatten(0, 1) if step is None else step
        if not folds(flat) or x.dtype != torch.float32 or not meets_torch():
            return None
        of_batch = self.training or self.running_mean is None
        if of_batch and _values_per_channel(flat) < 2:
            return None  # torch refuses a single one
        with torch.no_grad():
            if not of_batch:
                mean, running = self.running_mean.clone(), (self.running_mean.clone(), self.running_var.clone())
                inverse = inverse_of_running(running[1], self.eps)
            else:
                (mean, variance), running = self._statistics(flat.detach(), 1 if step is None else T), None
                inverse = inverse_of_batch(variance, self.eps)
            affine = affine_of(mean, inverse, self.weight, self.bias)
        return Norm(mean, inverse, affine, self.weight, self.bias, of_batch, running, self.eps)

    def _statistics(self, x: Tensor, repeats: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of a batch x, [N, C, *], that occurs so many times, as torch computes and counts them."""
        if not (self.training and self.track_running_stats) or self.running_mean is None or _in_backward():
            return torch.batch_norm_update_stats(x, None, None, 0.0)
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        updated = self.running_var if repeats == 1 else self.running_var.clone()
        found = torch.batch_norm_update_stats(x, self.running_mean, updated, factor)
        if repeats > 1:
            self._count_repetitions(self.running_var, updated, x, repeats, factor)
        return found


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
