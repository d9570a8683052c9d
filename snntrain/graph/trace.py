"""From a module to a torch.fx graph of its operations, or to an error that says where no graph can be made."""

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
from snntrain.graph.error import NetError, first_line
from snntrain.graph.node import OURS, note_origin
from snntrain.hooks import carries_state
from snntrain.layer.branch import Branches, Residual
from snntrain.layer.convolution import Conv2d
from snntrain.layer.dendritic import DendriticLinear
from snntrain.layer.linear import Linear
from snntrain.layer.per_step import PerStep, plain_class
from snntrain.layer.sequential import Sequential
from snntrain.layer.weight_standardization import WSConv2d, WSLinear

Form = Callable[[str, nn.Module], nn.Module | None]  # path and module → what takes its place, None: it stays


def replace_modules(module: nn.Module, form: Form, path: str = "") -> nn.Module:
    """Replace modules in place, those inside a module before the module itself.

    Args:
        form: gives what takes the place of a module, or None.
        path: of `module`.

    Returns: the module, or what takes its place.
    """
    for name, child in list(module._modules.items()):
        if child is None:
            continue
        replaced = replace_modules(child, form, f"{path}.{name}" if path else name)
        if replaced is not child:
            setattr(module, name, replaced)
    replacement = form(path, module)
    return module if replacement is None else replacement


def working_copy(net: nn.Module, form: Form | None = None) -> nn.Module:
    """A copy in eval mode and step mode 's' whose weights are plain parameters.

    Args:
        form: see replace_modules; None: no module is replaced.

    Raises: NetError if it cannot be copied.
    """
    try:
        copied = copy_net(net)
    except RuntimeError as error:  # torch does not copy a weight that a hook computes
        raise NetError(
            f"the net ({type(net).__name__})",
            f"torch cannot copy it ({first_line(error)})",
            "Remove weight norms that are hooks (torch.nn.utils.remove_weight_norm), and reset stateful modules.",
        ) from error
    net = copied if form is None else replace_modules(copied, form)
    net.eval()
    set_step_mode(net, "s")
    for module in net.modules():
        if isinstance(module, PerStep):  # of one step it is the layer that it was made of, whose inside is traced
            module.__class__ = plain_class(module)
    for path, module in list(net.named_modules()):
        if isinstance(module, (WSConv2d, WSLinear, DendriticLinear)):
            _fix_computed_weight(module)
        if parametrize.is_parametrized(module):
            _fix_parametrizations(module)
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, (WeightNorm, SpectralNorm)):
                remedy = "Use torch.nn.utils.parametrizations, or remove it (remove_weight_norm, remove_spectral_norm)."
                place = f"{path} ({type(module).__name__})"
                raise NetError(place, "a hook computes its weight anew at each call", remedy)
    return net


def drop_hooks(net: nn.Module) -> None:
    """Remove all hooks from a copy. A hook that changed values shows when the results are compared."""
    for module in net.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            hooks.clear()


def _fix_parametrizations(module: nn.Module) -> None:
    """Make it the plain layer with its present weights. torch's own removal would change the original's class too."""
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        setattr(module, name, nn.Parameter(value))


def _fix_computed_weight(module: WSConv2d | WSLinear | DendriticLinear) -> None:
    """Make it the plain layer that has the weight which it computes."""
    module.weight = nn.Parameter(module.get_weight().detach())
    for name in ("gain", "mask"):
        if getattr(module, name, None) is not None:
            delattr(module, name)
    module.__class__ = Conv2d if isinstance(module, WSConv2d) else Linear


def trace(net: nn.Module) -> fx.GraphModule:
    """The graph of a net's forward, which takes one tensor; layers of torch and of snntrain are its leaves.

    Raises: NetError naming the module and the line where tracing stopped, or the inputs that are too many.
    """
    constants = constant_arguments(net)
    tracer = _Tracer()
    try:
        graph = tracer.trace(net, concrete_args=constants or None)
    except NetError:
        raise
    except Exception as error:
        place = f"module {tracer.deepest} in the net" if tracer.deepest else "the net"
        raise NetError(
            f"{place} ({tracer.deepest_type or type(net).__name__})",
            f"its forward cannot be traced{_line_of(error)}: {first_line(error)}",
            "It must be the same operations for every input: no if, for or int() on values or shapes of tensors. Move "
            "the decision into __init__, or wrap the line in a module without it.",
        ) from error
    _drop_constant_inputs(graph)
    gm = fx.GraphModule(net, graph, type(net).__name__)
    note_origin(gm)
    return gm


def constant_arguments(net: nn.Module) -> dict[str, Any]:
    """Default values of all arguments of forward but the first.

    Raises: NetError if forward needs no input, or several.
    """
    parameters = list(inspect.signature(net.forward).parameters.values())
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p.name for p in named if p.default is p.empty]
    variadic = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    place = f"forward ({type(net).__name__})"
    if not named and not variadic:
        raise NetError(place, "it takes no input", "Let it take one tensor.")
    if len(required) > 1 or variadic:
        inputs = ", ".join(required + [f"*{name}" for name in variadic])
        raise NetError(place, f"it takes several inputs ({inputs})", "Join them into one tensor beforehand.")
    return {p.name: p.default for p in named[1:]}


def _drop_constant_inputs(graph: fx.Graph) -> None:
    # For every argument that was given as a constant, fx keeps a placeholder and a check of its value.
    _, *extra = [node for node in graph.nodes if node.op == "placeholder"]
    for node in extra:
        for user in list(node.users):
            checks = [user, *user.users]
            if not all(str(getattr(check.target, "__name__", "")).startswith(("_assert", "eq")) for check in checks):
                place = f"{node.name} (argument of forward)"
                raise NetError(place, "it reaches the operations", "Leave it out of forward.")
            for check in reversed(checks):
                graph.erase_node(check)
        graph.erase_node(node)


class _Proxy(fx.Proxy):
    """Also records that x += y changes x itself, where torch.fx would record x = x + y."""

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
        if type(m) is Sequential:
            return False
        if type(m).__module__.startswith(("snntrain.neuron.", *OURS)):
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


def _line_of(error: BaseException) -> str:
    """' at file:line (`source`)' of the innermost frame that is neither torch's nor this file's."""
    ours = {str(Path(torch.__file__).parent), str(Path(__file__))}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not any(frame.filename.startswith(path) for path in ours) and Path(frame.filename).suffix == ".py":
            return f" at {Path(frame.filename).name}:{frame.lineno} (`{frame.line}`)"
    return ""


def tidy(gm: fx.GraphModule, dead_code: bool = True) -> None:
    """Check a graph that was changed, remove the modules that nothing calls, and generate its code again.

    Args:
        dead_code: remove the operations that nothing uses first.
    """
    if dead_code:
        gm.graph.eliminate_dead_code()
    gm.delete_all_unused_submodules()
    gm.graph.lint()
    gm.recompile()
