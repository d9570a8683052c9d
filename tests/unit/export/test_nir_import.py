"""Imported NIR graphs compute what the nodes' equations say: every node, branches, sums, loops, graphs in graphs."""

import numpy as np
import pytest
import torch
from nir_reference import ends, graph_of, simulated

from snntrain import functional
from snntrain.export import ExportError, export_nir, import_nir

nir = pytest.importorskip("nir")
DT = 1e-4
SOURCE = np.random.default_rng(3)


def affine(inputs: int, outputs: int, scale: float = 1.0):
    return nir.Affine(SOURCE.normal(size=(outputs, inputs)) * scale, SOURCE.normal(size=outputs) * 0.2)


def full(n, *values: float) -> list[np.ndarray]:
    return [np.full(n, value) for value in values]


def lif(n, r: float = 3.0):
    return nir.LIF(*full(n, 5 * DT, r, 0.0, 0.3))


def cuba(n):
    return nir.CubaLIF(*full(n, 3 * DT, 6 * DT, 4.0, 0.0, 0.3, 0.0, 2.0))


def picture_graph(*nodes, inputs=(2, 8, 6), outputs):
    start, end = ends(inputs, outputs)
    return graph_of({"in": start, **{str(number): node for number, node in enumerate(nodes)}, "out": end})


