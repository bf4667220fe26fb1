"""What leaves the house as a signed bundle: the page to read, and the facts to compute with.

`documents` makes the contents; signing them is the ledger's. The JSON holds what every digest was
made of, so that whoever has the bundle can compute the digest set again without asking us.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET

from apps.approvals.models import ApprovalRequest
from apps.audit import bundles
from apps.audit.models import AuditEvent
from apps.gates.selectors import GateView
from apps.releases import selectors
from apps.releases.domain.difference.values import Difference
from apps.releases.models import Release
from apps.releases.web import views
from apps.releases.web.checks import Card, Checks
from apps.releases.web.seen import Seen
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import ControlPlaneError
from controlplane.kernel.figures import THIN

FORMAT = "modelyard.release/1"
ZIP = "application/zip"
STYLESHEET = re.compile(r"css/(?:components/)?[a-z-]+\.css")
FONT = re.compile(r"@font-face\s*\{[^}]*\}")


@signed_in
@require_GET
def bundle(request: HttpRequest, number: int) -> HttpResponse:
    """Answer with a release's signed bundle; a token may ask for it as well."""
    actor = actor_of(request)
    content = bundles.bundle(documents(actor, selectors.release(actor, number)))
    name = f'attachment; filename="release-{number}.zip"'
    return HttpResponse(content, content_type=ZIP, headers={"Content-Disposition": name})


def documents(actor: Actor, release: Release) -> dict[str, bytes]:
    """Return the files of a release's export, by name: "release.html" and "release.json".

    Args:
        actor: Who exports; what they may not see is not in it.
        release: From `selectors.release`.
    """
    seen = Seen(actor, release, SystemClock().now())
    told = json.dumps(facts(seen), indent=1, ensure_ascii=False, default=_plain)
    return {"release.html": _html(seen).encode(), "release.json": told.encode()}


def facts(seen: Seen) -> dict[str, Any]:
    """Return everything that the page says, for a program."""
    return {
        "format": FORMAT,
        "exported_at": seen.now,
        "exported_by": seen.actor.name,
        "from": settings.PUBLIC_URL,
        "release": _release(seen.row),
        **_sealed(seen),
        "policy": _policy(seen),
        "gates": [_gate(view) for view in seen.gates],
        "requests": [_request(row) for row in seen.replaced.values()],
        "difference": _difference(seen.difference),
        "discussion": [
            {"at": c.created_at, "by": c.by, "text": c.text, "id": c.public_id}
            for c in seen.comments
        ],
        "events": [_event(event) for event in seen.events],
    }


def _release(row: Release) -> dict[str, Any]:
    version = row.version
    columns = (
        "number", "public_id", "state", "state_since", "runtime", "replicas", "configuration",
        "strategy", "summary", "pipeline_url", "proposed_by", "created_at", "emergency_by",
        "emergency_reason", "emergency_until", "review_due_at", "reviewed_at", "reviewed_by",
        "review", "live_at", "ended_at", "end_reason",
    )  # fmt: skip
    return {
        **{name: getattr(row, name) for name in columns},
        "model": version.model.name,
        "team": version.model.team.slug,
        "risk_tier": version.model.risk_tier,
        "version": version.number,
        "environment": row.environment.slug,
        "variant": row.variant.kind if row.variant else row.variant_kind,
        "manifest_digest": version.manifest_digest,
        "bundle_digest": row.variant.bundle_digest if row.variant else None,
        "git_commit": version.git_commit,
        "dataset": version.dataset,
        "dataset_digest": version.dataset_digest,
    }


def _sealed(seen: Seen) -> dict[str, Any]:
    """Return the digest set that was asked about or shipped, with what it was made of."""
    row, request = seen.row, seen.row.request
    if request is not None and row.digest in ("", request.digest):
        return _set(request.digest, request.digest_set, request.content)
    try:
        sealed = seen.standing.sealed if seen.waiting else None
    except ControlPlaneError:
        sealed = None
    if sealed is not None and row.digest in ("", sealed.digest):
        return _set(sealed.digest, sealed.parts, sealed.content)
    return _set(row.digest, row.digest_set, None)


