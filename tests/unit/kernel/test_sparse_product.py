"""Products with inputs that are mostly zero, against torch's in float64 and bit for bit against themselves."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_containers import CONTAINERS, plif
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from snntrain import functional, layer
from snntrain.kernel import sparse_product
from snntrain.kernel.sparse_product import LEAST_OUTPUTS, LEAST_ROWS, MOST_DENSITY, linear

EPS = 2.0**-23
VALUES = {
    "spikes": torch.ones_like,
    "ternary": lambda x: torch.randint_like(x, 2) * 2 - 1,
    "counts of events": lambda x: torch.randint_like(x, 1, 9),
    "pooled spikes": lambda x: torch.randint_like(x, 1, 5) / 4,
    "numbers": torch.randn_like,
}


def sparse(rows: int, inputs: int, share: float, values: str = "spikes") -> Tensor:
    """[rows, inputs], of which exactly this share, rounded down, is not zero."""
    x = torch.zeros(rows * inputs)
    active = torch.randperm(x.numel())[: int(share * x.numel())]
    x[active] = VALUES[values](x[active])
    return x.view(rows, inputs)


def given_tensors(
    rows: int = LEAST_ROWS, inputs: int = 40, outputs: int = 70, share: float = 0.05, values: str = "spikes"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, weight and bias, which want gradients, and the gradient of the output."""
    torch.manual_seed(rows + inputs)
    x = sparse(rows, inputs, share, values)
    made = [x, torch.randn(outputs, inputs), torch.randn(outputs)]
    return *(value.requires_grad_() for value in made), torch.randn(rows, outputs)


def gradients(y: Tensor, given: list[Tensor], g: Tensor, create_graph: bool = False) -> list[Tensor]:
    return [*torch.autograd.grad(y, given, g, create_graph=create_graph)]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(LEAST_ROWS, 1500),
    inputs=st.integers(1, 90),
    outputs=st.integers(LEAST_OUTPUTS, 150),
    share=st.floats(0, MOST_DENSITY),
    values=st.sampled_from(list(VALUES)),
    has_bias=st.booleans(),
)
def test_products_and_gradients_are_the_dense_ones_to_rounding(rows, inputs, outputs, share, values, has_bias):
    """Sums of n products, each rounded once: within n·eps of the sum of their sizes."""
    x, weight, bias, g = given_tensors(rows, inputs, outputs, share, values)
    inputs_of = [x, weight, bias] if has_bias else [x, weight]
    y = linear(x, weight, bias if has_bias else None)
    found = [y.detach(), *gradients(y, inputs_of, g)]
    exact = [value.detach().double().requires_grad_() for value in inputs_of]
    wanted_y = F.linear(*exact)
    wanted = [wanted_y.detach(), *gradients(wanted_y, exact, g.double())]
    sizes = [value.detach().double().abs().requires_grad_() for value in inputs_of]
    size_y = F.linear(*sizes)
    for one, other, size in zip(found, wanted, [size_y, *gradients(size_y, sizes, g.double().abs())], strict=True):
        assert ((one - other).abs() <= (rows + inputs + 2) * EPS * size).all()


def test_the_threshold_is_a_share_of_the_batch():
    x, weight, bias, _ = given_tensors(share=MOST_DENSITY)
    most = int(MOST_DENSITY * x.numel())
    assert x.count_nonzero() == most and linear(x, weight, bias) is not None
    denser = x.detach().flatten()
    denser[(denser == 0).nonzero()[-1]] = 1.0
    assert linear(denser.view_as(x), weight, bias) is None


NOT_SERVED = {
    "few rows": lambda x, w, b: (x[1:].clone(), w, b),
    "few outputs": lambda x, w, b: (x, w[: LEAST_OUTPUTS - 1], b[: LEAST_OUTPUTS - 1]),
    "float64": lambda x, w, b: (x.double(), w.double(), b.double()),
    "another order": lambda x, w, b: (x.t().contiguous().t(), w, b),
    "sizes that do not fit": lambda x, w, b: (x, w[:, 1:], b),
    "a vector": lambda x, w, b: (x[0], w, b),
    "another device": lambda x, w, b: (x.to("meta"), w.to("meta"), b.to("meta")),
    "an infinite weight": lambda x, w, b: (x, w.index_fill(1, torch.tensor([3]), torch.inf), b),
    "a weight that is NaN": lambda x, w, b: (x, w.index_fill(0, torch.tensor([3]), torch.nan), b),
}


@pytest.mark.parametrize("change", NOT_SERVED.values(), ids=NOT_SERVED)
def test_what_is_left_to_torch(change):
    x, weight, bias, _ = (value.detach() for value in given_tensors())
    assert linear(x, weight, bias) is not None
    assert linear(*change(x, weight, bias)) is None


def test_autocast_and_transforms_are_left_to_torch():
    x, weight, bias, _ = given_tensors()
    with torch.autocast("cpu"):
        assert linear(x, weight, bias) is None
    seen: list[Tensor | None] = []
    torch.vmap(lambda rows: seen.append(linear(rows, weight, bias)) or rows)(x.detach()[None])
    assert seen == [None]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_no_nan_is_hidden(value):
    """NaN and infinity in x are listed; a product of 0 with one in the gradient is torch's."""
    x, weight, bias, g = given_tensors()
    with torch.no_grad():
        x[7, 11], weight[5, 11] = value, 0.0
        g[3, 2] = value
    y, wanted = linear(x, weight, bias), F.linear(x, weight, bias)
    assert y is not None and torch.equal(y.isfinite(), wanted.isfinite()) and y[7, 5].isnan()
    found, dense = (gradients(one, [x, weight, bias], g) for one in (y, wanted))
    for a, b in zip(found, dense, strict=True):
        assert torch.equal(a.isnan(), b.isnan()) and torch.equal(a.isinf(), b.isinf())


