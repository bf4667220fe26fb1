"""Why a server gave up: in its own words, where the control plane will look for them."""

import json
import os
import sys
from pathlib import Path

# Exit statuses of sysexits.h. The first three mean that another try cannot help.
BAD_DATA = 65
BAD_MODEL = 70
BAD_ARGUMENTS = 78
TRY_AGAIN = 75


class Problem(Exception):
    """A server, or the making of its environment, cannot go on."""

    def __init__(self, sentence: str, *, code: str, remedy: str, words: str, status: int) -> None:
        """Say what is so.

        Args:
            sentence: What is so, for a person.
            code: Stable, dotted.
            remedy: What to do about it.
            words: The exact words of whatever refused: a library, an installer.
            status: The process's exit status.
        """
        super().__init__(sentence)
        self.sentence, self.code, self.remedy = sentence, code, remedy
        self.words, self.status = words, status

    def leave(self, path: Path) -> None:
        """Write it to `path` and to the log."""
        document = {
            "code": self.code,
            "sentence": self.sentence,
            "remedy": self.remedy,
            "words": self.words,
            "status": self.status,
        }
        print(f"{self.sentence} {self.remedy}\n{self.words}", file=sys.stderr, flush=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(document, ensure_ascii=False, indent=1))
            draft.replace(path)
        except OSError as error:
            print(f"{path} cannot be written: {error}", file=sys.stderr, flush=True)
