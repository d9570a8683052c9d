"""Batch normalization for spiking neurons: scaled to their threshold, or with weights for each time step."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from snntrain.arguments import flag, integer, invalid, real
from snntrain.base import MemoryModule, SequenceModule, StateMismatchError
from snntrain.functional import steps_of
from snntrain.layer.checkpoint_keys import rename_keys
from snntrain.layer.fold import FoldedLayer, wrong_shape
from snntrain.layer.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchStatistics, FoldedBatchNorm
from snntrain.registry import register

# --- threshold-dependent ---------------------------------------------------------------------------------------------


class ThresholdDependentBatchNorm(SequenceModule, FoldedBatchNorm):
    """Batch normalization scaled to the threshold of the neuron that follows.

    y = γ·(x − μ)/√(σ² + eps) + β,  μ and σ² per channel over T, N and space;  γ starts at alpha·v_th, β at 0.

    Args:
        alpha: 1 on a plain path, 1/√n where n branches are summed; > 0.
        v_th: threshold of the neuron that follows, > 0.
        affine: must be True: γ is what depends on the threshold.
        Others as in BatchNorm.

    Shapes: those of BatchNorm in 'm', the only step mode; output as input.
    Source: Zheng et al., AAAI 2021, arXiv 2011.05280.
    """

    reason_for_step_mode = "the statistics need the whole sequence; use step_mode 'm'"

    def __init__(
        self,
        alpha: float,
        v_th: float,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        # First of all: torch's constructor calls reset_parameters().
        self.alpha = real(self, "alpha", alpha, above=0)
        self.v_th = real(self, "v_th", v_th, above=0)
        if not flag(self, "affine", affine):
            raise invalid(self, "affine", "True, its weight starts at alpha·v_th", affine)
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.constant_(self.weight, self.alpha * self.v_th)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}, v_th={self.v_th:g}, {super().extra_repr()}"


@register("layer")
class ThresholdDependentBatchNorm1d(ThresholdDependentBatchNorm, nn.BatchNorm1d):
    """ThresholdDependentBatchNorm of vectors and signals: [T, N, C] or [T, N, C, L]."""


@register("layer")
class ThresholdDependentBatchNorm2d(ThresholdDependentBatchNorm, nn.BatchNorm2d):
    """ThresholdDependentBatchNorm of images: [T, N, C, H, W]."""


@register("layer")
class ThresholdDependentBatchNorm3d(ThresholdDependentBatchNorm, nn.BatchNorm3d):
    """ThresholdDependentBatchNorm of volumes: [T, N, C, D, H, W]."""


# --- weights per time step -------------------------------------------------------------------------------------------


class _NormOfTSteps(MemoryModule):
    """Mixin to be put in front of a FoldedLayer with something of its own for each of T steps.

    State t counts the steps since reset(). A sequence in 'm' is always a whole one, so it may follow another one; what
    is refused is a step after the T-th, and a sequence that starts in the middle of one.
    """

    def __init__(
        self,
        T: int,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        step_mode: str = "s",
    ) -> None:
        # By hand: MemoryModule's constructor would call torch's without its arguments.
        self.__dict__.update(_memories={}, _reset_values={})
        self.T = integer(self, "T", T, at_least=1)
        self._initialize(num_features, eps, momentum, affine, track_running_stats)
        self.step_mode = step_mode
        self.register_memory("t", 0)

    def _initialize(self, *arguments: Any) -> None:
        """Make the module, its parameters and children; takes the arguments of torch's batch normalization."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            return self.fx_node(x)
        self.check_rank(x)
        is_sequence = self.step_mode == "m"
        if is_sequence and len(x) != self.T:
            raise ValueError(
                f"{self._title()}: the sequence must have T = {self.T} time steps, got {len(x)} "
                f"(input shape {list(x.shape)})."
            )
        out_of_order = self.t % self.T != 0 if is_sequence else self.t >= self.T
        if out_of_order:
            raise StateMismatchError(
                f"{self._title()}: {self.t} of T = {self.T} time steps have been run, and the input has shape "
                f"{list(x.shape)} in step_mode {self.step_mode!r}. Was reset() forgotten between two batches? Call "
                "functional.reset_net(model) before each batch."
            )
        out = self.multi_step_forward(x) if is_sequence else self.single_step_forward(x)
        self.t = self.T if is_sequence else self.t + 1
        return out


