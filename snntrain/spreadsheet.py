"""CSV cells that a spreadsheet shows as text instead of running them as formulas."""

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: object) -> object:
    """A cell of a CSV file; a text that a spreadsheet would run as a formula is prefixed with ' (as OWASP advises).

    Numbers stay numbers, also as text, such as -0.5 from a command line.
    """
    if not isinstance(value, str) or not value.startswith(_STARTS_A_FORMULA):
        return value
    try:
        float(value)
        return value
    except ValueError:
        return f"'{value}"
