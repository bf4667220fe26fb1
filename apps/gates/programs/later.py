"""Gates that Modelyard cannot look at yet: a pipeline's evidence counts, and nothing else does."""

from dataclasses import replace
from functools import partial

from apps.gates.domain.catalogue import CATALOGUE, Kind, gate
from apps.gates.domain.finding import Finding, Verdict, unknown
from apps.gates.programs.subject import Reading, Subject


def as_sent(name: str, subject: Subject) -> Finding:
    """Judge as the newest evidence from a pipeline says."""
    sent = subject.sent()
    if sent is None:
        return unknown("Not measured yet.", gate(name).remedy)
    found = Finding(
        Verdict(sent.verdict), sent.sentence, "", dict(sent.facts), expires_at=sent.expires_at
    )
    remedy = "" if found.verdict is Verdict.PASSED else gate(name).remedy
    return replace(found, remedy=remedy, cites=sent.pk)


PROGRAMS = tuple(
    Reading(name, partial(as_sent, name))
    for name, told in CATALOGUE.items()
    if told.kind is Kind.LATER
)
