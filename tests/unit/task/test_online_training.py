"""Online training against plain computations of the same gradients; memory, updates, what Lightning leaves to us."""

import io
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from rich.console import Console
from sampled import sampled
from small_training import SGD, Patches, trainer, weights
from torch import Tensor, nn
from torch.nn import functional as F

from snntrain import functional
from snntrain.callback import History, Progress, ResumePoint, Seeding, SpikeStatistics, Throughput
from snntrain.encoding import DirectEncoder, PoissonEncoder
from snntrain.layer import Flatten, Linear
from snntrain.layer.container import MultiStepContainer
from snntrain.layer.online import OTTTSequential
from snntrain.neuron import PSN, LIFNode, OTTTLIFNode, SLTTLIFNode
from snntrain.surrogate import Sigmoid
from snntrain.task import READOUTS, Classification, OnlineClassification

LEARNING_RATE = SGD["lr"]
NEURONS = {"SLTT": SLTTLIFNode, "OTTT": OTTTLIFNode, "LIF": LIFNode}


def network(neuron: str = "SLTT") -> nn.Module:
    torch.manual_seed(3)
    make = NEURONS[neuron]
    return OTTTSequential(
        *(Flatten(), Linear(16, 12), make(v_threshold=0.2, backend="torch")),
        *(Linear(12, 8), make(v_threshold=0.1, backend="torch"), Linear(8, 3)),
    )


def online(neuron: str = "SLTT", T: int = 3, poisson: bool = False, **more: object) -> OnlineClassification:
    encoder = PoissonEncoder() if poisson else DirectEncoder()
    settings = {"num_classes": 3, "optim": SGD, **more}
    return OnlineClassification(network(neuron), encoder, T, **settings)


def first_batch(tmp_path: Path) -> tuple[Tensor, Tensor]:
    """What a fit of Patches trains on first."""
    watcher, batches = online(), []
    watcher.mixed = lambda batch: batches.append(batch) or batch
    gradients(tmp_path, watcher)
    return batches[0][:2]


def gradients(tmp_path: Path, task: OnlineClassification) -> dict[str, Tensor]:
    """Of one batch, from the step that plain SGD takes."""
    before = weights(task)
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    run.fit(task, datamodule=Patches())
    return {name: (before[name] - new) / LEARNING_RATE for name, new in weights(task).items()}


# --- gradients -------------------------------------------------------------------------------------------------------


def neuron_by_hand(x: Tensor, v: Tensor, threshold: float, kind: str) -> tuple[Tensor, Tensor]:
    """Spikes and next potential; the potential before is a constant."""
    v = v.detach()
    h = v + x - v / 2.0 if kind == "OTTT" else v + (x - v) / 2.0
    s = Sigmoid(4.0)(h - threshold)
    return s, h - s.detach() * threshold if kind == "OTTT" else h * (1 - s.detach())


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_sltt_learns_from_the_gradient_within_each_step(tmp_path, loss):
    """Meng et al., ICCV 2023: the mean over time of the losses, no gradient through the potentials."""
    T, task, (x, target) = 4, online(T=4, loss=loss, label_smoothing=0.1), first_batch(tmp_path)
    by_hand = network()
    v1, v2, total = torch.zeros(32, 12), torch.zeros(32, 8), 0.0
    for _ in range(T):
        s1, v1 = neuron_by_hand(by_hand[1](x.flatten(1)), v1, 0.2, "SLTT")
        s2, v2 = neuron_by_hand(by_hand[3](s1), v2, 0.1, "SLTT")
        y = by_hand[5](s2)
        if loss == "mse":
            total = total + (y - F.one_hot(target, 3)).square().mean() / T
        else:
            total = total + F.cross_entropy(y, target, label_smoothing=0.1) / T
    total.backward()
    for name, found in gradients(tmp_path, task).items():
        expected = by_hand.get_parameter(name).grad
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-6)
        assert expected.abs().max() > 1e-3


