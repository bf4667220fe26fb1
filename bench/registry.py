"""The registry's REST against `mlflow server`, both on the same PostgreSQL, in one run.

For 100 and for 10,000 versions of one model: get a version, get the model, search, create one.
The versions to read are written straight into both databases, because MLflow would take many
minutes to create them one by one; creating goes through each REST interface.

"Create version" is our registration of an upload against MLflow's of a name: ours checks that
the bytes are here, refuses what is registered already, keeps manifest and ledger. "Send a file
and create version" has both sides receive 1 KB first, which MLflow stores as an artifact, and we
hash, read and keep by digest: three requests each (MLflow wants a run for an artifact).
"""

import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg

from bench import results
from bench.load import Ask, Measured, Steps, run
from controlplane.cli.client import Client
from controlplane.cli.output import note
from controlplane.cli.stack import ROOT, Stack, running
from controlplane.drivers.local.supervisor import Supervisor

SECONDS = 4.0
CONNECTIONS = 4
MANY_CONNECTIONS = 16
CREATE = "create version"
SIZES = (100, 10_000)
UPLOADS = 6000  # more than either size can register in the time
Asker = Callable[[int], Ask | Steps]


def main() -> None:
    """Measure both sides and write bench/results/registry.json."""
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with running(home, seconds=180) as stack:
            _wait_for_mlflow(stack)
            _hold_background_work(home)
            figures = [row for size in SIZES for row in _compare(stack, size)]
    note(f"Wrote {results.save('registry', figures)}.")


