"""One load test in a process of its own: take the lock, ask, write down what was seen.

The lock is held for life, so whoever wants to know whether the test runs tries it. A folder with
neither a result nor a live process was lost. Only the driver reads the result.
"""

import asyncio
import fcntl
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from apps.gates.domain.load import LoadPlan
from workers.loadtest import generator


def main(folder: Path) -> int:
    """Run the test of which `folder` holds the plan; return 0 when it ended well."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    (folder / "pid").write_text(str(os.getpid()))
    plan = LoadPlan(**json.loads((folder / "plan.json").read_bytes()))
    try:
        result = asdict(asyncio.run(generator.run(plan)))
    except Exception as error:  # said to whoever started it, who cannot see this process
        _write(folder, {"problem": f"{type(error).__name__}: {error}"[:500]})
        return 1
    _write(folder, {"result": result})
    return 0


def _write(folder: Path, said: dict[str, Any]) -> None:
    draft = folder / ".result.json"
    draft.write_text(json.dumps(said))
    draft.replace(folder / "result.json")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
