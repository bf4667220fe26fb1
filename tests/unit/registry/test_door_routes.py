"""The door's table: what is read, what is written, what is ours, and what stays shut."""

import pytest

from apps.registry.door.routes import Verb, absolute, leads_out, route

A2, A3 = "/api/2.0/mlflow/", "/ajax-api/3.0/mlflow/"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/static-files/static/js/main.js"),
        ("GET", "/health"),
        ("GET", A2 + "runs/get"),
        ("POST", A2 + "runs/search"),
        ("POST", "/graphql"),
        ("GET", A2 + "registered-models/get"),
        ("GET", A2 + "registered-models/alias"),
        ("POST", A3 + "traces/search"),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts/1/a.txt"),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
        ("GET", "/get-artifact"),
        ("GET", A3 + "server-info"),
    ],
)
def test_reads_need_the_right_to_read(method: str, path: str) -> None:
    assert (route(method, path).access, route(method, path).verb) == ("mlflow.read", None)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", A2 + "runs/create"),
        ("POST", A2 + "runs/log-batch"),
        ("POST", A2 + "experiments/create"),
        ("POST", A2 + "logged-models/m-1/params"),
        ("PATCH", A2 + "logged-models/m-1"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/models/m-1/artifacts/MLmodel"),
        ("POST", A3 + "traces"),
    ],
)
def test_writes_of_training_code_need_the_right_to_write(method: str, path: str) -> None:
    assert (route(method, path).access, route(method, path).verb) == ("mlflow.write", None)


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("POST", "registered-models/create", Verb.CREATE_MODEL),
        ("PATCH", "registered-models/update", Verb.EDIT_MODEL),
        ("POST", "model-versions/create", Verb.CREATE_VERSION),
        ("PATCH", "model-versions/update", Verb.EDIT_VERSION),
        ("POST", "model-versions/set-tag", Verb.TAG_VERSION),
        ("POST", "registered-models/alias", Verb.SET_ALIAS),
        ("DELETE", "registered-models/alias", Verb.REMOVE_ALIAS),
        ("POST", "logged-models", Verb.TAG_LOGGED),
        ("PATCH", "logged-models/m-1/tags", Verb.TAG_LOGGED),
        ("DELETE", "logged-models/m-1/tags/a%2Fb", Verb.UNTAG_LOGGED),
        ("DELETE", "logged-models/m-1", Verb.DELETE_LOGGED),
        ("DELETE", "model-versions/delete", Verb.CLOSED),
        ("DELETE", "registered-models/delete", Verb.CLOSED),
        ("POST", "registered-models/rename", Verb.CLOSED),
        ("POST", "model-versions/transition-stage", Verb.CLOSED),
    ],
)
@pytest.mark.parametrize("prefix", ["/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"])
def test_registry_writes_are_ours(method: str, path: str, verb: Verb, prefix: str) -> None:
    assert route(method, prefix + path).verb is verb


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", A2 + "something/new"),
        ("PUT", A2 + "runs/create"),
        ("POST", A2 + "webhooks"),
        ("GET", A2 + "webhooks"),
        ("POST", A3 + "gateway/secrets/create"),
        ("GET", A3 + "gateway/secrets/get"),
        ("POST", "/ajax-api/2.0/mlflow/gateway-proxy"),
        ("GET", "/ajax-api/2.0/mlflow/gateway-proxy"),
        ("POST", A3 + "jobs"),
        ("GET", "/metrics"),
        ("GET", "/docs"),
        ("POST", "/"),
        ("DELETE", "/static-files/x.js"),
        ("GET", "/api/2.0/mlflow-artifacts/presigned/1/a"),
        ("POST", A2 + "model-versions/create/"),
        ("POST", "/api/2.0/mlflow//model-versions/create"),
        ("POST", "/API/2.0/mlflow/runs/create"),
    ],
)
def test_everything_else_is_shut(method: str, path: str) -> None:
    assert route(method, path).verb is Verb.CLOSED


def test_an_encoded_route_is_the_same_route() -> None:
    assert route("DELETE", "/api/2.0/mlflow/model%2dversions/delete").verb is Verb.CLOSED
    assert route("POST", "/api/2.0/mlflow/model-versions%2Fcreate").verb is Verb.CREATE_VERSION


@pytest.mark.parametrize(
    "path",
    ["../a", "a/../b", "%2e%2e/a", "a/%2e%2e%2fb", "a%252f..%252fb", "%25252e%25252e%25252fa",
     "a\\b", "a%5c..%5cb", "a//b", "a%00b", "/a/./b", "..%c0%af/..", "%2525252525252e%2e/x"],
)  # fmt: skip
def test_paths_that_lead_out_are_found(path: str) -> None:
    assert leads_out(path)


@pytest.mark.parametrize(
    "path", ["a", "1/abc/artifacts/a..b/c.txt", "a%20b/100%25.bin", "...", ""]
)
def test_ordinary_paths_are_let_through(path: str) -> None:
    assert not leads_out(path)


@pytest.mark.parametrize("path", ["/etc/passwd", "%2fetc", "%252fetc", "file:///etc", "C:/x"])
def test_absolute_parameters_are_found(path: str) -> None:
    assert absolute(path)