def test_ottt_learns_weights_from_traces(tmp_path):
    """Xiao et al., NeurIPS 2022, eq. 9: dL/dW = Σ_t δ[t]·â[t]ᵀ, δ within the step, â[t] = λ·â[t−1] + s[t]."""
    T, task, (x, target) = 4, online("OTTT", T=4), first_batch(tmp_path)
    net, x = network("OTTT"), x.flatten(1)
    w1, w2, w3 = (net[place] for place in (1, 3, 5))
    expected = {name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    v1, v2, a1, a2 = torch.zeros(32, 12), torch.zeros(32, 8), torch.zeros(32, 12), torch.zeros(32, 8)
    for _ in range(T):
        i1 = w1(x)
        s1, v1 = neuron_by_hand(i1, v1, 0.2, "OTTT")
        i2 = w2(s1)
        s2, v2 = neuron_by_hand(i2, v2, 0.1, "OTTT")
        y = w3(s2)
        a1, a2 = a1 / 2 + s1.detach(), a2 / 2 + s2.detach()
        deltas = torch.autograd.grad(F.cross_entropy(y, target) / T, (i1, i2, y))
        for place, delta, a in zip((1, 3, 5), deltas, (x, a1, a2), strict=True):
            expected[f"{place}.weight"] += delta.T @ a
            expected[f"{place}.bias"] += delta.sum(0)
    for name, found in gradients(tmp_path, task).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=2e-6)
        assert expected[name].abs().max() > 1e-4


# --- memory ----------------------------------------------------------------------------------------------------------


class Live:
    """Counts the tensors saved for backward that exist at a time."""

    now = most = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        Live.now += 1
        Live.most = max(Live.most, Live.now)

    def __del__(self) -> None:
        Live.now -= 1


@pytest.mark.parametrize("neuron", NEURONS)
def test_memory_does_not_grow_with_time(tmp_path, neuron):
    most = []
    for T in (2, 9):
        Live.now = Live.most = 0
        with torch.autograd.graph.saved_tensors_hooks(Live, lambda live: live.tensor):
            gradients(tmp_path, online(neuron, T=T))
        most.append(Live.most)
    assert most[0] == most[1] > 0


def test_no_state_keeps_a_graph_between_steps(tmp_path):
    task, seen = online("LIF"), []

    def watch(*_: object) -> None:
        states = [value for _, value in functional.named_states(task.net) if isinstance(value, Tensor)]
        seen.append(len(states))
        assert all(state.grad_fn is None for state in states)

    task.net.register_forward_pre_hook(watch)
    gradients(tmp_path, task)
    assert seen == [0, 2, 2]


# --- updates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("online_step", [False, True])
def test_weights_change_once_per_batch_or_after_each_step(tmp_path, online_step):
    task, seen = online(online_step=online_step), []
    task.net.register_forward_pre_hook(lambda *_: seen.append(task.net[1].weight.detach().clone()))
    run = trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    run.fit(task, datamodule=Patches())
    changes = [not torch.equal(old, new) for old, new in pairwise(seen)]
    assert changes == [online_step or t % 3 == 2 for t in range(8)]  # 3 batches of 3 steps
    assert run.global_step == (9 if online_step else 3)


def test_the_update_after_a_step_is_that_of_its_loss(tmp_path):
    """Two steps by hand, the second with the weights after the first."""
    task, (x, target) = online(T=2, online_step=True), first_batch(tmp_path)
    by_hand = network()
    v1, v2 = torch.zeros(32, 12), torch.zeros(32, 8)
    start = {name: parameter.detach().clone() for name, parameter in by_hand.named_parameters()}
    for _ in range(2):
        s1, v1 = neuron_by_hand(by_hand[1](x.flatten(1)), v1, 0.2, "SLTT")
        s2, v2 = neuron_by_hand(by_hand[3](s1), v2, 0.1, "SLTT")
        by_hand.zero_grad()
        (F.cross_entropy(by_hand[5](s2), target) / 2).backward()
        with torch.no_grad():
            for parameter in by_hand.parameters():
                parameter -= LEARNING_RATE * parameter.grad
    for name, found in gradients(tmp_path, task).items():
        expected = (start[name] - by_hand.get_parameter(name).detach()) / LEARNING_RATE
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-6)


def test_gradients_are_clipped_to_the_given_norm(tmp_path):
    free = gradients(tmp_path, online())
    clipped = gradients(tmp_path, online(gradient_clip_val=0.01))
    norm = torch.cat([gradient.flatten() for gradient in free.values()]).norm()
    assert norm > 0.1
    for name, gradient in free.items():
        torch.testing.assert_close(clipped[name], gradient * (0.01 / norm), rtol=1e-2, atol=2e-6)


