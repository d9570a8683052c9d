"""AnnToSnn: refusals before training, what it measures, and its files."""

import copy
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from small_fit_end import check_before_training, handed_over, run
from small_training import small_task

from snntrain.ann2snn import QCFSRectifier, convert
from snntrain.callback.fit_end import AnnToSnn, FitEnd, NirExport, Trained, run_in_turn
from snntrain.callback.fit_end.ann_to_snn import analog_net
from snntrain.config import compose
from snntrain.config.check import check
from snntrain.error import UsageError
from snntrain.run.build import build_callbacks, build_task, check_fit_end

ANN = ["neuron=relu", "callbacks=[default,ann2snn]", "model.channels=4", "model.features=8"]


def relu_net(folder: Path) -> Trained:
    return handed_over(folder, small_task(neuron="ReLU", T=1).net, T=1)


# --- before training -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["neuron=lif"], "callbacks.ann2snn: it converts nets of ReLUs.*Use neuron=relu"),
        (["encoder=poisson", "neuron=lif"], "Use neuron=relu"),
        (["callbacks.ann2snn.method=channel_mze"], "Did you mean channel_mse"),
        (
            ["callbacks.ann2snn.arguments={sweep: 2}", "callbacks.ann2snn.method=ltb"],
            "sweep is not an argument.*sweeps",
        ),
        (["callbacks.ann2snn.calibration=bais"], "calibration must be 'none', or of 'bias'"),
        (["callbacks.ann2snn.reset=hrad"], "reset must be"),
        (["callbacks.ann2snn.reset=hard", "callbacks.ann2snn.calibration=bias+potential"], "without 'potential'"),
        (["callbacks.ann2snn.eval_T=[4,0]"], "eval_T must be an integer ≥ 1, got 0"),
        (["callbacks.ann2snn.eval_T=[]"], "eval_T must be a list of at least one integer"),
        (["callbacks.ann2snn.batches=0"], "batches must be an integer ≥ 1"),
        (["callbacks.ann2snn.T=0"], "T must be an integer ≥ 1"),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(overrides, text):
    with pytest.raises(UsageError, match=text):
        check_before_training(*ANN, *overrides)


def test_a_net_that_cannot_be_converted_is_refused_before_training():
    with pytest.raises(UsageError, match=r"QKAttention.*cannot be converted"):
        check_before_training("neuron=relu", "callbacks=[default,ann2snn]", "model=qkformer", "data=mnist")


def test_an_unknown_callback_and_an_unknown_argument_are_refused():
    with pytest.raises(UsageError, match=r"callbacks\.ann2sn has settings.*Did you mean ann2snn"):
        check(compose(["++callbacks.ann2sn.T=4"]))
    with pytest.raises(UsageError, match=r"ann2snn\.batchs is not an argument of AnnToSnn\. Did you mean batches"):
        check(compose([*ANN, "++callbacks.ann2snn.batchs=4"]))


def test_a_look_at_the_net_before_training_changes_nothing():
    config = check(compose(ANN))
    task = build_task(config)
    before, state = copy.deepcopy(task.state_dict()), torch.get_rng_state()
    check_fit_end(build_callbacks(config), task, config)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert all(getattr(module, "step_mode", "m") == "m" for module in task.net.modules())


# --- the work --------------------------------------------------------------------------------------------------------


def test_accuracies_are_those_of_the_nets_and_firing_rates_are_counted_up_to_t(tmp_path):
    trained = relu_net(tmp_path)
    snn, metrics = run(AnnToSnn(T=6, eval_T=[2, 16], batches=2), trained)
    x, label, _ = trained.data.splits["test"].__getitems__(range(24))
    ann = analog_net(trained.net)
    with torch.no_grad():
        assert metrics["acc_ann"] == (ann(x).argmax(1) == label).double().mean().item()
    for T in (2, 16):
        assert metrics[f"acc_T{T}"] == pytest.approx((snn.predict(x, T).argmax(1) == label).double().mean().item())
    assert set(metrics) == {"acc_ann", "acc_T2", "acc_T16", "firing_rate"}
    (name, neurons), fired = next(iter(snn.neurons.items())), []
    neurons.register_forward_hook(lambda module, inputs, y: fired.append((y != 0).double().mean().item()))
    snn.predict(x, 6)
    written = json.loads((tmp_path / "conversion.json").read_text())
    assert written["firing_rates"] == {name: pytest.approx(fired[0])}
    assert metrics["firing_rate"] == pytest.approx(fired[0])


def test_the_same_seed_takes_the_same_images_and_the_net_stays_as_it_is(tmp_path):
    trained = relu_net(tmp_path)
    before = copy.deepcopy(trained.net.state_dict())
    (one, first), (two, second) = (run(AnnToSnn(T=4, batches=1), trained) for _ in range(2))
    assert first == second
    assert all(
        torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items() if "extra" not in name
    )
    assert all(torch.equal(value, before[name]) for name, value in trained.net.state_dict().items())


def test_calibration_sees_images_without_augmentation(tmp_path):
    trained = relu_net(tmp_path)
    plain, _ = run(AnnToSnn(T=4, batches=9), trained)
    trained.data.splits["train"].augment = lambda sample, seed: sample * float("nan")
    other, _ = run(AnnToSnn(T=4, batches=9), trained)
    assert all(
        torch.equal(a.theta, b.theta) for a, b in zip(plain.neurons.values(), other.neurons.values(), strict=True)
    )


