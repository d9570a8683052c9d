"""Classification: images or sequences in, one class out."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, distributed, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from snntrain import functional
from snntrain.arguments import choice, flag, integer, real
from snntrain.leftover import naming_what_was_not_reset
from snntrain.randomness import derived_seed
from snntrain.registry import register
from snntrain.task import loss as losses
from snntrain.task.chunk import GRADIENTS, refuse_unknown_states, refuse_whole_sequence, run_in_chunks
from snntrain.task.metric import make_metrics
from snntrain.task.mixing import Mixing, dominant
from snntrain.task.optimizer import configure
from snntrain.task.readout import make_readout

# (x, labels) or (x, labels, index)
Batch = tuple[Tensor, ...]


@register("task")
class Classification(pl.LightningModule):
    """Train a network to tell classes apart; resets the neurons before every batch.

    Args:
        net: [T, N, *] → [T, N, num_classes].
        encoder: (x [N, *], T) → [T, N, *]; one whose is_random is True takes a seed per sample as well.
        T: time steps per sample, ≥ 1; a network without state takes one.
        num_classes: number of classes K.
        optim: config of the optimizer, see snntrain.task.optimizer.
        readout: 'rate', 'membrane', 'last', 'max' or one of a plugin, or {name: …} with its arguments.
        readout_tau: time constant of the membrane readout, > 1.
        loss: 'cross_entropy' or 'mse', of the readout; 'tet', of every step; one of a plugin, or {name: …} with its
            arguments, see snntrain.task.loss.Loss.
        label_smoothing: of the cross-entropies, in [0, 1). This and the next two reach every loss with such arguments.
        tet_weight: λ of the TET loss, in [0, 1].
        tet_potential: potential that the TET loss pulls the outputs to.
        metrics: {name: …} of each registered metric, a torchmetrics.Metric of scores [N, K] and labels [N]; logged as
            val/<name> and test/<name>. One that takes num_classes gets it.
        chunk: time steps that the network gets at a time, ≥ 1, to save memory; None: the whole sequence.
        chunk_gradient: 'exact' or 'truncated', see run_in_chunks.
        mixup, cutmix: alpha > 0 mixes training samples, see Mixing; 0: off. If both are on, one of them for each batch.
            The training accuracy then counts the class with the largest share.
        compile: train with the network compiled by torch.compile, which sees all time steps one by one: not for a large
            T, and not with exact chunks.
        seed: of what a random encoder draws, with the epoch and the sample's index. A sample whose batch tells no index
            is encoded with torch's generator.

    Shapes: a batch is (x [N, *], labels [N]) or (x, labels, index [N]), the places of the samples in their data set;
        forward takes x, and seeds of its samples, and returns the outputs [T, N, K].
    Raises: ValueError naming the module that chunk cannot serve.
    """

    #: The step mode in which the network is called.
    step_mode = "m"

    wants_index = resets_net = True  # see snntrain.task.contract

    def __init__(
        self,
        net: nn.Module,
        encoder: nn.Module,
        T: int,
        num_classes: int,
        optim: dict[str, Any],
        readout: str | Mapping[str, Any] = "rate",
        readout_tau: float = 2.0,
        loss: str | Mapping[str, Any] = "cross_entropy",
        label_smoothing: float = 0.0,
        tet_weight: float = 0.05,
        tet_potential: float = 1.0,
        chunk: int | None = None,
        chunk_gradient: str = "exact",
        mixup: float = 0.0,
        cutmix: float = 0.0,
        compile: bool = False,
        seed: int = 0,
        metrics: Sequence[str | Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        self.net = net
        self.encoder = encoder
        self.T = integer(self, "T", T, at_least=1)
        self.readout_tau = real(self, "readout_tau", readout_tau, above=1)
        self.read_out = make_readout(readout, {"readout_tau": self.readout_tau})
        self.label_smoothing = real(self, "label_smoothing", label_smoothing, at_least=0, below=1)
        self.tet_weight = real(self, "tet_weight", tet_weight, at_least=0, at_most=1)
        self.tet_potential = real(self, "tet_potential", tet_potential)
        named = ("label_smoothing", "tet_weight", "tet_potential")
        self.loss = losses.Loss(loss, {name: getattr(self, name) for name in named})
        self.chunk = None if chunk is None else integer(self, "chunk", chunk, at_least=1)
        self.chunk_gradient = choice(self, "chunk_gradient", chunk_gradient, GRADIENTS)
        if self.chunk is not None:
            refuse_whole_sequence(type(self).__name__, net)
            refuse_unknown_states(type(self).__name__, net, self.chunk_gradient)
        alphas = real(self, "mixup", mixup, at_least=0), real(self, "cutmix", cutmix, at_least=0)
        self.mixing = Mixing(*alphas, num_classes) if any(alphas) else None
        self.optim = optim
        self.seed = integer(self, "seed", seed)
        self.accuracy = nn.ModuleDict(
            {
                f"{stage}_acc": MulticlassAccuracy(num_classes, average="micro", validate_args=False)
                for stage in ("train", "val", "test")
            }
        )
        self.mean_loss = nn.ModuleDict({f"{stage}_loss": losses.MeanLoss() for stage in ("train", "val", "test")})
        self.metrics = make_metrics(metrics, num_classes)
        self.confusion = MulticlassConfusionMatrix(num_classes)
        self.is_compiled = flag(self, "compile", compile)
        if self.is_compiled:
            if self.chunk is not None and self.chunk_gradient == "exact":
                raise ValueError(
                    f"{type(self).__name__}: compile cannot serve chunk_gradient 'exact', whose second run of each "
                    "chunk would not be compiled. Use chunk_gradient 'truncated', or compile=false."
                )
            # In place: torch.compile(net) would wrap it and rename every key of its checkpoints. Not dynamic: the sizes
            # are those of a full and of the last batch, and inductor gets more wrong where sizes are symbols.
            net.compile(dynamic=False)

    def forward(self, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        functional.reset_net(self.net)
        x_seq = self.encoded(x, seeds)
        with self.compiled_or_not(), naming_what_was_not_reset(self.net):
            if self.chunk is None:
                return self.net(x_seq)
            return run_in_chunks(self.net, x_seq, self.chunk, self.chunk_gradient)

    def encoded(self, x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """The sequence [T, N, *] that the network gets of a batch x [N, *], from an encoder without a past."""
        if isinstance(self.encoder, nn.Module):
            functional.reset_net(self.encoder)
        return self.encoder(x, self.T) if seeds is None else self.encoder(x, self.T, seeds)

    def encoding_seeds(self, stage: str, batch: Batch) -> list[int] | None:
        """A seed for each sample, of (seed, epoch, index) in training, of (seed, stage, index) in 'val' and 'test'.

        None if the encoder draws nothing, or the batch does not tell which samples it has.
        """
        if len(batch) < 3 or not getattr(self.encoder, "is_random", False):
            return None
        # The count that the order of the samples goes by, on resume as well.
        epoch = self.trainer.fit_loop.epoch_progress.current.processed if stage == "train" else stage
        return [derived_seed(self.seed, "encode", epoch, index) for index in batch[2].tolist()]

    def compiled_or_not(self) -> AbstractContextManager:
        """For calls of the net: as it is without compile in evaluation, and where hooks look at its layers.

        A compiled network would not call hooks that are new, or call those that are gone.
        """
        if self.is_compiled and (not self.training or _is_watched(self.net)):
            return torch.compiler.set_stance("force_eager")
        return nullcontext()

    def scores(self, y_seq: Tensor) -> Tensor:
        """One score per class from the outputs over time: [T, N, K] → [N, K]."""
        return self.read_out(y_seq)

    def compute_loss(self, y_seq: Tensor, target: Tensor) -> Tensor:
        """The loss of outputs [T, N, K] for labels [N] or shares of the classes [N, K]."""
        return self.loss(y_seq, self.scores, target)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, target, *_ = self.mixed(batch)
        y_seq = self.outputs("train", x, batch)
        loss = self.compute_loss(y_seq, target)
        self._log("train", loss, y_seq, target)
        return loss * self.share(len(target))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        scores = self._evaluate("test", batch)
        self.confusion.update(scores.argmax(1), batch[1])

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x, target, *_ = batch
        scores = self.scores(self.outputs("test", x, batch))  # of the sequences that were tested
        return {"label": target, "predicted": scores.argmax(1), "scores": scores}

    def on_test_epoch_start(self) -> None:
        self.confusion.reset()

    def backward(self, loss: Tensor, *arguments: Any, **named: Any) -> None:
        with naming_what_was_not_reset(self.net):
            super().backward(loss, *arguments, **named)

    def configure_optimizers(self) -> dict[str, Any]:
        return configure(self.net, self.optim, self._trainer)

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch as it is trained on: (x [N, *], labels [N]), or with mixing shares of the classes [N, K]."""
        x, target, *_ = batch
        return (x, target) if self.mixing is None else self.mixing(x, target)

    def outputs(self, stage: str, x: Tensor, batch: Batch) -> Tensor:
        """The outputs [T, N, K] for x, the input of the batch or a mixture of it, at full precision."""
        seeds = self.encoding_seeds(stage, batch)
        return (self(x) if seeds is None else self(x, seeds)).float()

    def share(self, samples: int) -> Tensor | float:
        """Factor that makes the mean of the processes' losses the mean over all samples of the step, 1 as a rule.

        The gradients of the processes are averaged, and an epoch's last batch may not be equally large everywhere.
        """
        world = self._trainer.world_size if self._trainer is not None else 1
        if world == 1:
            return 1.0
        everywhere = torch.tensor(float(samples), device=self.device)
        distributed.all_reduce(everywhere)
        return samples * world / everywhere

    def _evaluate(self, stage: str, batch: Batch) -> Tensor:
        x, target, *_ = batch
        y_seq = self.outputs(stage, x, batch)
        return self._log(stage, self.compute_loss(y_seq, target), y_seq, target)

    def _log(self, stage: str, loss: Tensor, y_seq: Tensor, target: Tensor) -> Tensor:
        """Log loss and accuracy of a batch; its scores."""
        scores = self.scores(y_seq.detach())
        accuracy, mean_loss = self.accuracy[f"{stage}_acc"], self.mean_loss[f"{stage}_loss"]
        with torch.no_grad():
            accuracy.update(scores, dominant(target))
            mean_loss.update(loss.detach(), len(target))
        if stage == "train":
            self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False, batch_size=len(target))
        self.log(f"{stage}/loss", mean_loss, on_step=False, on_epoch=True, batch_size=len(target))
        self.log(f"{stage}/acc", accuracy, on_step=False, on_epoch=True, batch_size=len(target))
        for name, metric in self.metrics[stage].items() if stage != "train" else ():
            metric.update(scores, target)
            self.log(f"{stage}/{name}", metric, on_step=False, on_epoch=True, batch_size=len(target))
        return scores


def _is_watched(net: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
