"""Checks of firing rates: neurons that say nothing, and neurons that always say the same."""

from collections.abc import Iterator

from snntrain.audit.finding import Seen, check
from snntrain.audit.survey import Module, Survey

DEAD = ALWAYS = 0.5
"""The check reports neurons of a layer from these shares on."""
_FEWEST = 8  # steps times samples from which on a neuron can be called dead or stuck


@check(
    "silent layer",
    severity="warning",
    remedy="Lower v_threshold, raise tau or the weights (model.init), or add normalization before the neurons.",
    source="github.com/fangwei123456/spikingjelly/issues/285",
)
def silent_layer(survey: Survey) -> Iterator[Seen]:
    """Layers in which no neuron fires; the first one is named, and those behind it are counted."""
    silent = {path: seen for path, seen in _layers(survey) if not seen.neurons.any()}
    if silent:
        path, seen = next(iter(silent.items()))
        more = len(silent) - 1
        others = f" {more} more {'layers are' if more > 1 else 'layer is'} silent, too." if more else ""
        yield Seen(
            path,
            f"None of {seen.neurons.numel():,} neurons fired in {seen.seen:,} steps of samples.{others}",
            severity=None if survey.trained else "info",
        )


@check(
    "dead neurons",
    severity="info",
    remedy="Lower v_threshold, or let task.loss=rate_regularized ask for a lowest rate; more samples may wake some.",
    source="github.com/jeshraghian/snntorch/issues/219",
)
def dead_neurons(survey: Survey) -> Iterator[Seen]:
    """Layers in which most neurons never fire."""
    for path, seen in _layers(survey):
        dead = int((seen.neurons == 0).sum())
        share = dead / seen.neurons.numel()
        if share >= DEAD and dead < seen.neurons.numel() and survey.trained and seen.seen >= 16 * _FEWEST:
            yield Seen(
                path, f"{share:.0%} of {seen.neurons.numel():,} neurons never fired in {seen.seen:,} steps of samples."
            )


@check(
    "always firing",
    severity="warning",
    remedy="Raise v_threshold, lower the weights or the bias, or let task.loss=rate_regularized bound the rate: such a "
    "neuron tells nothing of its input.",
    source="github.com/jeshraghian/snntorch/issues/159",
)
def always_firing(survey: Survey) -> Iterator[Seen]:
    """Layers in which most neurons fire at every step of every sample."""
    for path, seen in _layers(survey):
        always = int((seen.neurons == seen.seen).sum())
        share = always / seen.neurons.numel()
        if share >= ALWAYS and seen.seen >= _FEWEST and seen.gives.kind == "spikes":
            yield Seen(
                path,
                f"{share:.0%} of {seen.neurons.numel():,} neurons fired in each of {seen.seen:,} steps of samples.",
                severity=None if survey.trained else "info",
            )


def _layers(survey: Survey) -> Iterator[tuple[str, Module]]:
    for path in survey.neurons:
        seen = survey.modules[path]
        if seen.neurons is not None and seen.neurons.numel():
            yield path, seen
