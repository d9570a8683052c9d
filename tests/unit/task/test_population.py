"""Several output neurons for a class: what the loss, the scores and the model's size make of them."""

import pytest
import torch
from checked import checked, refusal
from programs import complete, results, succeed
from small_training import SGD, Patches, small_task, trainer

from snntrain.run.build import build_task
from snntrain.task import OnlineClassification
from snntrain.task.loss import cross_entropy
from snntrain.task.spike_loss import mse_count

NEURON = {"name": "IFNode", "v_threshold": 0.4}
LAYERS = [
    "Flatten",
    {"name": "Linear", "out_features": 12},
    "neuron",
    {"name": "Linear", "out_features": 15},
    "neuron",
]


def five(**more):
    return small_task(layers=LAYERS, population=5, **more)


def test_scores_and_losses_are_of_the_sums_of_each_class():
    y_seq, target = (torch.rand(4, 2, 15) > 0.5).float(), torch.tensor([2, 0])
    sums = torch.stack([y_seq[..., 0:5].sum(-1), y_seq[..., 5:10].sum(-1), y_seq[..., 10:15].sum(-1)], -1)
    assert torch.equal(five(T=4).scores(y_seq), sums.mean(0))
    assert torch.equal(five(T=4, readout="max").scores(y_seq), sums.amax(0))
    torch.testing.assert_close(five(T=4).compute_loss(y_seq, target), cross_entropy(sums.mean(0), target))
    counts = {"name": "mse_count", "correct_rate": 0.8, "incorrect_rate": 0.1}
    torch.testing.assert_close(five(T=4, loss=counts).compute_loss(y_seq, target), mse_count(sums, target, 5, 0.8, 0.1))
    wanted = torch.tensor([[2.0, 2, 16], [16, 2, 2]])  # whole spikes of 5 neurons in 4 steps
    torch.testing.assert_close(mse_count(sums, target, 5, 0.8, 0.1), (sums.sum(0) - wanted).square().mean() / 4)


def test_a_population_learns(tmp_path):
    run = trainer(tmp_path, max_epochs=25)
    run.fit(five(loss={"name": "mse_count", "correct_rate": 0.9, "incorrect_rate": 0.2}, T=5), datamodule=Patches())
    assert float(run.callback_metrics["train/acc"]) > 0.8


def test_it_is_learned_from_step_by_step_too():
    net = small_task(layers=LAYERS).net
    task = OnlineClassification(
        net=net, encoder=small_task().encoder, T=3, num_classes=3, optim=SGD, loss="mse", population=5
    )
    y, target = torch.rand(2, 15), torch.tensor([2, 0])
    sums = y.unflatten(1, (3, 5)).sum(2)
    torch.testing.assert_close(
        task.step_loss(y, target), (sums - torch.nn.functional.one_hot(target, 3)).square().mean()
    )


def test_models_end_with_the_neurons_of_all_classes():
    config = checked("model=mlp", "task.population=4", "task.loss=ce_count")
    assert config["task"]["outputs"] == 40
    task = build_task(config)
    assert task.net.output_shapes[-1] == (40,) and task.scores(torch.rand(4, 2, 40)).shape == (2, 10)


@pytest.mark.slow
def test_a_converted_net_is_measured_by_the_sums(tmp_path):
    """Of 30 outputs the largest is no class: it would be right for few samples."""
    small = ("model.features=32", "trainer.max_epochs=2", "data.batch_size=128", "optim.lr=0.01", "T=16")
    ann = ("neuron=relu", "task.population=3", "callbacks=[default,ann2snn]", "hydra.run.dir=run")
    succeed("train.py", "model=mlp", *small, *ann, cwd=tmp_path)
    found = results(tmp_path / "run")["metrics"]
    assert found["ann2snn/acc_ann"] == pytest.approx(found["test/acc"]) and found["ann2snn/acc_T16"] > 0.6
    refused = complete(
        "train.py", "model=mlp", *small, *ann, "callbacks.ann2snn.method=qcfs", "hydra.run.dir=no", cwd=tmp_path
    )
    assert refused.returncode == 2 and "task.population=3 gives a class several of them" in refused.stderr


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("task.population=0",), "task.population must be an integer ≥ 1, got 0"),
        (("task.population=many",), "task.population must be an integer ≥ 1, got 'many'"),
        (
            ("task.population=4", "task.outputs=10"),
            "task.outputs=10, but 10 classes of task.population=4 neurons",
        ),
    ],
)
def test_populations_that_make_no_sense_are_refused(overrides, said):
    assert said in refusal("model=mlp", *overrides)
