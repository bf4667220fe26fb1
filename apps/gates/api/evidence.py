"""REST of evidence, waivers and checklists: what CI sends, what a lead grants, what stands."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from apps.gates import selectors, services
from apps.gates.api import asked
from apps.gates.api.serializers import (
    ChecklistAnswer,
    EvidenceAnswer,
    GateViewAnswer,
    GrantWaiver,
    SendEvidence,
    WaiverAnswer,
)
from apps.registry import blobs
from apps.registry import selectors as registry
from apps.registry.models import UploadState
from controlplane.http.api import Reasoned, Resource
from controlplane.http.files import download
from controlplane.http.openapi import describe
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Invalid, Missing


class EvidenceList(Resource):
    """Evidence."""

    query: ClassVar[tuple[str, ...]] = ("model", "version", "key")

    @describe("List evidence", answer=EvidenceAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return it, newest first."""
        query = request.query_params
        rows = selectors.evidence(
            self.actor,
            model=query.get("model", ""),
            version=asked.number(query.get("version", ""), "version"),
            key=query.get("key", ""),
        )
        return self.page(rows, EvidenceAnswer)

    @describe("Send evidence", command=SendEvidence, answer=EvidenceAnswer, status=201, also=[200])
    def post(self, request: Request) -> Response:
        """Record it: 201; 200 when exactly this was recorded before."""
        given = self.command(SendEvidence)
        files = [_file(self.actor, entry) for entry in given.pop("files", ())]
        recorded = services.record_evidence(actor=self.actor, files=files, **given)
        row = selectors.evidence_row(self.actor, recorded.evidence.public_id)
        return self.answer(
            EvidenceAnswer(row).data,
            status=201 if recorded.created else 200,
            location=f"/api/v1/evidence/{row.public_id}",
        )


class EvidenceDetail(Resource):
    """One piece of evidence."""

    @describe("Read evidence", answer=EvidenceAnswer)
    def get(self, request: Request, evidence_id: str) -> Response:
        """Return it; it never changes."""
        row = selectors.evidence_row(self.actor, evidence_id)
        return self.answer(EvidenceAnswer(row).data, etag_of=row)


class EvidenceFile(Resource):
    """The bytes of one file of evidence."""

    @describe("Download a file of evidence")
    def get(self, request: Request, evidence_id: str, filename: str) -> HttpResponseBase:
        """Stream it; its entity tag is its digest."""
        row = selectors.evidence_row(self.actor, evidence_id)
        found = next((f for f in row.files if f["name"] == filename), None)
        if found is None:
            raise Missing(
                f"This evidence has no file {filename[:80]!r}.",
                remedy=f"Its files: {', '.join(f['name'] for f in row.files) or 'none'}.",
                field="filename",
                code="evidence.no_such_file",
            )
        return download(
            request._request,
            sha256=found["sha256"],
            size=found["size"],
            path=filename,
            opened=partial(blobs.open_blob, found["sha256"]),
        )


class Waivers(Resource):
    """Waivers."""

    query: ClassVar[tuple[str, ...]] = ("model", "in_force")

    @describe("List waivers", answer=WaiverAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them, newest first; with ?in_force=true only those that hold."""
        query = request.query_params
        rows = selectors.waivers(
            self.actor,
            model=query.get("model", ""),
            in_force=asked.flag(query.get("in_force", ""), "in_force"),
        )
        return self.page(rows, WaiverAnswer)

    @describe("Waive a gate", command=GrantWaiver, answer=WaiverAnswer, status=201)
    def post(self, request: Request) -> Response:
        """Let a checklist pass one gate without its evidence, for a time."""
        given = self.command(GrantWaiver)
        days = given.pop("days", None)
        if (days is None) == ("expires_at" not in given):
            raise Invalid(
                "A waiver ends at one time.",
                remedy="Send either days or expires_at.",
                field="expires_at",
                code="gates.waiver_past",
            )
        if days is not None:
            given["expires_at"] = SystemClock().now() + timedelta(days=days)
        granted = services.grant_waiver(actor=self.actor, **given)
        row = selectors.waiver(self.actor, granted.public_id)
        return self.answer(WaiverAnswer(row).data, etag_of=row, status=201)


class WaiverWithdraw(Resource):
    """The early end of a waiver."""

    @describe("Withdraw a waiver", command=Reasoned, answer=WaiverAnswer)
    def post(self, request: Request, waiver_id: str) -> Response:
        """Take it back; again changes nothing."""
        given = self.command(Reasoned)
        row = services.withdraw_waiver(actor=self.actor, waiver=waiver_id, **given)
        return self.answer(WaiverAnswer(row).data, etag_of=row)


class ChecklistDetail(Resource):
    """One checklist."""

    @describe("Read a checklist", answer=ChecklistAnswer)
    def get(self, request: Request, checklist_id: str) -> Response:
        """Return how each of its gates stands now."""
        row = selectors.checklist(self.actor, checklist_id)
        standing = selectors.standing(row)
        return self.answer(ChecklistAnswer(standing, context={"checklist": row}).data)


class GateRun(Resource):
    """Another look at one gate."""

    @describe("Look at a gate again", command=Reasoned, answer=GateViewAnswer, status=202)
    def post(self, request: Request, checklist_id: str, gate: str) -> Response:
        """Ask for it; a worker does it."""
        self.command(Reasoned)
        view = services.run_gate_again(actor=self.actor, checklist=checklist_id, gate=gate)
        return self.answer(GateViewAnswer(view).data, status=202)


def _file(actor: Actor, entry: Mapping[str, Any]) -> FileEntry:
    """Return one completed upload of the actor's own as a file of evidence."""
    upload = registry.upload(actor, str(entry["upload"]))
    if upload.state == UploadState.OPEN:
        raise Invalid(
            f"{upload.received} of {upload.size} bytes of {upload.filename} are here.",
            remedy="Send the rest of the upload first.",
            field="files",
            code="evidence.no_such_file",
        )
    if not blobs.exists(upload.sha256):
        raise Invalid(
            f"{upload.filename} was unpacked, so there is no such file to keep.",
            remedy="Upload the files in it one by one.",
            field="files",
            code="evidence.no_such_file",
        )
    return FileEntry(str(entry.get("name") or upload.filename), upload.sha256, upload.size)
