"""The errors every layer may raise, and what each one means to its caller.

Only `controlplane.http` turns them into status codes and only `workers.loop`
turns them into retries, so the domain never mentions HTTP or Celery.
"""


class ControlPlaneError(Exception):
    """Something the product understands went wrong.

    Attributes:
        code: Stable, dotted identifier for clients and dashboards ("registry.name_taken").
        remedy: One sentence that says what to do about it; empty when nothing helps.
        field: The input that is at fault, when one is.
    """

    code = "controlplane.error"

    def __init__(
        self, sentence: str, *, remedy: str = "", field: str = "", code: str = ""
    ) -> None:
        """Say what is so, and what to do about it.

        Args:
            sentence: What is so, for a person, with the value at fault.
            remedy: What to do about it.
            field: The input that is at fault.
            code: Replaces the class's code where one class serves several errors.
        """
        super().__init__(sentence)
        self.sentence, self.remedy, self.field = sentence, remedy, field
        self.code = code or type(self).code


class Invalid(ControlPlaneError):
    """The request itself is wrong: a field is missing, malformed or out of range."""

    code = "controlplane.invalid"


class Missing(ControlPlaneError):
    """There is no such object, or the actor may not know that there is."""

    code = "controlplane.missing"


class Conflict(ControlPlaneError):
    """The request is well formed, but the object's state does not allow it."""

    code = "controlplane.conflict"


class Denied(ControlPlaneError):
    """The actor may not do this."""

    code = "controlplane.denied"


class Transient(ControlPlaneError):
    """An outside system did not answer; trying again later is safe and likely to help."""

    code = "controlplane.transient"


class Permanent(ControlPlaneError):
    """An outside system refused; trying again without a change cannot help."""

    code = "controlplane.permanent"


class Throttled(ControlPlaneError):
    """The caller asked too often and must wait.

    Attributes:
        wait_seconds: How long, from now.
    """

    code = "controlplane.throttled"

    def __init__(
        self,
        sentence: str,
        *,
        wait_seconds: int,
        remedy: str = "",
        field: str = "",
        code: str = "",
    ) -> None:
        """Say what is so, and when to try again."""
        super().__init__(sentence, remedy=remedy, field=field, code=code)
        self.wait_seconds = wait_seconds
