"""The whole difference: its parts in order, and the sentence before them."""

from collections.abc import Sequence

from apps.registry.domain import compare as comparing
from apps.releases.domain.difference.contract import breaks_callers, callers, contract_part
from apps.releases.domain.difference.quality import quality_part
from apps.releases.domain.difference.service import service_part, traffic_part
from apps.releases.domain.difference.values import Difference, Part, Price, Subject, Traffic
from apps.releases.domain.judging import Tone

FIRST = "Nothing is live here yet: this would be the first."


def compare(
    live: Subject | None,
    proposed: Subject,
    *,
    traffic: Traffic | None = None,
    price: Price | None = None,
    tolerance: float | None = None,
) -> Difference:
    """Return what would change.

    Args:
        live: What answers now; None when nothing does.
        proposed: What is to answer.
        traffic: What callers saw of `live`.
        price: What a replica costs; None leaves costs out.
        tolerance: The largest |difference| to the original that the model's owner allows.
    """
    compared = comparing.compare(live.side, proposed.side) if live else None
    parts = (
        quality_part(live, proposed),
        service_part(live, proposed, price, tolerance),
        traffic_part(live, proposed, traffic),
        contract_part(live, proposed, compared),
    )
    kept = tuple(part for part in parts if part.rows)
    return Difference(
        first=live is None,
        sentence=_sentence(live, kept),
        callers=callers(compared, proposed),
        breaks=breaks_callers(compared),
        parts=kept,
    )


def _sentence(live: Subject | None, parts: Sequence[Part]) -> str:
    """Return the answer: what is better and what is worse, by name."""
    if live is None:
        return FIRST
    rows = [row for part in parts for row in part.rows]
    better = [row.name for row in rows if row.tone is Tone.BETTER]
    worse = [row.name for row in rows if row.tone is Tone.WORSE]
    told = [
        f"{title}: {_listed(names)}."
        for title, names in (("Better", better), ("Worse", worse))
        if names
    ]
    return " ".join(told) or "Nothing that was measured is clearly better or worse."


def _listed(names: Sequence[str]) -> str:
    shown = [name if name.isupper() else name[:1].lower() + name[1:] for name in names[:3]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
