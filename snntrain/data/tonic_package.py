"""The package tonic, which is not installed with snntrain: it has another license, and pictures do not need it."""

import importlib.util
from types import ModuleType


def check_tonic(wanted: str) -> None:
    """Refuse what cannot be read without tonic, before any file is looked at. Importing tonic takes seconds.

    Args:
        wanted: what it is needed for, at the beginning of a sentence.

    Raises: ImportError saying how to install it.
    """
    if importlib.util.find_spec("tonic") is None:
        raise ImportError(
            f"{wanted} needs the package tonic, which is not installed: pip install 'snntrain[events]' (tonic is under "
            "the GNU General Public License)."
        )


def import_tonic(module: str, wanted: str) -> ModuleType:
    """One of tonic's modules.

    Args:
        module: its name in tonic, such as datasets.
        wanted: as in check_tonic.

    Raises: ImportError saying how to install it, or what is wrong with it.
    """
    check_tonic(wanted)
    return importlib.import_module(f"tonic.{module}")
