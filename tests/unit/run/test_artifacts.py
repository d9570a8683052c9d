"""The arrays that a run writes of its tested network, at any precision of the trainer."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from small_training import Patches, small_task, trainer

from snntrain.data import Target
from snntrain.run.artifacts import first_sample, write_raster
from snntrain.run.build import trainer_for_more

PRECISIONS = ("32-true", "16-true", "bf16-true", "64-true", "16-mixed", "bf16-mixed")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_raster_is_drawn_in_the_precision_of_the_test(tmp_path, precision):
    task, data = small_task(neuron={"name": "IFNode", "v_threshold": 0.4, "backend": "torch"}), Patches()
    run = trainer(tmp_path, precision=precision)
    run.test(task, datamodule=data, verbose=False)
    sample = first_sample(data.splits["test"], Target.CLASS)
    write_raster(task, sample, tmp_path / "raster.npz", run.precision_plugin)
    (tested,) = [part["scores"] for part in run.predict(task, data.test_dataloader())[:1]]
    with np.load(tmp_path / "raster.npz") as found:
        mean = found["output"].mean(0)
        assert found["spikes/layers.2"].shape == (3, 12) and found["spikes/layers.2"].any()
    torch.testing.assert_close(torch.from_numpy(mean).float(), tested[0].cpu().float(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(("precision", "expected"), [(p, "32-true") for p in PRECISIONS[:4]] + [("bf16-mixed",) * 2])
def test_fine_tuning_is_in_single_precision_or_with_autocast(tmp_path, precision, expected):
    """Integers are exact in single precision; half would round them, and the data of a batch are not doubles."""
    settings = {"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu", "precision": precision}
    config = {"trainer": settings, "seed": 1, "paths": {"run": str(tmp_path)}, "callbacks": {}}
    made = trainer_for_more(config, 1, tmp_path)
    assert isinstance(made, pl.Trainer) and made.precision == expected
