"""What every command has in common: errors as sentences, and exit codes."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from controlplane.cli.client import Problem, Unreachable
from controlplane.cli.output import note

REFUSED, LATE = 1, 3


def speaking(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the client's errors into a sentence on standard error and an exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except Problem as problem:
            note(f"{problem}\n({problem.code})")
            sys.exit(REFUSED)
        except Unreachable as error:
            note(f"{error}\nIs MODELYARD_URL right, and is Modelyard running?")
            sys.exit(REFUSED)
        except TimeoutError as error:
            note(f"{error} It goes on without you; ask again with `modelyard status`.")
            sys.exit(LATE)

    return run
