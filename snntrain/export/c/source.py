"""The text of the C program, from templates: one for each operation, and the files around them."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from snntrain import __version__
from snntrain.export.c.program import Program

#: The net, a program around it, and where it may be built in: with make, with CMake, in an Arduino sketch, in Zephyr.
FILES = (
    *("net.c", "net.h", "main.c", "Makefile", "CMakeLists.txt", "arduino/arduino.ino"),
    *("zephyr/CMakeLists.txt", "zephyr/prj.conf", "zephyr/src/main.c"),
)
_ROUNDED = {"nearest": "floor({} + 0.5)", "floor": "floor({})", "ceil": "ceil({})", "zero": "{}, rounded toward 0"}


def written(program: Program, T: int) -> dict[str, str]:
    """Name of each file → its text.

    Args:
        T: steps for which the sketches show a picture.
    """
    templates = _environment()
    functions = "".join(_function(templates, program, step) for step in program.steps)
    more = {
        "program": program,
        "T": T,
        "version": __version__,
        "functions": functions,
        "scales": ", ".join(f"{float(value).hex()}f" for value in program.scale),
        "multipliers": _multipliers(program.scale),
        "rounding_text": _ROUNDED[program.rounding].format("x * SNN_PER_STEP"),
    }
    return {name: templates.get_template(f"{name}.j2").render(more) for name in FILES}


def _function(templates: Any, program: Program, step: Any) -> str:
    body = templates.get_template(f"{step.template}.c.j2").render(program=program, step=step)
    return templates.get_template("function.c.j2").render(step=step, body=body)


def _multipliers(scale: np.ndarray) -> list[int]:
    """Integers of 30 bits in the proportions of the scales, so that a product with a sum fits 64 bits."""
    parts = scale.astype(np.float64) / float(scale.max())
    return [max(1, round(value * (2**30 - 1))) for value in parts.tolist()]


@functools.cache
def _environment() -> Any:
    import jinja2

    # C is no HTML: nothing is escaped, and titles are made safe where they come from.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