def test_all_training_images_give_what_convert_gives(tmp_path):
    trained = relu_net(tmp_path)
    snn, _ = run(AnnToSnn(T=4, method="max_norm", calibration="none", batches=99), trained)
    x = trained.data.splits["train"].read(range(90))
    wanted = convert(analog_net(trained.net), [x], "max_norm", T=4, calibration="none")
    assert [n.theta.item() for n in snn.neurons.values()] == [n.theta.item() for n in wanted.neurons.values()]


def test_qcfs_is_fine_tuned_on_the_training_split(tmp_path):
    trained = relu_net(tmp_path)
    callback = AnnToSnn(T=4, method="qcfs", arguments={"epochs": 2, "lr": 0.01}, calibration="none", batches=1)
    snn, _ = run(callback, trained)
    assert not any(isinstance(module, QCFSRectifier) for module in snn.modules())
    weights = dict(trained.net.named_parameters())
    moved = [name for name, value in snn.net.named_parameters() if not torch.equal(value, weights[name])]
    assert len(moved) == 4  # both layers, and only in the copy
    assert "fine-tuned with 4 levels" in (tmp_path / "report.txt").read_text()


def test_the_files(tmp_path):
    run(AnnToSnn(T=4), relu_net(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"net.pt", "conversion.json", "report.txt", "accuracy.png"}
    assert "spiking neurons" in (tmp_path / "report.txt").read_text()
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


# --- one after the other ---------------------------------------------------------------------------------------------


class Step(FitEnd):
    """Appends its name to a net that is a list."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def check(self, net, task, sample_shape):
        return net

    def run(self, trained, folder, console):
        if self.name == "lava":
            raise RuntimeError("no chip")
        return [*trained.net, self.name], {"size": float(len(trained.net)), "folder": folder.name}


def test_callbacks_run_in_the_order_of_the_list_each_on_what_the_one_before_made(tmp_path):
    trained = relu_net(tmp_path)
    trained.net, metrics, seconds = [], {"test/acc": 1.0}, {}
    run_in_turn([Step("ann2snn"), Step("qat")], trained, metrics, seconds, Console(quiet=True))
    assert trained.net == ["ann2snn", "qat"] and list(seconds) == ["ann2snn", "qat"]
    assert metrics == {
        "test/acc": 1.0,
        "ann2snn/size": 0,
        "ann2snn/folder": "ann2snn",
        "qat/size": 1,
        "qat/folder": "qat",
    }


def test_an_error_loses_only_what_comes_after_it(tmp_path):
    trained = relu_net(tmp_path)
    trained.net, metrics, seconds = [], {}, {}
    with pytest.raises(RuntimeError, match="no chip"):
        run_in_turn([Step("qat"), Step("lava")], trained, metrics, seconds, Console(quiet=True))
    assert set(metrics) == {"qat/size", "qat/folder"} and set(seconds) == {"qat"}


# --- in the config ---------------------------------------------------------------------------------------------------

COUNTING = """
from snntrain.callback import FitEnd

class Count(FitEnd):
    '''Counts the parameters of the trained net.'''

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def check(self, net, task, sample_shape):
        if self.scale <= 0:
            raise ValueError(f"Count: scale must be a number > 0, got {self.scale}.")
        return net

    def run(self, trained, folder, console):
        folder.mkdir(parents=True)
        (folder / "count.txt").write_text("counted")
        return trained.net, {"parameters": self.scale * sum(p.numel() for p in trained.net.parameters())}
"""


def test_a_plugins_fit_end_callback_runs_after_the_test(program, tmp_path):
    (tmp_path / "counting.py").write_text(COUNTING)
    mine = ["plugins=[counting]", "+callbacks.size={_target_: counting.Count, scale: 2.0}"]
    small = [
        "model=mlp",
        "neuron.backend=torch",
        "model.features=8",
        "T=2",
        "trainer.max_epochs=1",
        "data.batch_size=256",
    ]
    done = program("train.py", *mine, *small, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run/results.json").read_text())["metrics"]
    assert metrics["size/parameters"] == 2 * (64 * 8 + 8 + 8 * 10 + 10) and "test/acc" in metrics
    assert (tmp_path / "run/artifacts/size/count.txt").is_file()
    refused = program("train.py", *mine, *small, "callbacks.size.scale=-1", "hydra.run.dir=other")
    assert refused.returncode == 2 and "callbacks.size.scale must be a number > 0, got -1" in refused.stderr


def test_stages_are_answered_with_their_new_place():
    with pytest.raises(UsageError, match=r"stages\.<name> is now callbacks\.<name>\. Write callbacks\.qat\.epochs=1"):
        compose(["callbacks=[default,qat]", "stages.qat.epochs=1"])


def test_a_mistyped_readout_of_a_plain_trainer_is_refused_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"NirExport: readout: 'rat' is not a registered readout\. Did you mean rate\?"
    ):
        NirExport(readout="rat")


def test_what_the_run_decides_cannot_be_given_to_a_callback():
    config = check(compose([*ANN, "callbacks=[default,nir]", "neuron=lif", "++callbacks.nir.T=3"]))
    with pytest.raises(UsageError, match=r"callbacks\.nir\.T is for a plain Lightning Trainer"):
        build_callbacks(config)
