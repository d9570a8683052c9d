"""RidgeReadout: what it solves is the ridge regression of scikit-learn on the same inputs."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from snntrain import functional
from snntrain.callback import RidgeReadout
from snntrain.callback.ridge import last_layer
from snntrain.data import from_arrays
from snntrain.encoding import FramesEncoder
from snntrain.model.builder import build
from snntrain.task import Regression, SequencePrediction

OPTIM = {
    "_target_": "torch.optim.AdamW",
    "lr": 0.0,
    "schedule": {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0},
}
T, FEATURES = 9, 16


@pytest.fixture
def data():
    source = np.random.default_rng(0)
    x = [source.normal(size=(steps, 3)).astype(np.float32) for steps in (9, 5, 7, 9) * 6]
    y = [source.normal(size=(len(one), 2)).astype(np.float32) + one[:, :2].cumsum(0) for one in x]
    return from_arrays(x, y, task="sequence", batch_size=5)


def made(data) -> SequencePrediction:
    torch.manual_seed(0)
    layers = [{"name": "Linear", "out_features": FEATURES}, "neuron", {"name": "Linear", "out_features": 2}]
    net = build(layers, data.sample_shape, {"name": "LIFNode", "v_threshold": 0.3})
    functional.set_step_mode(net, "m")
    return SequencePrediction(net, FramesEncoder(), T=data.T, num_targets=2, optim=OPTIM)


def solve(task: SequencePrediction, data: pl.LightningDataModule, callback: RidgeReadout) -> None:
    """A training of one epoch with a rate of 0, so that nothing but the callback changes the net."""
    trainer = pl.Trainer(
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, datamodule=data)


@pytest.mark.parametrize("skip", [0, 2])
def test_the_last_layer_is_that_of_a_ridge_regression_on_the_real_steps(data, skip):
    task = made(data)
    solve(task, data, RidgeReadout(strength=0.01, skip=skip))
    z, y = [], []
    for x, target, _, lengths in data.train_dataloader():
        for one, values, steps in zip(x, target, lengths.tolist(), strict=True):
            functional.reset_net(task.net)
            spikes = task.net.layers[1](task.net.layers[0](one[:steps, None]))
            z.append(spikes[skip:, 0].detach())
            y.append(values[skip:steps])
    z, y = torch.cat(z).double().numpy(), torch.cat(y).double().numpy()
    expected = Ridge(alpha=0.01 * len(z)).fit(z, y)
    layer = last_layer(task.net)
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected.coef_, atol=1e-5)
    np.testing.assert_allclose(layer.bias.detach().numpy(), expected.intercept_, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "kind", "named"),
    [
        (["neuron", {"name": "Linear", "out_features": 2}], Regression, "targets, such as task=forecast; this is"),
        ([{"name": "Linear", "out_features": 2}, "neuron"], SequencePrediction, "the net ends with LIFNode"),
        ([{"residual": [{"name": "Linear", "out_features": 3}]}], SequencePrediction, "the net ends with Residual"),
    ],
)
def test_what_cannot_be_solved_is_refused(layers, kind, named):
    net = build(layers, (3,), {"name": "LIFNode"})
    task = kind(net, FramesEncoder(), T=T, num_targets=2, optim=OPTIM)
    with pytest.raises(ValueError, match=named):
        RidgeReadout().check_task(task)
    with pytest.raises(ValueError, match="skip must leave some of the 9 steps, got 9"):
        RidgeReadout(skip=9).check_task(made_of_one_layer())


def made_of_one_layer() -> SequencePrediction:
    net = build([{"name": "Linear", "out_features": 2}], (3,), {"name": "LIFNode"})
    return SequencePrediction(net, FramesEncoder(), T=T, num_targets=2, optim=OPTIM)
