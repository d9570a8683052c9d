"""The arrays that a run writes of its tested network, at any precision of the trainer."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from small_training import Patches, small_task, trainer

from snntrain.data import Target
from snntrain.functional import reset_net
from snntrain.run.artifacts import first_sample, write_raster, write_test
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


@pytest.mark.parametrize("v_reset", [0.0, None])
@pytest.mark.parametrize("chunk", [None, 2])
def test_the_potentials_are_those_of_the_neurons_equations(tmp_path, v_reset, chunk):
    """IF: h = v + x, a spike at h ≥ θ, then v_reset, or h − θ."""
    task = small_task(neuron={"name": "IFNode", "v_threshold": 0.4, "v_reset": v_reset}, T=5, chunk=chunk)
    run, data = trainer(tmp_path), Patches()
    run.test(task, datamodule=data, verbose=False)
    sample = first_sample(data.splits["test"], Target.CLASS)
    write_raster(task, sample, tmp_path / "raster.npz", run.precision_plugin)
    current = task.net.layers[1](sample.x.flatten()).detach()
    v, expected = torch.zeros(12), []
    for _ in range(5):
        h = v + current
        v = torch.where(h >= 0.4, h - 0.4 if v_reset is None else torch.zeros(()), h)
        expected.append(v)
    with np.load(tmp_path / "raster.npz") as found:
        chosen, spikes = found["traced/layers.2"], found["spikes/layers.2"].sum(0)
        np.testing.assert_allclose(found["v/layers.2"], torch.stack(expected)[:, chosen].numpy(), atol=1e-6)
        assert found["v_threshold/layers.2"] == 0.4
        assert spikes[chosen[0]] == spikes.max() and 0 < spikes[chosen[1]] <= spikes.max() and spikes[chosen[2]] == 0
    assert not task.net.layers[2].store_v_seq and task.net.layers[2].v_seq is None
    reset_net(task.net)


def test_the_worst_mistakes_are_kept_as_pictures_of_their_samples(tmp_path):
    samples = Patches()
    samples.setup("test")
    split = samples.splits["test"]
    rows = torch.tensor([[20.0, 1, 2, 0.5, 0.1], [3, 0, 1, 0.4, 0.2]], dtype=torch.double)
    write_test({"mistakes": rows}, ("a", "b", "c"), split, tmp_path / "test.npz")
    with np.load(tmp_path / "test.npz") as found:
        assert found["pictures"].shape == (2, 4, 4, 1) and found["pictures"].dtype == np.uint8
        for picture, place in zip(found["pictures"], (20, 3), strict=True):
            x = split[place][0][0].numpy()
            np.testing.assert_array_equal(picture[..., 0], np.round(255 * (x - x.min()) / (x.max() - x.min())))
    for unknown in ([None] * 24, split.subset(torch.arange(5))):  # a data set of the user's; one that has no sample 20
        write_test({"mistakes": rows}, ("a", "b", "c"), unknown, tmp_path / "test.npz")
        with np.load(tmp_path / "test.npz") as found:
            assert set(found.files) == {"mistakes", "classes"}
