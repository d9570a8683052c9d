"""The reference of the config: a page for each group, made from what snntrain.config.reference knows of it."""

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import yaml

from site_pages.markdown import code, file_text, table, text
from snntrain.config.folders import SEARCHES, config_files, groups
from snntrain.config.reference import (
    Choice,
    Key,
    as_yaml,
    describe_arguments,
    describe_choice,
    group_sentences,
    root_keys,
)
from snntrain.installation import CONF
from snntrain.lab.search.settings import Objective, Parameter, Pruner, Sampler, Search

FOLDER = "reference/config"
_LONG = 60
"""Characters of a value that are shown in a table; a longer one can be read in the file above it."""
_FOLDED = 20
"""Lines of a file from which on it is folded away."""
_NEEDED = 3
"""Choices that must have a key in common before it is described once for all of them."""


def pages() -> dict[str, str]:
    """Path → text of the pages, in the order of the menu."""
    found = {f"{FOLDER}/index.md": _index()}
    for group, names in groups().items():
        found[page_of(group)] = _page(group, [describe_choice(group, name) for name in names])
    found[page_of(SEARCHES)] = _search_page()
    return found


def page_of(group: str) -> str:
    """The path of a group's page."""
    return f"{FOLDER}/{group.replace('/', '_')}.md"


def _index() -> str:
    chosen = _defaults()
    rows = [
        [
            f"[`{group}`]({page_of(group).rpartition('/')[2]})",
            code(chosen.get(group, "")),
            str(len(names)),
            text(group_sentences().get(group, _GROUPS.get(group, ""))),
        ]
        for group, names in groups().items()
    ]
    rows.append(["[`search`](search.md)", "", str(len(config_files(SEARCHES))), text(_GROUPS[SEARCHES])])
    return f"""# Config

`python train.py key=value group=choice` sets any key and chooses any file of `conf/`. `python train.py --help` shows
the resulting config, and `python train.py --help neuron=plif` what these pages say of that choice. A key that does not
exist is refused with the one you probably meant. All of it is made from the files, the signatures and the constructors'
own checks.

## Groups

{table(["group", "default", "choices", "what it chooses"], rows)}
## Keys at the root

{table(["key", "default", "may be", "meaning"], map(_common_row, root_keys()))}"""


_GROUPS = {
    "model": "The layers of the network.",
    "neuron": "The neuron that stands wherever a model says `neuron`.",
    "norm": "The normalization that stands wherever a model says `norm`.",
    "surrogate": "The surrogate gradient of the neurons.",
    "encoder": "How a sample becomes a sequence of T steps.",
    "data": "The data set.",
    "data/augment": "Random changes of the training pictures.",
    "task": "What is learned: readout, loss, metrics.",
    "optim": "The optimizer.",
    "optim/schedule": "How the learning rate moves.",
    "trainer": "Lightning's Trainer: devices, precision, epochs.",
    "callbacks": "What happens during and after the training; a list, `callbacks=[default,ema]`.",
    "logger": "Where logged steps go.",
    "debug": "Short runs that look for errors.",
    "launch": "How the jobs of a sweep are started.",
    "experiment": "A recorded experiment, which chooses in the groups above.",
    "search": "What `scripts/tune.py` searches.",
}


def _defaults() -> dict[str, str]:
    """Group → its choice in conf/config.yaml."""
    entries = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = {group: choice for entry in entries if isinstance(entry, dict) for group, choice in entry.items()}
    return {group: as_yaml(choice) for group, choice in chosen.items() if choice is not None}


def _page(group: str, choices: Sequence[Choice]) -> str:
    shared = _shared(choices)
    rows = [[f"[`{choice.name}`](#{choice.name})", text(choice.about)] for choice in choices]
    parts = [f"# `{group}=`\n", text(_GROUPS[group]) + "\n", table(["choice", "what it is"], rows)]
    if shared:
        parts += ["## Keys of most choices\n", table(["key", "default", "may be", "meaning"], map(_common_row, shared))]
    for choice in choices:
        parts.append(_section(choice, shared))
    return "\n".join(parts)


