"""The four fields of an event, converted from the names, types and units that a file uses."""

from collections.abc import Mapping

import numpy as np

#: The layout that tonic's transforms take: pixel, microseconds, ON (True) or OFF.
EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])

#: Names that other programs use for the four fields.
ALIASES = {
    "x": ("x", "xs", "x_position", "units", "addr"),
    "y": ("y", "ys", "y_position"),
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}

#: Microseconds per unit.
TIME_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "ns": 1e-3}

#: µs, 285 years. No clock shows more, and a float64 cannot count higher.
LATEST = 2**53

#: If a recording's times can take fewer values than this, their type was too coarse and they have collapsed.
FEWEST_INSTANTS = 1000


def structured(fields: Mapping[str, np.ndarray], unit: str, is_line: bool) -> np.ndarray:
    """The fields, whichever of their names they have, as one array of EVENT.

    Args:
        fields: name → values; other names are ignored.
        unit: of the times, see TIME_UNITS.
        is_line: whether the sensor is a row of channels, whose events need neither y nor p.

    Raises: ValueError saying what is missing or does not fit.
    """
    named = {}
    for field, aliases in ALIASES.items():
        found = [name for name in fields if str(name).lower() in aliases]
        if len(found) > 1:
            raise ValueError(f"{' and '.join(found)} are both names of the field {field}. Keep one of them.")
        if found:
            named[field] = np.asarray(fields[found[0]]).reshape(-1)
    missing = [field for field in EVENT.names if field not in named and not (is_line and field in "yp")]
    if missing:
        raise ValueError(
            f"it has no field {missing[0]} (also called {', '.join(ALIASES[missing[0]][1:])}). It has: "
            f"{', '.join(map(str, fields)) or 'nothing'}."
        )
    lengths = {name: len(values) for name, values in named.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"its fields have different lengths ({listing}): it is truncated.")
    events = np.zeros(lengths["x"], EVENT)
    events["p"] = True
    for name, values in named.items():
        events[name] = _fitting(name, values, unit)
    return events


def _fitting(name: str, values: np.ndarray, unit: str) -> np.ndarray:
    """The values converted to the field's integer type; values that do not fit are refused, not changed."""
    kind = values.dtype.kind
    if kind not in "buif":
        raise ValueError(f"{name} holds {values.dtype}, not numbers.")
    if kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite.")
    if name == "p":
        if not np.isin(values, (-1, 0, 1)).all():
            strange = values[~np.isin(values, (-1, 0, 1))][0]
            raise ValueError(f"polarity must be 0 or 1, or -1 or 1, got {strange}. Is data.columns right?")
        return values > 0
    if name == "t" and len(values):
        _check_times(values, unit)
        if TIME_UNITS[unit] != 1.0:
            return np.rint(values.astype(np.float64) * TIME_UNITS[unit]).astype(np.int64)
    if kind == "f" and (values != np.rint(values)).any():
        remedy = "Set data.time_unit to ms or s." if name == "t" else "Is data.columns right?"
        raise ValueError(f"{name} holds fractions such as {values[values != np.rint(values)][0]:g}. {remedy}")
    bounds = np.iinfo(EVENT[name])
    for value in (values.min(), values.max()) if len(values) else ():
        if not bounds.min <= value <= bounds.max:
            raise ValueError(f"{name} holds {value:.0f}, which is no {'place' if name in 'xy' else 'time'}.")
    return values


def _check_times(values: np.ndarray, unit: str) -> None:
    first, last = values.min(), values.max()
    microseconds = TIME_UNITS[unit]
    if first < 0:
        raise ValueError(
            f"t holds {first:g}, which is before time 0. Is data.columns right, or did a clock of 32 bits run over? "
            "Subtract the time of the first event."
        )
    if float(last) * microseconds > LATEST:
        years = float(last) * microseconds / (365.25 * 24 * 3600e6)
        likely = [other for other, factor in TIME_UNITS.items() if float(last) * factor <= LATEST]
        raise ValueError(
            f"t reaches {last:g}, which with data.time_unit={unit} is {years:,.0f} years. Set data.time_unit to the "
            f"unit that the file counts in ({' or '.join(likely) or 'none of us, ms, s, ns fits'})."
        )
    if values.dtype.kind == "f" and len(values) > 1:
        step, duration = float(np.spacing(last)), float(last) - float(first)
        if step * microseconds > 1 and step > duration / FEWEST_INSTANTS:
            raise ValueError(
                f"t is {values.dtype}, which near {last:g} {unit} has no values closer than {step:g} {unit}, but the "
                f"recording lasts {duration:g} {unit}: its times have collapsed. Save t as integers or float64, or "
                "subtract the time of the first event before it becomes a small float."
            )
