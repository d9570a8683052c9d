"""What every task shares: samples or sequences in, scores out, and a loss against the targets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, distributed, nn
from torchmetrics import Metric

from snntrain import functional
from snntrain.arguments import choice, flag, integer, real
from snntrain.data.target import Target
from snntrain.hooks import whole_sequence_module
from snntrain.layer.padding import padded, padding
from snntrain.leftover import naming_what_was_not_reset
from snntrain.randomness import derived_seed
from snntrain.signature import signature_of
from snntrain.task import loss as losses
from snntrain.task.chunk import (
    GRADIENTS,
    refuse_unknown_states,
    refuse_whole_sequence,
    run_in_chunks,
)
from snntrain.task.evidence import OfOutputs
from snntrain.task.firing_rates import FiringRates
from snntrain.task.logged import log_value
from snntrain.task.metric import make_metrics
from snntrain.task.optimizer import configure
from snntrain.task.readout import READOUTS, make_readout, takes_lengths
from snntrain.terminal import terminal, warn

# (x, target), (x, target, index) or (x, target, index, lengths)
Batch = tuple[Tensor, ...]
STAGES = ("train", "val", "test")


class Supervised(pl.LightningModule):
    """Base of the tasks: trains a network against the targets of a data set; resets the neurons before every batch.

    A subclass says what its targets are (TARGET), by which metric a net is judged (HEADLINE, new_headline), how scores
    compare with targets (measurable), and what the report shows of the test beside metrics (new_evidence).

    Args:
        net: [T, N, *] → [T, N, K].
        encoder: (x [N, *], T) → [T, N, *]; one whose is_random is True takes a seed per sample as well.
        T: time steps per sample, ≥ 1; a network without state takes one.
        outputs: scores K of a sample, ≥ 1.
        optim: config of the optimizer, see snntrain.task.optimizer.
        readout: 'rate', 'membrane', 'last', 'max' or one of a plugin, or {name: …} with its arguments.
        readout_tau: time constant of the membrane readout, > 1.
        loss: a registered loss, or {name: …} with its arguments, see snntrain.task.loss.Loss.
        metrics: {name: …} of each registered metric, a torchmetrics.Metric of scores and targets; logged as val/<name>
            and test/<name>.
        chunk: time steps that the network gets at a time, ≥ 1, to save memory; None: the whole sequence.
        chunk_gradient: 'exact' or 'truncated', see run_in_chunks.
        compile: train with the network compiled by torch.compile, which sees all time steps one by one: not for a large
            T, and not with exact chunks.
        offered: arguments of losses that have them and whose setting leaves them out.
        seed: of what a random encoder draws, with the epoch and the sample's index. A sample whose batch tells no index
            is encoded with torch's generator.

    Shapes: a batch is (x [N, *], targets) or (x, targets, index [N]), the places of the samples in their data set;
        forward takes x, and seeds of its samples, and returns the outputs [T, N, K].
    Raises: ValueError naming the module that chunk cannot serve.
    """

    wants_index = resets_net = True  # see snntrain.task.contract

    #: The step mode in which the network is called.
    step_mode = "m"
    #: What the data set must have as targets.
    TARGET: ClassVar[Target]
    #: Output neurons of each class, whose outputs are summed up.
    population = 1
    #: The metric by which a net is judged, logged as <stage>/<name>, and whether it should be large or small.
    HEADLINE: ClassVar[tuple[str, str]]

    def __init__(
        self,
        net: nn.Module,
        encoder: nn.Module,
        T: int,
        outputs: int,
        optim: dict[str, Any],
        readout: str | Mapping[str, Any] = "rate",
        readout_tau: float = 2.0,
        loss: str | Mapping[str, Any] = "cross_entropy",
        offered: Mapping[str, Any] | None = None,
        chunk: int | None = None,
        chunk_gradient: str = "exact",
        compile: bool = False,
        seed: int = 0,
        metrics: Sequence[str | Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        self.net = net
        self.encoder = encoder
        self.T = integer(self, "T", T, at_least=1)
        self.readout_tau = real(self, "readout_tau", readout_tau, above=1)
        self._names = [_name_of(one) for one in (readout, loss)]
        self.read_out = make_readout(readout, {"readout_tau": self.readout_tau})
        self.loss = losses.Loss(loss, self.TARGET, offered, count=outputs, population=self.population)
        self._rates = FiringRates() if self.loss.takes_firing_rates else None
        self.chunk = None if chunk is None else integer(self, "chunk", chunk, at_least=1)
        self.chunk_gradient = choice(self, "chunk_gradient", chunk_gradient, GRADIENTS)
        if self.chunk is not None:
            refuse_whole_sequence(type(self).__name__, net)
            refuse_unknown_states(type(self).__name__, net, self.chunk_gradient)
        self._takes_padding = False
        self.optim = optim
        self.seed = integer(self, "seed", seed)
        self.headline = nn.ModuleDict({f"{stage}_{self.HEADLINE[0]}": self.new_headline() for stage in STAGES})
        self.mean_loss = nn.ModuleDict({f"{stage}_loss": losses.MeanLoss() for stage in STAGES})
        self.metrics = make_metrics(metrics, self.TARGET, outputs, taken=("loss", self.HEADLINE[0]))
        self.evidence = nn.ModuleDict(self.new_evidence(outputs))
        self.is_compiled = flag(self, "compile", compile)
        if self.is_compiled:
            if self._rates is not None:
                raise ValueError(
                    f"{type(self).__name__}: compile cannot serve a loss of firing rates, for which the layers of the "
                    "net are watched. Use compile=false, or another loss."
                )
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

    def new_headline(self) -> Metric:
        """The metric by which a net is judged, of (scores, targets) as `measurable` gives them."""
        raise NotImplementedError

    def new_evidence(self, outputs: int) -> dict[str, Metric]:
        """What the test shows beside its metrics: name → a metric of (scores, targets) that computes one small array.

        The arrays are kept in artifacts/test.npz, where sections of the report read them, see snntrain.task.evidence.
        """
        return {}

    def for_evidence(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and targets as the evidence takes them, whatever metrics take."""
        return scores, target

    def test_arrays(self) -> dict[str, Tensor]:
        """The evidence of the last test, name → array; every process has to ask for it."""
        return {name: evidence.compute() for name, evidence in self.evidence.items()}

    def measurable(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and targets as metrics take them."""
        return scores, target

    def scores(self, y_seq: Tensor) -> Tensor:
        """The scores from the outputs over time: [T, N, K] → [N, K]."""
        now = padding()
        return self.read_out(y_seq) if now is None else self.read_out(y_seq, lengths=now.lengths)

    def compute_loss(self, y_seq: Tensor, target: Tensor) -> Tensor:
        """The loss of outputs [T, N, K] for the targets."""
        return self.loss_of(y_seq, self.scores, target)

    def loss_of(self, y_seq: Tensor, read_out: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
        """The loss of outputs [T, N, K] that `read_out` makes scores [N, K] of, and of the net's firing rates."""
        return self.loss(y_seq, read_out, target, None if self._rates is None else self._rates.means)

    def watched(self) -> AbstractContextManager:
        """For a forward and its loss: sees how much the net fires, if the loss asks for it."""
        return nullcontext() if self._rates is None else self._rates.watched(self.net)

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        if getattr(self.trainer, "is_trial", False):  # on made-up data
            self.loss.weigh_evenly()
        else:
            self.loss.count_classes(self.trainer.datamodule)

    def on_fit_start(self) -> None:
        if self.trainer.is_global_zero and not getattr(self.trainer, "is_trial", False):
            for sentence in self.without_effect():
                warn(terminal(), f"{sentence} to silence this.")

    def without_effect(self) -> Iterator[str]:
        """A sentence for each setting that the chosen loss or readout does not read, up to its remedy."""
        readout = READOUTS.get(self._names[0])
        is_read = readout is not None and "readout_tau" in signature_of(readout).parameters
        silent = signature_of(Supervised).parameters["readout_tau"].default
        if self.readout_tau != silent and not is_read:
            value, name = f"task.readout_tau={self.readout_tau:g}", self._names[0]
            yield f"{value} has no effect, because the readout {name} takes none. Set it to {silent:g}"

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, target, *_ = self.mixed(batch)
        with self.padded(batch), self.watched():
            y_seq = self.outputs("train", x, batch)
            loss = self.compute_loss(y_seq, target)
            self._log("train", loss, y_seq, target)
            return loss * self.share(self.samples(target))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        y_seq, scores = self._evaluate("test", batch)
        with self.padded(batch):
            self.show(batch, y_seq, scores)

    def show(self, batch: Batch, y_seq: Tensor, scores: Tensor) -> None:
        """Give a batch of the test, its outputs and its scores to the evidence."""
        shown = self.for_evidence(scores, batch[1])
        for evidence in self.evidence.values():
            if isinstance(evidence, OfOutputs):
                evidence.update(self, y_seq, scores, batch[1], batch[2] if len(batch) > 2 else None)
            else:
                evidence.update(*shown)

    def on_test_epoch_start(self) -> None:
        for evidence in self.evidence.values():
            evidence.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x, target, *_ = batch
        with self.padded(batch):
            scores = self.scores(self.outputs("test", x, batch))  # of the sequences that were tested
        found = {"label": target, "predicted": self.predicted(scores), "scores": scores}
        return found if len(batch) < 4 else {**found, "steps": batch[3]}

    def predicted(self, scores: Tensor) -> Tensor:
        """What the task takes scores [N, K] for, in the form of its targets."""
        return scores

    def backward(self, loss: Tensor, *arguments: Any, **named: Any) -> None:
        with naming_what_was_not_reset(self.net):
            super().backward(loss, *arguments, **named)

    def configure_optimizers(self) -> dict[str, Any]:
        return configure(self.net, self.optim, self._trainer)

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch as it is trained on: x [N, *] and its targets."""
        return batch[0], batch[1]

    def outputs(self, stage: str, x: Tensor, batch: Batch) -> Tensor:
        """The outputs [T, N, K] for x, the input of the batch or a mixture of it, at full precision."""
        seeds = self.encoding_seeds(stage, batch)
        with self.padded(batch):
            return (self(x) if seeds is None else self(x, seeds)).float()

    def padded(self, batch: Batch) -> AbstractContextManager:
        """For whatever looks at a batch: tells the real steps of its sequences, see snntrain.layer.padding."""
        lengths = batch[3] if len(batch) > 3 else None
        if lengths is not None and not self._takes_padding:
            self._refuse_padding()
        return padded(lengths, self.T)

    def _refuse_padding(self) -> None:
        """Raises: ValueError naming what cannot tell real steps from padding."""
        found = whole_sequence_module(self.net)
        if self.is_compiled:
            raise ValueError(
                f"{type(self).__name__}: compile needs sequences of one length. Set task.compile to false."
            )
        if found is not None:
            path, module = found
            raise ValueError(
                f"{type(self).__name__}: the data have sequences of several lengths, but {path or 'the network'} "
                f"({type(module).__name__}) looks at all steps at once, padding too. Choose another layer or neuron."
            )
        if not takes_lengths(self.read_out):
            raise ValueError(
                f"task.readout: {self._names[0]} reads all steps, but the data have sequences of several lengths. Use "
                "rate, membrane, last or max, or let yours take `lengths`, the real steps of each sequence."
            )
        if any("y_seq" in part.takes for part in self.loss.parts) and self.TARGET not in (
            Target.STEP_CLASSES,
            Target.STEP_VALUES,
        ):
            raise ValueError(
                f"task.loss: {self._names[1]} reads the outputs of all steps, but the data have sequences of several "
                "lengths. Use a loss of the readout, such as cross_entropy or mse."
            )
        self._takes_padding = True

    def samples(self, target: Tensor) -> int:
        """What means over several batches count."""
        return len(target)

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

    def _evaluate(self, stage: str, batch: Batch) -> tuple[Tensor, Tensor]:
        x, target, *_ = batch
        with self.padded(batch), self.watched():
            y_seq = self.outputs(stage, x, batch)
            return y_seq, self._log(stage, self.compute_loss(y_seq, target), y_seq, target)

    def _log(self, stage: str, loss: Tensor, y_seq: Tensor, target: Tensor) -> Tensor:
        """Log loss and metrics of a batch; its scores."""
        scores = self.scores(y_seq.detach())
        name, samples = self.HEADLINE[0], self.samples(target)
        headline, mean_loss = self.headline[f"{stage}_{name}"], self.mean_loss[f"{stage}_loss"]
        measured = self.measurable(scores, target)
        with torch.no_grad():
            headline.update(*measured)
            mean_loss.update(loss.detach(), samples)
        if stage == "train":
            log_value(self, "train/loss_step", loss.detach(), samples, on_step=True)
        log_value(self, f"{stage}/loss", mean_loss, samples, on_step=False)
        log_value(self, f"{stage}/{name}", headline, samples, on_step=False)
        for extra, metric in self.metrics[stage].items() if stage != "train" else ():
            metric.update(*measured)
            log_value(self, f"{stage}/{extra}", metric, samples, on_step=False)
        return scores


def _name_of(setting: Any) -> str:
    """The name in a setting of a readout or loss; that of a function or class which stands there itself."""
    found = setting.get("name") if isinstance(setting, Mapping) else setting
    return found if isinstance(found, str) else getattr(found, "__name__", type(found).__name__)


def _is_watched(net: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
