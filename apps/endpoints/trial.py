"""Trying an endpoint from our pages and REST: one request, through the proxy, like any caller's.

The one place where a web request reaches beyond the database; see
docs/decisions/0011-trying-an-endpoint.md.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from apps.accounts.domain import access
from apps.endpoints import services
from apps.endpoints.domain import keys
from apps.endpoints.domain.values import Prediction
from apps.endpoints.models import Endpoint
from apps.endpoints.ports import Predictor
from controlplane.kernel.actor import Actor


def predict(
    *, actor: Actor, endpoint: Endpoint, body: Mapping[str, Any], request_id: str, now: datetime
) -> Prediction:
    """Return the endpoint's answer to one request.

    Args:
        actor: Who asks.
        endpoint: With its environment, model and team.
        body: An inference request of the Open Inference Protocol.
        request_id: The correlation id.
        now: From when our own key lives.

    Raises:
        Denied: The actor may not.
        Invalid: The model server refused the request.
        Transient: Nobody answered, or not in time.
        Permanent: The model failed.
    """
    access.require(
        actor,
        "endpoints.predict",
        team=endpoint.model.team.slug,
        environment=endpoint.environment.slug,
    )
    return _predictor(settings.PREDICTOR, settings.SERVING_URL).predict(
        environment=endpoint.environment.slug,
        name=endpoint.name,
        body=body,
        key=_own_key(endpoint, now) if endpoint.key_required else "",
        request_id=request_id,
    )


@lru_cache(maxsize=4)
def _predictor(name: str, serving_url: str) -> Predictor:
    predictor: Predictor = import_string(name)(serving_url)
    return predictor


def _own_key(endpoint: Endpoint, now: datetime) -> str:
    expires = now + timedelta(seconds=keys.OWN_SECONDS)
    return keys.mint(
        services.signing_seed(),
        name=keys.own_name(endpoint.public_id),
        expires=int(expires.timestamp()),
    )