def test_the_number_of_threads_changes_no_bit():
    before, found = torch.get_num_threads(), []
    x, weight, bias, g = given_tensors(rows=2500, inputs=70, outputs=100)
    x.requires_grad_(False)
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            y = linear(x, weight, bias)
            found.append([y, *gradients(y, [weight], g)])
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_sequences_and_inputs_without_gradient():
    x, weight, _, g = given_tensors()
    flat = linear(x, weight, None)
    found = linear(x.detach().view(8, -1, x.shape[1]), weight, None)
    assert found.shape == (8, len(x) // 8, len(weight)) and torch.equal(found.flatten(0, 1), flat)
    one, other = (gradients(y, [weight], g.view_as(y))[0] for y in (flat, found))
    assert torch.equal(one, other) and one.is_contiguous()
    with torch.inference_mode():
        assert torch.equal(linear(x, weight, None), flat)


@pytest.mark.parametrize("share", [MOST_DENSITY, 2 * MOST_DENSITY])
def test_a_convolution_of_one_pixel_is_a_product_at_every_place(share, monkeypatch):
    made, of_lists = [], sparse_product._Product.apply
    monkeypatch.setattr(sparse_product._Product, "apply", lambda *given: made.append(1) or of_lists(*given))
    torch.manual_seed(0)
    spikes = sparse(4 * 8 * 12 * 12, 20, share).view(4 * 8, 12, 12, 20).movedim(-1, 1)  # channels innermost
    x = spikes.unflatten(0, (4, 8)).requires_grad_()
    convolution = layer.Conv2d(20, LEAST_OUTPUTS, 1, step_mode="m")
    given, g = [x, *convolution.parameters()], torch.randn(4, 8, LEAST_OUTPUTS, 12, 12)
    dense = convolution(x)
    expected = gradients(dense, given, g)
    layer.set_fuse(convolution, "fast")
    found = convolution(x)
    assert bool(made) == (share <= MOST_DENSITY)
    torch.testing.assert_close(found, dense)
    for one, other in zip(gradients(found, given, g), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "arguments", [{"kernel_size": 3}, {"stride": 2}, {"padding": 1}, {"groups": 2}, {"dilation": 2, "padding": 1}]
)
def test_other_convolutions_stay_dense(arguments):
    x = torch.zeros(2, 16, 16, 20).movedim(-1, 1)
    convolution = layer.Conv2d(20, LEAST_OUTPUTS, **{"kernel_size": 1, **arguments})
    dense = convolution(x)
    layer.set_fuse(convolution, "fast")
    assert torch.equal(convolution(x), dense) and not convolution._is_linear()


def test_second_derivatives_are_torchs():
    x, weight, bias, g = given_tensors()
    found = []
    for product in (linear, F.linear):
        of_x, of_weight = gradients(product(x, weight, bias), [x, weight], g, create_graph=True)
        found.append(gradients(of_x.square().sum() + of_weight.square().sum(), [x, weight], torch.tensor(1.0)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_activation_checkpointing_gives_the_same_gradients():
    x, weight, bias, g = given_tensors()
    product = partial(linear, x, weight, bias)
    one, other = (gradients(y, [x, weight, bias], g) for y in (product(), checkpoint(product, use_reentrant=False)))
    assert all(map(torch.equal, one, other))


def test_a_batch_without_spikes_gives_the_bias():
    x, weight, bias, g = given_tensors(share=0.0)
    y = linear(x, weight, bias)
    assert torch.equal(y, bias.expand_as(y)) and not gradients(y, [weight], g)[0].any()


def test_counting_ends_where_it_is_too_much(monkeypatch):
    """A dense batch costs a tenth of a reading: rows after that are not counted."""
    counts = []
    run = sparse_product._run

    def noting(name, arguments, *more):
        run(name, arguments, *more)
        counts.append((name, (arguments[3] > 0).sum()))

    monkeypatch.setattr(sparse_product, "_run", noting)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert sparse_product._listed(torch.ones(1000, 40)) is None
    assert counts == [("count", 1000 * MOST_DENSITY + 1)]


@pytest.mark.parametrize("name", ["summed", "joined"])
def test_gradients_of_fed_back_weights_are_the_dense_ones_to_rounding(name, monkeypatch):
    torch.manual_seed(0)
    made, x = CONTAINERS[name](plif(), 80, False), 2 * sparse(900, 80, 0.02).view(9, 100, 80)
    with torch.no_grad():
        for weight in made.parameters():
            weight *= 5 if name == "joined" and weight.dim() else 1
    shapes, found = [], {}
    sparsely = sparse_product._weight_gradient
    noting = lambda g, *more: shapes.append(tuple(g.shape)) or sparsely(g, *more)  # noqa: E731
    monkeypatch.setattr(sparse_product, "_weight_gradient", noting)
    for fuse in ("exact", "fast"):
        net = functional.copy_net(made)
        layer.set_fuse(net, fuse)
        y = net(x)
        assert 0 < y.count_nonzero() <= MOST_DENSITY * y.numel()
        y.square().sum().backward()
        found[fuse] = [y.detach(), *(p.grad for p in net.parameters())]
        assert bool(shapes) == (fuse == "fast")
    assert (800, 80) in shapes and torch.equal(found["exact"][0], found["fast"][0])
    for one, other in zip(*found.values(), strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()
