"""From a module to a torch.fx graph of its operations, with an error that says where no graph can be made."""

import contextlib
import functools
import inspect
import operator
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from snntrain.base import StepModule
from snntrain.functional import copy_net, set_step_mode
from snntrain.hooks import carries_state
from snntrain.layer.branch import Branches, Residual
from snntrain.layer.convolution import Conv2d
from snntrain.layer.linear import Linear
from snntrain.layer.weight_standardization import WSConv2d, WSLinear


class ConversionError(ValueError):
    """A net, or a part of it, that cannot be converted; the text names the node, its type and a way out."""


def refusal(name: str, kind: str, reason: str, remedy: str) -> ConversionError:
    """The error every refusal of a node raises."""
    return ConversionError(f"ann2snn: {name} ({kind}) cannot be converted: {reason}. {remedy}")


def title_of(node: fx.Node) -> str:
    """A module's path; of a function the name of its node and the module that calls it."""
    if node.op == "call_module":
        return node.target
    owner = next(reversed(node.meta.get("nn_module_stack") or {}), "")
    return f"{node.name} in {owner}" if owner else node.name


def free_path(gm: fx.GraphModule, wish: str) -> str:
    """The path, or one like it, at which a module can be added without replacing anything."""
    path, number = wish, 1
    while _has(gm, path):
        number += 1
        path = f"{wish}_use{number}"
    return path


def _has(gm: fx.GraphModule, path: str) -> bool:
    try:
        operator.attrgetter(path)(gm)
    except AttributeError:
        return False
    return True


def note_origin(gm: fx.GraphModule) -> None:
    """Remember what every node of a freshly traced graph is, for the report."""
    origin = {}
    for node in gm.graph.nodes:
        if node.op == "call_module":
            origin[node.name] = (node.target, type(gm.get_submodule(node.target)).__name__)
        elif node.op in ("call_function", "call_method"):
            origin[node.name] = (title_of(node), getattr(node.target, "__name__", str(node.target)))
    gm.meta["origin"] = origin
    gm.meta["places"] = {}


def note_place(gm: fx.GraphModule, node: fx.Node, place: str, what: str = "") -> None:
    """Remember where a node went: the path of a module, and what happened if that does not say it."""
    gm.meta.setdefault("places", {})[node.name] = (place, what)


def working_copy(ann: nn.Module) -> nn.Module:
    """A copy in eval mode and step mode 's', its weights plain parameters.

    Raises: ConversionError if it cannot be copied.
    """
    try:
        net = copy_net(ann)
    except RuntimeError as error:  # e.g. a weight computed by a hook, which torch does not copy
        raise ConversionError(
            f"ann2snn: a copy of the net ({type(ann).__name__}) could not be made ({_first_line(error)}). Remove "
            "weight norms that are hooks (torch.nn.utils.remove_weight_norm), and reset stateful modules."
        ) from error
    net.eval()
    set_step_mode(net, "s")
    for path, module in list(net.named_modules()):
        if isinstance(module, (WSConv2d, WSLinear)):
            _fix_standardized_weight(module)
        if parametrize.is_parametrized(module):
            _fix_parametrizations(module)
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, (WeightNorm, SpectralNorm)):
                remedy = "Use torch.nn.utils.parametrizations, or remove it (remove_weight_norm, remove_spectral_norm)."
                raise refusal(path, type(module).__name__, "a hook computes its weight anew at each call", remedy)
    return net


def drop_hooks(net: nn.Module) -> None:
    """Take all hooks from a copy; what they change is missed when the results are compared."""
    for module in net.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            hooks.clear()


def _fix_parametrizations(module: nn.Module) -> None:
    """Make it the plain layer that has its present weights; torch's removal would change the class of the original."""
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        setattr(module, name, nn.Parameter(value))


def _fix_standardized_weight(module: WSConv2d | WSLinear) -> None:
    """Make it the plain layer that has its standardized weight."""
    module.weight = nn.Parameter(module.get_weight().detach())
    if module.gain is not None:
        del module.gain
    module.__class__ = Conv2d if isinstance(module, WSConv2d) else Linear