def _set(digest: str, parts: Any, content: Any) -> dict[str, Any]:
    return {"digest": digest, "digest_set": dict(parts), "content": content}


def _policy(seen: Seen) -> dict[str, Any] | None:
    standing = seen.standing.checklist
    if standing is None:
        return None
    policy = standing.policy
    return {
        "environment": seen.row.environment.slug,
        "risk_tier": policy.risk_tier,
        "version": policy.number,
        "document": policy.document,
    }


def _gate(view: GateView) -> dict[str, Any]:
    evidence, waiver = view.evidence, view.waiver
    return {
        "gate": view.gate,
        "title": view.title,
        "section": str(view.section),
        "required": view.required,
        "state": str(view.state),
        "sentence": view.sentence,
        "measured_at": view.measured_at,
        "expires_at": view.expires_at,
        "evidence": evidence
        and {
            "digest": evidence.digest,
            "subject": evidence.subject,
            "verdict": evidence.verdict,
            "facts": evidence.facts,
            "files": evidence.files,
            "source": evidence.source,
            "link": evidence.link,
            "measured_at": evidence.measured_at,
            "recorded_by": evidence.recorded_by,
        },
        "waiver": waiver
        and {
            "id": waiver.public_id,
            "reason": waiver.reason,
            "granted_by": waiver.granted_by.username,
            "expires_at": waiver.expires_at,
        },
    }


def _request(row: ApprovalRequest) -> dict[str, Any]:
    said = row.said  # type: ignore[attr-defined]  # prefetched by the selector
    return {
        "id": row.public_id,
        "state": row.state,
        "digest": row.digest,
        "digest_set": row.digest_set,
        "content": row.content,
        "seats": row.seats,
        "asked_at": row.created_at,
        "ended_at": row.ended_at,
        "end_reason": row.end_reason,
        "decisions": [
            {
                "by": d.person.username,
                "on_behalf_of": d.on_behalf_of.username if d.on_behalf_of else None,
                "kind": d.kind,
                "digest": d.digest,
                "reason": d.reason,
                "at": d.created_at,
                "taken_back_at": d.taken_back_at,
            }
            for d in said
        ],
    }


def _difference(told: Difference) -> dict[str, Any]:
    return asdict(told)


def _event(event: AuditEvent) -> dict[str, Any]:
    columns = ("at", "actor_kind", "actor_name", "verb", "subject", "before", "after", "reason")
    return {"number": event.pk, **{name: getattr(event, name) for name in columns}}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _html(seen: Seen) -> str:
    """Return the page as one file: its styles inside, no script, nothing to press."""
    context = views.whole(seen)
    context |= {
        "can": {},
        "deciding": replace(context["deciding"], open=False),
        "checks": _silent(context["checks"]),
        "styles": "\n".join(_styles()),
        "exported_by": seen.actor.name,
        "public_url": settings.PUBLIC_URL,
        "THIN": THIN,
    }
    page = render_to_string("releases/export.html", context)
    # Nobody serves this file: what leads to the house says so in full.
    return page.replace('href="/', f'href="{settings.PUBLIC_URL}/')


def _silent(checks: Checks | None) -> Checks | None:
    """Return the gates without anything to press."""
    if checks is None:
        return None
    groups = [
        replace(
            group, shown=[_still(c) for c in group.shown], folded=[_still(c) for c in group.folded]
        )
        for group in checks.groups
    ]
    eyes, pending = [_still(c) for c in checks.eyes], [_still(c) for c in checks.pending]
    advice = [_still(c) for c in checks.advice]
    return replace(checks, eyes=eyes, advice=advice, pending=pending, groups=groups)


def _still(card: Card) -> Card:
    return replace(card, figure=None, may_run=False, no_waiver="Exported.")


def _styles() -> Iterator[str]:
    """Yield every stylesheet, in the order in which pages load them; fonts stay at home."""
    for name in STYLESHEET.findall(render_to_string("components/styles.html")):
        path = finders.find(name)
        if path is not None:
            yield FONT.sub("", Path(str(path)).read_text(encoding="utf-8"))
