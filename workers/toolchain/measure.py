"""Measures one variant in a fresh process: latency, throughput and memory, with one thread.

`python -m workers.toolchain.measure REQUEST`, where REQUEST is a JSON file that says what to load
and where to write the answer. A process of its own, so that neither the libraries nor the garbage
of an earlier variant are counted.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.toolchain import report
from workers.toolchain.tensors import cut

WARM_UP = 10
LONGEST = 1.0  # seconds for each of the two measurements
MOST, FEWEST = 1000, 5
BATCH = 64
PATIENCE = 300  # seconds for one variant


def in_fresh_process(request: dict[str, Any], folder: Path) -> dict[str, float]:
    """Measure what `request` describes, and return the measures.

    Args:
        request: onnx (a path) or native (files, format, inputs); samples (an .npz path).
        folder: Where the request and the answer may be written.

    Raises:
        RuntimeError: The process failed, with its last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked, answer = folder / "request.json", folder / "answer.json"
    answer.unlink(missing_ok=True)
    report.write_json(asked, {**request, "answer": str(answer)})
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "workers.toolchain.measure", str(asked)],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode != 0 or not answer.exists():
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(words[-1] if words else f"it ended with code {done.returncode}")
    measures: dict[str, float] = json.loads(answer.read_bytes())
    return measures


def main(asked: Path) -> None:
    """Do what the request in `asked` says."""
    from workers.toolchain import sandbox

    sandbox.block_sockets()
    request = json.loads(asked.read_bytes())
    with np.load(request["samples"], allow_pickle=False) as stored:
        samples = {name: _words(stored[name]) for name in stored.files}
    before = resident()
    predict = _loaded(request)
    one = [cut(samples, n, n + 1) for n in range(BATCH)]
    latencies = _times(lambda n: predict(one[n % BATCH]))
    many = cut(samples, 0, BATCH)
    batches = _times(lambda _: predict(many), warm_up=2)
    measures = {
        "p50_ms": float(np.percentile(latencies, 50) * 1e3),
        "p95_ms": float(np.percentile(latencies, 95) * 1e3),
        "p99_ms": float(np.percentile(latencies, 99) * 1e3),
        "throughput": float(BATCH / np.median(batches)),
        "memory_mb": round(max(resident() - before, 0) / 1024**2, 1),
        "requests": float(len(latencies)),
    }
    report.write_json(Path(request["answer"]), measures)


def _words(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(object) if array.dtype.kind == "U" else array


def _loaded(request: dict[str, Any]) -> Callable[[dict[str, NDArray[Any]]], Any]:
    if "onnx" in request:
        from workers.toolchain import ort

        session = ort.session(Path(request["onnx"]))
        return lambda arrays: ort.run(session, arrays)
    from workers.toolchain import native

    model = native.load(Path(request["files"]), request["format"], request["inputs"])
    return model.answer


def _times(call: Callable[[int], Any], *, warm_up: int = WARM_UP) -> list[float]:
    """Return how long each call took, in seconds."""
    for n in range(warm_up):
        call(n)
    taken: list[float] = []
    end = time.perf_counter() + LONGEST
    while len(taken) < FEWEST or (len(taken) < MOST and time.perf_counter() < end):
        begun = time.perf_counter()
        call(len(taken))
        taken.append(time.perf_counter() - begun)
    return taken


def resident() -> int:
    """Return this process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main(Path(sys.argv[1]))