def _wait_for_mlflow(stack: Stack) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx.get(f"{stack.mlflow}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise RuntimeError("MLflow did not start.")


def _hold_background_work(home: Path) -> None:
    """Stop workers: mirroring what the bench creates would load MLflow while it is measured."""
    supervisor = Supervisor(str(home / "run" / "supervisor.sock"))
    for process in supervisor.status():
        if process.name in ("worker", "beat"):
            supervisor.stop(process.name)


def _compare(stack: Stack, size: int) -> list[dict[str, Any]]:
    name, token = f"bench-{size}", stack.token(f"bench-{size}")
    Client(stack.web, token).post("/api/v1/models", {"name": name, "team": "platform"})
    httpx.post(
        f"{stack.mlflow}/api/2.0/mlflow/registered-models/create", json={"name": name}
    ).raise_for_status()
    uploads = _fill_ours(stack, name, size)
    _fill_mlflow(stack, name, size)
    ours, theirs = _ours(name, size, token, uploads), _mlflow(name, size)
    rows = [_side_by_side(stack, verb, size, ours[verb], theirs[verb]) for verb in ours]
    busy = _side_by_side(
        stack, CREATE, size, ours[CREATE], theirs[CREATE], connections=MANY_CONNECTIONS
    )
    return [*rows, {**busy, "name": f"{busy['name']}, {MANY_CONNECTIONS} connections"}]


def _side_by_side(
    stack: Stack,
    verb: str,
    size: int,
    ours: Asker,
    theirs: Asker,
    connections: int = CONNECTIONS,
) -> dict[str, Any]:
    a = run(stack.web, ours, seconds=SECONDS, connections=connections)
    b = run(stack.mlflow, theirs, seconds=SECONDS, connections=connections)
    for who, measured in (("ours", a), ("mlflow", b)):
        _say_failures(f"{verb}, {who}", measured)
    note(f"{verb} at {size}: {a.per_second:.0f}/s against {b.per_second:.0f}/s")
    label = f"{verb}, {size:,} versions of one model"
    return results.figure(label, a.per_second, "requests/s", "mlflow server", b.per_second)


def _say_failures(what: str, measured: Measured) -> None:
    if measured.failed:
        note(f"{what}: {measured.failed} failed, the first: {measured.first_failure}")


def _ours(name: str, size: int, token: str, uploads: list[str]) -> dict[str, Asker]:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    base = f"/api/v1/models/{name}"
    left = iter(uploads)
    return {
        "get version": lambda k: Ask("GET", f"{base}/versions/{k % size + 1}", None, headers),
        "get model": lambda k: Ask("GET", base, None, headers),
        "search": lambda k: Ask("GET", f"{base}/versions?limit=100", None, headers),
        CREATE: lambda k: Ask("POST", f"{base}/versions", {"upload": next(left)}, headers),
        "send a file and create version": lambda k: _send_and_create(base, headers, k),
    }


def _send_and_create(base: str, headers: dict[str, str], k: int) -> Steps:
    content = _weights(k)
    begun = yield Ask(
        "POST", "/api/v1/uploads", {"filename": "w.safetensors", "size": len(content)}, headers
    )
    upload = json.loads(begun)["id"]
    sent = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0", **headers}
    yield Ask("PATCH", f"/uploads/{upload}", content, sent)
    yield Ask("POST", f"{base}/versions", {"upload": upload}, headers)


def _weights(k: int) -> bytes:
    """Return 1 KB of a safetensors file that no other `k` has."""
    header = b'{"w":{"dtype":"F32","shape":[256],"data_offsets":[0,1024]}}'
    return struct.pack("<Q", len(header)) + header + struct.pack("<256i", *range(k, k + 256))


def _mlflow(name: str, size: int) -> dict[str, Asker]:
    base = "/api/2.0/mlflow"
    named = f"filter=name%3D%27{name}%27"
    return {
        "get version": lambda k: Ask(
            "GET", f"{base}/model-versions/get?name={name}&version={k % size + 1}"
        ),
        "get model": lambda k: Ask("GET", f"{base}/registered-models/get?name={name}"),
        "search": lambda k: Ask("GET", f"{base}/model-versions/search?max_results=100&{named}"),
        CREATE: lambda k: Ask(
            "POST", f"{base}/model-versions/create", {"name": name, "source": f"s3://bench/{k}"}
        ),
        "send a file and create version": lambda k: _mlflow_send_and_create(base, name, k),
    }


def _mlflow_send_and_create(base: str, name: str, k: int) -> Steps:
    answer = yield Ask("POST", f"{base}/runs/create", {"experiment_id": "0"})
    run = json.loads(answer)["run"]["info"]["run_id"]
    path = f"0/{run}/artifacts/w.safetensors"
    stored = f"{base}-artifacts/artifacts/{path}"
    yield Ask("PUT", stored, _weights(k), {"Content-Type": "application/octet-stream"})
    source = f"mlflow-artifacts:/{path}"
    made = {"name": name, "source": source, "run_id": run}
    yield Ask("POST", f"{base}/model-versions/create", made)


def _fill_mlflow(stack: Stack, name: str, size: int) -> None:
    socket = stack.home / "postgres" / "socket"
    with psycopg.connect(f"host={socket} port=5432 user=modelyard dbname=mlflow") as db:
        db.execute(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time,"
            " current_stage, source, status)"
            " SELECT %s, n, n, n, 'None', 's3://bench/' || n, 'READY'"
            " FROM generate_series(1, %s) n",
            [name, size],
        )


def _fill_ours(stack: Stack, name: str, size: int) -> list[str]:
    """Write `size` versions, and uploads that are complete; return the uploads' ids."""
    script = FILL.format(name=json.dumps(name), size=size, uploads=UPLOADS)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", "shell", "-v", "0", "-c", script],
        cwd=ROOT,
        env={"MODELYARD_HOME": str(stack.home), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.split()


FILL = """
import hashlib, io, struct
from django.core.files.uploadedfile import SimpleUploadedFile
from apps.accounts import selectors
from apps.accounts.models import Person
from apps.registry import blobs, services
from apps.registry.models import ModelVersion, RegisteredModel, Upload
model = RegisteredModel.objects.get(name={name})
ModelVersion.objects.bulk_create(
    [
        ModelVersion(
            model=model, number=n, format="onnx", door="rest", registered_by="bench",
            manifest_digest="sha256:" + hashlib.sha256(f"{{model.pk}}/{{n}}".encode()).hexdigest(),
            inputs=[{{"name": "X", "datatype": "FP32", "shape": [-1, 30]}}],
            metrics={{"auc": 0.9}}, mirror_state="mirrored",
        )
        for n in range(1, {size} + 1)
    ],
    batch_size=1000,
)
RegisteredModel.objects.filter(pk=model.pk).update(
    next_number={size} + 1, version_count={size}, latest_number={size}
)
admin = selectors.actor_of_person(
    selectors.person_with_grants(str(Person.objects.get(username="admin").pk))
)
def content(k):
    header = b'{{"w":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}'
    return struct.pack("<Q", len(header)) + header + struct.pack("<ii", model.pk, k)
first = services.keep_uploaded_file(
    actor=admin, file=SimpleUploadedFile("w.safetensors", content(-1))
)
uploads = []
for k in range({uploads}):
    entry = blobs.put_stream(io.BytesIO(content(k)), path="w.safetensors")
    uploads.append(
        Upload(
            owner_id=first.owner_id, filename=entry.path, size=entry.size, received=entry.size,
            sha256=entry.sha256, state="complete", expires_at=first.expires_at,
            facts={{**first.facts, "files": [vars(entry)]}},
        )
    )
for upload in Upload.objects.bulk_create(uploads, batch_size=1000):
    print(upload.public_id)
"""


if __name__ == "__main__":
    main()
