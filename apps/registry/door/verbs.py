"""What a client's request to MLflow's registry means here, before and after it is passed on.

Synchronous: each runs in a thread of its own, so that the lock on a model's numbers is held by
one database connection from the question to MLflow until its answer is recorded.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from apps.accounts.domain import access
from apps.registry import numbering, selectors, services
from apps.registry.domain.kinds import MirrorState
from apps.registry.door import kept
from apps.registry.door.answers import Answer
from apps.registry.door.routes import Verb, leads_out
from apps.registry.models import ModelVersion, RegisteredModel
from apps.registry.upstream import ask
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict, Denied, Invalid, Missing, Transient

PATIENCE = 12.0  # seconds to wait for versions that were registered here a moment ago
PAUSE = 0.1
PROMPT_TAG = "mlflow.prompt.is_prompt"
TEAM_TAG = "modelyard.team"
OURS = "modelyard."

Body = Mapping[str, Any]
Pass = Callable[[], Answer]


def perform(verb: Verb, *, actor: Actor, body: Body, path: str, pass_on: Pass) -> Answer:
    """Do what `verb` means here, and have MLflow do it too.

    Args:
        verb: From the route table.
        actor: Whoever sent the request.
        body: Its JSON.
        path: Below /mlflow, decoded; the routes of logged models name them there.
        pass_on: Sends the request to MLflow as it came, and returns the answer.

    Raises:
        ControlPlaneError: It is refused, with the reason.
    """
    if verb in ON_LOGGED:
        access.require(actor, "mlflow.write")
        ON_LOGGED[verb](body, path)
        return pass_on()
    if _about_a_prompt(verb, body):
        access.require(actor, "mlflow.write")
        return pass_on()
    return VERBS[verb](actor, body, pass_on)


def _create_model(actor: Actor, body: Body, pass_on: Pass) -> Answer:
    name = _text(body, "name")
    _refuse_our_tags(key for key in _tags(body) if key != TEAM_TAG)
    row = RegisteredModel.objects.select_related("team").filter(name=name).first()
    if row is not None:
        access.require(actor, "registry.version.register", team=row.team.slug)
        return pass_on()  # its own answer, "already exists", is what the client expects
    team = _tags(body).get(TEAM_TAG) or services.home_team(actor)
    services.create_model(
        actor=actor, name=name, team=team, description=str(body.get("description") or "")
    )
    return pass_on()


def _edit_model(actor: Actor, body: Body, pass_on: Pass) -> Answer:
    description = str(body.get("description") or "")
    services.edit_model(
        actor=actor, name=_text(body, "name"), changes={"description": description}
    )
    return pass_on()


def _tag_model(actor: Actor, body: Body, pass_on: Pass) -> Answer:
    row = selectors.model(actor, _text(body, "name"))
    access.require(actor, "registry.model.edit", team=row.team.slug)
    _refuse_our_tags([_text(body, "key")])
    return pass_on()


def _create_version(actor: Actor, body: Body, pass_on: Pass) -> Answer:
    """Let MLflow number a version, and note it here under that number.

    1. The model exists here and the actor may register in it.
    2. Under the lock on its numbers: MLflow has every number that we have given.
    3. MLflow answers with the next number; `services.adopt` notes it, a worker reads the files.
    """
    name = _text(body, "name")
    _refuse_bad_source(_text(body, "source"))
    _refuse_our_tags(key for key in _tags(body) if key != TEAM_TAG)
    row = _model_to_register_in(actor, name, _tags(body).get(TEAM_TAG, ""))
    give_up = time.monotonic() + PATIENCE
    while True:
        with numbering.held(name):
            missing = _missing_in_mlflow(row)
            if missing is None:
                return _number_and_adopt(actor, name, pass_on)
        _refuse_to_wait(missing, overdue=time.monotonic() > give_up)
        time.sleep(PAUSE)  # without the lock: the mirror needs it to bring the version there


def _number_and_adopt(actor: Actor, name: str, pass_on: Pass) -> Answer:
    answer = pass_on()
    if answer.status == 200:
        made = json.loads(answer.content)["model_version"]
        services.adopt(
            actor=actor,
            model=name,
            number=int(made["version"]),
            run_id=str(made.get("run_id") or ""),
            source=str(made.get("source") or ""),
            description=str(made.get("description") or ""),
            tags=_of_people(_tags(made)),
        )
    return answer


def _edit_version(actor: Actor, body: Body, pass_on: Pass) -> Answer:
    services.edit_version(
        actor=actor,
        model=_text(body, "name"),
        number=_number(body),
        changes={"description": str(body.get("description") or "")},
    )
    return pass_on()


def _tag_version(actor: Actor, body: Body, pass_on: Pass) -> Answer:
    key = _text(body, "key")
    return _change_tags(actor, body, pass_on, {key: str(body.get("value") or "")})


def _untag_version(actor: Actor, body: Body, pass_on: Pass) -> Answer:
    return _change_tags(actor, body, pass_on, {_text(body, "key"): None})


def _change_tags(
    actor: Actor, body: Body, pass_on: Pass, changes: Mapping[str, str | None]
) -> Answer:
    model, number = _text(body, "name"), _number(body)
    _refuse_our_tags(changes)
    with transaction.atomic():
        version = selectors.version_for_update(actor, model, number)
        access.require(actor, "registry.version.edit", team=version.model.team.slug)
        after = {**version.tags, **changes}
        tags = {
            key: value
            for key, value in after.items()
            if value is not None and not key.startswith("mlflow.")
        }
        if tags != version.tags:
            services.edit_version(actor=actor, model=model, number=number, changes={"tags": tags})
    return pass_on()


def _set_alias(actor: Actor, body: Body, pass_on: Pass) -> Answer:
    name, number = _text(body, "name"), _number(body)
    services.move_alias(actor=actor, model=name, alias=_text(body, "alias"), number=number)
    answer = pass_on()
    # The version may not have reached MLflow yet; the mirror brings its alias along.
    return answer if answer.status != 404 else Answer(200, b"{}")


def _remove_alias(actor: Actor, body: Body, pass_on: Pass) -> Answer:
    name, alias = _text(body, "name"), _text(body, "alias")
    row = selectors.model(actor, name)
    access.require(actor, "registry.alias.move", team=row.team.slug)
    try:
        services.remove_alias(actor=actor, model=name, alias=alias)
    except Missing as error:
        if error.code != "registry.no_such_alias":
            raise
    return pass_on()


def _tag_logged(body: Body, path: str) -> None:
    _refuse_our_tags(_tags(body))


def _untag_logged(body: Body, path: str) -> None:
    _refuse_our_tags([path.partition("/tags/")[2]])


def _delete_logged(body: Body, path: str) -> None:
    kept.refuse_deleting(path)


ON_LOGGED: dict[Verb, Callable[[Body, str], None]] = {
    Verb.TAG_LOGGED: _tag_logged,
    Verb.UNTAG_LOGGED: _untag_logged,
    Verb.DELETE_LOGGED: _delete_logged,
}
VERBS: dict[Verb, Callable[[Actor, Body, Pass], Answer]] = {
    Verb.CREATE_MODEL: _create_model,
    Verb.EDIT_MODEL: _edit_model,
    Verb.TAG_MODEL: _tag_model,
    Verb.CREATE_VERSION: _create_version,
    Verb.EDIT_VERSION: _edit_version,
    Verb.TAG_VERSION: _tag_version,
    Verb.UNTAG_VERSION: _untag_version,
    Verb.SET_ALIAS: _set_alias,
    Verb.REMOVE_ALIAS: _remove_alias,
}


def _model_to_register_in(actor: Actor, name: str, team: str) -> RegisteredModel:
    row = RegisteredModel.objects.select_related("team").filter(name=name).first()
    if row is None:
        return services.create_model(
            actor=actor, name=name, team=team or services.home_team(actor)
        )
    access.require(actor, "registry.version.register", team=row.team.slug)
    if row.archived_at is not None:
        raise Conflict(
            f"The model {name} is archived.",
            remedy="Restore it in Modelyard first.",
            code="registry.model_archived",
        )
    return row


def _missing_in_mlflow(row: RegisteredModel) -> ModelVersion | None:
    """Return the first version whose number MLflow would give to another; None when all is well.

    The caller holds the model's numbers.
    """
    highest = _highest(row)
    row.refresh_from_db(fields=["next_number"])
    if highest + 1 >= row.next_number:
        return None
    return ModelVersion.objects.filter(model=row, number__gt=highest).order_by("number").first()


def _refuse_to_wait(version: ModelVersion, *, overdue: bool) -> None:
    """Refuse when `version` cannot get to MLflow, or has taken too long.

    Raises:
        Conflict: It is parked.
        Transient: It is still on its way.
    """
    named = f"Version {version.number} of {version.model.name}"
    if version.mirror_state not in (MirrorState.PENDING, MirrorState.ADOPTING):
        raise Conflict(
            f"{named} could not be brought to MLflow: {version.mirror_problem}",
            remedy="Mend that on its page, or register by Modelyard's REST API.",
            code="mlflow.numbers_differ",
        )
    if overdue:
        raise Transient(
            f"{named} is still on its way to MLflow.",
            remedy="Try again in a few seconds.",
            code="mlflow.mirror_behind",
        )


def _highest(row: RegisteredModel) -> int:
    """Return MLflow's highest number of the model, which it is given if it lacks it."""
    found = ask(
        "GET",
        "model-versions/search",
        params={
            "filter": f"name = '{row.name}'",
            "order_by": "version_number DESC",
            "max_results": "1",
        },
    )
    versions = found.get("model_versions", [])
    if not versions:
        ask(
            "POST",
            "registered-models/create",
            json={"name": row.name, "description": row.description},
        )
        return 0
    return int(versions[0]["version"])


