"""The ML Test Score as a part of a version's page: what evidences each of the 28 tests."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from apps.accounts.domain import access
from apps.gates import services
from apps.gates.domain.mltest import Score, SectionStanding, Standing, State, Way
from apps.gates.scores import ml_test_score
from apps.registry.models import ModelVersion
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict, Invalid

# What the look calls each state, and the words beside it.
TONES = {
    State.AUTOMATIC: ("passed", "By a program"),
    State.MANUAL: ("passed", "By a person"),
    State.FAILED: ("failed", "Failed"),
    State.STALE: ("stale", "Too old"),
    State.MISSING: ("unknown", "No evidence"),
}
WHO = {
    Way.MEASURED: "Modelyard measures it",
    Way.CI: "CI sends it",
    Way.STATEMENT: "A person says it",
}


@dataclass(frozen=True)
class TestLine:
    """One test on the page."""

    standing: Standing
    tone: str
    word: str
    who: str

    @property
    def settled(self) -> bool:
        """Return whether it adds to the score, so that it may fold away."""
        return self.standing.points > 0


@dataclass(frozen=True)
class SectionLine:
    """One section on the page: what needs eyes first, what is settled behind a fold."""

    section: SectionStanding
    open: tuple[TestLine, ...]
    settled: tuple[TestLine, ...]
    weakest: bool

    @property
    def tones(self) -> list[str]:
        """Return a tone a test, in the paper's order."""
        return [TONES[test.state][0] for test in self.section.tests]


@signed_in
@require_POST
def state(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """Record what somebody says about one test, and go back to the score."""
    said = request.POST
    try:
        services.record_evidence(
            actor=actor_of(request),
            model=name,
            version=number,
            key=said.get("key", ""),
            verdict=said.get("verdict", ""),
            sentence=_sentence(said.get("sentence", "")),
            link=said.get("link", "").strip(),
        )
    except (Invalid, Conflict) as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
    else:
        messages.success(request, "Your statement is recorded with your name.")
    return redirect(f"/models/{name}/versions/{number}?tab=readiness")


def _sentence(said: str) -> str:
    """Return what was said; a statement that says nothing is none."""
    if not said.strip():
        raise Invalid(
            "A statement needs words.",
            remedy="Say what you checked, how, and what you found.",
            field="sentence",
            code="evidence.malformed",
        )
    return said


def context(actor: Actor, version: ModelVersion) -> dict[str, Any]:
    """Return what `gates/_readiness.html` shows."""
    score = ml_test_score(version)
    lines = [_section_line(section, score) for section in score.sections]
    return {
        "score": score,
        "score_sections": lines,
        "score_sentence": sentence(score),
        "stated_next": _stated_next(lines),
        "can_state": access.allows(actor, "gates.evidence.record", team=version.model.team.slug),
        "address": settings.PUBLIC_URL.rstrip("/"),
    }


def _stated_next(lines: list[SectionLine]) -> str:
    """Return the first test that only a person can evidence and nobody has."""
    waiting = (t.standing.test for s in lines for t in s.open if t.standing.fact is None)
    return next((test.key for test in waiting if test.way is Way.STATEMENT), "")


def sentence(score: Score) -> str:
    """Return what holds the score where it is."""
    names = " and ".join(str(section.section) for section in score.weakest)
    if len(score.weakest) == len(score.sections):
        return f"Every section stands at {score.points:g} of 7."
    verb = "is" if len(score.weakest) == 1 else "are"
    return f"The score is the least of four sections, and {names} {verb} at {score.points:g} of 7."


def _section_line(section: SectionStanding, score: Score) -> SectionLine:
    lines = [_line(test) for test in section.tests]
    return SectionLine(
        section=section,
        open=tuple(line for line in lines if not line.settled),
        settled=tuple(line for line in lines if line.settled),
        weakest=section in score.weakest,
    )


def _line(standing: Standing) -> TestLine:
    tone, word = TONES[standing.state]
    return TestLine(standing, tone, word, WHO[standing.test.way])
