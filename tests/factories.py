"""Rows for tests: plain functions with keyword defaults, so that a test says only what matters."""

import io
import itertools
import secrets as randomness
from datetime import timedelta
from typing import Any

from apps.accounts import selectors
from apps.accounts.domain import secrets
from apps.accounts.models import ApiToken, Person, RoleGrant, Team
from apps.builds.models import Build, Variant
from apps.endpoints.models import Endpoint, Revision
from apps.environments.models import Environment
from apps.registry import blobs
from apps.registry.models import ModelVersion, RegisteredModel, VersionFile
from apps.rollouts.domain import document
from apps.rollouts.domain.strategy import DEFAULT, Strategy
from apps.rollouts.models import Rollout
from controlplane.kernel import digests
from controlplane.kernel.actor import Actor, ActorKind, Grant, Role
from controlplane.kernel.clock import SystemClock

PASSWORD = "correct horse battery"
_numbers = itertools.count(1)


def person(
    *,
    username: str = "",
    password: str = PASSWORD,
    role: Role | str | None = None,
    active: bool = True,
) -> Person:
    """Return somebody; with `role`, everywhere."""
    made = Person(username=username or f"person{next(_numbers)}", is_active=active)
    made.set_password(password)
    made.save()
    if role is not None:
        grant(person=made, role=role)
    return made


def team(*, slug: str = "") -> Team:
    """Return a team; the one with that slug, if there is one."""
    return Team.objects.get_or_create(
        slug=slug or f"team{next(_numbers)}", defaults={"name": slug or "A team"}
    )[0]


def grant(
    *,
    person: Person,
    role: Role | str = Role.VIEWER,
    team: Team | None = None,
    environment: str | None = None,
) -> RoleGrant:
    """Return a role that `person` holds."""
    return RoleGrant.objects.create(
        person=person, role=Role(role), team=team, environment=environment
    )


def token(
    *,
    owner: Person | None = None,
    role: Role | str = Role.ADMIN,
    name: str = "",
    scopes: list[str] | None = None,
    days: float = 1,
) -> tuple[ApiToken, str]:
    """Return a token and its secret; without `owner`, of somebody new with `role`."""
    secret = secrets.new_token(randomness.choice)
    made = ApiToken.objects.create(
        owner=owner or person(role=role),
        name=name or f"token{next(_numbers)}",
        prefix=secret[: secrets.SHOWN],
        secret_hash=secrets.hash_of(secret),
        scopes=scopes,
        expires_at=SystemClock().now() + timedelta(days=days),
    )
    return made, secret


def bearer(role: Role | str = Role.ADMIN, *, scopes: list[str] | None = None) -> dict[str, str]:
    """Return the headers of a fresh token, for `client.get(url, headers=bearer("viewer"))`."""
    return {"authorization": f"Bearer {token(role=role, scopes=scopes)[1]}"}


def actor_of(somebody: Person) -> Actor:
    """Return the actor of a person, with the grants they hold now."""
    found = selectors.person_with_grants(str(somebody.pk))
    assert found is not None
    return selectors.actor_of_person(found)


def actor_with(
    role: Role | str, *, team: str | None = None, environment: str | None = None, name: str = ""
) -> Actor:
    """Return an actor with one role; no rows are written."""
    granted = frozenset({Grant(Role(role), team, environment)})
    return Actor(ActorKind.PERSON, name or f"some-{role}", None, granted)


def model(
    *, name: str = "", team: Team | None = None, archived: bool = False, **columns: Any
) -> RegisteredModel:
    """Return a registered model; of a new team, unless one is given."""
    return RegisteredModel.objects.create(
        name=name or f"model-{next(_numbers)}",
        team=team or globals()["team"](),
        created_by="factory",
        archived_at=SystemClock().now() if archived else None,
        **columns,
    )


