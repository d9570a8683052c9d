"""Stop a run whose numbers are no longer finite, and say where that began and why."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from snntrain.arguments import flag
from snntrain.callback.spike_statistics import watching
from snntrain.error import Diverged
from snntrain.registry import register
from snntrain.terminal import terminal, warn

console = terminal()

_STEPS_BETWEEN = 2  # between two checks of the weights; the loss is checked after each step

_HALF_PRECISION = ("16-mixed", "16-true", "transformer-engine-float16")
_LOST = 1e15  # a weight beyond this comes from a diverging step and does not recover
_SMALLEST_SCALE = 1e-6  # of the losses in 16-mixed, 65536 at the start and halved whenever an update is skipped


@register("callback")
class Finite(pl.Callback):
    """End the run at the first loss or weight that is NaN or infinite, before a checkpoint is written.

    The loss alone would not do: a neuron whose potential is NaN fires no spike, so that a network with broken weights
    has a finite loss. After each step the loss is looked at, after every second one the norms of all weights; at the
    end of an epoch also running statistics, the losses of the validation and the metrics that something monitors. On a
    GPU the numbers of a step are read in the next one, so that nothing waits for them. Gradients that overflow in
    16-mixed are not looked at: their update is skipped, which is usual.

    Args:
        stop: False: print a warning once, and train on; the best checkpoint still takes no broken weights.

    Raises: Diverged naming step, epoch, layer and likely cause; ValueError if stop is not a bool.
    """

    def __init__(self, stop: bool = True) -> None:
        self.stop = flag(self, "stop", stop)
        self._weights: list[Tensor] = []
        self._earlier: _Step | None = None  # on a GPU: the step whose numbers are still being copied
        self._is_reported = False
        self._steps = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._weights = [weight for _, _, weight in _tensors(pl_module) if isinstance(weight, nn.Parameter)]
        self._earlier, self._is_reported = None, False
        if not _is_finite(self._weights):
            self._report(trainer, pl_module, "before the first step", "the weights are not finite", None)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_reported:
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            loss = torch.zeros(())  # a step that was skipped
        self._steps += 1
        norms: Sequence[Tensor] = ()
        if self._weights and self._steps % _STEPS_BETWEEN == 0:
            with torch.no_grad():  # as torch.nn.utils.get_total_norm, whose grouping takes longer than the norms
                norms = torch._foreach_norm(self._weights)
        if not loss.is_cuda and math.isfinite(float(loss) + sum(map(float, norms))):
            return
        step = _Step(loss, norms, batch, trainer.current_epoch + 1, batch_idx + 1)
        self._earlier, complete = (step, self._earlier) if step.is_on_its_way else (None, step)
        if complete is not None:
            self._look_at(complete, trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _is_fitting(trainer):  # before an average of the weights is looked at in their place
            self._look_at_everything(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._look_at_metrics(trainer, pl_module, "val/", f"in the validation of epoch {trainer.current_epoch + 1}")
        if self._is_reported and _is_fitting(trainer) and not _is_finite(self._weights):
            for checkpoint in trainer.checkpoint_callbacks:  # the accuracy of broken weights can be a lucky one
                if isinstance(checkpoint, ModelCheckpoint):
                    checkpoint.save_top_k = 0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look_at_everything(trainer, pl_module)
        self._look_at_metrics(trainer, pl_module, "train/", f"in epoch {trainer.current_epoch + 1}")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look_at_metrics(trainer, pl_module, "test/", "in the test")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.stop and _is_fitting(trainer):
            self._look_at_everything(trainer, pl_module)

    # --- checks ------------------------------------------------------------------------------------------------------

    def _look_at(self, step: "_Step", trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss, norm = step.numbers()
        if not math.isfinite(loss):
            self._report(trainer, pl_module, step.where(trainer), f"the loss is {_said(loss)}", step.batch)
        elif not math.isfinite(norm) and any(map(_is_lost, self._weights)):  # in half precision norms overflow early
            what = "weights are no longer finite" if math.isnan(norm) else f"weights are infinite or beyond {_LOST:g}"
            self._report(trainer, pl_module, step.where(trainer), what, step.batch)

    def _look_at_everything(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._is_reported:
            return
        step, self._earlier = self._earlier, None
        if step is not None:
            self._look_at(step, trainer, pl_module)
        where = f"by the end of epoch {trainer.current_epoch + 1}"
        if not _is_finite([tensor for _, _, tensor in _tensors(pl_module)]):
            self._report(trainer, pl_module, where, "weights or running statistics are no longer finite", None)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and scaler.get_scale() < _SMALLEST_SCALE:
            self._report(trainer, pl_module, where, "every update was skipped, for the gradients overflow", None)

    def _look_at_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule, prefix: str, where: str) -> None:
        if self._is_reported:
            return
        watched = _monitored(trainer)
        for name, value in trainer.callback_metrics.items():
            is_watched = name.startswith(prefix) and (name in watched or name.endswith("loss"))
            if is_watched and not math.isfinite(float(value)):
                self._report(trainer, pl_module, where, f"{name} is {_said(float(value))}", None)
                return

    def _report(self, trainer: pl.Trainer, pl_module: pl.LightningModule, where: str, what: str, batch: Any) -> None:
        """Raise, or warn once."""
        self._is_reported, self._earlier = True, None
        place = _where_it_began(pl_module)
        if place is None and self.stop and trainer.world_size == 1:
            place = _first_output(pl_module, batch)
        place = f" First in the order of the net: {place}." if place else ""
        text = f"{where}, {what}.{place} {_likely_cause(trainer, pl_module, batch)}"
        if self.stop:
            raise Diverged(f"Training diverged {text} {_what_is_kept(trainer)}".strip())
        if trainer.is_global_zero:
            warn(console, f"training diverged {text} It continues, as callbacks.finite.stop is false.")


@dataclass
class _Step:
    """Loss and norms of the weights after a training step."""

    loss: Tensor
    norms: Sequence[Tensor]
    batch: Any
    epoch: int
    number: int

    def __post_init__(self) -> None:
        device = (self.norms[0] if self.norms else self.loss).device
        self.is_on_its_way = device.type == "cuda"
        if self.is_on_its_way:
            numbers = [number.detach().to(device).float().reshape(()) for number in (self.loss, *self.norms)]
            both = torch.stack([numbers[0], torch.stack([torch.zeros_like(numbers[0]), *numbers[1:]]).sum()])
            self._copy = torch.empty(2, pin_memory=True).copy_(both, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def numbers(self) -> tuple[float, float]:
        """(loss, sum of the norms); on a GPU this waits for them."""
        if not self.is_on_its_way:
            return float(self.loss), sum(map(float, self.norms))
        self._event.synchronize()
        loss, norm = self._copy.tolist()
        return loss, norm

    def where(self, trainer: pl.Trainer) -> str:
        return f"at step {self.number} of {trainer.num_training_batches} in epoch {self.epoch}"


def _is_lost(weight: Tensor) -> bool:
    return not bool((weight.detach().abs() <= _LOST).all())  # also where it is NaN


def _is_finite(tensors: list[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _tensors(module: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    """(path of the module, name, tensor) of what training changes, in the order of the net.

    That is trainable parameters and running statistics. Other buffers may be infinite on purpose, as masks are.
    """
    for path, part in module.named_modules():
        for name, weight in part.named_parameters(recurse=False):
            if weight.requires_grad and weight.is_floating_point():
                yield path, name, weight
        for name, buffer in part.named_buffers(recurse=False):
            if name.startswith("running_") and buffer.is_floating_point():
                yield path, name, buffer


def _is_fitting(trainer: pl.Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


def _monitored(trainer: pl.Trainer) -> set[str]:
    """Names of the metrics that checkpoints, early stopping and schedules monitor."""
    plans = [*trainer.callbacks, *trainer.lr_scheduler_configs]
    return {name for name in (getattr(plan, "monitor", None) for plan in plans) if isinstance(name, str)}


# --- where and why ---------------------------------------------------------------------------------------------------


def _said(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinite"


@torch.no_grad()
def _where_it_began(pl_module: pl.LightningModule) -> str | None:
    """The first module whose weights, running statistics or gradients are not finite."""
    modules = dict(pl_module.named_modules())
    for path, name, tensor in _tensors(pl_module):
        for values, what in ((tensor, name), (tensor.grad, f"gradient of {name}")):
            if values is not None and _is_lost(values):
                broken = int((~(values.abs() <= _LOST)).sum())
                owner = f"{path.removeprefix('net.') or 'the network'} ({type(modules[path]).__name__})"
                return f"{owner}, {broken:,} of {values.numel():,} values of its {what}"
    return None


@torch.no_grad()
def _first_output(pl_module: pl.LightningModule, batch: Any) -> str | None:
    """The first module whose output for a batch is not finite, in the order in which they are called."""
    net, x = getattr(pl_module, "net", pl_module), _inputs(batch)
    if x is None or not torch.isfinite(x).all():
        return None
    found: list[str] = []

    def look(path: str, layer: nn.Module, output: Any) -> None:
        if not found and isinstance(output, Tensor) and output.is_floating_point() and not output.isfinite().all():
            found.append(f"{path} ({type(layer).__name__}), its output")

    leaves = {path: module for path, module in net.named_modules() if not any(module.children())}
    was_training = pl_module.training
    try:
        with watching(leaves, look):
            pl_module.eval()(x)
    except Exception:
        # The forward may take more than x. Naming the layer is optional; another error would hide the cause.
        return None
    finally:
        pl_module.train(was_training)
    return found[0] if found else None


def _inputs(batch: Any) -> Tensor | None:
    x = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    return x if isinstance(x, Tensor) and x.is_floating_point() else None


def _likely_cause(trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any) -> str:
    x = _inputs(batch)
    if x is not None and not torch.isfinite(x).all():
        return "The inputs of this batch hold values that are not finite: fix the data or data.augment."
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            for name, value in group.items():
                if isinstance(value, float) and not math.isfinite(value) and name != "initial_lr":
                    if name == "lr" and math.isfinite(group.get("initial_lr", optimizer.defaults.get("lr", value))):
                        return f"optim.schedule set the learning rate to {value}: check its numbers."
                    return f"optim.{name} is {value}: choose a finite one."
    rates = [float(group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups]
    lr = f"{max(rates):.3g}" if rates else "?"
    largest = max(
        (float(w.detach().abs().nan_to_num(0, 0).max()) for w in pl_module.parameters() if w.numel()), default=0
    )
    if str(trainer.precision) in _HALF_PRECISION and largest < _LOST:
        return (
            f"trainer.precision={trainer.precision} overflows beyond 65504: use bf16-mixed or 32-true, or a smaller "
            f"learning rate (now {lr})."
        )
    clip = "" if trainer.gradient_clip_val else ", or clip gradients with trainer.gradient_clip_val=1"
    return f"Likely the learning rate is too large (now {lr}): lower it{clip}."


def _what_is_kept(trainer: pl.Trainer) -> str:
    """A sentence that says where the best weights are; empty for a training that saves none, such as fine-tuning."""
    keepers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    if not keepers:
        return ""
    for callback in keepers:
        if callback.best_model_path:
            return f"The best weights of the epochs before are in {callback.best_model_path}."
    return "No epoch had been validated, so there is no best checkpoint."
