"""Rows of requests for approval, of decisions, and of delegations."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from apps.accounts.models import Person, Team
from apps.approvals.domain.states import REQUEST, RequestState
from apps.environments.models import Environment
from controlplane.db.base import Row, state_is_known


class ApprovalRequest(Row):
    """The question whether exactly these digests may do exactly this.

    A request never changes what it asks about: when the digest set changes it is voided, and the
    one that takes its place names it, so the page can show what is different.
    """

    subject = models.CharField(max_length=80)  # "release/3f9k2m..."
    title = models.CharField(max_length=300)  # what a person calls it
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")  # the owner's
    seats = models.JSONField()  # [{"title", "roles": [...], "team": slug|"owner"|null}]
    content = models.JSONField()  # {"configuration": {...}, "gates": {...}, ...}: what is shown
    digest_set = models.JSONField()  # the digest of each part of it, canonical JSON
    digest = models.CharField(max_length=80)  # of the digest set, canonical JSON
    excluded = models.JSONField(default=list)  # keys of people whose yes does not count
    proposed_by = models.CharField(max_length=200)
    state = models.CharField(max_length=10, default=REQUEST.initial)
    expires_at = models.DateTimeField()
    reminded_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.TextField(blank=True)
    replaces = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="replaced_by"
    )

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(RequestState), "request"),
            models.UniqueConstraint(
                fields=["subject"],
                condition=Q(state__in=["open", "granted"]),
                name="one_request_in_force_per_subject",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["state", "expires_at", "id"], name="request_by_state"),
            models.Index(fields=["subject", "-id"], name="request_by_subject"),
        ]

    def __str__(self) -> str:
        """Name the request uniquely."""
        return f"request {self.public_id} about {self.subject} ({self.state})"


class Decision(Row):
    """What one person said about one request: exactly about its digest."""

    request = models.ForeignKey(
        ApprovalRequest, on_delete=models.CASCADE, related_name="decisions"
    )
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    # Whose seat it fills when the person stands in for somebody who is away.
    on_behalf_of = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    kind = models.CharField(max_length=8)  # approve, changes, decline
    digest = models.CharField(max_length=80)  # what the person saw and signed
    reason = models.TextField(blank=True)
    taken_back_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(kind__in=["approve", "changes", "decline"]),
                name="decision_kind_is_known",
            ),
            models.UniqueConstraint(
                fields=["request", "person"],
                condition=Q(taken_back_at=None),
                name="one_decision_in_force_per_person",
            ),
        ]

    def __str__(self) -> str:
        """Name the decision uniquely."""
        return f"{self.kind} of person {self.person_id} on request {self.request_id}"


class Delegation(Row):
    """Somebody stands in for somebody else's approvals for a time."""

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="delegations")
    substitute = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="+")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=300, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)  # taken back early

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")), name="delegation_ends_after_it_starts"
            ),
            models.CheckConstraint(
                condition=~Q(person=F("substitute")), name="nobody_stands_in_for_themselves"
            ),
        ]

    def __str__(self) -> str:
        """Name the delegation uniquely."""
        return f"person {self.substitute_id} stands in for person {self.person_id}"
