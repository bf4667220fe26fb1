"""Forms without a script: what they do, and what they keep when a service refuses."""

import io
import re

import joblib
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from apps.builds.models import Build
from apps.endpoints.models import Endpoint, EndpointKey
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from tests import factories
from tests.web import filling

pytestmark = pytest.mark.django_db


@pytest.fixture
def iris(db: None) -> RegisteredModel:
    filling.environments()
    return filling.model(name="iris", team=factories.team(slug="fraud"), versions=2)


def words(answer: object) -> str:
    """Return a page as text, with its toasts."""
    text = re.sub(r"<[^>]+>", " ", answer.content.decode())  # type: ignore[attr-defined]
    return " ".join(text.split())


def sklearn_file() -> bytes:
    inputs, labels = load_breast_cancer(return_X_y=True)
    out = io.BytesIO()
    joblib.dump(LogisticRegression(max_iter=50).fit(inputs[:100, :3], labels[:100]), out)
    return out.getvalue()


NEW = {
    "name": "parcel-eta",
    "team": "fraud",
    "risk_tier": "low",
    "task": "regression",
    "description": "Minutes until a parcel arrives.",
    "card": "# Card",
    "tolerance": "0.01",
    "min_agreement": "0.9",
}


def test_a_new_model_leads_to_its_first_upload(ada: Client) -> None:
    factories.team(slug="fraud")
    answer = ada.post("/models/new", NEW)
    assert answer["Location"] == "/models/parcel-eta/register"
    made = RegisteredModel.objects.get()
    assert (made.risk_tier, made.tolerance, made.card) == ("low", 0.01, "# Card")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "not allowed!"}, "cannot name a registered model"),
        ({"name": "Iris"}, "There is already a model called iris"),
        ({"tolerance": "many"}, "Enter a number"),
        ({"team": "nobody"}, "Select a valid choice"),
    ],
)
def test_a_refused_form_keeps_what_was_typed(
    ada: Client, iris: RegisteredModel, change: dict[str, str], sentence: str
) -> None:
    answer = ada.post("/models/new", {**NEW, **change})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert sentence in words(answer)
    assert "Minutes until a parcel arrives." in page
    assert 'aria-invalid="true"' in page
    assert RegisteredModel.objects.count() == 1


def test_a_model_is_edited(ada: Client, iris: RegisteredModel) -> None:
    page = ada.get("/models/iris/edit").content.decode()
    assert 'name="name"' not in page
    answer = ada.post("/models/iris/edit", {**NEW, "card": "## Limits"}, follow=True)
    assert "iris is changed." in words(answer)
    iris.refresh_from_db()
    assert iris.card == "## Limits"


def test_a_version_is_registered_from_an_ordinary_form(ada: Client, iris: RegisteredModel) -> None:
    file = SimpleUploadedFile("model.joblib", sklearn_file())
    answer = ada.post("/models/iris/register", {"files": file}, follow=True)
    assert answer.status_code == 200
    assert "Check, then register v3" in words(answer)
    assert "sklearn" in words(answer)
    upload = re.search(r'name="upload" value="(\w+)"', answer.content.decode())
    assert upload is not None
    details = {
        "step": "register",
        "upload": upload[1],
        "path": "",
        "semver": "2.0.0",
        "metrics": "auc = 0.97\nlog_loss: 0.1",
        "params": "C = 1.0",
    }
    refused = ada.post("/models/iris/register", {**details, "metrics": "auc = high"})
    assert refused.status_code == 422
    assert "auc = high" in refused.content.decode()
    assert "not a finite number" in words(refused)
    done = ada.post("/models/iris/register", details, follow=True)
    assert done.redirect_chain[-1][0] == "/models/iris/versions/3"
    version = ModelVersion.objects.get(model=iris, number=3)
    assert version.metrics == {"auc": 0.97, "log_loss": 0.1}
    assert (version.semver, version.door, version.format) == ("2.0.0", "browser", "sklearn")


def test_the_same_bytes_again_lead_to_the_version_that_holds_them(
    ada: Client, iris: RegisteredModel
) -> None:
    content = sklearn_file()
    for expected in ("v3 of iris is registered", "registered already, as v3"):
        file = SimpleUploadedFile("model.joblib", content)
        page = ada.post("/models/iris/register", {"files": file}, follow=True).content.decode()
        upload = re.search(r'name="upload" value="(\w+)"', page)
        assert upload is not None
        asked = {"step": "register", "upload": upload[1], "path": ""}
        assert expected in words(ada.post("/models/iris/register", asked, follow=True))


