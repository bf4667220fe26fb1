"""The page of gates, docs/gates.md, printed from the catalogue. Pure."""

from datetime import timedelta

from apps.gates.domain.catalogue import CATALOGUE, Gate, Kind, Section

WHO = {
    Kind.MEASURED: "Modelyard, by itself",
    Kind.CI: "Modelyard, from what a pipeline sends",
    Kind.LATER: "a pipeline, until Modelyard can look by itself",
}
HEAD = """# Gates

Printed from `apps/gates/domain/catalogue.py` by `python -m apps.gates.domain.catalogue_page`.

A policy lists the gates of an environment and a risk tier. Each gate is a program that comes to
*passed*, *failed* or *unknown*, with evidence, and looks again before its evidence is too old.
What is missing, too old or could not be measured is unknown, and unknown never passes; only a
waiver gets past it. A policy may shorten the age (`max_age_days`) and set the parameters that are
named here.
"""
PARAMETERS: dict[str, str] = {
    "artifact.licences": "`allowed`: a list of SPDX names.",
    "quality.better": "`metrics`: which must be better (default: all that were sent). `margin`: "
    "how much worse than what is live is still good enough (default 0). `slices`: false asks for "
    "none.",
    "load.objective": "`seconds` (default 20; longer where fewer than 200 requests would fit). "
    "`headroom` (default 0.5).",
    "rollback.rehearsed": "`seconds`: how long the way back may take (default 30).",
    "model.fresh": "`model_days` (default 180). `data_days` (default 365).",
    "card.complete": "`sections`: the headings that must be there.",
    "score.minimum": "`minimum`: the least score (default: the policy's `minimum_score`).",
}


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for section in Section:
        gates = [g for g in CATALOGUE.values() if g.section is section]
        parts.append(f"## {section.value.capitalize()}\n")
        parts += [_entry(gate) for gate in gates]
    return "\n".join(parts)


def _entry(gate: Gate) -> str:
    lines = [
        f"### `{gate.name}`\n",
        f"**{gate.title}.** {gate.checks}\n",
        f"- Who says so: {WHO[gate.kind]}.",
        f"- Counts for: {_span(gate.max_age)}, unless the policy says otherwise.",
        f"- When it is not passed: {gate.remedy}",
    ]
    if gate.name in PARAMETERS:
        lines.append(f"- Parameters: {PARAMETERS[gate.name]}")
    if gate.sent:
        lines.append(f"- Evidence: `{gate.sent}`")
    return "\n".join(lines) + "\n"


def _span(span: timedelta) -> str:
    days = span // timedelta(days=1)
    return f"{days} day{'s' * (days != 1)}"


if __name__ == "__main__":
    print(page(), end="")
