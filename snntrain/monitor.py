"""Look inside a network: the spikes and the states of every layer of neurons, over time.

    seen = record(net, x)  # x [T, N, *]
    seen["layers.2"]["spikes"], seen["layers.2"]["v"]  # each [T, N, *]

snntrain.plot draws what was recorded.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snntrain.arguments import invalid
from snntrain.base import MemoryModule, detached_copy
from snntrain.functional import reset_net
from snntrain.hooks import modules_with_step_mode, spiking_layers, step_mode_of, watching
from snntrain.layer.padding import padded
from snntrain.registry import did_you_mean


class Recording(Mapping[str, dict[str, Tensor]]):
    """What layers of neurons did while they were recorded.

    `seen["layers.2"]["spikes"]` is what that layer sent, [T, N, *], and `seen["layers.2"]["v"]` its potential after the
    reset of every step; a neuron with more states has them under their names. Layers stand in the order of the network,
    under the paths that `print(net)` and the table of layers show.
    """

    def __init__(self) -> None:
        # path → batches → calls → name → [T, N, *]
        self._batches: dict[str, list[list[dict[str, Tensor]]]] = {}

    def __getitem__(self, path: str) -> dict[str, Tensor]:
        if path not in self._batches:
            raise KeyError(f"no layer of neurons was called at {path!r}; recorded are {', '.join(self) or 'none'}")
        batches = self._batches[path]
        joined = [{name: torch.cat([call[name] for call in calls]) for name in calls[0]} for calls in batches]
        lengths = sorted({len(next(iter(batch.values()))) for batch in joined if batch})
        if len(lengths) > 1:
            raise ValueError(
                f"recording: {path} was reset between sequences of {' and '.join(map(str, lengths))} steps. "
                "Record sequences of different lengths one by one."
            )
        return {name: torch.cat([batch[name] for batch in joined], 1) for name in joined[0]}

    def __iter__(self) -> Iterator[str]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def _add(self, path: str, is_new_batch: bool, call: dict[str, Tensor]) -> None:
        batches = self._batches.setdefault(path, [])
        if is_new_batch or not batches:
            batches.append([])
        batches[-1].append(call)


def record(
    net: nn.Module,
    x: Tensor,
    what: Iterable[str] = ("spikes", "v"),
    layers: Iterable[str] | None = None,
    lengths: Tensor | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Run a network on a batch and return what its layers of neurons did.

    The network is evaluated without gradients, from reset states, and left as it was found: its states, its training
    flags and its stored states. A module that keeps a state of its own kind is reset instead, before and after.

    Args:
        net: a network, or one neuron, whose path is "".
        x: a batch as the network takes it, [T, N, *]; a network in step mode 's' gets its steps one by one.
        what: "spikes", and states by their names, such as "v"; a layer that lacks a state is recorded without it.
        layers: paths of layers of neurons, as `print(net)` shows them; None: all of them.
        lengths: real steps of padded sequences, int64 [N], as in the batches of such data; None: all steps are real.

    Returns: path of the layer → name → [T, N, *] on the CPU, in the order of the network.
    Raises: ValueError naming a layer or a state that the network does not have.
    """
    training = [(module, module.training) for module in net.modules()]
    with contextlib.ExitStack() as stack:
        for module, flag in training:
            stack.callback(setattr, module, "training", flag)
        stack.enter_context(kept_states(net))
        stack.enter_context(torch.no_grad())
        stack.enter_context(padded(lengths, len(x)))
        seen = stack.enter_context(recording(net, what, layers))
        net.eval()
        if takes_single_steps(net):
            for step in x:
                net(step)
        else:
            net(x)
        return {path: {name: values.cpu() for name, values in seen[path].items()} for path in seen}


