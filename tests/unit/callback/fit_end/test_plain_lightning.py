"""Fit-end callbacks in a plain Trainer, around a LightningModule and dataloaders that know nothing of them."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from snntrain import layer, neuron
from snntrain.callback import AnnToSnn, FitEnd, LavaExport, NirExport, QuantizationAware
from snntrain.encoding import DirectEncoder, PoissonEncoder
from snntrain.functional import reset_net

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


class Analog(pl.LightningModule):
    """A net of ReLUs that reads one picture [N, 16]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.log("val/acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Spiking(Analog):
    """A net of LIF neurons that reads a sequence [T, N, 16]; the module resets it itself."""

    def __init__(self, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder or DirectEncoder()
        node = neuron.LIFNode(tau=2.0, v_threshold=0.3, step_mode="m", backend="torch")
        self.net = nn.Sequential(
            layer.Linear(16, 12, bias=False, step_mode="m"), node, layer.Linear(12, 3, bias=False, step_mode="m")
        )

    def forward(self, x: Tensor) -> Tensor:
        reset_net(self.net)
        return self.net(self.encoder(x, 4)).mean(0)


class Converted(Analog):
    """The same of one step or of many: what a net of ReLUs becomes is fine-tuned as it is tested."""

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.net, nn.Sequential):
            return self.net(x)
        reset_net(self.net)
        return self.net(DirectEncoder()(x, 8)).mean(0)


def loaders() -> tuple[DataLoader, DataLoader]:
    """120 + 60 samples: the class says which third of 16 values is bright."""
    draw = torch.Generator().manual_seed(2)
    label = torch.arange(180) % 3
    x = torch.rand(180, 16, generator=draw) * 0.4
    x[torch.arange(180)[:, None], 5 * label[:, None] + torch.arange(5)] += 0.6
    train, val = TensorDataset(x[:120], label[:120]), TensorDataset(x[120:], label[120:])
    return DataLoader(train, batch_size=20, shuffle=True), DataLoader(val, batch_size=30)


def fit(folder, module: pl.LightningModule, *callbacks: pl.Callback, epochs: int = 6) -> pl.Trainer:
    best = ModelCheckpoint(folder / "best", monitor="val/acc", mode="max")
    trainer = pl.Trainer(max_epochs=epochs, callbacks=[*callbacks, best], default_root_dir=folder, **QUIET)
    pl.seed_everything(3, verbose=False)
    trainer.fit(module, *loaders())
    return trainer


@pytest.fixture
def no_lava(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snntrain.callback.fit_end.lava_export.installed_lava", lambda folder: None)


def test_a_net_of_relus_is_converted_on_the_best_weights(tmp_path):
    callback = AnnToSnn(T=16, eval_T=[16], batches=2)
    trainer = fit(tmp_path, module := Analog(), callback)
    best = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)["state_dict"]
    module.load_state_dict(best)
    x, label = loaders()[1].dataset.tensors
    assert callback.metrics["ann2snn/acc_ann"] == (module(x).argmax(1) == label).double().mean().item() > 0.9
    assert callback.metrics["ann2snn/acc_T16"] > 0.9
    assert (tmp_path / "ann2snn/net.pt").is_file() and (tmp_path / "ann2snn/conversion.json").is_file()


def test_integers_of_a_spiking_net_are_fine_tuned_by_the_module_itself(tmp_path):
    callback = QuantizationAware("int8", epochs=1, T=4, encoder=DirectEncoder(), sensitivity_batches=0)
    fit(tmp_path, module := Spiking(), callback)
    found = callback.metrics
    assert found["qat/mismatches"] == 0 and found["qat/acc_int"] == found["qat/acc_qat"] > 0.9
    assert isinstance(module.net, nn.Sequential) and (tmp_path / "qat/net.safetensors").is_file()


def test_a_spiking_net_is_written_for_nir(tmp_path):
    callback = NirExport(samples=60, T=4, encoder=DirectEncoder())
    fit(tmp_path, Spiking(), callback)
    assert callback.metrics["nir/mismatches"] == 0 and (tmp_path / "nir/net.nir").is_file()


def test_integers_reach_the_chips_file(tmp_path, no_lava):
    around = {"T": 4, "encoder": DirectEncoder()}
    qat = QuantizationAware("loihi", epochs=1, sensitivity_batches=0, **around)
    lava = LavaExport(samples=60)  # its encoder is that of the callback before
    fit(tmp_path, Spiking(), qat, lava)
    assert lava.metrics["lava/mismatches"] == 0 and lava.metrics["lava/acc"] == qat.metrics["qat/acc_int"]
    assert (tmp_path / "lava/net.h5").is_file()


@pytest.mark.slow
def test_the_chain_from_an_ann_to_the_chips_file(tmp_path, no_lava):
    chain = (AnnToSnn(T=8, reset="hard", batches=2), QuantizationAware("loihi", sensitivity_batches=0), LavaExport())
    fit(tmp_path, Converted(), *chain)
    ann2snn, qat, lava = (callback.metrics for callback in chain)
    assert qat["qat/mismatches"] == lava["lava/mismatches"] == 0
    assert lava["lava/acc"] == qat["qat/acc_int"] > 0.8 and ann2snn["ann2snn/acc_ann"] > 0.9


def test_the_training_is_the_same_with_and_without_them(tmp_path):
    weights = []
    for callbacks in ((), (NirExport(samples=30, T=4, encoder=DirectEncoder()),)):
        fit(tmp_path / str(len(callbacks)), module := Spiking(PoissonEncoder()), *callbacks, epochs=2)
        weights.append(module.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize(
    ("module", "callbacks", "said"),
    [
        (Spiking, (AnnToSnn(T=4),), "ann2snn: it converts nets of ReLUs"),
        (Analog, (QuantizationAware("int8"),), "qat: it quantizes spiking nets"),
        (Spiking, (LavaExport(T=4, encoder=DirectEncoder()),), "lava: the net would read pixels"),
        (Spiking, (QuantizationAware("int8", T=4, encoder=DirectEncoder()), NirExport()), "nir: a NIR graph holds"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_first_step(tmp_path, module, callbacks, said):
    module = module()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=said):
        fit(tmp_path, module, *callbacks)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_module_without_a_net_and_samples_without_an_order_are_refused(tmp_path):
    class Nameless(Analog):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.net = self.net, None

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    with pytest.raises(ValueError, match="ann2snn: Nameless has no network named `net`"):
        fit(tmp_path, Nameless(), AnnToSnn(T=4))
    with pytest.raises(ValueError, match="an encoder needs the number of time steps"):
        NirExport(encoder=DirectEncoder())
    with pytest.raises(TypeError, match=r"QuantizationAware.*epoch"):
        QuantizationAware(epoch=2)


def test_an_error_at_fit_end_loses_neither_the_net_nor_what_came_before(tmp_path):
    class Failing(FitEnd):
        name = "failing"

        def check(self, net, task, sample_shape):
            return net

        def run(self, trained, folder, console):
            raise RuntimeError("no chip")

    first, module = AnnToSnn(T=4, eval_T=[4], batches=1), Analog()
    with pytest.raises(RuntimeError, match="no chip"):
        fit(tmp_path, module, first, Failing())
    assert first.metrics["ann2snn/acc_ann"] > 0.9 and (tmp_path / "ann2snn/net.pt").is_file()
    assert list((tmp_path / "best").glob("*.ckpt"))
