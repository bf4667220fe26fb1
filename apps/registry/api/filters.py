"""Query parameters as values."""

from django.http import QueryDict

from controlplane.kernel.errors import Invalid

LONGEST = 300


def text_of(query: QueryDict, name: str) -> str:
    """Return the parameter, trimmed; "" when it is not sent.

    Raises:
        Invalid: It is too long to mean anything.
    """
    value = (query.get(name) or "").strip()
    if len(value) > LONGEST:
        raise Invalid(
            f"{name} has more than {LONGEST} characters.", field=name, code="request.too_long"
        )
    return value


def texts_of(query: QueryDict, name: str) -> list[str]:
    """Return every value of a parameter that may be repeated.

    Raises:
        Invalid: There are too many.
    """
    values = [value for value in query.getlist(name) if value]
    if len(values) > 10:
        raise Invalid(f"{name} is sent more than 10 times.", field=name, code="request.too_many")
    return values


def number_of(query: QueryDict, name: str) -> int:
    """Return the parameter as a version's number.

    Raises:
        Invalid: It is missing or no number.
    """
    value = query.get(name) or ""
    if not (value.isascii() and value.isdigit()) or len(value) > 10:
        raise Invalid(
            f"{name} must be the number of a version.",
            remedy="Send ?left=1&right=2.",
            field=name,
            code="request.not_a_number",
        )
    return int(value)
