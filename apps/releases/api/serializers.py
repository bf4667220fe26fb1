"""What releases look like as JSON: one read serializer a noun, one command serializer a verb."""

from typing import Any

from rest_framework import serializers

from apps.approvals import selectors as approvals
from apps.builds.domain.variants import VariantKind
from apps.releases import selectors
from apps.releases.domain.journey import is_waiting
from apps.releases.domain.states import ReleaseState
from apps.releases.models import Comment, Release
from apps.releases.standing import Standing
from controlplane.http.api import Command


class DecisionAnswer(serializers.Serializer[Any]):
    """What one person said about a request."""

    person = serializers.CharField(source="person.username")
    on_behalf_of = serializers.CharField(source="on_behalf_of.username", default=None)
    kind = serializers.CharField()
    digest = serializers.CharField()
    reason = serializers.CharField()
    at = serializers.DateTimeField(source="created_at")


class SeatAnswer(serializers.Serializer[Any]):
    """One yes that is needed, and who gave it or could."""

    title = serializers.CharField()
    who = serializers.CharField(help_text="Which roles may fill it.")
    filled_by = serializers.SerializerMethodField()
    could = serializers.SerializerMethodField()

    def get_filled_by(self, seat: approvals.SeatView) -> str | None:
        """Return who has said yes here."""
        return seat.filled_by.username if seat.filled_by else None

    def get_could(self, seat: approvals.SeatView) -> list[str]:
        """Return who else could."""
        return [holder.username for holder in seat.could]


class MissingAnswer(serializers.Serializer[Any]):
    """One thing that a release still needs."""

    what = serializers.CharField()
    who = serializers.CharField(help_text="Who can do it, or what to do about it.")
    part = serializers.CharField(help_text="Which section of its page has it.")


class ReleaseAnswer(serializers.ModelSerializer[Release]):
    """One release, as lists show it."""

    id = serializers.CharField(source="public_id")
    model = serializers.CharField(source="version.model.name")
    version = serializers.IntegerField(source="version.number")
    environment = serializers.CharField(source="environment.slug")
    variant = serializers.CharField(source="variant_kind")
    bundle_digest = serializers.CharField(source="variant.bundle_digest", default="")
    page = serializers.SerializerMethodField()

    class Meta:
        """Which columns are shown."""

        model = Release
        fields = (
            "id", "number", "state", "state_since", "model", "version", "environment", "variant",
            "bundle_digest", "runtime", "replicas", "configuration", "strategy", "summary",
            "pipeline_url", "proposed_by", "created_at", "expires_at", "problem", "remedy",
            "live_at", "ended_at", "end_reason", "page",
        )  # fmt: skip

    def get_page(self, row: Release) -> str:
        """Return the path of its page."""
        return f"/releases/{row.number}"


class ReleaseWhole(ReleaseAnswer):
    """One release with what it still needs and what has been decided."""

    digest = serializers.SerializerMethodField(
        help_text="Of what would be shipped now: send it back to decide."
    )
    digest_set = serializers.SerializerMethodField()
    missing = serializers.SerializerMethodField()
    checklist = serializers.CharField(source="checklist.public_id", default=None)
    gates = serializers.SerializerMethodField()
    seats = serializers.SerializerMethodField()
    decisions = serializers.SerializerMethodField()
    emergency = serializers.SerializerMethodField()
    returns_to = serializers.IntegerField(source="returns_to.number", default=None)
    promoted_from = serializers.IntegerField(source="promoted_from.number", default=None)

    class Meta:
        """Which columns are shown."""

        model = Release
        fields = (
            *ReleaseAnswer.Meta.fields, "digest", "digest_set", "missing", "checklist", "gates",
            "seats", "decisions", "emergency", "returns_to", "promoted_from",
        )  # fmt: skip

    def get_digest(self, row: Release) -> str:
        """Return what a decision now would sign; what was signed once it moves traffic."""
        sealed = self._standing(row).sealed if is_waiting(ReleaseState(row.state)) else None
        return sealed.digest if sealed else row.digest

    def get_digest_set(self, row: Release) -> dict[str, str]:
        """Return the digests of its parts."""
        sealed = self._standing(row).sealed if is_waiting(ReleaseState(row.state)) else None
        return dict(sealed.parts) if sealed else row.digest_set

    def get_missing(self, row: Release) -> list[dict[str, str]]:
        """Return what it still needs, and who can do it."""
        found = selectors.missing(row, self._standing(row))
        return [dict(MissingAnswer(part).data) for part in found]

    def get_gates(self, row: Release) -> list[dict[str, Any]]:
        """Return how each gate stands."""
        stands = self._standing(row).checklist
        return [
            {
                "gate": view.gate, "title": view.title, "section": view.section,
                "required": view.required, "state": str(view.state), "sentence": view.sentence,
                "remedy": view.remedy, "measured_at": view.measured_at,
                "expires_at": view.expires_at,
            }
            for view in (stands.gates if stands else ())
        ]  # fmt: skip

    def get_seats(self, row: Release) -> list[dict[str, Any]]:
        """Return the seats of the request in force or the last one."""
        if row.request is None:
            return []
        return [dict(SeatAnswer(seat).data) for seat in approvals.view(row.request).seats]

    def get_decisions(self, row: Release) -> list[dict[str, Any]]:
        """Return the decisions in force."""
        if row.request is None:
            return []
        return [dict(DecisionAnswer(said).data) for said in approvals.in_force(row.request)]

    def get_emergency(self, row: Release) -> dict[str, Any] | None:
        """Return who broke the glass and why, or null."""
        if not row.emergency_by:
            return None
        return {
            "by": row.emergency_by, "reason": row.emergency_reason, "until": row.emergency_until,
            "review_due_at": row.review_due_at, "reviewed_at": row.reviewed_at,
            "reviewed_by": row.reviewed_by, "review": row.review,
        }  # fmt: skip

    def _standing(self, row: Release) -> Standing:
        if not hasattr(self, "_stands"):
            self._stands = selectors.standing(row)
        return self._stands


