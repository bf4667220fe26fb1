"""The registry by REST: models, versions, aliases, files, comparing."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.audit.models import AuditEvent
from apps.registry import services
from apps.registry.models import ModelVersion
from tests import factories
from tests.api.registry.conftest import Api, estimator_bytes

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(api: Api) -> Any:
    return factories.model(name="card-fraud", team=factories.team(slug="risk"))


def upload(owner: Any, content: bytes, name: str = "model.joblib") -> str:
    """Return the id of a completed upload of `owner`."""
    kept = services.keep_uploaded_file(
        actor=factories.actor_of(owner), file=SimpleUploadedFile(name, content)
    )
    return kept.public_id


def test_a_model_is_created_shown_edited_and_found(api: Api) -> None:
    factories.team(slug="risk")
    made = api.post("/models", {"name": "card-fraud", "team": "risk", "task": "classification"})
    assert made.status_code == 201, made.body
    assert made.body["risk_tier"] == "medium"
    shown = api.get("/models/card-fraud")
    assert shown.body == made.body
    edited = api.patch("/models/card-fraud", {"risk_tier": "high"})
    assert edited.body["risk_tier"] == "high"
    assert [m["name"] for m in api.get("/models?q=fraud").body["results"]] == ["card-fraud"]
    assert [m["name"] for m in api.get("/models?q=card-frued").body["results"]] == ["card-fraud"]
    assert api.get("/models?q=churn").body["results"] == []


def test_a_name_is_taken_in_any_case(api: Api, model: Any) -> None:
    refused = api.post("/models", {"name": "Card-Fraud", "team": "risk"})
    assert (refused.status_code, refused.body["code"]) == (409, "registry.name_taken")


@pytest.mark.parametrize("name", ["", "-x", ".", "a b", "a/b", "x" * 129, "né", "new"])
def test_a_name_that_is_not_allowed_is_refused_with_the_rule(api: Api, name: str) -> None:
    factories.team(slug="risk")
    refused = api.post("/models", {"name": name, "team": "risk"})
    assert refused.status_code == 422
    assert refused.body["field"] == "name"


def test_a_version_is_registered_from_an_upload_and_says_what_it_is(
    api: Api, owner: Any, model: Any
) -> None:
    made = api.post(
        "/models/card-fraud/versions",
        {
            "upload": upload(owner, estimator_bytes()),
            "semver": "1.0.0",
            "metrics": {"auc": 0.97},
            "params": {"depth": 3},
            "git_commit": "abc123",
        },
    )
    assert made.status_code == 201, made.body
    version = made.body
    assert (version["number"], version["format"]) == (1, "sklearn")
    assert version["framework"].startswith("scikit-learn ")
    assert version["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert version["params"] == {"depth": "3"}
    assert version["digest"].startswith("sha256:")
    assert api.get("/models/card-fraud").body["latest_version"] == 1
    assert AuditEvent.objects.filter(verb="registry.version.register").count() == 1


def test_the_same_bytes_again_answer_with_the_version_there_is(
    api: Api, owner: Any, model: Any
) -> None:
    first = api.post("/models/card-fraud/versions", {"upload": upload(owner, estimator_bytes())})
    again = api.post("/models/card-fraud/versions", {"upload": upload(owner, estimator_bytes())})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.body["id"] == first.body["id"]
    assert ModelVersion.objects.count() == 1


def test_a_lost_answer_may_be_asked_for_again_with_the_same_upload(
    api: Api, owner: Any, model: Any
) -> None:
    body = {"upload": upload(owner, estimator_bytes())}
    first = api.post("/models/card-fraud/versions", body)
    again = api.post("/models/card-fraud/versions", body)
    assert (again.status_code, again.body["id"]) == (200, first.body["id"])


def test_a_file_that_is_no_model_registers_nothing(api: Api, owner: Any, model: Any) -> None:
    refused = api.post(
        "/models/card-fraud/versions", {"upload": upload(owner, b"%PDF-1.7 hello", "m.onnx")}
    )
    assert (refused.status_code, refused.body["code"]) == (422, "registry.format_unknown")
    assert "ONNX" in refused.body["remedy"]
    assert ModelVersion.objects.count() == 0


def test_a_truncated_file_is_refused_with_what_it_begins_as(
    api: Api, owner: Any, model: Any
) -> None:
    refused = api.post(
        "/models/card-fraud/versions", {"upload": upload(owner, estimator_bytes()[:-40])}
    )
    assert (refused.status_code, refused.body["code"]) == (422, "model.truncated")


def test_somebody_elses_upload_is_missing(api: Api, model: Any) -> None:
    other = factories.person(role="contributor")
    refused = api.post("/models/card-fraud/versions", {"upload": upload(other, estimator_bytes())})
    assert (refused.status_code, refused.body["code"]) == (404, "upload.missing")


def test_an_unknown_model_is_404_unless_it_is_to_be_created(api: Api, owner: Any) -> None:
    factories.team(slug="risk")
    body = {"upload": upload(owner, estimator_bytes())}
    assert api.post("/models/churn/versions", body).status_code == 404
    made = api.post("/models/churn/versions?create_model=1&team=risk", body)
    assert (made.status_code, made.body["model"]) == (201, "churn")


def test_a_run_is_registered_now_and_read_later(api: Api, model: Any) -> None:
    body = {"run_id": "a" * 32, "artifact_path": "model"}
    made = api.post("/models/card-fraud/versions", body)
    assert made.status_code == 201
    assert made.body["mirror"]["state"] == "adopting"
    assert made.body["source"] == f"runs:/{'a' * 32}/model"
    assert api.post("/models/card-fraud/versions", body).status_code == 200


@pytest.mark.parametrize("path", ["../secrets", "/etc/passwd", "a/../../b", "C:\\x"])
def test_an_artifact_path_that_leads_out_is_refused(api: Api, model: Any, path: str) -> None:
    refused = api.post("/models/card-fraud/versions", {"run_id": "a" * 32, "artifact_path": path})
    assert (refused.status_code, refused.body["code"]) == (422, "archive.path_traversal")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"upload": "x", "run_id": "y"}, ""),
        ({"upload": "x", "metrics": {"auc": "high"}}, "metrics.auc"),
        ({"upload": "x", "semver": "one"}, "semver"),
        ({"upload": "x", "metrics": {"auc": True}}, "metrics.auc"),
        ({"upload": "x", "params": {"a": {}}}, "params.a"),
        ({"upload": "x", "unknown": 1}, "unknown"),
    ],
)
def test_wrong_bodies_name_the_field(api: Api, model: Any, body: Any, field: str) -> None:
    refused = api.post("/models/card-fraud/versions", body)
    assert (refused.status_code, refused.body["field"]) == (422, field), refused.body


def test_versions_are_filtered_and_sorted(api: Api, model: Any) -> None:
    for number, auc in [(1, 0.8), (2, 0.95), (3, 0.9), (4, None)]:
        factories.version(
            model=model,
            number=number,
            metrics={} if auc is None else {"auc": auc},
            format="onnx" if number == 3 else "sklearn",
            state="archived" if number == 1 else "registered",
        )

    def numbers(query: str) -> list[int]:
        answer = api.get(f"/models/card-fraud/versions?{query}")
        assert answer.status_code == 200, answer.body
        return [v["number"] for v in answer.body["results"]]

    assert numbers("") == [4, 3, 2]
    assert numbers("state=all&sort=number") == [1, 2, 3, 4]
    assert numbers("state=archived") == [1]
    assert numbers("format=onnx") == [3]
    assert numbers("metric=auc>0.9") == [2]
    assert numbers("metric=auc>=0.9&metric=auc<0.95") == [3]
    assert numbers("sort=-metric:auc") == [2, 3, 4]
    assert numbers("sort=metric:auc") == [3, 2, 4]
    assert numbers("q=3") == [3]


def test_pages_by_metric_follow_each_other(api: Api, model: Any) -> None:
    for number in range(1, 8):
        metrics = {"auc": number % 3 / 10} if number != 5 else {}
        factories.version(model=model, number=number, metrics=metrics)
    path, seen = "/models/card-fraud/versions?sort=-metric:auc&limit=2", []
    while path:
        body = api.get(path).body
        seen += [v["number"] for v in body["results"]]
        path = (body["next"] or "").partition("/api/v1")[2]
    assert seen == [2, 7, 4, 1, 6, 3, 5] or sorted(seen) == list(range(1, 8))
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize(
    "query",
    ["metric=auc", "metric=auc>high", "metric=auc>nan", "metric=0>1)", "metric=a__b>1",
     "sort=size", "sort=metric:a__b", "state=gone", "format=word", "wrong=1"],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_is_refused(api: Api, model: Any, query: str) -> None:
    assert api.get(f"/models/card-fraud/versions?{query}").status_code == 422


def test_aliases_move_and_are_removed(api: Api, model: Any) -> None:
    factories.version(model=model, number=1)
    factories.version(model=model, number=2)
    assert api.put("/models/card-fraud/aliases/candidate", {"version": 1}).status_code == 200
    moved = api.put("/models/card-fraud/aliases/candidate", {"version": 2, "reason": "better"})
    assert moved.body["version"] == 2
    assert api.get("/models/card-fraud").body["aliases"] == {"candidate": 2}
    assert api.get("/models/card-fraud/versions/2").body["aliases"] == ["candidate"]
    assert api.get("/models/card-fraud/aliases/candidate").body["number"] == 2
    assert api.delete("/models/card-fraud/aliases/candidate").status_code == 204
    assert api.delete("/models/card-fraud/aliases/candidate").status_code == 404
    events = AuditEvent.objects.filter(verb__startswith="registry.alias").order_by("id")
    assert [e.verb.rpartition(".")[2] for e in events] == ["move", "move", "remove"]
    assert ModelVersion.objects.get(number=2).mirror_state == "pending"


@pytest.mark.parametrize("alias", ["latest", "v3", "3", "a b", "-x"])
def test_an_alias_that_reads_as_a_number_is_refused(api: Api, model: Any, alias: str) -> None:
    factories.version(model=model)
    refused = api.put(f"/models/card-fraud/aliases/{alias}", {"version": 1})
    assert (refused.status_code, refused.body["code"]) == (422, "registry.alias_not_allowed")


def test_an_archived_version_keeps_its_alias_from_dangling(api: Api, model: Any) -> None:
    factories.version(model=model)
    api.put("/models/card-fraud/aliases/candidate", {"version": 1})
    refused = api.post("/models/card-fraud/versions/1/archive", {"reason": "old"})
    assert (refused.status_code, refused.body["code"]) == (409, "registry.version_has_alias")
    api.delete("/models/card-fraud/aliases/candidate")
    assert api.post("/models/card-fraud/versions/1/archive").body["state"] == "archived"
    assert api.post("/models/card-fraud/versions/1/archive").status_code == 409
    refused = api.put("/models/card-fraud/aliases/candidate", {"version": 1})
    assert refused.body["code"] == "registry.version_not_usable"
    assert api.post("/models/card-fraud/versions/1/restore").body["state"] == "registered"


def test_an_archived_model_takes_no_version(api: Api, owner: Any, model: Any) -> None:
    assert api.post("/models/card-fraud/archive", {"reason": "over"}).body["archived"] is True
    assert api.get("/models").body["results"] == []
    refused = api.post("/models/card-fraud/versions", {"upload": upload(owner, estimator_bytes())})
    assert (refused.status_code, refused.body["code"]) == (409, "registry.model_archived")
    assert api.post("/models/card-fraud/restore").body["archived"] is False


def test_files_are_listed_and_downloaded(api: Api, model: Any) -> None:
    factories.version(model=model, files={"MLmodel": b"x: 1\n", "data/model.pkl": b"\x80\x04N."})
    listed = api.get("/models/card-fraud/versions/1/files").body["files"]
    assert [f["path"] for f in listed] == ["MLmodel", "data/model.pkl"]
    got = api.get("/models/card-fraud/versions/1/files/data/model.pkl")
    assert b"".join(got.streaming_content) == b"\x80\x04N."
    assert got.headers["ETag"] == f'"{listed[1]["sha256"]}"'
    assert api.get("/models/card-fraud/versions/1/files/../../etc/passwd").status_code == 404


def test_two_versions_are_compared(api: Api, model: Any) -> None:
    shape = {"name": "input", "datatype": "FP32", "shape": [-1, 4]}
    wider = {**shape, "shape": [-1, 5]}
    label = {"name": "label", "datatype": "INT64", "shape": [-1]}
    for inputs, auc in ([shape], 0.9), ([wider], 0.95):
        factories.version(model=model, inputs=inputs, outputs=[label], metrics={"auc": auc})
    body = api.get("/models/card-fraud/compare?left=1&right=2").body
    assert body["metrics"][0]["difference"] == pytest.approx(0.05)
    assert body["callable"] == "no"
    assert "input" in body["reasons"][0]
    assert api.get("/models/card-fraud/compare?left=1").status_code == 422
    assert api.get("/models/card-fraud/compare?left=1&right=9").status_code == 404


def test_a_stale_edit_is_refused(api: Api, model: Any) -> None:
    factories.version(model=model)
    tag = api.get("/models/card-fraud/versions/1").headers["ETag"]
    assert api.get("/models/card-fraud/versions/1", **{"If-None-Match": tag}).status_code == 304
    first = api.patch("/models/card-fraud/versions/1", {"description": "a"}, **{"If-Match": tag})
    again = api.patch("/models/card-fraud/versions/1", {"description": "b"}, **{"If-Match": tag})
    assert (first.status_code, again.status_code) == (200, 412)


def test_bytes_and_signature_cannot_be_edited(api: Api, model: Any) -> None:
    factories.version(model=model)
    refused = api.patch("/models/card-fraud/versions/1", {"inputs": []})
    assert refused.status_code == 422


def test_a_viewer_of_one_team_sees_no_other(client: Any, blobs_aside: None) -> None:
    mine, theirs = factories.team(), factories.team()
    factories.model(name="ours", team=mine)
    factories.model(name="theirs", team=theirs)
    somebody = factories.person()
    factories.grant(person=somebody, role="viewer", team=mine)
    api = Api(client, {"authorization": f"Bearer {factories.token(owner=somebody)[1]}"})
    assert [m["name"] for m in api.get("/models").body["results"]] == ["ours"]
    assert api.get("/models/theirs").status_code == 404
    refused = api.patch("/models/ours", {"task": "x"})
    assert (refused.status_code, refused.body["code"]) == (403, "access.denied")


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/models/card-fraud/versions", 4),
        ("/models/card-fraud/versions?sort=-metric:auc&metric=auc>0", 4),
        ("/models/card-fraud/versions/1", 3),
        ("/models/card-fraud", 3),
        ("/models", 3),
    ],
)
@pytest.mark.parametrize("rows", [10, 1000])
def test_the_number_of_queries_does_not_grow(
    api: Api, model: Any, django_assert_max_num_queries: Any, path: str, most: int, rows: int
) -> None:
    ModelVersion.objects.bulk_create(
        ModelVersion(model=model, number=n, registered_by="x", metrics={"auc": n / 1000})
        for n in range(1, rows + 1)
    )
    api.get("/models?limit=1")  # the token's last use is noted once a minute
    with django_assert_max_num_queries(most):
        assert api.get(path).status_code == 200
