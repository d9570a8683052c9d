"""Spyx: its LIF under jax.jit on the CPU, scanned over time by spyx.nn.run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spyx
import spyx.bench
from flax import nnx

from libraries.cases import TAU, Arrays, Case
from libraries.equations import LATE, Form

#: Seconds in its repository: research/new/pallas_neurons/profile_results_cpu.json, H = T = batch = 64, "lif_scan".
PUBLISHED = {"forward": 0.131e-3, "both": 0.576e-3}


class Contender:
    """A dense layer on all steps at once, then the neuron; forward keeps what backward needs, as torch does."""

    title = "Spyx"
    packages = ("spyx", "jax", "jaxlib", "flax")
    form = Form(reset=LATE, delay=1, strict=True)

    def refusal(self, case: Case) -> str | None:
        """Nets are left out."""
        return "measured as a single layer only" if case.is_net else None

    def build(self, case: Case, arrays: Arrays) -> None:
        """Compile both directions on their first call."""
        self.case, features = case, case.sample[0]
        node = spyx.nn.LIF((features,), beta=1 - 1 / TAU, activation=spyx.axn.arctan(2), rngs=nnx.Rngs(0))
        graph, state = nnx.split(node)
        self.x, self.g = jnp.asarray(arrays.x), jnp.asarray(arrays.g)
        # The weights of a dense layer are trained; the input is where there is none.
        self.trained = jnp.asarray(arrays.weights[0].T / TAU) if arrays.weights else self.x / TAU
        dense = bool(arrays.weights)
        self.transpose = dense

        def run(trained: Any, x: Any) -> Any:
            current = x @ trained if dense else trained
            return spyx.nn.run(nnx.merge(graph, state), current)[0]

        # The function that vjp returns is a tree of arrays, so that both directions are compiled on their own.
        self._forward = jax.jit(lambda trained, x: jax.vjp(lambda w: run(w, x), trained))
        self._backward = jax.jit(lambda pull, g: pull(g)[0])

    def forget(self) -> None:
        """Free what the pass before left."""
        self.y = self.pull = self.found = None

    def forward(self) -> None:
        """One pass from the zero state."""
        self.y, self.pull = jax.block_until_ready(self._forward(self.trained, self.x))

    def backward(self) -> None:
        """The gradient of the weights, or of the input."""
        self.found = jax.block_until_ready(self._backward(self.pull, self.g))

    def step(self) -> None:
        """Nets are refused."""
        raise NotImplementedError

    def output(self) -> np.ndarray:
        """The spikes of the last forward."""
        return np.asarray(self.y)

    def gradient(self) -> np.ndarray:
        """With respect to the case's own weights or input."""
        found = np.asarray(self.found) / TAU
        return found.T if self.transpose else found

    def own_benchmark(self) -> dict[str, dict[str, float]] | None:
        """What the library's own harness says of the case that it publishes figures of."""
        if self.case.name != "lif64":
            return None
        T, N, features = self.x.shape
        node = spyx.nn.LIF((features,), rngs=nnx.Rngs(0))
        found = spyx.bench.benchmark(node, (features,), seq_len=T, batch=N)
        measured = {"forward": found.fwd_latency_ms / 1e3, "both": found.fwd_bwd_latency_ms / 1e3}
        return {"measured": measured, "published": PUBLISHED}

    def rates(self) -> list[float]:
        """Of the one layer."""
        return [float(self.y.mean())]