def test_a_file_that_is_no_model_is_refused_before_anything_is_registered(
    ada: Client, iris: RegisteredModel
) -> None:
    file = SimpleUploadedFile("notes.txt", b"not a model at all")
    answer = ada.post("/models/iris/register", {"files": file}, follow=True)
    assert "cannot be registered" in words(answer)
    assert 'name="step" value="register"' not in answer.content.decode()
    assert ModelVersion.objects.filter(model=iris).count() == 2


def test_a_form_without_files_says_so(ada: Client, iris: RegisteredModel) -> None:
    answer = ada.post("/models/iris/register", {})
    assert answer.status_code == 422
    assert "Choose at least one file first." in words(answer)


def test_the_model_of_a_run_is_registered_before_its_files_are_here(
    ada: Client, iris: RegisteredModel
) -> None:
    asked = {"step": "run", "run_id": "7f" * 16, "artifact_path": "model"}
    answer = ada.post("/models/iris/register", asked, follow=True)
    assert "Reading its files" in words(answer)
    bad = ada.post("/models/iris/register", {"step": "run", "run_id": "../etc"})
    assert bad.status_code == 422
    assert "../etc" in bad.content.decode()


def test_an_alias_moves_and_goes(ada: Client, iris: RegisteredModel) -> None:
    ada.post("/models/iris/aliases", {"alias": "canary", "version": "1"})
    assert Alias.objects.get(name="canary").version.number == 1
    answer = ada.post("/models/iris/aliases", {"alias": "v7", "version": "1"}, follow=True)
    assert "cannot name an alias" in words(answer)
    ada.post("/models/iris/aliases/canary/remove")
    assert not Alias.objects.filter(name="canary").exists()


def test_archiving_says_what_stands_in_its_way(ada: Client, iris: RegisteredModel) -> None:
    answer = ada.post("/models/iris/versions/1/archive", {"reason": "old"}, follow=True)
    assert "named by the alias champion" in words(answer)
    answer = ada.post("/models/iris/aliases/champion/remove", follow=True)
    assert "follows what is live in production" in words(answer)
    Alias.objects.filter(name="champion").delete()
    ada.post("/models/iris/versions/1/archive", {"reason": "old"})
    assert ModelVersion.objects.get(model=iris, number=1).state == "archived"
    ada.post("/models/iris/versions/1/restore")
    assert ModelVersion.objects.get(model=iris, number=1).state == "registered"


def test_a_build_is_asked_for_cancelled_and_retried(ada: Client, iris: RegisteredModel) -> None:
    where = ada.post("/models/iris/versions/1/build")["Location"]
    build = Build.objects.get()
    assert where == f"/builds/{build.public_id}"
    assert "begins as soon as a builder is free" in words(ada.get(where))
    again = ada.post("/models/iris/versions/1/build", follow=True)
    assert "is under way" in words(again)
    assert "cancelled" in words(ada.post(f"{where}/cancel", follow=True))
    ada.post(f"{where}/retry")
    build.refresh_from_db()
    assert (build.state, build.attempt) == ("queued", 2)


def test_the_log_goes_on_from_where_the_page_has_read_it(
    ada: Client, iris: RegisteredModel
) -> None:
    build = filling.build(iris.versions.get(number=1), state="converting")
    where = f"/builds/{build.public_id}"
    page = ada.get(where).content.decode()
    more = re.search(r'hx-get="(\?part=log[^"]+)"', page)
    assert more is not None
    build.log.create(step="convert", offset=10_000, length=4, text="new\n")
    address = more[1].replace("&amp;", "&")
    part = ada.get(where + address, headers={"HX-Request": "true"}).content.decode()
    assert part.startswith("new\n")
    assert "scan: begins" not in part
    assert "after=10004" in part


