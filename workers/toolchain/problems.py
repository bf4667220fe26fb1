"""The ways a build ends badly, each with a code, a sentence and what to do."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Problem:
    """Why a build failed.

    Attributes:
        code: Stable and dotted ("build.unsafe_pickle").
        sentence: What is so.
        remedy: What to do.
        step: The step that failed; "" when it was none.
    """

    code: str
    sentence: str
    remedy: str
    step: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as it stands in the report."""
        return asdict(self)


class BuildFailed(Exception):
    """A step cannot go on, for a reason a person can act on."""

    def __init__(self, code: str, sentence: str, remedy: str) -> None:
        """Say what is so and what to do."""
        super().__init__(sentence)
        self.problem = Problem(code, sentence, remedy)


class Skip(Exception):
    """A variant does not apply to this model; the message says why, for a person."""


def out_of_memory(limit: int) -> Problem:
    """Return the problem of a model that needed more memory than a build may use."""
    return Problem(
        "build.out_of_memory",
        f"The model needed more than the {limit / 1024**3:.1f} GiB of memory a build may use.",
        "Reduce the model, or raise the builds' memory limit, and build again.",
    )


def timeout(seconds: int) -> Problem:
    """Return the problem of a job that did not end."""
    return Problem(
        "build.timeout",
        f"The build had not ended after {seconds} seconds and was stopped.",
        "Look at the last lines of the log; if the model is merely slow, ask for fewer variants.",
    )


def crashed(how: str) -> Problem:
    """Return the problem of a job that ended without saying why."""
    return Problem(
        "build.crashed",
        f"The build's process ended unexpectedly ({how}).",
        "Look at the last lines of the log, and build again; if it recurs, the model or one of "
        "its libraries is at fault.",
    )
