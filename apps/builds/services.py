"""What a person may do to a build, and what is built without being asked."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.builds import selectors
from apps.builds.domain.policy import BUILDABLE
from apps.builds.domain.states import BUILD, BuildMove, BuildState
from apps.builds.domain.variants import VariantKind
from apps.builds.models import Build
from apps.registry import selectors as registry
from apps.registry.domain.states import VersionState
from apps.registry.models import ModelVersion, UploadState
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import commanding
from controlplane.kernel import actor as actors
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

BUILDER = actors.worker("builds")
SAMPLE_SUFFIXES = (".csv", ".npy", ".json")  # an .npz is an archive, and unpacked on its way in
AT_A_TIME = 20  # versions that one sweep begins to build by itself


def start(
    *,
    actor: Actor,
    model: str,
    number: int,
    variants: Sequence[str] = (),
    samples: str = "",
    reason: str = "",
) -> Build:
    """Ask for a build of a version.

    Args:
        actor: Who asks.
        model: The registered model's name.
        number: The version's number.
        variants: The variants wanted beside the native one; empty for all that apply.
        samples: The public id of a completed upload with held-out inputs; "" to draw them.
        reason: Why, in the actor's words.

    Raises:
        Missing: There is no such version or upload, or the actor may not see it.
        Denied: The actor may not build it.
        Conflict: It is archived, its files are still on their way, or a build of it is under way.
        Invalid: Its format cannot be built, a variant is unknown, or the samples are unusable.
    """
    with transaction.atomic():
        version = registry.version_for_update(actor, model, number)
        access.require(actor, "builds.start", team=version.model.team.slug)
        options = {"variants": _known(variants), **_samples(actor, samples)}
        _refuse_unready(version)
        _refuse_second(version)
        return _insert(actor, version, options=options, reason=reason)


def cancel(*, actor: Actor, build: str, reason: str = "") -> Build:
    """End a build that has not ended; its job is stopped by the next pass.

    Raises:
        Missing: There is no such build.
        IllegalMove: It has ended already.
    """
    return _command(actor, build, BuildMove.CANCEL, "builds.cancel", reason)


def retry(*, actor: Actor, build: str, reason: str = "") -> Build:
    """Run a build again that failed or was cancelled.

    Raises:
        Missing: There is no such build.
        IllegalMove: It has not failed and was not cancelled.
        Conflict: The version is archived, or another build of it is under way.
    """
    return _command(actor, build, BuildMove.RETRY, "builds.retry", reason)


def build_what_is_new(*, limit: int = AT_A_TIME) -> int:
    """Begin a build of every version that has none and could have one; return how many.

    Level-triggered: it looks at what there is, so no registration has to call it and none can
    be missed. Versions whose files are still on their way are taken when they have arrived.
    """
    begun = 0
    for pk in selectors.unbuilt(limit=limit):
        with transaction.atomic():
            version = selectors.unbuilt_for_update(pk)
            if version is not None:
                _insert(BUILDER, version, options={"variants": []}, reason="It is new.")
                begun += 1
    return begun


def _known(variants: Sequence[str]) -> list[str]:
    for kind in variants:
        if kind not in set(VariantKind):
            raise Invalid(
                f"There is no variant called {kind[:40]!r}.",
                remedy=f"The variants are {', '.join(VariantKind)}.",
                field="variants",
                code="build.unknown_variant",
            )
    wanted = set(variants)
    return [str(kind) for kind in VariantKind if kind in wanted]


def _samples(actor: Actor, public_id: str) -> dict[str, Any]:
    if not public_id:
        return {}
    upload = registry.upload(actor, public_id)
    if upload.state not in (UploadState.COMPLETE, UploadState.REGISTERED):
        raise Conflict(
            f"The upload {public_id} is not complete.",
            remedy="Send the rest of its bytes first.",
            field="samples",
            code="upload.incomplete",
        )
    if not upload.filename.lower().endswith(SAMPLE_SUFFIXES):
        raise Invalid(
            f"{upload.filename} is not a kind of file that held-out inputs come in.",
            remedy=f"Give one of {', '.join(SAMPLE_SUFFIXES)}.",
            field="samples",
            code="build.samples",
        )
    suffix = "." + upload.filename.lower().rsplit(".", 1)[1]
    return {
        "samples": upload.public_id,
        "samples_sha256": upload.sha256,
        "samples_file": f"samples{suffix}",
    }


def _refuse_unready(version: ModelVersion) -> None:
    if version.state == VersionState.ARCHIVED or version.model.archived_at is not None:
        raise Conflict(
            f"{_name(version)} is archived, so it is not built.",
            remedy="Restore it first.",
            code="build.archived",
        )
    if version.manifest_digest is None:
        raise Conflict(
            f"The files of {_name(version)} are still on their way from MLflow.",
            remedy="Try again in a few seconds.",
            code="build.no_files_yet",
        )
    if version.format not in BUILDABLE:
        raise Invalid(
            f"{_name(version)} is {version.format or 'of an unknown format'}, which Modelyard "
            "keeps and cannot build yet.",
            remedy="Export the model to ONNX, and register that.",
            code="build.format",
        )


def _refuse_second(version: ModelVersion) -> None:
    active = selectors.active_build(version.pk)
    if active is not None:
        raise Conflict(
            f"Build {active.number} of {_name(version)} is under way ({active.state}).",
            remedy=f"Wait for build {active.public_id}, or cancel it.",
            code="build.under_way",
        )


def _insert(actor: Actor, version: ModelVersion, *, options: dict[str, Any], reason: str) -> Build:
    """Add a build; the caller holds the version's lock."""
    last = Build.objects.filter(version=version).aggregate(last=Max("number"))["last"]
    build = Build.objects.create(
        version=version,
        number=(last or 0) + 1,
        options=options,
        requested_by=actor.name,
        next_reconcile_at=SystemClock().now(),
    )
    _record(actor, "builds.start", build, before={}, after={"options": options}, reason=reason)
    _tell(build)
    return build


