"""A small trained model, and a client that speaks JSON."""

import io
import json
from typing import Any

import joblib
import numpy as np
import pytest
from django.test import Client
from sklearn.linear_model import LogisticRegression

from tests import factories


def estimator_bytes(seed: int = 0) -> bytes:
    """Return a joblib file of a small classifier; another seed, other bytes."""
    draw = np.random.default_rng(seed)
    features, labels = draw.normal(size=(60, 4)), draw.integers(0, 2, 60)
    held = io.BytesIO()
    joblib.dump(LogisticRegression().fit(features, labels), held)
    return held.getvalue()


class Api:
    """Calls the API as one person; answers are parsed."""

    def __init__(self, client: Client, headers: dict[str, str]) -> None:
        self.client, self.headers = client, headers

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.client.generic(
            method,
            f"/api/v1{path}",
            data=json.dumps(body) if body is not None else "",
            content_type="application/json",
            headers={**self.headers, **headers},
        )
        answer.body = json.loads(answer.content) if _is_json(answer) else None
        return answer

    def get(self, path: str, **headers: str) -> Any:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("POST", path, body if body is not None else {}, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self("PATCH", path, body, **headers)

    def put(self, path: str, body: Any) -> Any:
        return self("PUT", path, body)

    def delete(self, path: str) -> Any:
        return self("DELETE", path)


def _is_json(answer: Any) -> bool:
    return not answer.streaming and "json" in answer.headers.get("Content-Type", "")


@pytest.fixture
def blobs_aside(settings: Any, tmp_path: Any) -> None:
    """Keep blobs and uploads in a folder of this test's own."""
    settings.UPLOAD_ROOT = tmp_path / "uploads"
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "apps.registry.blobs.BlobFolder",
            "OPTIONS": {"location": str(tmp_path / "blobs")},
        },
    }


@pytest.fixture
def owner(db: None) -> Any:
    return factories.person(role="contributor")


@pytest.fixture
def api(client: Client, owner: Any, blobs_aside: None) -> Api:
    """Speak as a contributor in every team."""
    return Api(client, {"authorization": f"Bearer {factories.token(owner=owner)[1]}"})
