"""QuantizationAware: refusals before training, the drift of firing rates, and what a mismatch does."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import wasserstein_distance
from small_fit_end import check_before_training, handed_over, run, task_for
from small_training import SGD, small_task, trainer

from snntrain.callback.fit_end import QuantizationAware, Trained
from snntrain.callback.fit_end.drift import Drift, earth_movers_distance
from snntrain.error import UsageError
from snntrain.functional import repeat, reset_net
from snntrain.quantize import IntegerNet, observe, prepare, preset

SMALL = ["callbacks=[default,qat]", "model=mlp", "model.features=8", "T=2"]


def spiking_net(folder: Path) -> Trained:
    def fine_tune(net: torch.nn.Module, T: int, epochs: int, lr: float, folder: Path, say: Any) -> None:
        trainer(folder, max_epochs=epochs).fit(task_for(net, T, optim=SGD | {"lr": lr}), datamodule=trained.data)

    trained = handed_over(folder, small_task().net, fine_tune=fine_tune)
    return trained


# --- before training -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["neuron=relu"], r"callbacks\.qat: it quantizes spiking nets.*callbacks=\[default,ann2snn,qat\]"),
        (["callbacks.qat.quant=w4v5"], "'w4v5' is not a preset.*Did you mean w4v"),
        (["callbacks.qat.quant={bitz: 4}"], "'bitz' is not a key.*Did you mean bits"),
        (["callbacks.qat.quant={bits: 1}"], "bits must be an integer from 2 to 32, got 1"),
        (["callbacks.qat.layers={layer.0: {bits: 4}}"], "'layer.0' matches no layer"),
        (["callbacks.qat.epochs=-1"], "epochs must be an integer ≥ 0"),
        (["callbacks.qat.lr=0"], "lr must be"),
        (["neuron=izhikevich"], "IzhikevichNode.*cannot be quantized.*Use LIFNode, IFNode"),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(overrides, text):
    with pytest.raises(UsageError, match=text):
        check_before_training(*SMALL, *overrides)


def test_a_delayed_readout_is_refused_and_the_way_out_works():
    chain = ["neuron=relu", "callbacks=[default,ann2snn,qat]", "model.channels=4", "callbacks.ann2snn.method=ltb"]
    with pytest.raises(UsageError, match="delays the readout"):
        check_before_training(*chain)
    check_before_training(*chain, "++callbacks.ann2snn.arguments.delayed_readout=false")


# --- the work --------------------------------------------------------------------------------------------------------


def test_accuracies_sizes_and_the_integer_net(tmp_path):
    _, metrics = run(
        QuantizationAware("int8", epochs=1, lr=0.01, verify_samples=99, sensitivity_batches=1), spiking_net(tmp_path)
    )
    assert set(metrics) == {"acc_float", "acc_ptq", "acc_qat", "acc_int", "mismatches", "size_bytes"}
    assert metrics["mismatches"] == 0 and metrics["acc_int"] == metrics["acc_qat"]
    integers = IntegerNet.load(tmp_path / "net.safetensors")
    assert integers.size_in_bytes == metrics["size_bytes"]
    x, label, _ = spiking_net(tmp_path).data.splits["test"].__getitems__(range(24))
    right = (integers.predict(x, 3).argmax(1) == label).double().mean().item()
    assert right == metrics["acc_int"]
    written = json.loads((tmp_path / "quantization.json").read_text())
    hidden, last = written["layers"]
    assert hidden["v_bits"] == 8 and hidden["headroom"]["range"] == 128 and 0 <= hidden["firing"]["rate"] <= 1
    assert last["neurons"] is None and set(written["sensitivity"]) == {hidden["layers"][0], last["layers"][0]}
    assert written["verified_samples"] == 24


def test_without_fine_tuning_the_weights_are_those_of_the_net(tmp_path):
    net, metrics = run(QuantizationAware("int8", epochs=0, sensitivity_batches=0), spiking_net(tmp_path))
    assert "acc_qat" not in metrics and metrics["acc_int"] == metrics["acc_ptq"]
    trained = small_task().net
    for ours, theirs in zip(net.layers.values(), (trained.layers[1], trained.layers[3]), strict=True):
        torch.testing.assert_close(ours.weight, theirs.weight)


def test_a_mismatch_is_an_error_after_its_files_were_written(tmp_path, monkeypatch):
    honest = IntegerNet.run

    def wrong(self, x_seq, **more):
        found = honest(self, x_seq, **more)
        found.logits[0, 0, 0] += 1
        return found

    monkeypatch.setattr(IntegerNet, "run", wrong)
    with pytest.raises(RuntimeError, match="differs from the fine-tuned one in 1 values"):
        run(QuantizationAware("int8", epochs=0, sensitivity_batches=0), spiking_net(tmp_path))
    assert json.loads((tmp_path / "quantization.json").read_text())["mismatches"] == 1


# --- firing rates ----------------------------------------------------------------------------------------------------


def test_the_earth_movers_distance_is_scipys():
    torch.manual_seed(0)
    for _ in range(10):
        a, b = torch.rand(50).double(), torch.rand(50).double() ** 2
        assert earth_movers_distance(a, b) == pytest.approx(wasserstein_distance(a, b))


def test_rates_are_counted_in_both_nets_only_while_watched():
    net = small_task().net.eval()
    x_seq = repeat(torch.rand(6, 1, 4, 4), 3)
    copy = prepare(net, preset("int8"), x_seq)
    observe(copy, [x_seq], 1)
    drift, fired = Drift(net, copy.eval()), []
    net.layers[2].register_forward_hook(lambda module, inputs, y: fired.append(y))
    for active in (True, False, True):
        with drift.watching() if active else contextlib.nullcontext():
            for each in (net, copy):
                reset_net(each)
                each(x_seq)
    (row,) = drift.rows().values()
    rates = fired[0].flatten(0, 1).mean(0)
    assert row["rate_float"] == pytest.approx(rates.mean().item()) and row["distance"] >= 0
    assert row["dead_float"] == pytest.approx((rates == 0).float().mean().item())
