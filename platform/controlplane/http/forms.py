"""Forms of pages: what was typed is kept, and the service's sentence stands at its field."""

from django.forms import Form

from controlplane.kernel.errors import ControlPlaneError


def blame(form: Form, error: ControlPlaneError) -> Form:
    """Put what a service refused onto the field at fault, or above the form.

    Args:
        form: A bound, cleaned form.
        error: What the service said.
    """
    sentence = f"{error.sentence} {error.remedy}".strip()
    # "metrics.auc" is at fault in the field "metrics".
    name = error.field.partition(".")[0]
    form.add_error(name if name in form.fields else None, sentence)
    return form
