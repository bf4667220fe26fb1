"""Latency histograms of mergeable buckets. Pure.

A histogram is a list of counts: one for each bound in `BOUNDS_MS`, of what took at most that long
and longer than the bound before, and one more for what took longer than the last. Adding two
histograms is exact, so a percentile over any union of windows is as exact as the buckets.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate

BOUNDS_MS: tuple[float, ...] = (
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 65, 80, 100, 125, 150, 200, 250, 300,
    400, 500, 650, 800, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 30_000, 60_000,
)  # fmt: skip
BUCKETS = len(BOUNDS_MS) + 1

Counts = list[int]


def empty() -> Counts:
    """Return a histogram of nothing."""
    return [0] * BUCKETS


def merge(histograms: Iterable[Sequence[int]]) -> Counts:
    """Return the sum of histograms; one of nothing (`[]`) is allowed."""
    total = empty()
    for counts in histograms:
        for index, count in enumerate(counts):
            total[index] += count
    return total


def since(now: Sequence[int], before: Sequence[int]) -> Counts:
    """Return what came to a growing histogram, never less than nothing."""
    earlier = before or empty()
    return [max(0, n - b) for n, b in zip(now, earlier, strict=True)]


def bucket_of(milliseconds: float) -> int:
    """Return the index of the bucket that `milliseconds` falls into."""
    for index, bound in enumerate(BOUNDS_MS):
        if milliseconds <= bound:
            return index
    return BUCKETS - 1


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Return the latency that a share of requests stayed under, in milliseconds.

    Within a bucket the latencies are taken to be spread evenly. What lies above the last bound
    is given as that bound: "at least this".

    Args:
        counts: A histogram.
        share: In (0, 1], such as 0.99.

    Returns:
        None without requests, because silence is not speed.
    """
    total = sum(counts)
    if not total:
        return None
    rank = share * total
    for index, reached in enumerate(accumulate(counts)):
        if reached >= rank and counts[index]:
            return _within(index, (rank - (reached - counts[index])) / counts[index])
    return float(BOUNDS_MS[-1])


def _within(index: int, part: float) -> float:
    if index >= len(BOUNDS_MS):
        return float(BOUNDS_MS[-1])
    low = BOUNDS_MS[index - 1] if index else 0.0
    return low + (BOUNDS_MS[index] - low) * part