def test_a_version_is_served_and_its_endpoint_retired(ada: Client, iris: RegisteredModel) -> None:
    filling.build(iris.versions.get(number=2))
    asked = {"environment": "dev", "variant": "onnx", "replicas": "2", "reason": "try it"}
    where = ada.post("/models/iris/versions/2/serve", asked)["Location"]
    assert where == "/endpoints/dev/iris"
    assert Endpoint.objects.get().revisions.get().replicas == 2
    assert "v2 waits for room" in words(ada.get(where))
    assert "retired" in words(ada.post(f"{where}/retire", {"reason": "done"}, follow=True))
    nothing = ada.post("/models/iris/versions/1/serve", {"environment": "dev"}, follow=True)
    assert "no variant that can be served" in words(nothing)


def test_a_key_is_shown_this_once(ada: Client, iris: RegisteredModel) -> None:
    version = iris.versions.get(number=2)
    filling.build(version)
    filling.endpoint(version, filling.environments()[0])
    answer = ada.post("/endpoints/dev/iris/keys", {"name": "checkout"})
    secret = re.search(r'<code id="secret">([^<]+)</code>', answer.content.decode())
    assert secret is not None
    key = EndpointKey.objects.get()
    assert secret[1].endswith(key.tail)
    assert secret[1] not in ada.get("/endpoints/dev/iris").content.decode()
    ada.post(f"/endpoints/dev/iris/keys/{key.public_id}/revoke")
    key.refresh_from_db()
    assert key.revoked_at is not None
    page = words(ada.get("/endpoints/dev/iris"))
    assert "nobody is let in" in page
    assert "Let callers in without a key" in page
    opened = ada.post("/endpoints/dev/iris/open", {"reason": "a demo"}, follow=True)
    assert "answers callers without a key" in words(opened)
    assert "Let callers in without a key" not in words(opened)
    nameless = ada.post("/endpoints/dev/iris/keys", {"name": " "})
    assert nameless.status_code == 422


@pytest.mark.parametrize("inputs", ["not json", "[]", '{"inputs": 3}'])
def test_a_try_that_cannot_be_sent_keeps_what_was_typed(
    ada: Client, iris: RegisteredModel, inputs: str
) -> None:
    version = iris.versions.get(number=2)
    filling.build(version)
    filling.endpoint(version, filling.environments()[0])
    answer = ada.post("/endpoints/dev/iris/predict", {"inputs": inputs})
    assert answer.status_code == 422
    assert inputs.replace('"', "&quot;") in answer.content.decode()
    assert "Refused" in words(answer)
    part = ada.post(
        "/endpoints/dev/iris/predict", {"inputs": inputs}, headers={"HX-Request": "true"}
    )
    assert "<html" not in part.content.decode()


def test_dark_or_light_is_remembered(ada: Client) -> None:
    answer = ada.post("/theme", {"theme": "dark", "next": "/models"})
    assert answer["Location"] == "/models"
    assert '<html lang="en" data-theme="dark">' in ada.get("/models").content.decode()


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:x"])
def test_the_theme_leads_nowhere_else(ada: Client, target: str) -> None:
    assert ada.post("/theme", {"theme": "dark", "next": target})["Location"] == "/"


def test_an_unknown_theme_is_ignored(ada: Client) -> None:
    assert "theme" not in ada.post("/theme", {"theme": '"><script>'}).cookies


def test_search_finds_by_name_number_digest_and_commit(ada: Client, iris: RegisteredModel) -> None:
    version = iris.versions.get(number=2)
    digest = (version.manifest_digest or "").removeprefix("sha256:")
    for asked, where in [
        ("iri", "/models/iris"),
        ("iris v2", "/models/iris/versions/2"),
        (digest[:12], "/models/iris/versions/2"),
        ("3e9a0d4", "/models/iris/versions/2"),
    ]:
        assert f'href="{where}"' in ada.get("/search", {"q": asked}).content.decode(), asked


def test_comparing_answers_in_its_first_line(ada: Client, iris: RegisteredModel) -> None:
    newer = iris.versions.get(number=2)
    newer.inputs = [{"name": "X", "datatype": "FP64", "shape": [-1, 30]}]
    newer.save()
    answer = ada.get("/models/iris/compare", {"version": ["1", "2"]})
    assert "Input X is FP64 instead of FP32." in words(answer)
    assert ada.get("/models/iris/compare", {"left": "x", "right": "1"}).status_code == 422
    assert ada.get("/models/iris/compare", {"left": "1", "right": "99"}).status_code == 404