def _shared(choices: Sequence[Choice]) -> list[Key]:
    """Keys that at least half of the choices have, with the same meaning; their values in the files do not matter."""
    counted = Counter(_without_value(key) for choice in choices for key in choice.keys)
    needed = max(_NEEDED, (len(choices) + 1) // 2)
    return [key for key, count in counted.items() if count >= needed]


def _without_value(key: Key) -> Key:
    return Key(key.path, key.allowed, key.default, None, key.sentence)


def _section(choice: Choice, shared: Sequence[Key]) -> str:
    own = [key for key in choice.keys if _without_value(key) not in shared]
    paths = {key.path for key in choice.keys}
    lacking = [code(key.path.rpartition(".")[2]) for key in shared if key.path not in paths]
    parts = [f"## {choice.name} {{ #{choice.name} }}\n", text(choice.about) + "\n"]
    if choice.builds:
        parts.append(f"Builds {', '.join(_link(dotted) for dotted in choice.builds.values())}.\n")
    is_long = choice.text.count("\n") > _FOLDED
    parts.append(file_text(f"conf/{choice.group}/{choice.name}.yaml", choice.text, "yaml", folded=is_long))
    if own:
        parts.append(table(["key", "in the file", "else", "may be", "meaning"], map(_row, own)))
    if lacking and shared:
        parts.append(f"It does not take {', '.join(lacking)}.\n")
    return "\n".join(parts)


def _link(dotted: str) -> str:
    """A class, with a link to its description if it is one of ours."""
    name = dotted.rpartition(".")[2]
    public = f"{'.'.join(dotted.split('.')[:2])}.{name}"
    return f"[`{name}`][{public}]" if is_documented(public) else f"`{dotted}`"


def is_documented(public: str) -> bool:
    """Whether the reference of the library has this name, such as snntrain.neuron.LIFNode."""
    package, _, name = public.rpartition(".")
    return package.startswith("snntrain.") and name in getattr(importlib.import_module(package), "__all__", ())


def _row(key: Key) -> list[str]:
    value = "" if key.value is None else code(key.value) if len(key.value) <= _LONG else "see the file"
    return [code(key.path), value, _default(key), text(key.allowed), text(key.sentence)]


def _common_row(key: Key) -> list[str]:
    return [code(key.path), _default(key), text(key.allowed), text(key.sentence)]


def _default(key: Key) -> str:
    return code(key.default) if len(key.default) <= _LONG else "…"


def _search_page() -> str:
    """The page of `search`, whose files say what scripts/tune.py does; a run's config does not have it."""
    files = config_files(SEARCHES)
    about = (file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for file in files)
    parts = [
        "# `search=`\n",
        "`python scripts/tune.py search=<name>` reads these files; `study=`, `n_trials=` and `storage=` may also "
        "stand on the command line, and any other override is for every run.\n",
        table(["choice", "what it is"], zip((code(file.stem) for file in files), map(text, about), strict=True)),
        "## Keys\n",
        table(["key", "default", "may be", "meaning"], map(_common_row, _search_keys())),
    ]
    for file in files:
        parts.append(file_text(f"conf/search/{file.name}", file.read_text(encoding="utf-8"), "yaml", folded=False))
    return "\n".join(parts)


def _search_keys() -> Iterator[Key]:
    yield from describe_arguments(Search)
    parts = {"parameters.<key>.": Parameter, "objectives[].": Objective, "sampler.": Sampler, "pruner.": Pruner}
    for path, part in parts.items():
        yield from describe_arguments(part, path)


def keys_shown(markdown: str) -> Iterable[str]:
    """The keys that have a row in a page."""
    for line in markdown.splitlines():
        if line.startswith("| `"):
            yield line[3:].partition("`")[0]
