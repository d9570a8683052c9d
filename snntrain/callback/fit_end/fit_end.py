"""The base class of callbacks that work on the trained net when the training has ended."""

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from rich.console import Console
from torch import Tensor, nn

from snntrain.arguments import integer
from snntrain.callback.fit_end.around import Loaders, Reader, best_net, fine_tune, first_sample
from snntrain.files import checksums
from snntrain.functional import copy_net
from snntrain.signature import merge_signature
from snntrain.task.readout import make_readout
from snntrain.terminal import print_line, terminal


@dataclass
class Trained:
    """The trained net, and what a fit-end callback may use of the run around it. Callbacks may change the net.

    Attributes:
        net: what the callback before handed on, at first a copy of the trained network: [T, N, *] → [T, N, K].
        data: training samples and a test set: `splits["train"]` and `splits["val"]` with a length and `__getitems__`,
            `batch_size`, `train_dataloader()` and `test_dataloader()`.
        folder: the parent of the callbacks' folders.
        seed: of what a callback draws.
        T: time steps that `net` runs.
        device: where to compute.
        test_batches: how many batches of the test set to look at.
        task_for: (net, T) → a LightningModule that encodes samples for that net and reads it out.
        fine_tune: (net, T, epochs, lr, folder, say) trains the net in place with the run's task, data, optimizer and
            Trainer. lr None: a tenth of the run's. `say` takes a line of text once training is about to begin.
        description: what a checkpoint of the run says about itself under "snntrain": format, version, config.
    """

    net: nn.Module
    data: Any
    folder: Path
    seed: int
    T: int
    device: torch.device
    test_batches: int
    task_for: Callable[[nn.Module, int], pl.LightningModule]
    fine_tune: Callable[..., None] | None = None
    description: Mapping[str, Any] = field(default_factory=dict)


