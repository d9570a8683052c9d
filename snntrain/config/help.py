"""What `train.py --help neuron=plif` adds: every key of the choices on the command line, and what it means."""

from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from snntrain.config.folders import groups
from snntrain.terminal import bold

_LONG = 40
"""Characters of a value that are shown; a list of layers is longer."""


def print_choices(console: Console, overrides: Sequence[str]) -> None:
    """Print the keys of each choice of a group among checked overrides: value, what else it may be, meaning."""
    for group, name in _choices(overrides):
        from snntrain.config.reference import describe_choice  # here: it imports torch, which takes seconds

        choice = describe_choice(group, name)
        console.print(bold(f"\n{group}={name}", f"   {choice.about}"))
        for key in choice.keys:
            value = key.default if key.value is None else key.value
            shown = value if len(value) <= _LONG else "…"
            console.print(Text.assemble((f"{key.path}={shown}", "bold"), f"   {key.allowed}"))
            console.print(Padding(key.sentence, (0, 0, 0, 4)))


def _choices(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    known = groups()
    for text in overrides:
        override = OverridesParser.create().parse_override(text)
        if override.key_or_group in known and not override.is_delete() and not override.is_sweep_override():
            value = override.value()
            for name in value if isinstance(value, list) else [value]:
                if name in known[override.key_or_group]:
                    yield override.key_or_group, name
