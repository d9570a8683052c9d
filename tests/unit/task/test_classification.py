"""The classifier in training, validation, test and prediction: what is reset, what is logged, what is learned."""

import pytest
import torch
from sampled import sampled
from small_training import Patches, small_task, trainer, weights

from snntrain import functional
from snntrain.data.target import Target
from snntrain.task import READOUTS, Classification
from snntrain.task.loss import cross_entropy, focal, mse, tet
from snntrain.task.readout import read_out
from snntrain.task.spike_loss import ce_count, ce_max_membrane, ce_rate, mse_count, mse_membrane
from snntrain.task.suited import suited

# The one that adds to another loss is in test_firing_rates.py.
LOSSES = [name for name in suited("loss", Target.CLASS) if name != "rate_regularized"]


def all_of(data: Patches, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return data.splits[name].__getitems__(range(len(data.splits[name])))[:2]


def quiet(task: Classification) -> Classification:
    """Without learning, so that metrics can be computed again afterward."""
    task.optim = {**task.optim, "lr": 0.0}
    return task


# --- state -----------------------------------------------------------------------------------------------------------


def test_a_forward_knows_nothing_of_the_one_before():
    task = small_task()
    x, other = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    first = task(x)
    assert task.net.layers[2].v.abs().sum() > 0  # there is a state that could be carried over
    task(other)
    assert torch.equal(task(x), first)
    assert task(x[:3]).shape == (3, 3, 3)  # a smaller batch after a larger one


def test_the_forward_is_a_plain_loop_over_time():
    task = small_task(T=4)
    x = torch.rand(5, 1, 4, 4)
    hidden, output = task.net.layers[1], task.net.layers[3]
    v, expected = torch.zeros(5, 12), []
    for _ in range(4):
        v = v + hidden(x.flatten(1))
        spikes = (v >= 0.4).float()
        v = v * (1 - spikes)
        expected.append(output(spikes))
    torch.testing.assert_close(task(x), torch.stack(expected))
    assert torch.stack(expected).std(0).sum() > 0  # the steps do differ


def test_neurons_are_at_rest_before_every_batch_of_every_stage(tmp_path):
    """With batches of 7 the last one of each split is smaller."""
    task, data, run = small_task(), Patches(batch_size=7), trainer(tmp_path, max_epochs=1)
    seen: dict[str, list[int]] = {}

    def watch(net: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert all(isinstance(v, float) for _, v in functional.named_states(net))  # numbers, not yet tensors
        seen.setdefault(str(run.state.stage.value), []).append(inputs[0].shape[1])

    task.net.register_forward_pre_hook(watch)
    run.fit(task, datamodule=data)
    run.test(task, datamodule=data, verbose=False)
    run.predict(task, datamodule=data)
    assert seen == {"train": [7] * 12 + [6], "validate": [7, 3], "test": [7, 7, 7, 3], "predict": [7, 7, 7, 3]}


def test_two_validations_give_equal_results(tmp_path):
    task, data = small_task(), Patches(batch_size=7)
    run = trainer(tmp_path)
    first = run.validate(task, datamodule=data, verbose=False)
    assert first == run.validate(task, datamodule=data, verbose=False)
    assert set(first[0]) == {"val/loss", "val/acc"}


def test_no_state_is_in_a_checkpoint(tmp_path):
    task = small_task()
    run = trainer(tmp_path, max_epochs=1)
    run.fit(task, datamodule=Patches())
    run.save_checkpoint(tmp_path / "x.ckpt")
    saved = torch.load(tmp_path / "x.ckpt", weights_only=True)["state_dict"]
    assert set(saved) == {f"net.{name}" for name in weights(task)}


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label_smoothing": 0.1, "loss": "mse"}, "task.label_smoothing=0.1 has no effect, because the loss mse takes"),
        (
            {"tet_weight": 0.3},
            "task.tet_weight=0.3 has no effect, because the loss cross_entropy takes none. Set it to",
        ),
        (
            {"tet_potential": 0.5, "loss": {"name": "focal"}},
            "task.tet_potential=0.5 has no effect, because the loss",
        ),
        ({"readout_tau": 3.0}, "task.readout_tau=3 has no effect, because the readout rate takes none. Set it to 2 to"),
        ({"readout_tau": 3.0, "readout": "membrane", "tet_weight": 0.3, "tet_potential": 0.5, "loss": "tet"}, None),
        ({"label_smoothing": 0.1, "loss": {"name": "rate_regularized", "loss": "focal"}}, None),
    ],
)
def test_a_setting_that_loss_or_readout_does_not_read_is_named(tmp_path, capsys, settings, said):
    task = quiet(small_task(**settings))
    trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(task, datamodule=Patches())
    shown = capsys.readouterr().out
    assert "has no effect" not in shown if said is None else said in shown