def version(
    *, model: RegisteredModel | None = None, files: dict[str, bytes] | None = None, **columns: Any
) -> ModelVersion:
    """Return the next version of `model`; `files` (by path) are put into the blob store."""
    owner = model or globals()["model"]()
    number = columns.pop("number", owner.next_number)
    entries = [
        blobs.put_stream(io.BytesIO(content), path=path) for path, content in (files or {}).items()
    ]
    made = ModelVersion.objects.create(
        model=owner,
        number=number,
        registered_by="factory",
        **{
            "format": "sklearn",
            "manifest_digest": digests.of_manifest(entries) if entries else None,
            "size": sum(entry.size for entry in entries),
            "mirror_state": "mirrored",
            **columns,
        },
    )
    VersionFile.objects.bulk_create(
        VersionFile(version=made, path=e.path, sha256=e.sha256, size=e.size) for e in entries
    )
    owner.next_number = max(owner.next_number, number + 1)
    owner.latest_number = max(owner.latest_number or 0, number)
    owner.version_count += 1
    owner.save(update_fields=["next_number", "latest_number", "version_count"])
    return made


def build(*, version: ModelVersion | None = None, **columns: Any) -> Build:
    """Return the next build of `version`; one that succeeded, unless told otherwise."""
    of = version or globals()["version"]()
    columns = {"state": "succeeded", "ended_at": SystemClock().now(), **columns}
    number = Build.objects.filter(version=of).count() + 1
    return Build.objects.create(version=of, number=number, requested_by="factory", **columns)


def variant(
    *, build: Build | None = None, version: ModelVersion | None = None, kind: str = "onnx",
    **columns: Any,
) -> Variant:  # fmt: skip
    """Return a proved variant with a made-up digest; of a new build, unless one is given."""
    of = build or globals()["build"](version=version)
    return Variant.objects.create(
        build=of,
        version=of.version,
        kind=kind,
        **{
            "bundle_digest": digests.of_bytes(f"{of.pk} {kind}".encode()),
            "size": 1000,
            "runtimes": ["onnxruntime", "triton"] if kind != "native" else ["mlflow-pyfunc"],
            "verdict": "passed",
            "max_difference": 1e-6,
            "mean_difference": 1e-7,
            "agreement": 1.0,
            "p50_ms": 0.1,
            "p95_ms": 0.2,
            "p99_ms": 0.3,
            "throughput": 1000.0,
            "memory_mb": 40.0,
            **columns,
        },
    )


def endpoint(
    *, model: RegisteredModel | None = None, environment: str = "dev", **columns: Any
) -> Endpoint:
    """Return an endpoint with nothing behind it, due for its first pass."""
    of = model or globals()["model"]()
    return Endpoint.objects.create(
        model=of,
        environment=Environment.objects.get_or_create(
            slug=environment, defaults={"title": environment, "rank": 10}
        )[0],
        name=of.name,
        **{"next_reconcile_at": SystemClock().now(), **columns},
    )


def revision(
    *,
    endpoint: Endpoint | None = None,
    variant: Variant | None = None,
    state: str = "live",
    ready: int = 1,
    **columns: Any,
) -> Revision:
    """Return the next revision of an endpoint, by default live with `ready` replicas."""
    of = endpoint or globals()["endpoint"]()
    serves = variant or globals()["variant"](version=globals()["version"](model=of.model))
    now = SystemClock().now()
    last = of.revisions.order_by("-number").first()
    alive = state == "live"
    return Revision.objects.create(
        endpoint=of,
        number=(last.number if last else 0) + 1,
        version=serves.version,
        variant=serves,
        bundle_digest=serves.bundle_digest,
        state=state,
        **{
            "runtime": "onnxruntime",
            "state_since": now,
            "requested_by": "factory",
            "observed_weight": 100 if alive else 0,
            "live_at": now if alive else None,
            "ended_at": now if state in ("retired", "failed") else None,
            "observed_replicas": [
                {"index": i, "port": 20_000 + i, "pid": 100 + i, "state": "ready"}
                for i in range(ready if alive else 0)
            ],
            **columns,
        },
    )


def rollout(
    *, candidate: Revision, stable: Revision | None = None, strategy: Strategy = DEFAULT,
    **columns: Any,
) -> Rollout:  # fmt: skip
    """Return a rollout to `candidate` that nobody drives, pending unless told otherwise."""
    now = SystemClock().now()
    return Rollout.objects.create(
        endpoint=candidate.endpoint,
        candidate=candidate,
        stable=stable,
        release=f"made-{next(_numbers)}",
        strategy=document.as_document(strategy),
        authorization={"ground": "approved", "digest": "sha256:0"},
        **{
            "state_since": now,
            "started_by": "factory",
            "next_reconcile_at": now + timedelta(days=9),
            **columns,
        },
    )
