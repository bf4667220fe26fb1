"""Gates about the service around a model: promises, people, ages, words."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.environments import selectors as environments
from apps.gates.domain import card
from apps.gates.domain.finding import Finding, Source, failed, passed, unknown
from apps.gates.programs.subject import Reading, Subject
from apps.gates.scores import ml_test_score
from apps.notifications import selectors as notifications

MODEL_DAYS, DATA_DAYS = 180.0, 365.0


def objective_declared(subject: Subject) -> Finding:
    """Judge whether callers were promised something."""
    found = subject.objective
    if found is None:
        return failed(
            f"No objective of {subject.model.name} in {subject.environment.slug} is declared.",
            "Declare latency, availability and expected peak on the model's page.",
        )
    return passed(
        f"{found.availability:.4g} answered, {found.latency_share:.2%} within "
        f"{found.latency_ms:g} ms, at a peak of {found.expected_peak_rps:g} requests per second; "
        f"declared by {found.declared_by}.",
        availability=found.availability,
        latency_ms=found.latency_ms,
        latency_share=found.latency_share,
        expected_peak_rps=found.expected_peak_rps,
    )


def on_call(subject: Subject) -> Finding:
    """Judge whether somebody of the owner's team would be woken."""
    reachable, why, seen = notifications.on_call_reachable(subject.model.team_id)
    facts = {"team": subject.model.team.slug, "seen": seen.isoformat() if seen else None}
    if reachable:
        return passed(why, **facts)
    return failed(
        why, f"Set up an on-call channel for {subject.model.team.slug}, and send a test.", **facts
    )


def is_open(subject: Subject) -> Finding:
    """Judge whether rollouts may start there now; it holds until the calendar says otherwise."""
    opening = environments.opening(subject.environment, subject.now)
    until = opening.until.isoformat() if opening.until else None
    if opening.open:
        return replace(
            passed(f"{subject.environment.title} is open.", until=until),
            expires_at=opening.until,
        )
    when = opening.next_opening
    return replace(
        failed(
            opening.reason or f"{subject.environment.title} is closed.",
            f"It opens at {when:%Y-%m-%d %H:%M} UTC."
            if when
            else "Ask an operator about the freeze.",
            until=until,
        ),
        expires_at=opening.until,
    )


def card_complete(subject: Subject) -> Finding:
    """Judge the model card by its headings."""
    wanted = subject.words("sections", card.SECTIONS)
    missing = card.missing(subject.model.card, wanted)
    facts = {"sections": list(wanted), "missing": missing}
    if not subject.model.card.strip():
        return failed(
            "The model has no card.", f"Write one with {', '.join(wanted)} as headings.", **facts
        )
    if missing:
        return failed(
            f"The model card says nothing under {', '.join(missing)}.",
            "Write a few words under each of these headings.", **facts,
        )  # fmt: skip
    return passed(f"The card has {', '.join(wanted)}.", **facts)


def young_enough(subject: Subject) -> Finding:
    """Judge how old the model and its data are; it holds until the first limit is reached."""
    limits = {
        "model": timedelta(days=subject.number("model_days", MODEL_DAYS)),
        "data": timedelta(days=subject.number("data_days", DATA_DAYS)),
    }
    dates = {"model": subject.version.trained_at, "data": _data_until(subject)}
    facts: dict[str, Any] = {
        f"{what}_until": when.isoformat() if when else None for what, when in dates.items()
    }
    known = {what: when for what, when in dates.items() if when is not None}
    old = [w for w, when in known.items() if subject.now - when > limits[w]]
    if old:
        said = " and ".join(f"the {w} is {(subject.now - known[w]).days} days old" for w in old)
        limit = " and ".join(f"{limits[w].days} days" for w in old)
        return failed(f"Too old: {said}; the limit is {limit}.", "Train it again.", **facts)
    if len(known) < len(dates):
        said = " and ".join(w for w in dates if w not in known)
        return unknown(
            f"Nobody has said how old the {said} is.",
            "Register the version with trained_at, and send evidence "
            '{"data_until": "2026-10-31T00:00:00Z"}, or tag it so.',
            **facts,
        )
    said = ", ".join(f"{w} {(subject.now - when).days} days" for w, when in known.items())
    expires = min(when + limits[what] for what, when in known.items())
    return replace(passed(f"Young enough: {said} old.", **facts), expires_at=expires)


def _data_until(subject: Subject) -> datetime | None:
    sent = subject.sent(Source.CI)
    told = (sent.facts if sent else {}).get("data_until") or subject.version.tags.get("data_until")
    try:
        when = datetime.fromisoformat(str(told)) if told else None
    except ValueError:
        return None
    return when.replace(tzinfo=when.tzinfo or UTC) if when else None


def score_high_enough(subject: Subject) -> Finding:
    """Judge the least of the four sections of the ML Test Score."""
    wanted = subject.number("minimum", subject.document.minimum_score)
    score = ml_test_score(subject.version, now=subject.now)
    sections = {str(s.section): s.points for s in score.sections}
    said = ", ".join(f"{name} {points:g}" for name, points in sections.items())
    facts = {"score": score.points, "minimum": wanted, "sections": sections}
    if wanted <= 0:
        return passed(f"The score is {score.points:g} ({said}); no minimum is set.", **facts)
    if score.points >= wanted:
        return passed(f"The score is {score.points:g} of at least {wanted:g} ({said}).", **facts)
    weakest = " and ".join(str(s.section) for s in score.weakest)
    return failed(
        f"The score is {score.points:g}; at least {wanted:g} is asked for ({said}).",
        f"Have CI send evidence for the tests of {weakest}.", **facts,
    )  # fmt: skip


def _objective(subject: Subject) -> Mapping[str, Any]:
    found = subject.objective
    return {"objective": found.changed_at.isoformat() if found else None}


PROGRAMS = (
    Reading("objective.declared", objective_declared, _objective),
    Reading("oncall.reachable", on_call),
    Reading("environment.open", is_open),
    Reading("card.complete", card_complete),
    Reading("model.fresh", young_enough),
    Reading("score.minimum", score_high_enough),
)