class CommentAnswer(serializers.ModelSerializer[Comment]):
    """Something that was said in the discussion."""

    id = serializers.CharField(source="public_id")
    answers = serializers.CharField(source="answers.public_id", default=None)

    class Meta:
        """Which columns are shown."""

        model = Comment
        fields = ("id", "by", "text", "answers", "created_at")


class Propose(Command):
    """Propose to run a version in an environment."""

    model = serializers.CharField(max_length=128)
    version = serializers.IntegerField(min_value=1, max_value=2_147_483_647)
    environment = serializers.CharField(max_length=40)
    variant = serializers.ChoiceField(
        choices=[str(k) for k in VariantKind],
        required=False,
        help_text="The fastest variant that passed its proof when left out.",
    )
    runtime = serializers.CharField(max_length=20, required=False)
    replicas = serializers.IntegerField(min_value=1, max_value=1000, required=False)
    configuration = serializers.DictField(required=False)
    strategy = serializers.DictField(required=False, help_text='{"kind": "all_at_once"}')
    summary = serializers.CharField(max_length=10_000, required=False, allow_blank=True)
    pipeline_url = serializers.URLField(max_length=500, required=False, allow_blank=True)


class Revise(Command):
    """Change what an open release would ship; what was approved is void by that."""

    variant = serializers.ChoiceField(choices=[str(k) for k in VariantKind], required=False)
    runtime = serializers.CharField(max_length=20, required=False)
    replicas = serializers.IntegerField(min_value=1, max_value=1000, required=False)
    configuration = serializers.DictField(required=False)
    strategy = serializers.DictField(required=False)
    summary = serializers.CharField(max_length=10_000, required=False, allow_blank=True)
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True)


class Decide(Command):
    """Say yes to exactly these digests."""

    digest = serializers.CharField(max_length=80, help_text="The release's `digest`, as shown.")
    reason = serializers.CharField(max_length=4000, required=False, allow_blank=True, default="")


class DecideAgainst(Command):
    """Ask for changes, or decline."""

    digest = serializers.CharField(max_length=80, help_text="The release's `digest`, as shown.")
    reason = serializers.CharField(max_length=4000)


class Say(Command):
    """Say something in the discussion."""

    text = serializers.CharField(max_length=10_000)
    answers = serializers.CharField(max_length=20, required=False, allow_blank=True, default="")


class Promote(Command):
    """Propose the same in another environment."""

    environment = serializers.CharField(max_length=40)
    summary = serializers.CharField(max_length=10_000, required=False, allow_blank=True)


class Needed(Command):
    """A verb that has to say why."""

    reason = serializers.CharField(max_length=4000)


class Review(Command):
    """The review that an emergency release owes."""

    text = serializers.CharField(max_length=10_000)


class RollBack(Command):
    """Go back to a release that was live and approved here before."""

    model = serializers.CharField(max_length=128)
    environment = serializers.CharField(max_length=40)
    to = serializers.IntegerField(min_value=1, required=False, help_text="A release's number.")
    reason = serializers.CharField(max_length=4000)