@contextlib.contextmanager
def recording(
    net: nn.Module, what: Iterable[str] | None = None, layers: Iterable[str] | None = None
) -> Iterator[Recording]:
    """Inside the block, keep the spikes and the states of every layer of neurons at each call of the net.

        with monitor.recording(run.net) as seen:
            run.predict(x)
        seen["layers.2"]["spikes"], seen["layers.2"]["v"]  # each [T, N, *]

    Calls without a reset between them are one sequence; after a reset the next samples begin. Everything is kept, as
    copies without a graph, so record a few samples and not a data set.

    Args:
        net: a network, or one neuron, whose path is "".
        what: as in record; None: the spikes and all states.
        layers: as in record.

    Raises: ValueError if the net has no layer of neurons, and as record does.
    """
    chosen = _chosen(net, layers)
    wanted = None if what is None else _wanted(what, chosen)
    seen, is_new = Recording(), {}
    before = {path: layer.stored_states for path, layer in chosen.items() if hasattr(layer, "stored_states")}

    def see(path: str, layer: nn.Module, output: Tensor) -> None:
        is_whole = step_mode_of(layer) == "m"
        states = {name: getattr(layer, f"{name}_seq" if is_whole else name, None) for name in _states_of(layer, wanted)}
        call = {"spikes": output} if wanted is None or "spikes" in wanted else {}
        call |= {name: value for name, value in states.items() if isinstance(value, Tensor)}
        copies = {name: detached_copy(value if is_whole else value.unsqueeze(0)) for name, value in call.items()}
        seen._add(path, is_new[path], copies)

    def look(path: str, layer: nn.Module) -> None:
        if isinstance(layer, MemoryModule):
            is_new[path] = not any(map(_holds_a_tensor, layer.memories()))
        else:  # nothing tells when its state is reset
            is_new[path] = step_mode_of(layer) != "s"

    with contextlib.ExitStack() as stack:
        for path, layer in chosen.items():
            handle = layer.register_forward_pre_hook(lambda layer, inputs, path=path: look(path, layer))
            stack.callback(handle.remove)
        for path, states in before.items():
            stack.callback(setattr, chosen[path], "stored_states", states)
            chosen[path].stored_states = _states_of(chosen[path], wanted)
        stack.enter_context(watching(chosen, see))
        yield seen


def firing_rates(seen: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Share of a layer's neurons that fire in each step, [T], of what record or recording returned."""
    return {
        path: np.asarray(layer["spikes"] != 0).reshape(len(layer["spikes"]), -1).mean(1) for path, layer in seen.items()
    }


def telling_neurons(v: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """Of neurons [T, n]: the one that fires most, one in the middle of those that fire, the highest silent one."""
    count, reached = spikes.sum(0, dtype=int), np.nan_to_num(v.max(0), nan=-np.inf)
    order = np.lexsort((-reached, -count))  # the most spikes first, of equal ones the highest potential
    firing = int((count > 0).sum())
    places = [0, firing // 2, firing] if firing else range(3)
    return order[sorted({place for place in places if place < len(order)})]


def takes_single_steps(net: nn.Module) -> bool:
    """Whether a network is in step mode 's', so that it takes steps [N, *] and not sequences."""
    modes = [step_mode_of(module) for _, module in modules_with_step_mode(net)]
    return bool(modes) and all(mode == "s" for mode in modes)


def _chosen(net: nn.Module, layers: Iterable[str] | None) -> dict[str, nn.Module]:
    found = spiking_layers(net)
    if not found:
        raise ValueError(
            f"recording: {type(net).__name__} has no layer of spiking neurons, so nothing can be recorded."
        )
    if layers is None:
        return found
    if isinstance(layers, str):
        raise invalid("recording", "layers", "a list of paths", layers)
    named = list(layers)
    for path in named:
        if path not in found:
            near = did_you_mean(str(path), found)
            raise ValueError(f"recording: there is no layer of neurons at {path!r}.{near} Known: {', '.join(found)}.")
    return {path: layer for path, layer in found.items() if path in named}


def _wanted(what: Iterable[str], layers: Mapping[str, nn.Module]) -> tuple[str, ...]:
    if isinstance(what, str):
        raise invalid("recording", "what", "a list of names", what)
    known = dict.fromkeys(["spikes", *(state for layer in layers.values() for state in _states_of(layer, None))])
    wanted = tuple(what)
    usual = {*known, "v"}  # also where no neuron has a potential, since it is asked for unless something else is
    if not wanted or not set(wanted) <= usual:
        raise invalid("recording", "what", f"some of {', '.join(known)}, which these layers have", wanted)
    return wanted


def _states_of(layer: nn.Module, wanted: Iterable[str] | None) -> tuple[str, ...]:
    names = layer.state_names if hasattr(layer, "stored_states") else ()
    return names if wanted is None else tuple(name for name in names if name in wanted)


def _holds_a_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (list, tuple)) and any(map(_holds_a_tensor, value)))


@contextlib.contextmanager
def kept_states(net: nn.Module) -> Iterator[None]:
    """Begin the block with reset states, and put back afterward what was there, also sequences that neurons store.

    Of a module that keeps a state of its own kind, which nothing can put back, the state is reset.
    """
    kept = []
    for module in net.modules():
        if isinstance(module, MemoryModule):
            sequences = [f"{name}_seq" for name in getattr(module, "stored_states", ())]
            own = {name: vars(module)[name] for name in ("_last_call", *sequences) if name in vars(module)}
            kept.append((module, dict(module.named_memories()), own))
    reset_net(net)
    try:
        yield
    finally:
        reset_net(net)
        for module, memories, own in kept:
            for name, value in memories.items():
                setattr(module, name, value)
            vars(module).update(own)