def trace(net: nn.Module) -> fx.GraphModule:
    """The graph of a net's forward, which takes one tensor; layers of torch and of snntrain are its leaves.

    Raises: ConversionError naming the module and the line where tracing stopped, or the inputs that are too many.
    """
    constants = constant_arguments(net)
    tracer = _Tracer()
    try:
        graph = tracer.trace(net, concrete_args=constants or None)
    except ConversionError:
        raise
    except Exception as error:
        place = f"module {tracer.deepest} in the net" if tracer.deepest else "the net"
        raise ConversionError(
            f"ann2snn: {place} ({tracer.deepest_type or type(net).__name__}) cannot be traced{_line_of(error)}: "
            f"{_first_line(error)} Its forward must be the same operations for every input: no if, for or int() on "
            "values or shapes of tensors. Move the decision into __init__, or wrap the line in a module without it."
        ) from error
    _drop_constant_inputs(graph)
    gm = fx.GraphModule(net, graph, type(net).__name__)
    note_origin(gm)
    return gm


def constant_arguments(net: nn.Module) -> dict[str, Any]:
    """Default values of all arguments of forward but the first.

    Raises: ConversionError if forward needs no input, or several.
    """
    parameters = list(inspect.signature(net.forward).parameters.values())
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p.name for p in named if p.default is p.empty]
    variadic = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    if not named and not variadic:
        raise refusal("forward", type(net).__name__, "it takes no input", "Let it take one tensor.")
    if len(required) > 1 or variadic:
        inputs = ", ".join(required + [f"*{name}" for name in variadic])
        raise refusal(
            "forward",
            type(net).__name__,
            f"it takes several inputs ({inputs})",
            "Join them into one tensor beforehand.",
        )
    return {p.name: p.default for p in named[1:]}


def _drop_constant_inputs(graph: fx.Graph) -> None:
    # fx keeps a placeholder, and a check of its value, for every argument that was given as a constant.
    _, *extra = [node for node in graph.nodes if node.op == "placeholder"]
    for node in extra:
        for user in list(node.users):
            checks = [user, *user.users]
            if not all(str(getattr(check.target, "__name__", "")).startswith(("_assert", "eq")) for check in checks):
                raise refusal(node.name, "argument of forward", "it reaches the operations", "Leave it out of forward.")
            for check in reversed(checks):
                graph.erase_node(check)
        graph.erase_node(node)


class _Proxy(fx.Proxy):
    """Also records that x += y changes x itself, which torch.fx takes for x = x + y."""

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class _Tracer(fx.Tracer):
    """Enters containers and blocks, those of snntrain included, and stops at layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[tuple[str, str]] = []
        self.deepest = self.deepest_type = ""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m).__module__.startswith(("snntrain.layer.", "snntrain.neuron.", "snntrain.ann2snn.")):
            return True
        return super().is_leaf_module(m, module_qualified_name) or isinstance(m, StepModule) or carries_state(m)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        with self._inside(m):
            joined = self._join(m, *args) if isinstance(m, (Residual, Branches)) else NotImplemented
            return super().call_module(m, forward, args, kwargs) if joined is NotImplemented else joined

    @contextlib.contextmanager
    def _inside(self, m: nn.Module) -> Iterator[None]:
        self.stack.append((self.path_of_module(m), type(m).__name__))
        try:
            yield
        except BaseException:
            if not self.deepest:
                self.deepest, self.deepest_type = self.stack[-1]
            raise
        finally:
            self.stack.pop()

    def _join(self, m: Residual | Branches, x: fx.Proxy) -> Any:
        """The join of the paths as plain operations; NotImplemented for joins that are products."""
        paths = (m.residual, m.shortcut) if isinstance(m, Residual) else tuple(m.branch)
        if m.join == "add":
            return functools.reduce(operator.add, [path(x) for path in paths])
        if m.join == "concat":
            return torch.cat([path(x) for path in paths], dim=1)
        return NotImplemented


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return text if text.endswith(".") else f"{text}."


def _line_of(error: BaseException) -> str:
    """' at file:line (`source`)' of the innermost frame that is neither torch's nor this file's."""
    ours = {str(Path(torch.__file__).parent), str(Path(__file__))}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not any(frame.filename.startswith(path) for path in ours) and Path(frame.filename).suffix == ".py":
            return f" at {Path(frame.filename).name}:{frame.lineno} (`{frame.line}`)"
    return ""


def tidy(gm: fx.GraphModule) -> None:
    """Take out what nothing uses, check the graph, and make its code anew."""
    gm.graph.eliminate_dead_code()
    gm.delete_all_unused_submodules()
    gm.graph.lint()
    gm.recompile()
