"""REST of policies: read, write, import, export, try."""

from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.domain import access
from apps.gates import policy_rows, scores, trials
from apps.gates.api import asked
from apps.gates.api.serializers import (
    DryRunAnswer,
    GateListAnswer,
    ImportAnswer,
    ImportPolicies,
    PolicyAnswer,
    SavedPolicyAnswer,
    ScoreAnswer,
    TryPolicy,
    WritePolicy,
)
from apps.gates.domain import policy_yaml
from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.policy_yaml import PolicyFile
from apps.gates.services import policies
from apps.registry import selectors as registry
from controlplane.http.api import Resource
from controlplane.http.openapi import describe
from controlplane.kernel.errors import Invalid

YAML = "application/yaml"


class Policies(Resource):
    """The policies in force."""

    query: ClassVar[tuple[str, ...]] = ("environment", "risk_tier", "format")

    @describe("List the policies in force", answer=PolicyAnswer, many=True)
    def get(self, request: Request) -> Response | HttpResponse:
        """Return them; with ?format=yaml as one file that POST takes back."""
        rows = policy_rows.policies(
            self.actor,
            environment=request.query_params.get("environment", ""),
            risk_tier=request.query_params.get("risk_tier", ""),
        )
        if _wants_yaml(request):
            ordered = rows.order_by("environment__rank", "environment_id", "id")
            return _file(policy_yaml.write(map(policy_rows.file_of, ordered)), "policies.yaml")
        return self.page(rows.order_by("-id"), PolicyAnswer)

    @describe("Import policies", command=ImportPolicies, answer=ImportAnswer)
    def post(self, request: Request) -> Response:
        """Save those that say something new: all of them, or none."""
        given = self.command(ImportPolicies)
        saved = policies.import_policies(
            actor=self.actor, policies=_given_policies(given), reason=given["reason"]
        )
        return self.answer(ImportAnswer({"results": saved}).data)


class PolicyDetail(Resource):
    """The policy of one environment for one risk tier."""

    query: ClassVar[tuple[str, ...]] = ("format", "number")

    @describe("Read a policy", answer=PolicyAnswer)
    def get(self, request: Request, environment: str, tier: str) -> Response | HttpResponse:
        """Return the version in force, or ?number=; with ?format=yaml as a file."""
        policy = policy_rows.of(self.actor, environment, tier)
        number = asked.number(request.query_params.get("number", ""), "number")
        if number is not None and number != policy.number:
            policy = policy_rows.version(policy.environment, tier, number)
        if _wants_yaml(request):
            name = f"policy-{environment}-{tier}.yaml"
            return _file(policy_yaml.write_one(policy_rows.file_of(policy)), name)
        on_record = policy if policy.pk else None
        return self.answer(PolicyAnswer(policy).data, etag_of=on_record)

    @describe("Write a policy", command=WritePolicy, answer=SavedPolicyAnswer, also=[201])
    def put(self, request: Request, environment: str, tier: str) -> Response:
        """Save the next version: 201; 200 when the one in force says the same already."""
        policies.may_edit(self.actor, environment, tier)
        current = policy_rows.of(self.actor, environment, tier)
        if current.pk:
            self.match(current)
        given = self.command(WritePolicy)
        saved = policies.save(actor=self.actor, environment=environment, risk_tier=tier, **given)
        return self.answer(
            SavedPolicyAnswer(saved).data,
            etag_of=saved.policy,
            status=201 if saved.is_new else 200,
        )


class PolicyVersions(Resource):
    """The history of one policy."""

    @describe("List the versions of a policy", answer=PolicyAnswer, many=True)
    def get(self, request: Request, environment: str, tier: str) -> Response:
        """Return them, the one in force first."""
        policy = policy_rows.of(self.actor, environment, tier)
        return self.page(policy_rows.history(policy.environment, tier), PolicyAnswer)


class PolicyDryRun(Resource):
    """A policy that is tried and not saved."""

    @describe("Try a policy", command=TryPolicy, answer=DryRunAnswer)
    def post(self, request: Request) -> Response:
        """Return which open releases it would stop or let through, gate by gate."""
        given = self.command(TryPolicy)
        run = trials.try_policy(actor=self.actor, **given)
        current = policy_rows.of(self.actor, given["environment"], given["risk_tier"])
        return self.answer(DryRunAnswer(run, context={"current": current}).data)


class Gates(Resource):
    """The catalogue."""

    @describe("List the gates there are", answer=GateListAnswer)
    def get(self, request: Request) -> Response:
        """Return what each checks, and what to do when it is not passed."""
        access.require(self.actor, "gates.read")
        return self.answer(GateListAnswer({"results": list(CATALOGUE.values())}).data)


class MLTestScore(Resource):
    """The ML Test Score of a version."""

    query: ClassVar[tuple[str, ...]] = ("model", "version")

    @describe("Read a version's ML Test Score", answer=ScoreAnswer)
    def get(self, request: Request) -> Response:
        """Return the 28 tests with what evidences each."""
        access.require(self.actor, "gates.read")
        query = request.query_params
        number = asked.number(query.get("version", ""), "version")
        if not query.get("model") or number is None:
            raise Invalid(
                "A score is of one version of one model.",
                remedy="Ask with ?model=NAME&version=NUMBER.",
                field="version" if query.get("model") else "model",
                code="gates.which_version",
            )
        version = registry.version(self.actor, query["model"], number)
        score = scores.ml_test_score(version)
        return self.answer(ScoreAnswer(score, context={"version": version}).data)


def _given_policies(given: dict[str, Any]) -> tuple[PolicyFile, ...]:
    if ("yaml" in given) == ("policies" in given):
        raise Invalid(
            "Send either yaml or policies.",
            remedy="yaml is the text of a file, policies the same as a list.",
            field="yaml",
            code="policy.invalid",
        )
    if "yaml" in given:
        return policy_yaml.read(given["yaml"])
    return policy_yaml.policies_in({"policies": given["policies"]})


def _wants_yaml(request: Request) -> bool:
    wanted = request.query_params.get("format", "json")
    if wanted not in ("json", "yaml"):
        raise Invalid(
            f"format={wanted[:20]} is not known.",
            remedy="Ask for json or yaml.",
            field="format",
            code="request.unknown_format",
        )
    return wanted == "yaml"


def _file(text: str, name: str) -> HttpResponse:
    return HttpResponse(
        text,
        content_type=f"{YAML}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