def _about_a_prompt(verb: Verb, body: Body) -> bool:
    """Return whether this is about a prompt: MLflow keeps those among its models, we do not."""
    if verb in (Verb.CREATE_MODEL, Verb.CREATE_VERSION):
        return _tags(body).get(PROMPT_TAG, "").lower() == "true"
    name = str(body.get("name") or "")
    if not name or RegisteredModel.objects.filter(name=name).exists():
        return False
    found = ask("GET", "registered-models/get", params={"name": name})
    tags = _tags(found.get("registered_model", {}))
    return tags.get(PROMPT_TAG, "").lower() == "true"


def _refuse_bad_source(source: str) -> None:
    parts = urlsplit(source)
    if leads_out(parts.path.strip("/")) or parts.scheme not in SCHEMES:
        raise Invalid(
            f"The source {source[:200]!r} is not one that files can be read from.",
            remedy="Register what a run logged: models:/m-..., runs:/RUN/PATH or "
            "mlflow-artifacts:/...",
            field="source",
            code="mlflow.bad_source",
        )


SCHEMES = frozenset({"models", "runs", "mlflow-artifacts", "http", "https"})


def _refuse_our_tags(keys: Iterable[str]) -> None:
    for key in keys:
        if key.startswith(OURS):
            raise Denied(
                f"The tag {key} is Modelyard's own.",
                remedy="Choose a name that does not begin with 'modelyard.'.",
                code="mlflow.reserved_tag",
            )


def _of_people(tags: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in tags.items() if not k.startswith(("mlflow.", OURS))}


def _tags(body: Body) -> dict[str, str]:
    rows = body.get("tags")
    if not isinstance(rows, list):
        return {}
    return {
        str(row["key"]): str(row.get("value") or "")
        for row in rows
        if isinstance(row, dict) and "key" in row
    }


def _text(body: Body, field: str) -> str:
    value = body.get(field)
    if isinstance(value, str) and value:
        return value
    raise Invalid(
        f"Missing value for required parameter '{field}'.", field=field, code="mlflow.missing"
    )


def _number(body: Body) -> int:
    value = str(body.get("version") or "")
    if value.isascii() and value.isdigit() and 0 < int(value) < 2**31:
        return int(value)
    raise Invalid(
        f"{value[:40]!r} is not a version number.", field="version", code="mlflow.bad_version"
    )
