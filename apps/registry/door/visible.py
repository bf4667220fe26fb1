"""What somebody may see of MLflow's registry: the same models that they may see here.

Runs and experiments belong to no team; whoever may read MLflow sees all of them. Only those
whose every role is limited to teams have anything hidden from them.
"""

import json
import re
from typing import Any

from apps.registry import selectors
from apps.registry.door.routes import API
from apps.registry.models import RegisteredModel
from controlplane.kernel.actor import Actor, ActorKind

LISTS = re.compile(
    r"mlflow/(?:registered-models/(?:search|get-latest-versions)|model-versions/search)"
)
NAMED = re.compile(r"mlflow/(?:registered-models|model-versions)/.+")


def limited(actor: Actor) -> bool:
    """Return whether `actor` sees only the models of some teams."""
    if actor.kind is ActorKind.WORKER:
        return False
    return all(grant.team is not None for grant in actor.grants)


def concerns(actor: Actor, path: str) -> bool:
    """Return whether the answer to a request for `path` lists models that may be hidden."""
    return bool(LISTS.fullmatch(_below_api(path))) and limited(actor)


def names_a_model(path: str) -> bool:
    """Return whether `path` takes the name of a model as a parameter."""
    return bool(NAMED.fullmatch(_below_api(path))) or path == "/model-versions/get-artifact"


def may_see(actor: Actor, name: str) -> bool:
    """Return whether the model is visible, or none of ours (a prompt, one just being made)."""
    if not limited(actor) or not RegisteredModel.objects.filter(name=name).exists():
        return True
    return selectors.visible_models(actor).filter(name=name).exists()


def only(actor: Actor, content: bytes) -> bytes:
    """Return MLflow's answer without the models that `actor` may not see."""
    value: dict[str, Any] = json.loads(content)
    for key in ("registered_models", "model_versions"):
        rows = value.get(key, [])
        names = {str(row["name"]) for row in rows}
        ours = set(RegisteredModel.objects.filter(name__in=names).values_list("name", flat=True))
        seen = set(
            selectors.visible_models(actor).filter(name__in=names).values_list("name", flat=True)
        )
        hidden = ours - seen
        if rows:
            value[key] = [row for row in rows if row["name"] not in hidden]
    return json.dumps(value).encode()


def _below_api(path: str) -> str:
    match = API.match(path)
    return path[match.end() :] if match else ""
