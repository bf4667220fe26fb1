"""The button that begins a rehearsal."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from apps.environments import selectors as environments
from apps.registry import selectors as registry
from apps.rollouts import rehearsals
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.errors import Conflict, Invalid, Missing

LONGEST_NUMBER = 9  # digits


@signed_in
@require_POST
def rehearse(request: HttpRequest) -> HttpResponse:
    """Begin it, and go to its page to watch; what is refused is said where it was asked."""
    actor, given = actor_of(request), request.POST
    model = registry.model(actor, given.get("model", ""))
    place = environments.by_slug(given.get("environment", ""))
    try:
        row = rehearsals.rehearse(
            actor=actor,
            model=model.name,
            version=_number(given.get("version", "")),
            environment=place.slug,
            reason=given.get("reason", ""),
        )
    except (Conflict, Invalid, Missing) as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
        return HttpResponseRedirect(f"/endpoints/{place.slug}/{model.name}#rehearse")
    return HttpResponseRedirect(f"/rollouts/{row.public_id}")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        raise Invalid(f"{text[:20]!r} is not the number of a version.", field="version")
    return int(text)