def test_scaled_gradients_are_unscaled_before_they_are_clipped(tmp_path):
    """Half precision with a scaler, on the CPU: after the one update the clipped norm is that of the true gradient."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    task, before = online(gradient_clip_val=0.01), weights(online())
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0, plugins=[plugin])
    run.fit(task, datamodule=Patches())
    update = torch.cat([(before[name] - new).flatten() for name, new in weights(task).items()])
    assert update.norm().item() == pytest.approx(0.01 * LEARNING_RATE, rel=1e-3)
    assert scaler.get_scale() == 1024.0  # no overflow, no update skipped


def test_the_learning_rate_follows_its_schedule_once_per_epoch(tmp_path):
    schedule = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.5}
    history = History(tmp_path / "metrics.csv")
    task = online(optim={**SGD, "schedule": schedule}, online_step=True)
    trainer(tmp_path, history, max_epochs=3).fit(task, datamodule=Patches())
    assert [row["lr"] for row in history.rows] == pytest.approx([0.1, 0.05, 0.025])


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("readout", sampled(READOUTS, 4))
def test_a_network_learns_online(tmp_path, neuron, readout):
    task, data = online(neuron, readout=readout, mixup=0.1 if readout == "max" else 0.0), Patches()
    run = trainer(tmp_path, max_epochs=25)
    run.fit(task, datamodule=data)
    assert float(run.callback_metrics["train/acc"]) > 0.7  # chance is a third
    run.test(task, datamodule=data, verbose=False)
    x, target, _ = data.splits["test"].__getitems__(range(24))
    y_seq = task(x)
    assert y_seq.shape == (3, 24, 3)
    right = (task.scores(y_seq).argmax(1) == target).float().mean().item()
    losses = [F.cross_entropy(y, target).item() for y in y_seq]
    assert float(run.callback_metrics["test/acc"]) == pytest.approx(right)
    assert float(run.callback_metrics["test/loss"]) == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_outputs_are_those_of_a_network_that_gets_the_sequence():
    x = torch.rand(5, 1, 4, 4)
    one_by_one, net = online("LIF", T=4), network("LIF")
    functional.set_step_mode(net, "m")
    whole = Classification(net, DirectEncoder(), 4, num_classes=3, optim=SGD)
    torch.testing.assert_close(one_by_one(x), whole(x))


def test_an_interrupted_fit_goes_on_bit_for_bit(tmp_path):
    """With every callback of a run, random input, and T optimizer steps per batch."""
    schedule = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.8}

    def fit(name: str, epochs: int, resume: Path | None = None) -> tuple[dict[str, Tensor], list[dict], int]:
        folder = tmp_path / name
        history, progress, throughput = History(folder / "metrics.csv"), Progress(), Throughput()
        progress.console = Console(file=io.StringIO(), force_terminal=True)
        callbacks = (Seeding(5), throughput, history, SpikeStatistics(), progress, ResumePoint(folder, {}))
        task = online(poisson=True, online_step=True, optim={**SGD, "momentum": 0.9, "schedule": schedule})
        run = trainer(folder, *callbacks, max_epochs=epochs, enable_progress_bar=True)
        run.fit(task, datamodule=Patches(), ckpt_path=resume)
        assert throughput.images_per_second > 0 and "images" not in progress.console.file.getvalue()
        return weights(task), history.rows, run.global_step

    whole = fit("whole", 4)
    fit("part", 2)
    resumed = fit("resumed", 4, tmp_path / "part" / "last.ckpt")
    assert resumed[1] == whole[1] and len(whole[1]) == 4 and "val/firing_rate" in whole[1][0]
    assert resumed[2] == whole[2] == 4 * 3 * 3
    assert all(torch.equal(resumed[0][name], value) for name, value in whole[0].items())


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [PSN(T=3), MultiStepContainer(Linear(12, 12))])
def test_a_layer_of_whole_sequences_is_refused_by_name(module):
    net = nn.Sequential(Linear(16, 12), nn.Sequential(module), Linear(12, 3))
    with pytest.raises(ValueError, match=rf"OnlineClassification: 1\.0 \({type(module).__name__}\) runs whole seq"):
        OnlineClassification(net, DirectEncoder(), 3, 3, SGD)


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ({"gradient_clip_val": 1.0}, r"trainer\.gradient_clip_val = 1.0 .* Set task\.gradient_clip_val"),
        ({"accumulate_grad_batches": 2}, r"accumulate_grad_batches must be 1 .* got 2"),
    ],
)
def test_trainer_settings_without_effect_are_refused(tmp_path, setting, wanted):
    with pytest.raises(ValueError, match=f"OnlineClassification: .*{wanted}"):
        trainer(tmp_path, **setting).fit(online(), datamodule=Patches())


@pytest.mark.parametrize(
    ("argument", "value", "wanted"),
    [
        ("loss", "tet", "loss 'tet' looks at all steps"),
        ("online_step", 1, "online_step must be True or False, got 1"),
        ("gradient_clip_val", 0, "gradient_clip_val must be a finite number > 0 or None, got 0"),
        ("T", 0, "T must be an integer ≥ 1"),
    ],
)
def test_arguments_out_of_range_are_refused(argument, value, wanted):
    with pytest.raises(ValueError, match=f"OnlineClassification: {wanted}"):
        online(**{argument: value})
