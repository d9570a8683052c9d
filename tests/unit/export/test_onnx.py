"""ONNX and torch.export: every model of the zoo in onnxruntime, and what the comparison calls a mismatch."""

import copy

import pytest
import torch
from model.test_zoo import MODELS, small
from torch import Tensor, nn

from snntrain import functional, layer
from snntrain.export import ExportedOnnx, compare_onnx, export_onnx, export_program
from snntrain.export.error import OnnxExportError
from snntrain.neuron import FloatCubaLIFNode, IFNode, LIFNode, TernaryLIFNode
from snntrain.quantize import QuantizedNet

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

T = 3
FAST = ("mlp", "reservoir")
TOLERANCE = 1e-5


def pictures(samples: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Values of few bits, as those of pictures: what CubaLIFNode truncates has no digits to lose."""
    source = torch.Generator().manual_seed(seed)
    return torch.randint(0, 17, (T, samples, *shape), generator=source) / 8


def at_work(net: nn.Module, x_seq: Tensor) -> nn.Module:
    """The net with statistics of normalization that make neurons fire at every depth."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(x_seq)
    functional.reset_net(net)
    return net.eval()


def assert_equal_in_onnxruntime(net: nn.Module, shape: tuple[int, ...], differing: float = 1e-3) -> ExportedOnnx:
    exported = export_onnx(net, pictures(2, shape))
    found = compare_onnx(exported, net, pictures(5, shape, seed=1))
    assert found.mismatches == 0 and found.max_error <= TOLERANCE
    assert found.differing <= differing * found.compared and found.compared > 0
    assert torch.equal(found.y_seq.mean(0).argmax(1), found.expected.mean(0).argmax(1))
    return exported


def assert_the_zoo_is_served(model: str) -> None:
    net, shape = small(model)
    # In QKFormer a spike at its threshold decides about a whole token, and so about all that follows.
    differing = 1e-2 if model == "qkformer" else 1e-3
    exported = assert_equal_in_onnxruntime(at_work(net, pictures(8, shape)), shape, differing)
    graph = onnx.load_model_from_string(exported.model).graph
    assert sum(node.op_type == "Scan" for node in graph.node) == len(exported.layers)
    assert [value.name for value in (*graph.input, *graph.output)] == ["x_seq", "y_seq"]


@pytest.mark.parametrize("model", FAST)
def test_a_model_computes_the_same_in_onnxruntime(model):
    assert_the_zoo_is_served(model)


@pytest.mark.slow
@pytest.mark.parametrize("model", [model for model in MODELS if model not in FAST])
def test_every_other_model_computes_the_same_in_onnxruntime(model):
    assert_the_zoo_is_served(model)


def test_torch_export_itself_takes_a_net_and_the_library_makes_it_independent_of_the_number_of_steps():
    net, shape = small("mlp")
    x_seq = pictures(2, shape)
    with torch.no_grad():
        expected = net.eval()(x_seq)
        functional.reset_net(net)
        unrolled = torch.export.export(net, (x_seq,))
    functional.reset_net(net)
    ours = export_program(net, x_seq)
    for program in (unrolled, ours):
        assert torch.equal(program.module()(x_seq), expected)
    longer = export_program(net, x_seq.repeat(4, 1, 1, 1, 1))
    assert len(ours.graph.nodes) == len(longer.graph.nodes)
    assert ours.module()(pictures(5, shape)).shape == (T, 5, 10)
    assert all(not isinstance(value, Tensor) for _, value in functional.named_states(net))


def layers(*modules: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(layer.Linear(6, 8), *modules, layer.Linear(8, 4)).eval()
    functional.set_step_mode(net, "m")
    return net


def test_all_that_carries_a_state_computes_the_same():
    """One net, because an export takes seconds."""
    net = layers(
        IFNode(v_threshold=0.5, v_reset=None),
        layer.SynapseFilter(tau=4.0),
        layer.StepModeContainer(True, nn.Linear(8, 8), FloatCubaLIFNode(v_threshold=0.2)),
        layer.LinearRecurrentContainer(LIFNode(v_threshold=0.1), 8, 8),
        layer.Delay(1),  # a queue: unrolled, as the plain container is
        TernaryLIFNode(v_threshold=0.3),
    )
    exported = assert_equal_in_onnxruntime(net, (6,))
    assert exported.layers == ("1", "2", "4", "6")


@pytest.fixture(scope="module")
def small_net() -> tuple[nn.Module, ExportedOnnx]:
    net = layers(LIFNode(v_threshold=0.3))
    return net, export_onnx(net, pictures(2, (6,)))


def test_a_spike_that_rounding_does_not_explain_is_a_mismatch(small_net):
    """A threshold that is 0.01 higher in the net than in the file."""
    net, exported = copy.deepcopy(small_net)
    x_seq = pictures(64, (6,), seed=2)
    net[1].v_threshold = 0.31
    found = compare_onnx(exported, net, x_seq)
    assert 0 < found.mismatches <= found.differing
    assert compare_onnx(exported, net, x_seq, tolerance=0.02).mismatches == 0


def test_outputs_behind_no_differing_spike_are_compared(small_net):
    net, exported = copy.deepcopy(small_net)
    with torch.no_grad():
        net[2].bias += 0.25
    found = compare_onnx(exported, net, pictures(8, (6,)))
    assert found.differing == 0 and found.max_error == pytest.approx(
        0.25 / max(1.0, float(found.expected.abs().max())), 1e-4
    )


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_cannot_be_exported_is_refused_by_name():
    net = nn.Sequential(layer.Linear(6, 8), nn.Sequential(Branching()), LIFNode(step_mode="m"))
    with pytest.raises(OnnxExportError, match=r"1\.0 \(Branching\) cannot be exported.*no if, for or int\(\)"):
        export_program(net, pictures(2, (6,)))
    with pytest.raises(OnnxExportError, match="QuantizedNet"):
        export_onnx(QuantizedNet.__new__(QuantizedNet), pictures(2, (6,)))
    with pytest.raises(OnnxExportError, match=r"example must be an input \[T, N, \*\]"):
        export_program(layers(LIFNode()), torch.rand(2, 6))


def test_another_number_of_steps_is_refused(small_net):
    with pytest.raises(OnnxExportError, match="the graph runs 3 steps, and the input has 2"):
        small_net[1].outputs(pictures(2, (6,))[:2])


def test_a_file_is_written_whole_and_tells_nothing_of_this_machine(small_net, tmp_path):
    exported = export_onnx(small_net[0], pictures(2, (6,)), tmp_path / "net.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    written = (tmp_path / "net.onnx").read_bytes()
    assert written == exported.model and b".py" not in written
    onnx.checker.check_model(onnx.load_model_from_string(written), full_check=True)
