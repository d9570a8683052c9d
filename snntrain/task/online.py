"""Online training: each time step is learned from at once, no graph is kept over time."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snntrain import functional
from snntrain.arguments import flag, real
from snntrain.hooks import step_mode_of, supported_step_modes
from snntrain.leftover import naming_what_was_not_reset
from snntrain.registry import register
from snntrain.signature import merge_signature
from snntrain.task.classification import Batch, Classification
from snntrain.task.suited import suited


@register("task")
class OnlineClassification(Classification):
    """Train a network step by step: forward, loss and backward of one time step before the next one begins.

    The loss is the mean over time of each step's own loss, so memory does not grow with T. With OTTTLIFNode this is
    OTTT, with SLTTLIFNode SLTT. Other neurons that run in step mode 's' learn as with SLTT: their states are taken as
    constants. Normalization takes the statistics of one step.

    Args:
        loss: 'cross_entropy', 'mse', 'focal' or one of a plugin, of every step, whose scores are its outputs.
        online_step: update the weights after each time step, T times per batch, instead of once with the sum of the
            steps' gradients.
        gradient_clip_val: largest norm of the gradients at an update, > 0; None: any. It stands for the trainer's
            argument, which Lightning cannot serve here.
        common: as in Classification, without chunks and the arguments of 'tet'.

    Shapes: as in Classification.
    Raises: ValueError naming the module that needs whole sequences.
    Source: Xiao et al., NeurIPS 2022, arXiv 2210.04195 (OTTT); Meng et al., ICCV 2023, arXiv 2302.14311 (SLTT).
    """

    step_mode = "s"

    def __init__(
        self,
        *,
        net: nn.Module,
        loss: str | Mapping[str, Any] = "cross_entropy",
        online_step: bool = False,
        gradient_clip_val: float | None = None,
        **common: Any,
    ) -> None:
        _refuse_sequences_only(net)
        functional.set_step_mode(net, self.step_mode)
        super().__init__(net=net, loss=loss, **common)
        for part in self.loss.parts:
            if not getattr(part.target, "step_by_step", True):
                raise ValueError(
                    f"OnlineClassification: loss {part.name!r} looks at all steps, but online training learns from one "
                    f"at a time. Use {', '.join(suited('loss', self.TARGET, 'step_by_step'))}, or task=classification."
                )
        self.automatic_optimization = False
        self.online_step = flag(self, "online_step", online_step)
        self.gradient_clip_val = (
            None
            if gradient_clip_val is None
            else real(self, "gradient_clip_val", gradient_clip_val, above=0, alternative=" or None")
        )

    def forward(self, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        functional.reset_net(self.net)
        with self.compiled_or_not():
            return torch.stack([self.net(x_t) for x_t in self.encoded(x, seeds).unbind(0)])

    def compute_loss(self, y_seq: Tensor, target: Tensor) -> Tensor:
        """The mean over time of the losses of outputs [T, N, K] for labels [N] or shares of the classes [N, K]."""
        return torch.stack([self.step_loss(y, target) for y in y_seq.unbind(0)]).mean()

    def step_loss(self, y: Tensor, target: Tensor) -> Tensor:
        """The loss of one step's outputs [N, K]."""
        return self.loss(self.of_classes(y)[None], lambda y_seq: y_seq[0], target)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, target, *_ = self.mixed(batch)
        if len(batch) > 3:
            self._refuse_padding()
        optimizer = self.optimizers()
        functional.reset_net(self.net)
        steps = self.encoded(x, self.encoding_seeds("train", batch)).unbind(0)
        share = self.share(len(target))
        outputs, losses_so_far = [], []
        optimizer.zero_grad()
        for t, x_t in enumerate(steps, start=1):
            with self.compiled_or_not(), naming_what_was_not_reset(self.net):
                y = self.net(x_t).float()
            loss = self.step_loss(y, target) / len(steps)
            self.manual_backward(loss * share)
            functional.detach_net(self.net)
            outputs.append(y.detach())
            losses_so_far.append(loss.detach())
            if self.online_step or t == len(steps):
                optimizer.step()
                optimizer.zero_grad()
        if self.trainer.is_last_batch:
            self.lr_schedulers().step()  # where Lightning does it by itself: before the epoch's validation
        loss = torch.stack(losses_so_far).sum()
        self._log("train", loss, torch.stack(outputs), target)
        return loss

    def _refuse_padding(self) -> None:
        raise ValueError(
            f"{type(self).__name__}: the data have sequences of several lengths, and online training learns from every "
            "step of a batch, padding too. Use task=classification."
        )

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        # Here and not beside optimizer.step(): only now are the gradients of 16-bit training unscaled.
        if self.gradient_clip_val is not None:
            self.clip_gradients(optimizer, self.gradient_clip_val, "norm")

    def configure_callbacks(self) -> list[pl.Callback]:
        self.check_trainer(self.trainer)  # the first hook of a fit: Lightning's own refusals name no remedy
        return []

    def check_trainer(self, trainer: pl.Trainer) -> None:
        """Raises: ValueError for settings that Lightning cannot serve when the optimizer is stepped by hand."""
        if trainer.gradient_clip_val:
            raise ValueError(
                f"OnlineClassification: trainer.gradient_clip_val = {trainer.gradient_clip_val} cannot clip in online "
                "training. Set task.gradient_clip_val instead, and trainer.gradient_clip_val to null."
            )
        if trainer.accumulate_grad_batches != 1:
            raise ValueError(
                "OnlineClassification: trainer.accumulate_grad_batches must be 1 in online training, got "
                f"{trainer.accumulate_grad_batches}. Use a larger data.batch_size."
            )


merge_signature(
    OnlineClassification,
    positional=True,
    without=("tet_weight", "tet_potential", "chunk", "chunk_gradient"),
)


def _refuse_sequences_only(net: nn.Module) -> None:
    for path, module in net.named_modules():
        if step_mode_of(module) is not None and "s" not in supported_step_modes(module):
            raise ValueError(
                f"OnlineClassification: {path or 'the network'} ({type(module).__name__}) runs whole sequences only, "
                "but online training runs step by step. Use another layer, or task=classification."
            )