@pytest.mark.parametrize("batch_size", [7, 32])
def test_metrics_are_those_of_the_whole_split_whatever_the_batches(tmp_path, batch_size):
    """Loss and accuracy are means over samples: a smaller last batch must not weigh as much as a full one."""
    task, data = quiet(small_task()), Patches(batch_size=batch_size)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(task, datamodule=data)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    run.test(task, datamodule=data, verbose=False)
    found |= {name: float(value) for name, value in run.callback_metrics.items()}
    for name in ("train", "val", "test"):
        x, y = all_of(data, name)
        scores = task(x).mean(0).detach()
        right = sum(int(row.argmax()) == int(label) for row, label in zip(scores, y, strict=True))
        assert found[f"{name}/acc"] == pytest.approx(right / len(y))
        assert found[f"{name}/loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(scores, y)), rel=1e-5)


def test_the_confusion_counts_are_those_of_the_last_test(tmp_path):
    task, data = small_task(), Patches(batch_size=7)
    run = trainer(tmp_path)
    for _ in range(2):  # a second test does not add to the first
        run.test(task, datamodule=data, verbose=False)
        x, y = all_of(data, "test")
        expected = torch.zeros(3, 3, dtype=torch.long)
        for label, guess in zip(y, task(x).mean(0).argmax(1), strict=True):
            expected[label, guess] += 1
        assert torch.equal(task.confusion.compute(), expected)
        assert expected.sum() == 24


def test_predictions_are_complete_and_those_that_were_tested(tmp_path):
    task, data = small_task(), Patches(batch_size=7)
    run = trainer(tmp_path, max_epochs=3)
    run.fit(task, datamodule=data)
    run.test(task, datamodule=data, verbose=False)
    accuracy = float(run.callback_metrics["test/acc"])
    batches = run.predict(task, datamodule=data)
    joined = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    x, y = all_of(data, "test")
    assert torch.equal(joined["label"], y)
    torch.testing.assert_close(joined["scores"], task(x).mean(0))
    assert torch.equal(joined["predicted"], joined["scores"].argmax(1))
    assert (joined["predicted"] == y).float().mean().item() == pytest.approx(accuracy)


# --- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("neuron", sampled(["IFNode", "ReLU"], 2))
def test_a_network_learns_with_every_loss(tmp_path, loss, neuron):
    task, data = small_task(neuron=neuron, loss=loss, T=1 if neuron == "ReLU" else 3), Patches()
    before = weights(task)
    run = trainer(tmp_path, max_epochs=25)
    run.fit(task, datamodule=data)
    assert all(not torch.equal(old, new) for old, new in zip(before.values(), weights(task).values(), strict=True))
    assert float(run.callback_metrics["train/acc"]) > 0.8  # chance is a third


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_scores_are_those_that_were_chosen(loss, readout):
    options = {"readout_tau": 3.0, "label_smoothing": 0.1, "tet_weight": 0.3, "tet_potential": 0.5}
    task = small_task(loss=loss, readout=readout, **options)
    generator = torch.Generator().manual_seed(1)
    y_seq = torch.randn(3, 4, 3, generator=generator, requires_grad=True)
    target = torch.tensor([0, 2, 1, 1])
    scores = read_out(y_seq, readout, 3.0)
    assert torch.equal(task.scores(y_seq), scores)
    expected = {
        "cross_entropy": cross_entropy(scores, target, 0.1),
        "focal": focal(scores, target, Target.CLASS, 2.0, 0.1),
        "ce_rate": ce_rate(y_seq, target, 0.1),
        "ce_count": ce_count(y_seq, target, 0.1),
        "ce_max_membrane": ce_max_membrane(y_seq, target, 0.1),
        "mse_count": mse_count(y_seq, target),
        "mse_membrane": mse_membrane(y_seq, target),
        "mse": mse(scores, target),
        "tet": tet(y_seq, target, 0.3, 0.5, 0.1),
    }[loss]
    found = task.compute_loss(y_seq, target)
    assert torch.equal(found, expected)
    assert torch.autograd.grad(found, y_seq)[0].count_nonzero() > 0


def test_gradients_reach_the_first_layer_through_time():
    task = small_task()
    x, y = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    task.compute_loss(task(x), y).backward()
    for parameter in task.net.parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.count_nonzero() > 0


def test_the_outputs_of_half_precision_are_scored_in_single(tmp_path):
    task = small_task()
    run = trainer(tmp_path, max_epochs=1, precision="bf16-true")
    run.fit(task, datamodule=Patches())
    assert run.callback_metrics["val/loss"].dtype == torch.float32
    (batch,) = run.predict(task, datamodule=Patches())
    assert batch["scores"].dtype == torch.float32


# --- compiled --------------------------------------------------------------------------------------------------------


def test_compiling_changes_neither_keys_nor_evaluation_and_leaves_hooks_alone():
    """Nothing of this compiles anything: it happens at the first training batch that no hook looks at."""
    task, plain = small_task(compile=True), small_task()
    x, seen = torch.rand(5, 1, 4, 4), []
    plain.load_state_dict(task.state_dict())
    assert list(task.state_dict()) == list(plain.state_dict())
    torch._dynamo.utils.counters.clear()
    assert torch.equal(task.eval()(x), plain.eval()(x))
    task.net.layers[2].register_forward_hook(lambda *_: seen.append(1))
    task.train()(x)
    assert seen == [1] and not torch._dynamo.utils.counters["frames"]


@pytest.mark.slow
def test_a_compiled_network_learns_the_same():
    layers = [{"name": "Conv2d", "out_channels": 4, "kernel_size": 3, "bias": False}, "BatchNorm2d", "neuron"]
    layers += [{"name": "MaxPool2d", "kernel_size": 2}, "Flatten", {"name": "Linear", "out_features": 3}]
    x, y = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    found = []
    torch._dynamo.utils.counters.clear()
    for settings in ({}, {"compile": True}, {"compile": True, "chunk": 2, "chunk_gradient": "truncated"}):
        task = small_task(layers=layers, **settings)
        y_seq = task(x)
        task.compute_loss(y_seq, y).backward()
        gradients = {name: parameter.grad for name, parameter in task.net.named_parameters()}
        found.append((y_seq.detach(), gradients, functional.get_states(task.net), dict(task.net.named_buffers())))
    torch.testing.assert_close(found[1], found[0])
    assert (
        torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 3 and not torch._dynamo.utils.counters["graph_break"]
    )


def test_compiling_exact_chunks_is_refused():
    with pytest.raises(ValueError, match=r"Classification: compile cannot serve chunk_gradient 'exact'.*'truncated'"):
        small_task(compile=True, chunk=1)


@pytest.mark.parametrize(
    ("argument", "value", "wanted"),
    [
        ("compile", 1, "True or False"),
        ("T", 0, "an integer ≥ 1"),
        ("readout_tau", 1.0, "> 1"),
        ("label_smoothing", 1.0, "< 1"),
        ("label_smoothing", -0.1, "≥ 0"),
        ("tet_weight", 1.1, "≤ 1"),
        ("tet_potential", float("nan"), "a finite number"),
    ],
)
def test_arguments_out_of_range_are_refused(argument, value, wanted):
    with pytest.raises(ValueError, match=rf"Classification: {argument} must be .*{wanted}.*got {value!r}"):
        small_task(**{argument: value})