def conv(dims: int, outputs: int, groups: int = 1, **geometry):
    how = {"stride": 1, "padding": 0, "dilation": 1} | geometry
    weight, kind = SOURCE.normal(size=(outputs, 2 // groups, *[3] * dims)), nir.Conv1d if dims == 1 else nir.Conv2d
    shape = 8 if dims == 1 else (8, 6)
    return kind(input_shape=shape, weight=weight, groups=groups, bias=SOURCE.normal(size=outputs) * 0.1, **how)


def pooling(kind):
    return kind(*(np.array(pair) for pair in ((2, 3), (2, 3), (0, 0))))


GRAPHS = {
    "IF": lambda: picture_graph(affine(6, 5), nir.IF(*full(5, 2.0, 1.5)), inputs=6, outputs=5),
    "IF, gains and thresholds of each": lambda: picture_graph(
        affine(6, 3), nir.IF(np.array([1.0, -2.0, 0.5]), np.array([1.0, 0.7, 2.0])), inputs=6, outputs=3
    ),
    "gains of each without weights": lambda: picture_graph(
        nir.IF(np.array([1.0, -2.0, 0.5]), np.array([0.8, 0.7, 1.1])), inputs=3, outputs=3
    ),
    "LIF that rests elsewhere": lambda: picture_graph(
        affine(6, 5), nir.LIF(*full(5, 4 * DT, 2.0, 0.2, 0.9, 0.2)), inputs=6, outputs=5
    ),
    "LIF, negative gain": lambda: picture_graph(affine(6, 5), lif(5, -3.0), inputs=6, outputs=5),
    "CubaLIF": lambda: picture_graph(affine(6, 5), cuba(5), inputs=6, outputs=5),
    "LI": lambda: picture_graph(affine(6, 5), nir.LI(*full(5, 4 * DT, -2.0, 0.0)), inputs=6, outputs=5),
    "LI that keeps nothing": lambda: picture_graph(affine(6, 5), nir.LI(*full(5, DT, 2.0, 0.0)), inputs=6, outputs=5),
    "I": lambda: picture_graph(affine(6, 5), nir.I(*full(5, 0.5)), inputs=6, outputs=5),
    "CubaLI": lambda: picture_graph(
        affine(6, 5), nir.CubaLI(*full(5, 3 * DT, 6 * DT, 2.0, 0.0, 1.5)), inputs=6, outputs=5
    ),
    "Threshold": lambda: picture_graph(
        affine(6, 3),
        nir.Threshold(np.array([0.1, 0.5, 1.0])),
        nir.Linear(SOURCE.normal(size=(2, 3))),
        inputs=6,
        outputs=2,
    ),
    "Scale": lambda: picture_graph(nir.Scale(SOURCE.normal(size=6)), affine(6, 5), lif(5), inputs=6, outputs=5),
    "Delay": lambda: picture_graph(
        affine(6, 5), lif(5), nir.Delay(np.array([0, 1, 2, 3, 4]) * DT), affine(5, 4), lif(4), inputs=6, outputs=4
    ),
    "Conv1d": lambda: picture_graph(
        *(conv(1, 4, padding=1), nir.IF(*full((4, 8), 1.0, 0.8)), nir.Flatten({"input": np.array([4, 8])}, 0, -1)),
        *(affine(32, 3), lif(3)),
        inputs=(2, 8),
        outputs=3,
    ),
    "Conv1d, strides and groups": lambda: picture_graph(
        conv(1, 4, groups=2, stride=2, dilation=2), nir.IF(*full((4, 2), 1.0, 0.8)), inputs=(2, 8), outputs=(4, 2)
    ),
    "Conv2d, mean": lambda: picture_graph(
        *(conv(2, 4, padding="same"), nir.IF(*full((4, 8, 6), 1.0, 0.8)), pooling(nir.AvgPool2d)),
        *(nir.Flatten({"input": np.array([4, 4, 2])}, 0, -1), affine(32, 3, 3.0), cuba(3)),
        outputs=3,
    ),
    "Conv2d, sum": lambda: picture_graph(
        *(conv(2, 4, groups=2, padding=(1, 1)), nir.IF(*full((4, 8, 6), 1.0, 0.8)), pooling(nir.SumPool2d)),
        *(nir.Flatten({"input": np.array([4, 4, 2])}, 0, -1), affine(32, 3, 3.0), lif(3)),
        outputs=3,
    ),
}


def branching():
    start, end = ends(6, 5)
    nodes = {
        "in": start,
        "a": affine(6, 5),
        "n": lif(5),
        "b": affine(5, 5),
        "m": cuba(5),
        "c": affine(6, 5),
        "out": end,
    }
    chain = [("in", "a"), ("a", "n"), ("n", "b"), ("b", "m"), ("m", "out")]
    return graph_of(nodes, [*chain, ("n", "m"), ("in", "c"), ("c", "m"), ("n", "out")])


def recurrent(neuron=cuba, back=None, **more):
    start, end = ends(5, 5)
    nodes = {"input": start, "lif": neuron(5, **more), "w_rec": back or affine(5, 5), "output": end}
    return graph_of(nodes, [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")])


def nested():
    start, end = ends(6, 3)
    nodes = {"in": start, "a": affine(6, 5), "inner": recurrent(), "b": affine(5, 3), "n": lif(3), "out": end}
    return graph_of({"in": start, "whole": graph_of(nodes), "out": end})


def recurrent_residual():
    start, end = ends(6, 5)
    nodes = {
        "in": start,
        "a": affine(6, 5),
        "inner": recurrent(lif, r=-4.0),
        "b": affine(5, 5),
        "n": lif(5),
        "out": end,
    }
    edges = [("in", "a"), ("a", "inner"), ("inner", "b"), ("b", "n"), ("a", "n"), ("n", "out"), ("inner", "out")]
    return graph_of(nodes, edges)


GRAPHS |= {
    "branches and sums": branching,
    "a loop": recurrent,
    "a loop through a scale": lambda: recurrent(back=nir.Scale(SOURCE.normal(size=5) * 2)),
    "graphs in graphs": nested,
    "a loop beside a residual sum": recurrent_residual,
}


def made(name: str):
    """A graph with the same weights whatever was made before it."""
    SOURCE.bit_generator.state = np.random.default_rng(3).bit_generator.state
    return GRAPHS[name]()


@torch.no_grad()
def found(net, x: np.ndarray) -> np.ndarray:
    functional.set_backend(net, "torch")
    return net(torch.from_numpy(x.astype(np.float32)).unsqueeze(1))[:, 0].numpy()


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_computes_what_its_equations_say(name, tmp_path):
    graph = made(name)
    shape = next(
        tuple(node.input_type["input"].ravel()) for node in graph.nodes.values() if isinstance(node, nir.Input)
    )
    x = np.random.default_rng(5).random((40, *map(int, shape))) < 0.5
    expected = simulated(graph, x, DT)
    np.testing.assert_allclose(found(import_nir(graph, DT), x), expected, rtol=1e-5, atol=1e-5)
    assert len(np.unique(expected)) > 1 and (expected != 0).mean() > 0.01
    nir.write(tmp_path / "net.nir", graph)
    np.testing.assert_allclose(found(import_nir(tmp_path / "net.nir", DT), x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", GRAPHS)
def test_what_was_read_is_written_as_it_was(name, tmp_path):
    graph = made(name)
    start = next(node for node in graph.nodes.values() if isinstance(node, nir.Input))
    x = np.random.default_rng(5).random((40, *map(int, start.input_type["input"].ravel()))) < 0.5
    example = torch.from_numpy(x.astype(np.float32)).unsqueeze(1)
    export_nir(import_nir(graph, DT).eval(), example, tmp_path / "net.nir", DT)
    np.testing.assert_allclose(found(import_nir(tmp_path / "net.nir", DT), x), simulated(graph, x, DT), 1e-5, 1e-5)


@pytest.mark.parametrize("kind", [torch.as_tensor, lambda value: torch.as_tensor(value).requires_grad_()])
def test_tensors_and_numbers_without_dims_are_read(kind):
    graph = made("CubaLIF")
    x = np.random.default_rng(5).random((40, 6)) < 0.5
    expected = simulated(graph, x, DT)
    for name, node in graph.nodes.items():
        for key, value in vars(node).items():
            if isinstance(value, np.ndarray):
                setattr(node, key, kind(value[0]) if name == "1" else kind(value))
    assert np.array_equal(found(import_nir(graph, DT), x), expected)


def test_dt_is_counted_once():
    """The same net in other units of time: all times and dt ten times as long."""
    graph = made("Delay")
    x = np.random.default_rng(5).random((40, 6)) < 0.5
    expected = found(import_nir(graph, DT), x)
    for node in graph.nodes.values():
        for name in {"tau", "delay"} & set(vars(node)):
            setattr(node, name, getattr(node, name) * 10)
    assert np.array_equal(found(import_nir(graph, 10 * DT), x), expected) and expected.any()


def test_neurons_that_read_the_same_weights_leave_them_to_each_other():
    """One has a negative gain: the weights that both read must not change their sign."""
    start, end = ends(6, 5)
    nodes = {"in": start, "a": affine(6, 5), "n": lif(5, -3.0), "m": lif(5), "out": end}
    graph = graph_of(nodes, [("in", "a"), ("a", "n"), ("a", "m"), ("n", "out"), ("m", "out")])
    x = np.random.default_rng(5).random((40, 6)) < 0.5
    assert np.array_equal(found(import_nir(graph, DT), x), simulated(graph, x, DT))


START, END = ends(5, 5)
FRAME = {"in": START, "a": affine(5, 5), "n": lif(5), "b": affine(5, 5), "m": lif(5), "out": END}
CHAIN = [("in", "a"), ("a", "n"), ("n", "b"), ("b", "m"), ("m", "out")]


def large(**geometry):
    return picture_graph(conv(2, 4, **geometry), outputs=(4, 8, 6))


def deep(levels: int):
    graph = recurrent()
    for _ in range(levels):
        graph = graph_of({"in": START, "x": graph, "out": END})
    return graph


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (lambda: graph_of(FRAME, [*CHAIN, ("m", "a")]), "the loop [anbm →]+ is not one neuron with weights"),
        (lambda: graph_of(FRAME, [*CHAIN, ("b", "a")]), "is not one neuron with weights"),
        (lambda: graph_of(FRAME, CHAIN[:-1]), r"node out \(Output\).*the input does not reach it"),
        (lambda: graph_of({**FRAME, "x": lif(5)}, [*CHAIN, ("a", "x")]), r"node x \(LIF\).*not lead to the output"),
        (lambda: graph_of(FRAME, CHAIN[1:]), "the input does not reach it"),
        (lambda: graph_of(FRAME, [*CHAIN, ("m", "in")]), r"node in \(Input\).*must stand at the end of the graph"),
        (lambda: graph_of({**FRAME, "in2": START}, [*CHAIN, ("in2", "a")]), "must have one input, it has 2"),
        (lambda: graph_of({"in": START, "out": END}, [("in", "gone"), ("gone", "out")]), "needs a node gone, which is"),
        (lambda: graph_of({**FRAME, "a": affine(5, 4)}, [*CHAIN, ("in", "n")]), r"have the shapes \[\[4\], \[5\]\]"),
        (lambda: recurrent(back=affine(5, 4)), r"it gives \[5\], and what leads back to it \[4\]"),
        (lambda: recurrent(back=nir.Delay(np.full(5, DT))), "is not one neuron with weights from itself to itself"),
        (lambda: deep(20), "graphs are nested more than 16 deep"),
        (lambda: graph_of({"in": ends((70_000, 70_000), 1)[0], "out": END}), "at most 2²⁶ elements are read"),
        (lambda: large(padding="same", dilation=10**6), r"computes with 2 × \[2000008, 2000006\] elements in a step"),
        (lambda: large(padding=10**6, dilation=10**6), r"computes with 2 × \[2000008, 2000006\] elements in a step"),
        (lambda: large(padding=4000), r"computes with 2 × \[8008, 8006\] elements in a step, and at most 2²⁶ are read"),
        (
            lambda: graph_of({"in": ends((5000, 5000), 1)[0], "d": nir.Delay(np.array(4000 * DT)), "out": END}),
            r"keeps 4000 steps of \[5000, 5000\] elements",
        ),
        (
            lambda: graph_of({"in": START, "\x1b[2J" + "x" * 99: nir.Scale(np.ones(4)), "out": END}),
            r"\\x1b\[2Jx+… \(Sc",
        ),
        (lambda: graph_of({"in": START, "n": nir.LI(*full(5, DT, 1.0, 0.5)), "out": END}), "v_leak is not 0"),
        (lambda: graph_of({"in": START, "n": nir.Threshold(np.full(5, -1.0)), "out": END}), "threshold must be ≥ 0"),
        (lambda: graph_of({"in": START, "n": nir.Scale(np.full(5, np.nan)), "out": END}), "scale holds nan"),
        (lambda: graph_of({"in": START, "n": nir.LI(*full(5, 0.0, 1.0, 0.0)), "out": END}), "tau must be > 0, it is 0"),
        (lambda: graph_of({"in": START, "n": nir.I(np.zeros(5)), "out": END}), "r is 0, so that no input reaches"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(graph, text):
    with pytest.raises(ExportError, match=text):
        import_nir(graph(), DT)


def test_a_node_that_is_reached_in_two_ways_is_refused():
    start, end = ends(5, 5)
    inner = graph_of({"input": start, "output": end})
    nodes = {"in": start, "inner": inner, "n": lif(5), "out": end}
    with pytest.raises(ExportError, match=r"node n \(LIF\).*the output of in reaches it in two ways"):
        import_nir(graph_of(nodes, [("in", "inner"), ("inner", "n"), ("in", "n"), ("n", "out")]))


# The inputs of the LIF neuron in the NIR paper, as milliseconds between spikes, and Norse's potentials when they
# arrive (paper/01_lif/lif_norse.csv in github.com/neuromorphs/NIR); 0: it has fired.
WAITS = [6, 15, 4, 3, 0, 2, 1, 2, 0, 1, *[0] * 10, 13, *[0] * 11, 5, 0, 14]
POTENTIALS = [
    *(0.04, 0.04005827, 0.045202997, 0.048831135, 0.072464526, 0.061294258, 0.06709221, 0.059715554, 0.07970084),
    *(0.07522796, 0.090013996, 0.09984423, 0, 0.04, 0.066593304, 0.0842734, 0.09602771, 0, 0.04, 0.066593304),
    *(0.040219482, 0.06673923, 0.08437041, 0.09609221, 0, 0.04, 0.066593304, 0.0842734, 0.09602771, 0, 0.04),
]


def test_the_neuron_of_the_paper_has_the_potentials_that_were_published():
    start, end = ends(1, 1)
    neuron = nir.LIF(*(np.array([value], np.float32) for value in (0.0025, 1.0, 0.0, 0.1)))
    weight = nir.Affine(np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    net = import_nir(graph_of({"in": start, "0": weight, "1": neuron, "out": end}), DT)
    net[1].store_v_seq = True
    arrives = np.concatenate([[0] * wait + [1] for wait in WAITS])[:100]
    x = np.stack([arrives, *[np.zeros(100)] * 9], 1).reshape(-1, 1)
    spikes, potentials = found(net, x)[:, 0], net[1].v_seq[:, 0, 0].numpy() * 0.04
    steps = np.flatnonzero(x)[: len(POTENTIALS)]
    np.testing.assert_allclose(potentials[steps], POTENTIALS, rtol=2e-6)
    assert np.array_equal(spikes[steps], np.equal(POTENTIALS, 0))
