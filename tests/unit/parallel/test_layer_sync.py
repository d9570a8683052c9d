"""trainer.sync_batchnorm switches the layers for a fit and puts them back."""

import pytest
import torch
from torch import nn

from snntrain import layer
from snntrain.lava_exchange.normalization import BatchNorm2d as LavaBatchNorm2d
from snntrain.layer.normalization import BatchStatistics
from snntrain.parallel.layer_sync import StepSyncBatchNorm


def net() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "ours": layer.BatchNorm2d(3, step_mode="m"),
            "tdbn": layer.ThresholdDependentBatchNorm2d(1.0, 1.0, 3),
            "tebn": layer.TemporalEffectiveBatchNorm2d(4, 3, step_mode="m"),
            "bntt": layer.BatchNormThroughTime2d(4, 3, step_mode="m"),
            "torch": nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)),
            "always": layer.SyncBatchNorm(3),
            "group": layer.GroupNorm(1, 3),
        }
    )


def switched(model: nn.Module) -> set[str]:
    return {path for path, module in model.named_modules() if getattr(module, "synchronized", False)}


def test_a_fit_synchronizes_every_batch_normalization_and_leaves_the_net_unchanged():
    model, sync = net(), StepSyncBatchNorm()
    before, kinds = list(model.state_dict()), [type(module) for module in model.modules()]
    assert sync.apply(model) is model
    assert list(model.state_dict()) == before
    ours = {path for path, module in model.named_modules() if isinstance(module, BatchStatistics)}
    assert switched(model) == ours and len(ours) == 3 + 4 + 1
    assert type(model["torch"][1]) is nn.SyncBatchNorm
    assert model["ours"].step_mode == "m" and type(model["ours"]) is layer.BatchNorm2d
    assert sync.revert(model) is model
    assert [type(module) for module in model.modules()] == kinds
    assert switched(model) == {"always"} and list(model.state_dict()) == before


def test_what_a_layer_of_torch_learnt_in_the_fit_stays():
    model, sync = net(), StepSyncBatchNorm()
    original = model["torch"][1]
    sync.apply(model)
    model.double()
    with torch.no_grad():
        model["torch"][1].weight.fill_(3.0)
        model["torch"][1].running_mean.fill_(2.0)
    model.eval()
    sync.revert(model)
    assert model["torch"][1] is original and not original.training
    assert original.weight.tolist() == [3.0] * 3 and original.running_mean.tolist() == [2.0] * 3
    assert original.running_var.dtype == torch.float64


def test_statistics_of_another_kind_are_refused_by_name():
    model = nn.ModuleDict({"a": nn.Sequential(nn.Identity(), LavaBatchNorm2d(3))})
    with pytest.raises(ValueError, match=r"a\.1 \(snntrain.lava_exchange.normalization.BatchNorm2d\)"):
        StepSyncBatchNorm().apply(model)
    assert switched(model) == set()


def test_one_process_computes_as_without():
    x = torch.randn(4, 2, 3, 5, 5)
    plain, synced = (layer.BatchNorm2d(3, step_mode="m") for _ in range(2))
    StepSyncBatchNorm().apply(synced)
    assert torch.equal(plain(x), synced(x)) and torch.equal(plain.running_var, synced.running_var)
