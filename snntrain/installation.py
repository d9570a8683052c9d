"""Where the files that come with the program lie: beside the package in a checkout, inside it once installed."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
IMPORT_FOLDER = _PACKAGE.parent
"""The folder from which snntrain is imported: that of the checkout, or Python's site-packages."""

CHECKOUT = None if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent
"""The folder of the checkout; None for an installed wheel, which has no history and records nothing."""

CONF = (CHECKOUT or _PACKAGE) / "conf"
"""The YAML files of all config groups."""

EXPERIMENTS = (CHECKOUT or _PACKAGE) / "experiments"
"""The recorded experiments."""


def command_of(program: str) -> str:
    """How a user starts one of the programs here: `python train.py` in a checkout, `snntrain train` once installed.

    Args:
        program: train, eval, tune, reproduce, record, run-neurobench, summarize, browse, fetch-data.
    """
    if CHECKOUT is None:
        return f"snntrain {program}"
    file = f"{program.replace('-', '_')}.py"
    return f"python {file if program in ('train', 'eval') else f'scripts/{file}'}"