class FitEnd(pl.Callback):
    """A callback that works on a copy of the best weights at the end of `Trainer.fit`.

    In a Trainer with several of them, each works on the net that the one before it made. Under train.py they wait until
    the best checkpoint was tested. An error in one of them loses neither the trained net nor what earlier ones made.

    Subclasses implement `check` and `run`; both work on whatever net they are handed.

    Attributes:
        name: the callback's metrics begin with it, and its files lie in a folder of that name. train.py sets it to the
            callback's key in the config.
        surroundings: arguments that describe the run around it, which train.py knows itself.
        metrics: name → value, once it has run.
        net: the net it made, once it has run.
    """

    name: str
    surroundings: Sequence[str] = ("encoder", "readout", "T")

    def __init__(
        self,
        *,
        T: int | None = None,
        encoder: nn.Module | None = None,
        readout: str | Callable[[Tensor], Tensor] = "rate",
    ) -> None:
        """
        Args:
            T: time steps that `encoder` makes of a sample, ≥ 1; needed with an encoder.
            encoder: (x [N, *], T) → [T, N, *]. None: the data are sequences [T, N, *] already or, after AnnToSnn, x is
                shown at each of its T steps.
            readout: outputs [T, N, K] → scores [N, K], or the name of a registered readout.

        train.py sets none of them: there the run's own T, encoder and readout are used.
        """
        self.T = None if T is None else integer(self, "T", T, at_least=1)
        self.encoder, self.readout = encoder, readout
        make_readout(readout, path=f"{type(self).__name__}: readout")
        if encoder is not None and T is None:
            raise ValueError(f"{type(self).__name__}: an encoder needs the number of time steps. Give T as well.")
        self.is_deferred = False
        self.metrics: dict[str, float] = {}
        self.net: nn.Module | None = None
        self._planned: nn.Module | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        merge_signature(cls)

    @abstractmethod
    def check(self, net: nn.Module, task: pl.LightningModule, sample_shape: tuple[int, ...]) -> nn.Module:
        """Refuse, before any training, what `run` could not do after it.

        Args:
            net: what the callback before would hand on, at first the network with fresh weights; it must stay as it is.
            task: encodes samples (task.encoder) and reads the net out (task.scores).
            sample_shape: of what the network gets at one step, without the batch.

        Returns: the net that this callback would hand on.
        Raises: ValueError saying what does not fit and what to do.
        """

    @abstractmethod
    def run(self, trained: Trained, folder: Path, console: Console) -> tuple[nn.Module, dict[str, float]]:
        """Do the work. Gradients are recorded here, unless the method is decorated with @torch.no_grad().

        Args:
            folder: for this callback's files; a file written with snntrain.files makes it.
            console: for progress and results.

        Returns: the net for the next callback, and metrics without this callback's name. A callback that changes how
        many steps the net runs sets trained.T.
        """

    # --- in anybody's Trainer ----------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.is_deferred:
            return
        if not isinstance(getattr(pl_module, "net", None), nn.Module):
            raise ValueError(f"{self.name}: {type(pl_module).__name__} has no network named `net` to work on.")
        if trainer.world_size > 1:
            raise ValueError(f"{self.name}: the Trainer has {trainer.world_size} devices. Use devices=1, or train.py.")
        with isolate_rng():  # the training draws what it would draw without this look
            earlier = self._before(trainer)
            net = earlier._planned if earlier else copy_net(pl_module.net)
            reader = self._reader(net, trainer)
            shape = tuple(reader.encoded(first_sample(trainer)).shape[2:])
            Loaders(trainer, pl_module)
            try:
                self._planned = self.check(net, reader, shape)
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from error

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.is_deferred or not trainer.is_global_zero:
            return
        console, data, earlier = terminal(), Loaders(trainer, pl_module), self._before(trainer)
        net = earlier.net if earlier else best_net(trainer, pl_module)
        reader = self._reader(net, trainer)
        print_line(console, f"{self.name}   measures on the {data.measured} set")
        trained = Trained(
            net=net,
            data=data,
            folder=Path(trainer.default_root_dir),
            seed=0,
            T=reader.T or reader.encoded(first_sample(trainer)).shape[0],
            device=pl_module.device,
            test_batches=len(data.test_dataloader()),
            task_for=lambda net, T: self._reader(net, trainer),
            fine_tune=partial(fine_tune, trainer, pl_module),
        )
        run_in_turn([self], trained, {}, {}, console)
        for logger in trainer.loggers:
            logger.log_metrics(self.metrics, step=trainer.global_step)

    def _before(self, trainer: pl.Trainer) -> "FitEnd | None":
        """The callback whose net this one gets; None for the first."""
        ours = [callback for callback in trainer.callbacks if isinstance(callback, FitEnd)]
        place = ours.index(self)
        return ours[place - 1] if place else None

    def _reader(self, net: nn.Module, trainer: pl.Trainer) -> Reader:
        giver: FitEnd | None = self
        while giver is not None and giver.encoder is None:
            giver = giver._before(trainer)
        T, encoder = (giver.T, giver.encoder) if giver else (self.T, None)
        return Reader(net, T, encoder, self.readout)


def run_in_turn(
    callbacks: Sequence[FitEnd],
    trained: Trained,
    metrics: dict[str, float],
    seconds: dict[str, float],
    console: Console,
) -> None:
    """Run fit-end callbacks, each on what the one before made.

    Args:
        metrics, seconds: filled in as callbacks end, so that an error loses only what comes after it.
    """
    for callback in callbacks:
        began = time.perf_counter()
        trained.net, found = callback.run(trained, trained.folder / callback.name, console)
        _register_files(trained.folder / callback.name)
        callback.net, callback.metrics = trained.net, {f"{callback.name}/{key}": value for key, value in found.items()}
        metrics.update(callback.metrics)
        seconds[callback.name] = round(time.perf_counter() - began, 3)


def _register_files(folder: Path) -> None:
    """Enter the files that other libraries wrote there into the run folder's checksums, if it lies in a run folder."""
    run = checksums.covering(folder / "file")
    if run is not None:
        checksums.register(run, folder.absolute().relative_to(run).as_posix())
