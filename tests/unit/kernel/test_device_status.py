"""What runs fused on this machine and in a net, and where a run says so."""

import pytest
import torch
from recurrent_containers import CONTAINERS, NEURONS
from torch import nn

from snntrain import functional, kernel, neuron
from snntrain.kernel import cuda_launcher, device_status
from snntrain.run import provenance, run

MISSING = "cupy is not installed; pip install cupy-cuda12x"


class Launcher:
    title = "NVRTC 12.9 and the driver for CUDA 12.8"


@pytest.fixture(params=[Launcher(), MISSING], ids=["with kernels", "without"])
def gpus(request, monkeypatch):
    """Two GPUs, on which kernels run or not."""
    monkeypatch.setattr(cuda_launcher, "launcher", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"H200 {index}")
    return request.param


def test_who_watches_inside_does_not_end_the_watch_outside():
    node = neuron.IFNode(step_mode="m")
    with kernel.watching_fusion() as outer:
        with kernel.watching_fusion():
            pass
        node(torch.zeros(2, 1, 3))
    assert outer == {node: None}


def test_every_gpu_is_listed_with_what_serves_it_or_the_reason(gpus):
    cpu, *others = kernel.status()
    assert cpu.device == "cpu" and cpu.by.startswith("numba ") and cpu.reason is None
    expected = (None, MISSING) if gpus == MISSING else (Launcher.title, None)
    assert [(one.device, one.hardware) for one in others] == [("cuda:0", "H200 0"), ("cuda:1", "H200 1")]
    assert all((one.by, one.reason) == expected for one in others)


def test_a_run_on_gpus_prints_and_records_it(gpus):
    recorded = provenance.hardware()["gpu_kernels"]
    if gpus == MISSING:
        assert recorded == f"none: {MISSING}"
        assert run._kernels() == f"no kernels on the GPU, so that neurons run as torch loops: {MISSING}"
    else:
        assert recorded == Launcher.title and run._kernels() == f"kernels on the GPU: {Launcher.title}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_there_is_one_line_that_says_why():
    (gpu,) = (one for one in kernel.status() if one.device.startswith("cuda"))
    assert (gpu.device, gpu.hardware, gpu.by) == ("cuda", "", None) and gpu.reason
    assert "gpu_kernels" not in provenance.hardware()


def test_calls_are_noted_with_the_reason_and_only_while_somebody_watches():
    fused, plain = neuron.LIFNode(), neuron.LIFNode(backend="torch")
    looped = neuron.LIFNode(surrogate_function=lambda x: (x >= 0).to(x))
    net = nn.Sequential(fused, looped, plain)
    functional.set_step_mode(net, "m")
    with kernel.watching_fusion() as calls:
        net(torch.zeros(2, 3, 4))
    assert calls.pop(fused) is None and "surrogate_function" in calls.pop(looped) and calls == {}
    net(torch.zeros(2, 3, 4))
    assert calls == {} and device_status._watching == []


def test_recurrent_layers_are_noted_too():
    made = CONTAINERS["summed"](NEURONS["PLIF"](6), 6, True)
    with kernel.watching_fusion() as calls:
        made(torch.zeros(4, 2, 6))
        assert calls[made] is None
        linear = next(module for module in made.modules() if isinstance(module, nn.Linear))
        linear.register_forward_hook(lambda *given: None)
        made(torch.zeros(4, 2, 6))
    assert "hooks, which see single steps" in calls[made]
