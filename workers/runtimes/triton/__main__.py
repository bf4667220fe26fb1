"""Serve an ONNX bundle with Triton: check it here, write Triton's repository, become Triton."""

import os
import sys
from pathlib import Path
from typing import Any

from workers.runtimes import environments
from workers.runtimes.oip import bundle, options, warmup
from workers.runtimes.oip.options import Options
from workers.runtimes.oip.problem import Problem
from workers.runtimes.oip.serve import PATIENCE, loaded
from workers.runtimes.onnx import session
from workers.runtimes.triton import environment, repository

# Every 127.x.y.z is this machine: a second address spares Triton's metrics a second port.
METRICS_HOST = "127.0.0.2"


def main(argv: list[str]) -> None:
    """Replace this process by Triton, or leave the reason why that is not possible."""
    told = options.read(argv)
    told.problem.unlink(missing_ok=True)
    try:
        config = bundle.verified(told.bundle, told.digest)
        folder = environment.make(told.home)
        models = _write_repository(told, config)
    except Problem as gave_up:
        gave_up.leave(told.problem)
        sys.exit(gave_up.status)
    binary = environment.server(folder) / "bin" / "tritonserver"
    os.execve(binary, [str(binary), *_arguments(told, folder, models)], _environ(told, folder))  # noqa: S606


def _write_repository(told: Options, config: dict[str, Any]) -> Path:
    """Write the repository, having loaded the model once.

    Triton would say of a model that it cannot load only that it exits; here it is found before,
    with ONNX Runtime's own words. What the model says of itself becomes the configuration.
    """
    model = loaded(session.load, told, config)
    golden = warmup.golden_inputs(told.bundle, config, model)
    joinable = warmup.run(model, golden) and repository.batchable(model.inputs)
    folder = told.bundle.with_name(f"{told.bundle.name}.triton-{told.port}")
    text = repository.configuration(
        name=told.name,
        revision=told.revision,
        inputs=model.inputs,
        outputs=model.outputs,
        max_batch=told.settings.get("max_batch", 16_384) if joinable else 0,
        max_queue=told.settings.get("max_queue", 1024),
        parameters={
            "bundle_digest": told.digest,
            "revision": str(told.revision),
            "model": str(told.bundle / config["entry"]),
            "threads": str(told.settings.get("threads", 1)),
            "problem": str(told.problem),
        },
    )
    repository.write(folder, name=told.name, revision=told.revision, config=text)
    return folder


def _arguments(told: Options, folder: Path, models: Path) -> list[str]:
    return [
        f"--model-repository={models}",
        "--model-control-mode=explicit",
        f"--load-model={told.name}",
        f"--backend-directory={environment.server(folder) / 'backends'}",
        "--backend-config=python,shm-default-byte-size=1048576",
        "--disable-auto-complete-config",
        f"--http-address={told.host}",
        f"--http-port={told.port}",
        "--http-thread-count=2",
        "--allow-grpc=false",
        f"--metrics-address={METRICS_HOST}",
        f"--metrics-port={told.port}",
        "--metrics-config=summary_latencies=false",
        "--pinned-memory-pool-byte-size=0",
        "--exit-on-error=true",
        # Longer than the supervisor waits: when this runs out under load, Triton crashes and
        # leaves its Python behind. Killed, it takes it along.
        f"--exit-timeout-secs={2 * PATIENCE}",
    ]


def _environ(told: Options, folder: Path) -> dict[str, str]:
    code = environments.code(told.home, ["oip", "onnx", "triton"])
    paths = {
        # The backend embeds Python: told where its library and packages are, it needs no more.
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": os.pathsep.join([str(code), str(environments.packages(folder))]),
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, environment.libraries(folder))),
    }
    return os.environ | paths


if __name__ == "__main__":
    main(sys.argv[1:])
