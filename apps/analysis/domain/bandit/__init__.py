"""A multi-armed bandit: traffic moves to the better arm while the arms are still compared. Pure.

The rule is Thompson sampling (W. R. Thompson, "On the likelihood that one unknown probability
exceeds another in view of the evidence of two samples", Biometrika 25, 1933): an arm gets the
share of requests that is its chance of being the best, given what was seen. Thompson drew at
random for each request; here a proxy draws by weights, so the weights are those chances
themselves, computed and not drawn. S. L. Scott, "A modern Bayesian look at the multi-armed
bandit", Applied Stochastic Models in Business and Industry 26, 2010, is followed for moving in
batches and for stopping by the value that remains.

Beliefs: of a share, Beta with a uniform prior; of a mean, a bell curve around the mean that was
seen (of many observations that is Student's t for all that matters, which is why no arm moves
before it has `Bounds.least` of them).

What it does not do: weights change over the day and so may the world, so an arm that got its
traffic at a better hour looks better than it is. The floor keeps every arm compared at every hour,
and `Bounds.most_change` keeps one hour from deciding the next.

Callers write `bandit.allocate(...)`; the modules below are how it is grouped.
"""

from apps.analysis.domain.bandit.beliefs import probability_best
from apps.analysis.domain.bandit.segments import allocate_segments, shrunk
from apps.analysis.domain.bandit.stopping import (
    Decision,
    Ending,
    Remaining,
    decided,
    value_remaining,
)
from apps.analysis.domain.bandit.values import Arm, Bounds, Segments, Weights
from apps.analysis.domain.bandit.weights import allocate, check

__all__ = [
    "Arm",
    "Bounds",
    "Decision",
    "Ending",
    "Remaining",
    "Segments",
    "Weights",
    "allocate",
    "allocate_segments",
    "check",
    "decided",
    "probability_best",
    "shrunk",
    "value_remaining",
]