class TemporalEffectiveBatchNorm(_NormOfTSteps, FoldedBatchNorm):
    """Batch normalization with a learnable factor for each time step.

    y[t] = scale[t]·BN(x)[t];  statistics as in BatchNorm: over all steps in 'm', over one in 's'.

    Args:
        T: time steps of a sequence, ≥ 1.
        Others as in BatchNorm.

    Shapes: those of BatchNorm, 'm' with exactly T steps; output as input. scale [T], initially ones.
    Source: Duan et al., NeurIPS 2022.
    """

    _version = nn.BatchNorm1d._version

    def _initialize(self, *arguments: Any) -> None:
        super(MemoryModule, self).__init__(*arguments)
        self.scale = nn.Parameter(torch.ones(self.T))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if "scale" in self._parameters:  # not yet when torch's constructor calls
            nn.init.ones_(self.scale)

    def single_step_forward(self, x: Tensor) -> Tensor:
        y = FoldedBatchNorm.forward(self, x)
        return y * self.scale[self.t].to(y.dtype)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        y_seq = FoldedBatchNorm.forward(self, x_seq)
        return y_seq * self.scale.to(y_seq.dtype).view(-1, *[1] * (y_seq.dim() - 1))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        rename_keys(state_dict, prefix, {"bn.": ""})  # older checkpoints hold the batch normalization as a child
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def extra_repr(self) -> str:
        return f"T={self.T}, {FoldedBatchNorm.extra_repr(self)}"


@register("layer")
class TemporalEffectiveBatchNorm1d(TemporalEffectiveBatchNorm, nn.BatchNorm1d):
    """TemporalEffectiveBatchNorm of vectors and signals: [N, C] or [N, C, L] ('s'), [T, N, C] or [T, N, C, L] ('m')."""


@register("layer")
class TemporalEffectiveBatchNorm2d(TemporalEffectiveBatchNorm, nn.BatchNorm2d):
    """TemporalEffectiveBatchNorm of images: [N, C, H, W] ('s'), [T, N, C, H, W] ('m')."""


@register("layer")
class TemporalEffectiveBatchNorm3d(TemporalEffectiveBatchNorm, nn.BatchNorm3d):
    """TemporalEffectiveBatchNorm of volumes: [N, C, D, H, W] ('s'), [T, N, C, D, H, W] ('m')."""


#: SpikingJelly's name of the base class.
TemporalEffectiveBatchNormNd = TemporalEffectiveBatchNorm


class _NormOfOneStep(BatchStatistics, nn.modules.batchnorm._BatchNorm):
    """Batch normalization without bias. It has no step mode, so that setting the model's does not reach it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.bias = None

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        if self.affine:
            nn.init.ones_(self.weight)

    def _check_input_dim(self, x: Tensor) -> None:
        """The layer around it has checked the rank."""


class BatchNormThroughTime(_NormOfTSteps, FoldedLayer):
    """A batch normalization of its own, without bias, for each time step.

    y[t] = BN_t(x[t]) = γ_t·(x[t] − μ_t)/√(σ_t² + eps);  statistics over N and space of that step, in both modes.

    Args:
        T: time steps of a sequence, ≥ 1.
        num_features: channels of the input, ≥ 1.
        eps: added to the variance, > 0.
        momentum: weight of a new batch in the running statistics, in [0, 1]; None: the mean over all batches.
        affine: learn the scale γ.
        track_running_stats: keep running statistics for evaluation.

    Shapes: those of BatchNorm, 'm' with exactly T steps; output as input. Keys bn.<t>.weight and so on.
    Source: Kim & Panda, arXiv 2010.01729.
    """

    def _initialize(self, *arguments: Any) -> None:
        super(MemoryModule, self).__init__()
        self.bn = nn.ModuleList(_NormOfOneStep(*arguments) for _ in range(self.T))

    def check_rank(self, x: Tensor) -> None:
        """Raises: ValueError for a wrong rank also in 's', of which the norms of the steps know nothing."""
        super().check_rank(x)
        if self.step_mode == "s" and not self._fits_a_step(x.dim()):
            raise wrong_shape(self, x, self.step_shapes, fits_as_sequence=False)

    def single_step_forward(self, x: Tensor) -> Tensor:
        return self.bn[self.t](x)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        return torch.stack([bn(x) for bn, x in zip(self.bn, steps_of(x_seq), strict=True)])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        rename_keys(state_dict, prefix, {"bn_list.": "bn."})  # SpikingJelly's
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def extra_repr(self) -> str:
        return f"T={self.T}, step_mode={self.step_mode}"


@register("layer")
class BatchNormThroughTime1d(BatchNormThroughTime):
    """BatchNormThroughTime of vectors and signals: [N, C] or [N, C, L] ('s'), [T, N, C] or [T, N, C, L] ('m')."""

    step_shapes = BatchNorm1d.step_shapes


@register("layer")
class BatchNormThroughTime2d(BatchNormThroughTime):
    """BatchNormThroughTime of images: [N, C, H, W] ('s'), [T, N, C, H, W] ('m')."""

    step_shapes = BatchNorm2d.step_shapes


@register("layer")
class BatchNormThroughTime3d(BatchNormThroughTime):
    """BatchNormThroughTime of volumes: [N, C, D, H, W] ('s'), [T, N, C, D, H, W] ('m')."""

    step_shapes = BatchNorm3d.step_shapes
