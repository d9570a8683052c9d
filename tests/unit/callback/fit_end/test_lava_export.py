"""LavaExport: refusals before training, the file beside the net, and a simulator that is not there."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_fit_end import check_before_training, handed_over, run
from small_training import small_task

from snntrain.callback.fit_end import LavaExport, Trained
from snntrain.error import UsageError
from snntrain.export import Exported, LavaError
from snntrain.quantize import observe, prepare, preset

CHAIN = ["callbacks=[default,qat,lava]", "callbacks.qat.quant=loihi", "model=csnn", "model.channels=4"]


def in_integers(folder: Path) -> Trained:
    """A small net in Loihi's integers."""
    trained = handed_over(
        folder, small_task(neuron={"name": "LIFNode", "v_threshold": 0.4, "backend": "torch"}, T=3).net
    )
    x, *_ = trained.data.splits["train"].__getitems__(range(64))
    net = prepare(trained.net, preset("loihi"), x.expand(3, *x.shape))
    observe(net, [x.expand(3, *x.shape)], 1)
    return replace(trained, net=net.eval())


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ([], r"callbacks\.lava: .*maximum.* or callbacks\.lava\.max_pool=neurons"),
        (["model.pool=AvgPool2d", "neuron.v_reset=null"], r"subtracts.*Set v_reset.*callbacks\.ann2snn\.reset=hard"),
        (["model.pool=AvgPool2d", "callbacks.qat.quant={bits: 8}"], r"callbacks\.qat\.quant=loihi"),
        (["model.pool=AvgPool2d", "callbacks.lava.samples=0"], "samples must be an integer ≥ 1"),
        (["model.pool=AvgPool2d", "callbacks.lava.max_pool=none"], "max_pool must be"),
        (["model.pool=AvgPool2d", "callbacks.qat.quant=int8"], "loihi"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_training(overrides, text):
    with pytest.raises(UsageError, match=text):
        check_before_training(*CHAIN, *overrides)


def test_a_net_of_loihis_integers_passes_before_training():
    check_before_training(*CHAIN, "model.pool=AvgPool2d")


def test_the_file_does_what_the_net_does(tmp_path, monkeypatch):
    monkeypatch.setattr("snntrain.callback.fit_end.lava_export.installed_lava", lambda folder: None)
    _, metrics = run(LavaExport(samples=24), in_integers(tmp_path))
    assert set(metrics) == {"acc", "mismatches", "spikes", "sops"} and metrics["mismatches"] == 0
    trained, exported = in_integers(tmp_path), Exported.load(tmp_path / "net.h5")
    x, label, _ = trained.data.splits["test"].__getitems__(range(24))
    logits = exported.logits(x.expand(3, *x.shape))
    assert metrics["acc"] == (logits.mean(0).argmax(1) == label).double().mean().item()
    written = json.loads((tmp_path / "lava.json").read_text())
    (row,) = written["layers"]
    spikes = exported.run(x.expand(3, *x.shape)).output
    assert row["spikes"] == pytest.approx(float(spikes.sum()) / 24) and "make lava" in written["lava"]["skipped"]
    active = float((exported.input.encode(x.expand(3, *x.shape)) != 0).sum())
    assert row["sops"] == pytest.approx(active * 12 / 24)


def test_a_mismatch_is_an_error_after_its_files_were_written(tmp_path, monkeypatch):
    monkeypatch.setattr("snntrain.callback.fit_end.lava_export.installed_lava", lambda folder: None)
    honest = Exported.run

    def wrong(self, x_seq):
        found = honest(self, x_seq)
        found.spikes[0] = found.spikes[0].clone()
        found.spikes[0][0, 0, 0] ^= True
        return found

    monkeypatch.setattr(Exported, "run", wrong)
    with pytest.raises(RuntimeError, match="differs from the trained one in 1 spikes"):
        run(LavaExport(samples=24), in_integers(tmp_path))
    assert json.loads((tmp_path / "lava.json").read_text())["mismatches"] == 1


def test_a_simulator_that_hangs_is_killed_and_recorded(tmp_path, monkeypatch):
    fake = tmp_path / "worker.py"
    fake.write_text("import time\nprint('compiling', flush=True)\ntime.sleep(60)\n")
    monkeypatch.setattr("snntrain.export.lava_run.WORKER", fake)
    monkeypatch.setattr("snntrain.callback.fit_end.lava_export.installed_lava", lambda folder: "")
    began = time.monotonic()
    with pytest.raises(LavaError, match="did not end within 1 seconds and was killed"):
        run(LavaExport(samples=24, lava_samples=2, timeout=1), in_integers(tmp_path / "out"))
    assert time.monotonic() - began < 30
    written = json.loads((tmp_path / "out/lava.json").read_text())
    assert written["mismatches"] == 0 and "was killed" in written["lava"]["failed"]


def test_a_net_that_would_be_rounded_is_refused_before_training():
    with pytest.raises(UsageError, match=r"layers\.0, layers\.4, layers\.9 would be rounded.*Put qat before it"):
        check_before_training("callbacks=[default,lava]", "model.pool=AvgPool2d", "neuron=if", "encoder=poisson")


def test_a_net_of_blocks_passes_before_training():
    chosen = ["model=csnn_loihi", "neuron=cuba_lif", "encoder=poisson", "callbacks=[default,lava]"]
    check_before_training(*chosen)
    with pytest.raises(UsageError, match="Use an encoder that spikes"):
        check_before_training(*chosen, "encoder=direct")


def test_lava_that_is_required_must_be_there(monkeypatch):
    monkeypatch.setattr("snntrain.callback.fit_end.lava_export.installed_lava", lambda folder: None)
    with pytest.raises(UsageError, match="make lava"):
        check_before_training(*CHAIN, "model.pool=AvgPool2d", "callbacks.lava.required=true")
