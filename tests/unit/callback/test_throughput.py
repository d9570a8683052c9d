"""Images per second of training: what counts and what does not, on a clock that the test moves."""

from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from small_training import Patches, small_task, trainer

from snntrain.callback import Throughput, throughput


class Clock(pl.Callback):
    """Time passes only where this says so; put before Throughput in the list, which then sees it pass."""

    def __init__(self, **seconds: float) -> None:
        self.seconds = seconds
        self.now = 100.0

    def wait(self, where: str) -> None:
        self.now += self.seconds.get(where, 0.0)

    def on_train_batch_start(self, trainer, pl_module, batch, idx) -> None:
        self.wait("first batch" if trainer.global_step == 0 else "batch")

    def on_validation_batch_end(self, *args) -> None:
        self.wait("validation")

    def on_train_epoch_end(self, *args) -> None:
        self.wait("between epochs")


@pytest.fixture
def measure(tmp_path, monkeypatch):
    def fit(batch_size: int = 32, epochs: int = 3, seconds: dict[str, float] | None = None, **settings) -> Throughput:
        clock, measured = Clock(**(seconds or {"batch": 2.0})), Throughput()
        monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: clock.now))
        run = trainer(tmp_path, clock, measured, max_epochs=epochs, **settings)
        run.fit(small_task(), datamodule=Patches(batch_size))
        return measured

    return fit


def test_the_speed_is_that_of_all_batches_but_the_first(measure):
    measured = measure()
    assert (measured.images, measured.seconds) == (3 * 90 - 32, 8 * 2.0)
    assert measured.images_per_second == 238 / 16.0


@pytest.mark.parametrize("place", ["first batch", "validation", "between epochs"])
def test_warming_up_validation_and_what_happens_between_epochs_do_not_count(measure, place):
    measured = measure(seconds={"batch": 2.0, place: 50.0})
    assert (measured.images, measured.seconds) == (238, 16.0)


def test_validation_in_the_middle_of_an_epoch_does_not_count(measure):
    measured = measure(9, 1, {"batch": 2.0, "validation": 50.0}, val_check_interval=0.2)
    assert (measured.images, measured.seconds) == (81, 9 * 2.0)


def test_epochs_of_one_batch_are_measured_from_the_second_epoch(measure):
    assert measure(90).images_per_second == 90 / 2.0


def test_there_is_no_speed_before_the_second_batch(measure):
    assert Throughput().images_per_second is None
    assert measure(90, 1).images_per_second is None


@pytest.mark.parametrize(
    ("shape", "told"), [((2, 1, 4, 4), "img/s"), ((2, 5, 2, 4, 4), "img/s"), ((2, 5, 7), "samples/s")]
)
def test_what_is_no_picture_is_called_a_sample(shape, told):
    measured, run = Throughput(), SimpleNamespace(world_size=1)
    assert measured.told == ""
    measured.on_train_epoch_start(run, None)
    for _ in range(2):
        measured.on_train_batch_end(run, None, None, (torch.zeros(shape), torch.zeros(2)), 0)
    assert measured.told.endswith(f" {told}") and f"{measured.unit[:3]}" == {"img/s": "ima"}.get(told, "sam")
