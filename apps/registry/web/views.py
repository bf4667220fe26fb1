"""Pages of the registry: the list of models, making and editing one, registering, comparing.

A model's and a version's own pages show what upper apps know of them, and stand in `console`.
"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.domain import access
from apps.accounts.models import Team
from apps.accounts.selectors import all_teams
from apps.registry import runs, selectors, services
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import Door, RiskTier
from apps.registry.models import RegisteredModel, Upload
from apps.registry.services import UploadedPath, staging
from apps.registry.web import comparison
from apps.registry.web.forms import DetailsForm, ModelForm, RunForm
from controlplane.http.forms import blame
from controlplane.http.htmx import page
from controlplane.http.pagination import cut
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import ControlPlaneError, Invalid

PAGE = 40
MOST_CHOICES = 100
SORTS = [
    ("-changed", "Changed last"),
    ("-created", "Newest"),
    ("created", "Oldest"),
    ("name", "A to Z"),
    ("-name", "Z to A"),
]
FACTS_SHOWN = (
    "estimator",
    "opset",
    "classes",
    "features",
    "flavors",
    "producer",
    "python_version",
)


@signed_in
@require_GET
def models(request: HttpRequest) -> HttpResponse:
    """List the models that the reader may see."""
    actor = actor_of(request)
    filters = {name: request.GET.get(name, "") for name in ("q", "team", "risk_tier", "archived")}
    rows = selectors.models(
        actor,
        q=filters["q"],
        team=filters["team"],
        risk_tier=filters["risk_tier"],
        archived=bool(filters["archived"]),
        sort=request.GET.get("sort") or "-changed",
    )
    found = cut(rows, limit=PAGE, cursor=request.GET.get("cursor", ""))
    context = {
        "models": found.rows,
        "slice": found,
        "total": selectors.visible_models(actor).filter(archived_at=None).count(),
        "filters": {**filters, "sort": request.GET.get("sort", "-changed")},
        "filtered": any(filters.values()),
        "teams": list(all_teams()),
        "tiers": [str(t) for t in RiskTier],
        "sorts": SORTS,
        "base": _base(request),
        "can_create": access.allows(actor, "registry.model.create"),
        "mlflow_address": f"{settings.PUBLIC_URL}/mlflow",
    }
    return page(request, "registry/model_list.html", context)


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def new_model(request: HttpRequest) -> HttpResponse:
    """Create a model."""
    actor = actor_of(request)
    access.require(actor, "registry.model.create")
    teams = _teams_to_create_in(actor)
    form = ModelForm(request.POST or None, teams=teams)
    if request.method == "POST" and form.is_valid():
        try:
            model = services.create_model(actor=actor, **form.cleaned_data)
        except ControlPlaneError as error:
            blame(form, error)
        else:
            messages.success(request, f"{model.name} is created. Upload its first version.")
            return redirect(f"/models/{model.name}/register")
    return page(request, "registry/model_form.html", {"form": form}, status=_status(form))


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def edit_model(request: HttpRequest, name: str) -> HttpResponse:
    """Change what people say about a model."""
    actor = actor_of(request)
    model = selectors.model(actor, name)
    access.require(actor, "registry.model.edit", team=model.team.slug)
    now: dict[str, Any] = {f: getattr(model, f) for f in ModelForm.base_fields if f != "team"}
    teams = _teams_to_create_in(actor)
    if model.team not in teams:
        teams = [model.team, *teams]
    initial = {**now, "team": model.team.slug}
    form = ModelForm(request.POST or None, teams=teams, editing=True, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            services.edit_model(actor=actor, name=name, changes=form.cleaned_data)
        except ControlPlaneError as error:
            blame(form, error)
        else:
            messages.success(request, f"{name} is changed.")
            return redirect(f"/models/{name}")
    context = {"form": form, "model": model}
    return page(request, "registry/model_form.html", context, status=_status(form))


@signed_in
@require_POST
def archive_model(request: HttpRequest, name: str) -> HttpResponse:
    """Take a model out of the lists."""
    reason = request.POST.get("reason", "")
    return _act(
        request,
        f"/models/{name}",
        lambda: services.archive_model(actor=actor_of(request), name=name, reason=reason),
        f"{name} is archived. It can be restored here.",
    )


@signed_in
@require_POST
def restore_model(request: HttpRequest, name: str) -> HttpResponse:
    """Bring a model back."""
    reason = request.POST.get("reason", "")
    return _act(
        request,
        f"/models/{name}",
        lambda: services.restore_model(actor=actor_of(request), name=name, reason=reason),
        f"{name} is back.",
    )


@signed_in
@require_POST
def move_alias(request: HttpRequest, name: str) -> HttpResponse:
    """Let an alias name a version."""
    alias, number = request.POST.get("alias", ""), request.POST.get("version", "")
    return _act(
        request,
        request.POST.get("next") or f"/models/{name}",
        lambda: services.move_alias(
            actor=actor_of(request),
            model=name,
            alias=alias,
            number=_whole(number, "version"),
            reason=request.POST.get("reason", ""),
        ),
        f"{alias} now names v{number}.",
    )


@signed_in
@require_POST
def remove_alias(request: HttpRequest, name: str, alias: str) -> HttpResponse:
    """Remove an alias; the version stays."""
    return _act(
        request,
        f"/models/{name}",
        lambda: services.remove_alias(actor=actor_of(request), model=name, alias=alias),
        f"{alias} names nothing any more.",
    )


@signed_in
@require_POST
def archive_version(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """Take a version out of use."""
    reason = request.POST.get("reason", "")
    return _act(
        request,
        f"/models/{name}/versions/{number}",
        lambda: services.archive_version(
            actor=actor_of(request), model=name, number=number, reason=reason
        ),
        f"v{number} is archived. It can be restored here.",
    )


@signed_in
@require_POST
def restore_version(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """Bring a version back."""
    reason = request.POST.get("reason", "")
    return _act(
        request,
        f"/models/{name}/versions/{number}",
        lambda: services.restore_version(
            actor=actor_of(request), model=name, number=number, reason=reason
        ),
        f"v{number} is back, as registered.",
    )


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: HttpRequest, name: str) -> HttpResponse:
    """Register a version in two steps: choose its files, then say what they are.

    Between the steps the uploads stand in the address, so that the page can be loaded again.
    """
    actor = actor_of(request)
    model = selectors.model(actor, name)
    access.require(actor, "registry.version.register", team=model.team.slug)
    step = request.POST.get("step", "upload") if request.method == "POST" else ""
    match step:
        case "upload":
            return _take_files(request, actor, model)
        case "run":
            return _take_run(request, actor, model)
        case "register":
            return _take_details(request, actor, model)
        case _:
            pairs = _uploads(actor, request.GET.getlist("upload"), request.GET.getlist("path"))
            return _check_page(request, model, pairs) if pairs else _choose_page(request, model)


@signed_in
@require_GET
def compare(request: HttpRequest, name: str) -> HttpResponse:
    """Show two versions side by side."""
    actor = actor_of(request)
    model = selectors.model(actor, name)
    chosen = [v for v in request.GET.getlist("version") if v]
    asked = [request.GET.get("left", ""), request.GET.get("right", "")]
    left, right = _two(model, chosen if len(chosen) >= 2 else asked if all(asked) else chosen)
    compared = selectors.compare(actor, name, left, right)
    numbers = selectors.versions(model, state="all").values_list("number", flat=True)
    context = {
        "model": model,
        "left": compared.left,
        "right": compared.right,
        "sections": comparison.sections(compared),
        "summary": comparison.summary(compared),
        "choices": sorted({*numbers[:MOST_CHOICES], left, right}, reverse=True),
    }
    return page(request, "registry/compare.html", context)


def _take_files(request: HttpRequest, actor: Actor, model: RegisteredModel) -> HttpResponse:
    """Keep the files of an ordinary form, and go to the second step."""
    files = request.FILES.getlist("files")
    if not files:
        return _choose_page(request, model, "Choose at least one file first.", status=422)
    try:
        kept = [services.keep_uploaded_file(actor=actor, file=f) for f in files]
    except ControlPlaneError as error:
        sentence = f"{error.sentence} {error.remedy}".strip()
        return _choose_page(request, model, sentence, status=422)
    several = len(kept) > 1
    pairs = [(u.public_id, u.filename if several else "") for u in kept]
    query = urlencode([part for u, p in pairs for part in (("upload", u), ("path", p))])
    return HttpResponseRedirect(f"/models/{model.name}/register?{query}")


def _take_run(request: HttpRequest, actor: Actor, model: RegisteredModel) -> HttpResponse:
    """Register the model of an MLflow run."""
    form = RunForm(request.POST)
    if form.is_valid():
        try:
            registered = services.register_run(
                actor=actor,
                model=model.name,
                run_id=form.cleaned_data["run_id"].strip(),
                artifact_path=form.cleaned_data["artifact_path"] or "model",
                details=Details(),
                door=Door.BROWSER,
            )
        except ControlPlaneError as error:
            blame(form, error)
        else:
            return _registered(request, model, registered)
    return _choose_page(request, model, run_form=form, status=422)


def _take_details(request: HttpRequest, actor: Actor, model: RegisteredModel) -> HttpResponse:
    """Register the uploads as the next version."""
    pairs = _uploads(actor, request.POST.getlist("upload"), request.POST.getlist("path"))
    form = DetailsForm(request.POST)
    if form.is_valid():
        try:
            registered = services.register_version(
                actor=actor,
                model=model.name,
                uploads=[UploadedPath(u.public_id, path) for u, path in pairs],
                details=form.details(),
                door=Door.BROWSER,
            )
        except ControlPlaneError as error:
            blame(form, error)
        else:
            return _registered(request, model, registered)
    return _check_page(request, model, pairs, form=form, status=422)


def _registered(
    request: HttpRequest, model: RegisteredModel, registered: services.Registered
) -> HttpResponse:
    number = registered.version.number
    if registered.created:
        messages.success(request, f"v{number} of {model.name} is registered.")
    else:
        messages.info(request, f"These bytes are registered already, as v{number}.")
    return redirect(f"/models/{model.name}/versions/{number}")


def _choose_page(
    request: HttpRequest,
    model: RegisteredModel,
    upload_error: str = "",
    *,
    run_form: RunForm | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "model": model,
        "run_form": run_form or RunForm(initial=_picked(request)),
        "run_models": runs.recent() if access.allows(actor_of(request), "mlflow.read") else [],
        "upload_error": upload_error,
        "limit": settings.UPLOAD_LIMIT,
        "mlflow_address": f"{settings.PUBLIC_URL}/mlflow",
    }
    return page(request, "registry/version_register.html", context, status=status)


def _picked(request: HttpRequest) -> dict[str, str]:
    """Return the run that was picked from the list; it stands in the address."""
    run_id, path = request.GET.get("run", "")[:64], request.GET.get("model", "")[:200]
    return {"run_id": run_id, "artifact_path": path or "model"}


def _check_page(
    request: HttpRequest,
    model: RegisteredModel,
    pairs: Sequence[tuple[Upload, str]],
    *,
    form: DetailsForm | None = None,
    status: int = 200,
) -> HttpResponse:
    read, problem = _read(pairs)
    context = {
        "model": model,
        "pairs": pairs,
        "shown": [(path or upload.filename, upload.size) for upload, path in pairs],
        "read": read,
        "read_facts": comparison.facts(read.facts, only=FACTS_SHOWN) if read else [],
        "problem": problem,
        "form": form or DetailsForm(),
    }
    return page(request, "registry/version_register.html", context, status=status)


def _read(pairs: Sequence[tuple[Upload, str]]) -> tuple[Inspected | None, str]:
    try:
        return staging.stage(list(pairs)).inspected, ""
    except ControlPlaneError as error:
        return None, f"{error.sentence} {error.remedy}".strip()


def _uploads(
    actor: Actor, uploads: Sequence[str], paths: Sequence[str]
) -> list[tuple[Upload, str]]:
    padded = [*paths, *[""] * len(uploads)]
    return [
        (selectors.upload(actor, public_id), path)
        for public_id, path in zip(uploads, padded, strict=False)
    ]


def _two(model: RegisteredModel, asked: Sequence[str]) -> tuple[int, int]:
    """Return the older and the newer number that are asked for.

    With one, or none, the newest is held against what was asked, or against the one before.
    """
    numbers = sorted({_whole(text, "version") for text in asked[:2]})
    if len(numbers) == 2 and len(asked) == 2:
        first, second = (_whole(text, "version") for text in asked)
        return first, second
    newest = model.latest_number or 1
    one = numbers[0] if numbers else newest - 1
    return max(1, one), newest


def _whole(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid(f"{text[:40]!r} is not a version's number.", field=field)
    return int(text)


def _act(request: HttpRequest, target: str, verb: Callable[[], object], done: str) -> HttpResponse:
    """Do one thing, say so, and go back to the page; a refusal is said there too."""
    try:
        verb()
    except ControlPlaneError as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
    else:
        messages.success(request, done)
    return HttpResponseRedirect(target)


def _teams_to_create_in(actor: Actor) -> list[Team]:
    return [t for t in all_teams() if access.allows(actor, "registry.model.create", team=t.slug)]


def _status(form: ModelForm) -> int:
    return 422 if form.is_bound and form.errors else 200


def _base(request: HttpRequest) -> str:
    """Return the query without its cursor, ready for one more part."""
    kept = [
        (n, v) for n, vs in request.GET.lists() for v in vs if v and n not in ("cursor", "part")
    ]
    return f"{urlencode(kept)}&" if kept else ""
