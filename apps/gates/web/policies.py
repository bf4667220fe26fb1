"""Pages of policies: which rules hold where, what one says, and changing it with a dry run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from apps.accounts.domain import access
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.gates import policy_rows, selectors, trials
from apps.gates.domain import policy_words, policy_yaml
from apps.gates.domain.catalogue import CATALOGUE, Section
from apps.gates.domain.policy import GateRule, PolicyDocument, Seat, parse
from apps.gates.domain.policy_yaml import PolicyFile
from apps.gates.models import Policy
from apps.gates.services import policies
from apps.registry.domain.kinds import RiskTier
from controlplane.http.htmx import page
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict, ControlPlaneError, Invalid, Missing

HISTORY = 20
WAIVERS = 50


@dataclass(frozen=True)
class Cell:
    """One policy in the table of all."""

    tier: str
    policy: Policy
    seats: int
    required: int
    total: int
    open: int


@dataclass(frozen=True)
class Row:
    """The policies of one environment."""

    environment: Environment
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class RuleLine:
    """One gate of a policy, in words."""

    name: str
    title: str
    checks: str
    required: bool
    age: str
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RuleSection:
    """The gates of one section."""

    title: str
    lines: tuple[RuleLine, ...]

    @property
    def required(self) -> int:
        """Return how many of them stop a release."""
        return sum(line.required for line in self.lines)


@dataclass(frozen=True)
class Version:
    """One version in the history, with what it changed."""

    policy: Policy
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Draft:
    """What somebody typed into an editor.

    Attributes:
        text: As typed.
        reason: As typed.
        base: The number of the version they began with.
        error: What is wrong with it; None when nothing is, or it was not looked at.
        field: Whether the fault lies in the "document" or the "reason".
        changes: What it would change, in sentences; None before it was looked at.
        run: What it would do; None before it was looked at.
    """

    text: str
    reason: str = ""
    base: int = 0
    error: ControlPlaneError | None = None
    field: str = ""
    changes: tuple[str, ...] | None = None
    run: trials.DryRun | None = None

    @property
    def stamp(self) -> str:
        """Return what tells whether a text is the one that was checked."""
        return policy_yaml.digest(self.text)


@dataclass(frozen=True)
class ImportLine:
    """One policy of a file, and what it would change."""

    file: PolicyFile
    changes: tuple[str, ...]


@signed_in
@require_http_methods(["GET", "POST"])
def policy_list(request: HttpRequest) -> HttpResponse:
    """Show which policy rules where; for admins, import a file of them."""
    actor = actor_of(request)
    access.require(actor, "gates.read")
    if request.method == "POST":
        return _import(request, actor)
    return _list_page(request, actor, Draft(""))


@signed_in
@require_http_methods(["GET", "POST"])
def policy(request: HttpRequest, environment: str, tier: str) -> HttpResponse:
    """Show one policy in sentences, and its history; for admins, change it."""
    actor = actor_of(request)
    current = policy_rows.of(actor, environment, tier)
    if request.method == "POST":
        return _change(request, actor, current)
    shown = _asked_version(request, current)
    text = policy_yaml.write_document(policy_rows.file_of(current).document)
    draft = Draft(text, base=current.number)
    return _policy_page(request, actor, current, shown, draft)


# --- the table of all ---------------------------------------------------------------------------


def _list_page(
    request: HttpRequest,
    actor: Actor,
    draft: Draft,
    lines: Sequence[ImportLine] | None = None,
) -> HttpResponse:
    rows = _rows(actor)
    context = {
        "rows": rows,
        "tiers": [str(tier) for tier in RiskTier],
        "waivers": selectors.waivers(actor, in_force=True)[:WAIVERS],
        "can_import": any(_may_edit(actor, row.environment) for row in rows),
        "draft": draft,
        "lines": lines,
        "new_lines": [line for line in lines or () if line.changes],
        "topics": [policies.TOPIC],
    }
    return page(request, "gates/policy_list.html", context, status=_status(draft))


def _rows(actor: Actor) -> list[Row]:
    on_record = {(p.environment_id, p.risk_tier): p for p in policy_rows.policies(actor)}
    counts = trials.open_counts()
    return [
        Row(
            environment,
            tuple(
                _cell(
                    on_record.get((environment.pk, str(tier)))
                    or policy_rows.default_shown(environment, tier),
                    counts.get((environment.pk, str(tier)), 0),
                )
                for tier in RiskTier
            ),
        )
        for environment in environments.in_order()
    ]


def _cell(row: Policy, open_now: int) -> Cell:
    said = parse(row.document)
    return Cell(
        tier=row.risk_tier,
        policy=row,
        seats=len(said.approvals.seats),
        required=len(said.required),
        total=len(said.gates),
        open=open_now,
    )


def _import(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Check a file first; save it when it is the one that was checked."""
    text, reason = request.POST.get("text", ""), request.POST.get("reason", "")
    draft = Draft(text, reason)
    try:
        files = policy_yaml.read(text)
        lines = [_import_line(actor, file) for file in files]
        if not _may_save(request, draft):
            return _list_page(request, actor, draft, lines)
        saved = policies.import_policies(actor=actor, policies=files, reason=reason)
    except (Invalid, Conflict, Missing) as error:
        return _list_page(request, actor, _faulty(draft, error))
    new = sum(s.is_new for s in saved)
    messages.success(request, f"{new} of {len(saved)} policies say something new and are saved.")
    return redirect("/policies")


def _import_line(actor: Actor, file: PolicyFile) -> ImportLine:
    policies.may_edit(actor, file.environment, file.risk_tier)
    current = policy_rows.of(actor, file.environment, file.risk_tier)
    after = policies.checked(file.document)
    return ImportLine(file, policy_words.diff(parse(current.document), after))