def _command(actor: Actor, public_id: str, move: BuildMove, verb: str, reason: str) -> Build:
    found = selectors.build(actor, public_id)
    access.require(actor, verb, team=found.version.model.team.slug)
    with transaction.atomic():
        version = registry.version_for_update(
            actor, found.version.model.name, found.version.number
        )
        with commanding(Build, found.pk, now=SystemClock().now()) as build:
            build.version = version
            before = {"state": build.state, "attempt": build.attempt}
            build.state = BUILD.after(BuildState(build.state), move)
            if move is BuildMove.RETRY:
                _refuse_unready(version)
                _refuse_second(version)
                _begin_again(build)
            else:
                build.ended_at = SystemClock().now()
            after = {"state": build.state, "attempt": build.attempt}
            _record(actor, verb, build, before=before, after=after, reason=reason)
            _tell(build)
    return selectors.build(actor, public_id)


def _begin_again(build: Build) -> None:
    build.attempt += 1
    build.attempts = 0
    build.handle = build.failed_step = build.problem_code = build.problem = build.remedy = ""
    build.started_at = build.ended_at = None


def _record(
    actor: Actor,
    verb: str,
    build: Build,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str,
) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        target=f"build/{build.public_id}",
        subject=f"{_name(build.version)}, build {build.number}",
        before={key: str(value) for key, value in before.items()},
        after={
            key: value if isinstance(value, dict) else str(value) for key, value in after.items()
        },
        reason=reason,
    )


def _tell(build: Build) -> None:
    announce(f"build/{build.public_id}")
    announce(f"version/{build.version.public_id}")
    announce("home")
    nudge("build", build.pk)


def _name(version: ModelVersion) -> str:
    return f"{version.model.name} v{version.number}"
