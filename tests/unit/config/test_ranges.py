"""Numbers that other libraries' classes take: the table, and what is said about those outside of it."""

import lightning.pytorch as pl
import pytest
import torch
from checked import checked, refusal
from torchvision.transforms import v2

from snntrain.config.ranges import check_finite
from snntrain.error import UsageError
from snntrain.ranges import RANGES, check_ranges

# overrides → how the message begins
REFUSED = {
    "optim.lr=inf": "optim.lr must be a finite number, got inf",
    "optim.lr=null": "optim.lr must be a finite number ≥ 0, got null",
    "optim.lr=true": "optim.lr must be a finite number ≥ 0, got true",
    "optim.betas=[0.9,true]": "optim.betas[1] must be a finite number ≥ 0 and < 1, got true",
    "optim.eps=0": "optim.eps must be a finite number > 0",
    "optim=sgd optim.momentum=-0.5": "optim.momentum must be a finite number ≥ 0",
    "optim.schedule.T_max=0": "optim.schedule.T_max must be an integer ≥ 1, got 0",
    "optim/schedule=step optim.schedule.step_size=0": "optim.schedule.step_size must be an integer ≥ 1",
    "trainer.max_epochs=x": "trainer.max_epochs must be an integer ≥ 1, got 'x'",
    "trainer.max_epochs=0": "trainer.max_epochs must be an integer ≥ 1",
    "trainer.max_time=-1": "trainer.max_time must be a time days:hours:minutes:seconds",
    "trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches must be an integer ≥ 1",
    "trainer.gradient_clip_val=0": "trainer.gradient_clip_val must be a finite number > 0 or null",
    "trainer.gradient_clip_algorithm=x": "trainer.gradient_clip_algorithm must be norm or value or null",
    "trainer.limit_train_batches=0": "trainer.limit_train_batches must be a number of batches ≥ 1",
    "trainer.limit_train_batches=1.5": "trainer.limit_train_batches must be a number of batches ≥ 1",
    "trainer.val_check_interval=0": "trainer.val_check_interval must be a number of batches ≥ 1",
    "trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch must be an integer ≥ 1",
    "logger.flush_logs_every_n_steps=0": "logger.flush_logs_every_n_steps must be an integer ≥ 1",
    "callbacks.best_checkpoint.save_top_k=-2": "callbacks.best_checkpoint.save_top_k must be an integer ≥ -1",
    "callbacks.best_checkpoint.mode=best": "callbacks.best_checkpoint.mode must be min or max",
    "data.batch_size=100000000000000000000": "data.batch_size must be an integer below 2^63",
    "neuron.v_threshold=1e400": "neuron.v_threshold must be a finite number, got inf",
    "model.features=0": "model.layers[9].out_features must be an integer ≥ 1",
    "T=1000000000 neuron=psn": "neuron: a tensor of shape [1000000000, 1000000000] would take 4 EB",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_a_number_out_of_its_range_is_refused_by_its_key(overrides):
    assert refusal(*overrides.split()).startswith(REFUSED[overrides])


@pytest.mark.parametrize(
    "overrides",
    [
        "optim.lr=0",
        "optim.lr=1e30",
        "trainer.max_time=00:01:00:00",
        "trainer.max_time={hours:1}",
        "trainer.max_steps=-1",
        "trainer.limit_val_batches=0.5",
        "trainer.val_check_interval=0.5",
        "trainer.fast_dev_run=true",
        "logger.version=first",
        "model.layers=[{name:Conv2d,out_channels:2,kernel_size:[3,3],padding:same},Flatten,{name:Linear,out_features:10}]",
    ],
)
def test_what_the_libraries_document_passes(overrides):
    checked(*overrides.split())


def test_a_subclass_has_the_ranges_of_its_base():
    class Mine(torch.optim.SGD): ...

    with pytest.raises(UsageError, match=r"optim\.momentum must be a finite number ≥ 0 and ≤ 1, got 2"):
        check_ranges(Mine, {"momentum": 2}, "optim")


def test_every_range_takes_the_default_of_its_class():
    import enum
    import inspect

    for target, ranges in RANGES.items():
        assert ranges.source
        for name, parameter in inspect.signature(target).parameters.items():
            allowed, default = ranges.by_argument.get(name), parameter.default
            if allowed is None or default is parameter.empty or (target is pl.Trainer and default is None):
                continue
            items = default if isinstance(default, (tuple, list)) else [default]
            items = [item.value if isinstance(item, enum.Enum) else item for item in items]  # as a config writes it
            assert all(item is None or allowed.allow(item) for item in items), (target, name, default)


@pytest.mark.parametrize(("value", "place"), [({"a": [1, float("nan")]}, "a[1]"), ({"b": {"c": 2**63}}, "b.c")])
def test_nan_and_integers_beyond_64_bits_are_refused_wherever_they_stand(value, place):
    check_finite({"a": [2**63 - 1, 1.5, True, None, "nan"]})
    with pytest.raises(UsageError) as error:
        check_finite(value)
    assert str(error.value).startswith(place)


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(UsageError, match=r"here\.scale must be a lower and an upper bound, got \[0\.2, 0\.1\]"):
        check_ranges(v2.RandomErasing, {"scale": [0.2, 0.1]}, "here")
