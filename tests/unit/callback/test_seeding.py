"""Random draws inside the model depend on (seed, stage, epoch), whatever else was drawn."""

import lightning.pytorch as pl
import pytest
import torch
from small_training import Patches, small_task, trainer
from torch import nn

from snntrain.callback import Seeding


class Draws(pl.Callback):
    """Makes the model draw a number for each batch, add it to its input, and tell what it drew, per stage."""

    def __init__(self) -> None:
        self.drawn: dict[str, list[float]] = {}

    def setup(self, trainer, pl_module, stage) -> None:
        self.trainer = trainer

    def watch(self, net: nn.Module) -> None:
        def draw(module: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
            number = torch.rand(())
            self.drawn.setdefault(str(self.trainer.state.stage.value), []).append(number.item())
            return inputs[0] + number

        net.register_forward_pre_hook(draw)


class Around(pl.Callback):
    """The generator's state as Seeding finds it and leaves it: put before and behind it in the list."""

    def __init__(self) -> None:
        self.start: list[torch.Tensor] = []
        self.end: list[torch.Tensor] = []

    def on_validation_start(self, trainer, pl_module) -> None:
        self.start.append(torch.get_rng_state())

    def on_validation_end(self, trainer, pl_module) -> None:
        self.end.append(torch.get_rng_state())


def run(tmp_path, *callbacks: pl.Callback, seed: int = 1, epochs: int = 2, noise: int = 0, **settings) -> tuple:
    draws, task, data = Draws(), small_task(), Patches(batch_size=settings.pop("batch_size", 32))
    draws.watch(task.net)
    torch.manual_seed(1000 + noise)  # the state the program happens to be in
    fit = trainer(tmp_path, Seeding(seed), *callbacks, draws, max_epochs=epochs, **settings)
    fit.fit(task, datamodule=data)
    return fit, task, data, draws.drawn


def test_draws_repeat_with_the_seed_and_differ_between_epochs_and_seeds(tmp_path):
    *_, first = run(tmp_path, noise=1)
    *_, again = run(tmp_path, noise=2)
    *_, other = run(tmp_path, seed=2)
    assert first == again
    assert len(first["train"]) == 6
    assert first["train"] != other["train"]
    assert first["train"][:3] != first["train"][3:]


def test_every_epoch_draws_anew(tmp_path):
    *_, drawn = run(tmp_path, batch_size=90, epochs=4)
    assert len(set(drawn["train"])) == 4


def test_an_epoch_draws_the_same_whether_or_not_there_was_one_before(tmp_path):
    *_, whole = run(tmp_path, epochs=3)
    fit, *_ = run(tmp_path, epochs=2)
    fit.save_checkpoint(tmp_path / "x.ckpt")
    draws, task = Draws(), small_task()
    draws.watch(task.net)
    torch.manual_seed(77)
    trainer(tmp_path, Seeding(1), draws, max_epochs=3).fit(
        task, datamodule=Patches(), ckpt_path=tmp_path / "x.ckpt", weights_only=True
    )
    assert draws.drawn["train"] == whole["train"][6:]


def test_validation_draws_the_same_in_every_epoch_and_after_any_training(tmp_path):
    *_, short = run(tmp_path, epochs=1)
    *_, long = run(tmp_path, epochs=3, batch_size=7)
    *_, other = run(tmp_path, epochs=1, seed=2)
    assert len(short["validate"]) == 1 and len(long["validate"]) == 6
    per_epoch = [long["validate"][index : index + 2] for index in (0, 2, 4)]
    assert per_epoch[0] == per_epoch[1] == per_epoch[2]
    assert short["validate"] != other["validate"]


def test_metrics_of_equal_weights_do_not_depend_on_how_long_was_trained_before(tmp_path):
    fit, task, data, _ = run(tmp_path, epochs=1)
    metrics = []
    for noise in range(3):
        torch.rand(noise * 100)
        metrics += fit.validate(task, datamodule=data, verbose=False) + fit.test(task, datamodule=data, verbose=False)
    assert metrics[0] == metrics[2] == metrics[4] and metrics[1] == metrics[3] == metrics[5]


@pytest.mark.parametrize("interval", [1.0, 0.34])
def test_validation_leaves_the_generator_of_the_training_as_it_found_it(tmp_path, interval):
    """Also in the middle of an epoch: training draws on as if nobody had looked."""
    before, after = Around(), Around()
    draws, task, data = Draws(), small_task(), Patches(batch_size=18)
    draws.watch(task.net)
    fit = trainer(tmp_path, before, Seeding(1), after, draws, max_epochs=2, val_check_interval=interval)
    fit.fit(task, datamodule=data)
    assert len(before.start) == len(after.end) > 1
    assert all(torch.equal(start, end) for start, end in zip(before.start, after.end, strict=True))
    *_, undisturbed = run(tmp_path, batch_size=18, limit_val_batches=0)
    assert draws.drawn["train"] == undisturbed["train"]


def test_predictions_draw_what_the_test_drew(tmp_path):
    fit, task, data, drawn = run(tmp_path, epochs=1, batch_size=7)
    fit.test(task, datamodule=data, verbose=False)
    fit.predict(task, datamodule=data)
    assert drawn["test"] == drawn["predict"] and len(drawn["test"]) == 4
    assert drawn["test"][:2] != drawn["validate"]


def test_a_seed_is_an_integer_from_0():
    for seed in (-1, 1.5, "1", True):
        with pytest.raises(ValueError, match=r"Seeding: seed must be an integer ≥ 0"):
            Seeding(seed)
