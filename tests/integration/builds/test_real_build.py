"""A build through the real runner: from the blob store to verified bundles."""

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from apps.builds import selectors, services
from apps.builds.models import Build
from apps.builds.reconcile import BuildReconciler
from controlplane.drivers.local.jobs import LocalBundles, LocalJobs
from controlplane.kernel.clock import SystemClock
from tests import factories
from workers import loop
from workers.loop import Kind

pytestmark = pytest.mark.django_db


def test_a_version_is_built_and_its_bundle_can_be_served(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    model = LogisticRegression().fit(x, x[:, 0] > 0)
    version = factories.version(files={"model.pkl": pickle.dumps(model)})
    jobs = LocalJobs(tmp_path / "home")
    bundles = LocalBundles(tmp_path / "bundles", jobs)
    reconciler = BuildReconciler(jobs, bundles, runtimes=lambda f: [f])
    kind = Kind(Build, lambda: reconciler)
    build = services.start(
        actor=factories.actor_with("admin"), model=version.model.name, number=version.number
    )
    deadline = time.monotonic() + 150
    while build.next_reconcile_at is not None and time.monotonic() < deadline:
        loop.sweep(kind, now=SystemClock().now)
        time.sleep(0.1)
        build.refresh_from_db()
    found = selectors.build(factories.actor_with("admin"), build.public_id)
    assert found.state == "succeeded", selectors.log(found).text
    best = selectors.best_variant(version.pk)
    assert best is not None
    assert best.kind == "onnx"
    bundles.layout.materialise(best.bundle_digest, tmp_path / "served")
    assert (tmp_path / "served" / "model.onnx").is_file()
    assert (tmp_path / "served" / "golden.json").is_file()
    assert "== prove" in selectors.log(found).text
    points = selectors.pareto(selectors.variants(found))
    assert next(p.kind for p in points if p.on_front) == "onnx"
    version.refresh_from_db()
    assert version.state == "validated"
    assert [o["name"] for o in version.outputs] == ["label", "probabilities"]
    jobs.discard(f"{build.public_id}-1")
