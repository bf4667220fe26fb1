"""The metrics of both versions: which is better, where somebody measured it."""

from apps.releases.domain import judging
from apps.releases.domain.difference.values import NOT_GIVEN, Part, Row, Subject, absent
from apps.releases.domain.judging import Judged, Measured, Tone
from controlplane.kernel.figures import THIN, rounded


def quality_part(live: Subject | None, proposed: Subject) -> Part:
    """Return the metrics, each with what its difference means."""
    known = live.metrics if live else {}
    names = [*proposed.metrics, *(n for n in known if n not in proposed.metrics)]
    rows = tuple(_metric(n, known.get(n), proposed.metrics.get(n), live) for n in names)
    note = proposed.side.lineage.get("dataset", "")
    if not rows:
        meaning = "Nobody recorded a metric, so nobody can say which is better."
        rows = (Row("Metrics", absent(live), NOT_GIVEN, meaning, Tone.UNKNOWN),)
    return Part("quality", "Quality", f"Trained on {note}." if note else "", rows)


def _metric(
    name: str, live: Measured | None, proposed: Measured | None, subject: Subject | None
) -> Row:
    judged = _judge_metric(name, live, proposed, subject)
    return Row(
        name,
        _measured(live) if live else absent(subject),
        _measured(proposed) if proposed else NOT_GIVEN,
        judged.meaning,
        judged.tone,
        judged.span,
        numbers=(live.value if live else None, proposed.value if proposed else None),
    )


def _judge_metric(
    name: str, live: Measured | None, proposed: Measured | None, subject: Subject | None
) -> Judged:
    if subject is None:
        return Judged(Tone.SAME, _alone(proposed))
    if proposed is None:
        return Judged(Tone.UNKNOWN, "The proposed version does not say")
    if live is None:
        return Judged(Tone.UNKNOWN, "What is live does not say")
    return judging.judge_metric(name, live, proposed)


def _alone(measured: Measured | None) -> str:
    if measured is None or measured.low is None or measured.high is None:
        return "Without an interval"
    return f"95{THIN}% interval {rounded(measured.low, 4)} to {rounded(measured.high, 4)}"


def _measured(measured: Measured) -> str:
    return rounded(measured.value, 4)
