"""What other tools do by their documented examples, on the same streams.

Each rule looks once a minute and returns, by run, the minute at which it aborts (infinity: never).

* Flagger's documentation: request success rate at least 99 %, interval one minute, threshold 10;
  failed checks add up over the whole analysis and are never forgotten.
* Argo Rollouts' documentation: success at least 95 % with failureLimit 3, which in its code aborts
  at the fourth failure; and a condition of 99 % with the default failureLimit 0.
* A two-proportion z-test on all requests so far, at 5 % one-sided, looked at every minute.
* Kayenta's Mann-Whitney test at 98 % confidence on per-minute rates, from five minutes on, looked
  at every minute; without the effect sizes that can be configured.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu  # type: ignore[import-untyped]  # it has no types

from bench.canary.traffic import Stream

Minutes = NDArray[np.float64]
Rule = Callable[[Stream], Minutes]

NEVER = np.inf
Z_AT_5_PERCENT = 1.6449
KAYENTA_P = 0.01  # one side of 98 % confidence
KAYENTA_LEAST = 5  # minutes


def first(bad: NDArray[np.bool_], *, minutes_each: float = 1.0) -> Minutes:
    """Return when each run is first bad, at the end of that look."""
    when: Minutes = np.where(bad.any(axis=1), (bad.argmax(axis=1) + 1) * minutes_each, NEVER)
    return when


def flagger(stream: Stream) -> Minutes:
    """Abort at the tenth minute with less than 99 % success."""
    return first(_failed_checks(stream, 0.99).cumsum(axis=1) >= 10)


def argo_example(stream: Stream) -> Minutes:
    """Abort at the fourth minute with less than 95 % success."""
    return first(_failed_checks(stream, 0.95).cumsum(axis=1) > 3)


def argo_default(stream: Stream) -> Minutes:
    """Abort at the first minute with less than 99 % success."""
    return first(_failed_checks(stream, 0.99).cumsum(axis=1) > 0)


def z_test(stream: Stream) -> Minutes:
    """Abort when the shares so far differ by 1.64 standard errors."""
    n_s, x_s, n_c, x_c = (
        stream.minutes(counts).cumsum(axis=1)
        for counts in (stream.stable, stream.stable_failed, stream.canary, stream.canary_failed)
    )
    pooled = (x_s + x_c) / np.maximum(n_s + n_c, 1)
    error = np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(n_s, 1) + 1 / np.maximum(n_c, 1)))
    by = x_c / np.maximum(n_c, 1) - x_s / np.maximum(n_s, 1)
    return first(by > Z_AT_5_PERCENT * np.maximum(error, 1e-12))


def kayenta(stream: Stream) -> Minutes:
    """Abort when the canary's per-minute rates are higher by Mann and Whitney's test."""
    canary, stable = _rates(stream, "canary"), _rates(stream, "stable")
    when = np.full(len(canary), NEVER)
    for minute in range(KAYENTA_LEAST, canary.shape[1] + 1):
        going = np.flatnonzero(np.isinf(when))
        if not len(going):
            break
        with np.errstate(invalid="ignore", divide="ignore"):
            found = mannwhitneyu(
                canary[going, :minute], stable[going, :minute],
                alternative="greater", method="asymptotic", axis=1,
            )  # fmt: skip
        when[going[np.nan_to_num(found.pvalue, nan=1.0) < KAYENTA_P]] = minute
    return when


RULES: Mapping[str, Rule] = {
    "flagger_example": flagger,
    "argo_example": argo_example,
    "argo_default_limit": argo_default,
    "z_test_peeked": z_test,
    "kayenta_mann_whitney_peeked": kayenta,
}


def _failed_checks(stream: Stream, least_success: float) -> NDArray[np.bool_]:
    """Return by run and minute whether the canary's success rate was too low."""
    count, failed = stream.minutes(stream.canary), stream.minutes(stream.canary_failed)
    too_low: NDArray[np.bool_] = failed > (1 - least_success) * count * (1 + 1e-9)
    return too_low & (count > 0)


def _rates(stream: Stream, side: str) -> Minutes:
    count = stream.minutes(getattr(stream, side))
    rate: Minutes = stream.minutes(getattr(stream, f"{side}_failed")) / np.maximum(count, 1)
    return rate
