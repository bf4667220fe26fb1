"""Query parameters that are not text."""

from controlplane.kernel.errors import Invalid


def number(given: str, name: str) -> int | None:
    """Return a number that was asked for; None where nothing was.

    Raises:
        Invalid: It is no number.
    """
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise Invalid(f"{name}={given[:40]} is not a number.", field=name, code="request.number")
    return int(given)


def flag(given: str, name: str) -> bool:
    """Return whether something was asked for.

    Raises:
        Invalid: It is neither true nor false.
    """
    if given not in ("", "true", "false"):
        raise Invalid(
            f"{name}={given[:20]} is neither true nor false.",
            remedy="Write true or false.",
            field=name,
            code="request.flag",
        )
    return given == "true"