def _may_edit(actor: Actor, environment: Environment) -> bool:
    return access.allows(
        actor, policies.VERB, team=access.EVERYWHERE, environment=environment.slug
    )


# --- one policy ---------------------------------------------------------------------------------


def _policy_page(
    request: HttpRequest, actor: Actor, current: Policy, shown: Policy, draft: Draft
) -> HttpResponse:
    said = parse(shown.document)
    environment, tier = current.environment, current.risk_tier
    context = {
        "environment": environment,
        "tier": tier,
        "policy": shown,
        "current": current,
        "said": said,
        "sections": _sections(said),
        "seats": [_seat_line(seat) for seat in said.approvals.seats],
        "words": _words(said),
        "history": _history(environment, tier),
        "open": trials.open_count(environment, tier),
        "can_edit": _may_edit(actor, environment),
        "draft": draft,
    }
    return page(request, "gates/policy.html", context, status=_status(draft))


def _asked_version(request: HttpRequest, current: Policy) -> Policy:
    asked = request.GET.get("number", "")
    if not (asked.isascii() and asked.isdigit() and len(asked) < 10):
        return current
    if int(asked) == current.number:
        return current
    return policy_rows.version(current.environment, current.risk_tier, int(asked))


def _change(request: HttpRequest, actor: Actor, current: Policy) -> HttpResponse:
    """Try a text first; save it when it is the one that was tried."""
    posted = request.POST.get("base", "")
    base = int(posted) if posted.isascii() and posted.isdigit() and len(posted) < 10 else 0
    draft = Draft(request.POST.get("text", ""), request.POST.get("reason", ""), base)
    slug, tier = current.environment.slug, current.risk_tier
    try:
        policies.may_edit(actor, slug, tier)
        document = policy_yaml.load(draft.text)
        if not _may_save(request, draft):
            tried = _try(actor, current, draft, document)
            return _policy_page(request, actor, current, current, tried)
        saved = policies.save(
            actor=actor,
            environment=slug,
            risk_tier=tier,
            document=document,
            reason=draft.reason,
            base=draft.base or None,
        )
    except (Invalid, Conflict, Missing) as error:
        return _policy_page(request, actor, current, current, _faulty(draft, error))
    messages.success(request, f"Version {saved.policy.number} is in force.")
    return redirect(f"/policies/{slug}/{tier}")


def _try(actor: Actor, current: Policy, draft: Draft, document: object) -> Draft:
    slug, tier = current.environment.slug, current.risk_tier
    run = trials.try_policy(actor=actor, environment=slug, risk_tier=tier, document=document)
    changes = policy_words.diff(parse(current.document), run.policy)
    return Draft(draft.text, draft.reason, draft.base, changes=changes, run=run)


def _may_save(request: HttpRequest, draft: Draft) -> bool:
    """Return whether saving is asked for, of the very text that was shown to them checked."""
    return request.POST.get("act") == "save" and request.POST.get("checked") == draft.stamp


def _faulty(draft: Draft, error: ControlPlaneError) -> Draft:
    field = "reason" if isinstance(error, Invalid) and error.field == "reason" else "document"
    return Draft(draft.text, draft.reason, draft.base, error=error, field=field)


def _status(draft: Draft) -> int:
    return 422 if draft.error is not None else 200


def _sections(said: PolicyDocument) -> list[RuleSection]:
    by_section: dict[str, list[RuleLine]] = {str(s): [] for s in Section}
    for rule in said.gates:
        by_section[_section_of(rule.gate)].append(_rule_line(rule))
    return [RuleSection(title, tuple(lines)) for title, lines in by_section.items() if lines]


def _section_of(gate: str) -> str:
    found = CATALOGUE.get(gate)
    return str(found.section) if found else str(Section.SERVICE)


def _rule_line(rule: GateRule) -> RuleLine:
    told = CATALOGUE.get(rule.gate)
    usual = GateRule(rule.gate, max_age=rule.max_age or (told.max_age if told else None))
    return RuleLine(
        name=rule.gate,
        title=told.title if told else rule.gate,
        checks=told.checks if told else "This gate does not exist any more.",
        required=rule.required,
        age=policy_words.age(usual),
        parameters=tuple((name, str(value)) for name, value in sorted(rule.parameters.items())),
    )


def _seat_line(seat: Seat) -> tuple[str, str]:
    title, _, who = policy_words.seat(seat).partition(": ")
    return title, who


def _words(said: PolicyDocument) -> list[tuple[str, str]]:
    """Return what a policy says beside its gates and seats, by heading."""
    return list(_all_words(said))


def _all_words(said: PolicyDocument) -> Iterator[tuple[str, str]]:
    rules = said.approvals
    if rules.seats:
        yield (
            "Requests",
            (
                f"A request expires after {policy_words.span(rules.expires_after)}. Who has not "
                f"answered is reminded after {policy_words.span(rules.remind_after)}."
            ),
        )
    score = f"At least {said.minimum_score:g}." if said.minimum_score else "None is asked for."
    yield "ML Test Score", score
    yield "Waivers", policy_words.waivers(said)
    yield "Emergency", policy_words.emergency(said)
    yield "Strategies", ", ".join(name.replace("_", " ") for name in said.strategies).capitalize()
    yield "Newer release", policy_words.supersede(said)


def _history(environment: Environment, tier: str) -> list[Version]:
    rows = list(policy_rows.history(environment, tier)[: HISTORY + 1])
    older = [*rows[1:], None]
    told = [
        Version(
            row,
            policy_words.diff(parse(before.document), parse(row.document)) if before else (),
        )
        for row, before in zip(rows, older, strict=True)
    ]
    return told[:HISTORY]
