"""The sections of a run's report: a Python file and a template of its name for each, which are found by themselves.

A section may import what run may; nothing imports a section by name.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
