"""The gates there are: what each is called, what it checks, and what to do about it. Pure.

The programs that run them stand in `gates.programs`, under the same names; a test holds the two
together. docs/gates.md is printed from this table.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from apps.gates.domain import quality
from controlplane.kernel.errors import Invalid


class Section(StrEnum):
    """Where a gate stands on the page: the ML Test Score's sections, and the service around it."""

    DATA = "data"
    MODEL = "model"
    INFRASTRUCTURE = "infrastructure"
    MONITORING = "monitoring"
    SERVICE = "service"


class Kind(StrEnum):
    """Who can say whether a gate is passed."""

    MEASURED = "measured"  # Modelyard looks by itself
    CI = "ci"  # a pipeline sends the numbers, Modelyard judges them
    LATER = "later"  # Modelyard cannot look yet; evidence from a pipeline counts meanwhile


class Scope(StrEnum):
    """What a finding holds for, and so where it may be used again."""

    BYTES = "bytes"  # the same bytes, anywhere
    PLACE = "place"  # the same bytes, in the same environment, as things stand there now


@dataclass(frozen=True)
class Gate:
    """One gate of the catalogue.

    Attributes:
        name: What policies call it; stable.
        title: What people call it, as a statement that is true when it is passed.
        section: Where it stands.
        checks: What it looks at, one sentence.
        remedy: What to do when it is not passed, one sentence.
        kind: Who can say.
        scope: What a finding holds for.
        max_age: How old a finding may be where the policy does not say.
        look_again: How soon to look again while it is not passed; None when only new evidence or
            a person's request can change it.
        sent: What evidence from a pipeline must hold, as JSON; "" where none is taken, because
            Modelyard looks by itself.
        people: Whether a person's word is taken as well.
        stated: Whether whoever sends evidence says the verdict as well as the facts.
    """

    name: str
    title: str
    section: Section
    checks: str
    remedy: str
    kind: Kind = Kind.MEASURED
    scope: Scope = Scope.BYTES
    max_age: timedelta = timedelta(days=30)
    look_again: timedelta | None = None
    sent: str = ""
    people: bool = False
    stated: bool = False


_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)
_SECTION = Section

_GATES = (
    Gate(
        "artifact.scanned", "Nothing in the files runs code that a model has no use for",
        _SECTION.INFRASTRUCTURE,
        "The build's scan of every file: our own walk of each pickle, picklescan, fickling, "
        "modelscan.",
        "Build the version, and read what the scan step says.",
        look_again=2 * _MINUTE,
    ),
    Gate(
        "artifact.digest", "The bytes to be served are the bytes that were registered",
        _SECTION.INFRASTRUCTURE,
        "Every file of the bundle and of the version is read from disk and hashed again.",
        "Build the version again; if its own files are damaged, register them again.",
        max_age=7 * _DAY, look_again=10 * _MINUTE,
    ),
    Gate(
        "artifact.pickle", "No pickle that is known to be bad, or that nobody vouches for",
        _SECTION.INFRASTRUCTURE,
        "What the files would import when they are loaded.",
        "Save the model as ONNX or with skops, or with estimators that are vouched for.",
    ),
    Gate(
        "artifact.dependencies", "Dependencies are locked",
        _SECTION.INFRASTRUCTURE,
        "The bundle's lock file: each package pinned to one version, with the hash of its bytes.",
        "Build the version again where the package index can be reached.",
    ),
    Gate(
        "artifact.licences", "Licences are allowed",
        _SECTION.INFRASTRUCTURE,
        "The licence of every package in the lock file against the policy's list: as CI sent it, "
        "or as the package itself says where it is installed.",
        "Have CI send the licences as evidence, or replace the package.",
        kind=Kind.CI,
        sent='{"licences": {"numpy": "BSD-3-Clause"}}',
    ),
    Gate(
        "signature.present", "Inputs and outputs are declared",
        _SECTION.MODEL,
        "The version names each input and output with its datatype and shape.",
        "Register the version with a signature, or build it with samples to learn it from.",
        look_again=2 * _MINUTE,
    ),
    Gate(
        "signature.compatible", "Callers of what is live can call this as well",
        _SECTION.SERVICE,
        "Inputs and outputs against the version that is live in the environment.",
        "Keep the signature, or name every consumer and when it was told, as evidence.",
        scope=Scope.PLACE, max_age=_DAY, look_again=5 * _MINUTE,
        sent='{"live_version": 41, "consumers": [{"name": "checkout", "told_at": "2026-11-01"}]}',
        people=True,
    ),
    Gate(
        "variant.parity", "The variant answers as the original does",
        _SECTION.MODEL,
        "The proof sheet: largest difference and share of equal labels against the tolerance.",
        "Propose the native variant, or build with held-out inputs that can be compared.",
        max_age=90 * _DAY,
    ),
    Gate(
        "quality.better", "Better than what is live and than a simple baseline",
        _SECTION.MODEL,
        "The declared metrics with their intervals, against the baseline, the live version and on "
        "slices.",
        "Have CI send each metric with its interval, the baseline and the slices.",
        kind=Kind.CI, scope=Scope.PLACE,
        sent=quality.EXAMPLE,
    ),
    Gate(
        "quality.finite", "No answer is NaN or infinite",
        _SECTION.MONITORING,
        "The answers on the proof's samples and the golden requests, and an ONNX model's weights.",
        "Find the layer that overflows, and build the version again.",
    ),
    Gate(
        "golden.answered", "Golden requests are answered",
        _SECTION.INFRASTRUCTURE,
        "A running server with exactly this bundle is asked the requests kept with it.",
        "Serve this variant in an environment that is not protected.",
        max_age=14 * _DAY, look_again=2 * _MINUTE,
    ),
    Gate(
        "load.objective", "Holds its objective at the expected peak with headroom",
        _SECTION.SERVICE,
        "Requests at a fixed rate, whether or not answers come, through the proxy to a running "
        "server with exactly this bundle.",
        "Serve this variant in an environment that is not protected, and declare the objective; "
        "if it is too slow, add replicas or choose a faster variant.",
        scope=Scope.PLACE, max_age=14 * _DAY, look_again=5 * _MINUTE,
    ),
    Gate(
        "objective.declared", "An objective is declared",
        _SECTION.SERVICE,
        "Availability, latency and expected peak of the model in this environment.",
        "Declare them on the model's page.",
        scope=Scope.PLACE, max_age=_DAY, look_again=5 * _MINUTE,
    ),
    Gate(
        "oncall.reachable", "Somebody would be paged",
        _SECTION.SERVICE,
        "Whether an urgent message to the owner's team would leave through at least one channel.",
        "Set up an on-call channel for the team.",
        scope=Scope.PLACE, max_age=_DAY, look_again=5 * _MINUTE,
    ),
    Gate(
        "model.fresh", "Training data and model are young enough",
        _SECTION.MONITORING,
        "When the model was trained and when its data ends, against the policy's limits.",
        "Train it again on recent data, or register when it was trained.",
        scope=Scope.PLACE, max_age=_DAY, look_again=10 * _MINUTE,
        sent='{"data_until": "2026-10-31T00:00:00Z"}',
    ),
    Gate(
        "card.complete", "The model card is complete",
        _SECTION.MODEL,
        "Whether the card has a text under every heading that the policy asks for.",
        "Write the missing sections on the model's page.",
        scope=Scope.PLACE, max_age=7 * _DAY, look_again=5 * _MINUTE,
    ),
    Gate(
        "quota.fits", "It fits",
        _SECTION.SERVICE,
        "Replicas against the environment's limit, and memory against what is free.",
        "Ask for fewer replicas, free memory, or have an admin raise the limit.",
        scope=Scope.PLACE, max_age=_DAY, look_again=2 * _MINUTE,
    ),
    Gate(
        "environment.open", "No freeze is in force",
        _SECTION.SERVICE,
        "Freezes and change windows of the environment, now.",
        "Wait until the environment opens, or ask an operator about the freeze.",
        scope=Scope.PLACE, max_age=_DAY, look_again=2 * _MINUTE,
    ),
    Gate(
        "rollback.rehearsed", "Rolling back was rehearsed and timed",
        _SECTION.INFRASTRUCTURE,
        "How long it took the last time when a rollout of this model went back, in an environment "
        "that is not protected: a rehearsal, or a real one. At most 30 s, or as the policy says.",
        "Rehearse it: the button on the endpoint's page, POST /api/v1/rollouts/rehearse, or "
        "modelyard rollout rehearse.",
        sent='{"seconds": 4.2, "environment": "staging"}', stated=True,
    ),
    Gate(
        "monitoring.proven", "An injected fault raised its alert",
        _SECTION.MONITORING,
        "A rehearsal of these bytes: requests that were made to fail, whether the judge noticed "
        "them, and whether the alert arrived.",
        "Rehearse it: the button on the endpoint's page, POST /api/v1/rollouts/rehearse, or "
        "modelyard rollout rehearse. If the alert reached nobody, set up a channel on call.",
        sent='{"fault": "500s", "alert": "HighErrorRate", "seconds": 38}', stated=True,
    ),
    Gate(
        "runbook.fresh", "A runbook is there and its checks run",
        _SECTION.SERVICE,
        "Whether the model has a runbook whose checks ran within the limit.",
        "Write one, run its checks, and have CI send the result.",
        kind=Kind.LATER,
        sent='{"checks": 7, "ran_at": "2026-11-01T09:00:00Z"}',
    ),
    Gate(
        "data.skew", "Training and serving compute the same features",
        _SECTION.MONITORING,
        "Features as they were logged when serving against those of the training set.",
        "Compare them in CI and send the share that differs.",
        kind=Kind.LATER,
        sent='{"rows": 10000, "differing": 0.0004}',
    ),
    Gate(
        "drift.baseline", "There is a baseline to measure drift against",
        _SECTION.MONITORING,
        "Whether the distributions of inputs and predictions at training time are kept.",
        "Have CI send the profile of the training set.",
        kind=Kind.LATER,
        sent='{"rows": 100000, "features": 30}',
    ),
    Gate(
        "score.minimum", "The ML Test Score is high enough",
        _SECTION.DATA,
        "The least of the score's four sections against the policy's minimum.",
        "Have CI send evidence for the tests of the weakest section.",
        scope=Scope.PLACE, max_age=_DAY, look_again=5 * _MINUTE,
    ),
)  # fmt: skip

# What is found of one version of a model counts for its others: the way back is the endpoint's.
OF_THE_MODEL = frozenset({"rollback.rehearsed"})
CATALOGUE: dict[str, Gate] = {gate.name: gate for gate in _GATES}


def gate(name: str) -> Gate:
    """Return one gate.

    Raises:
        Invalid: There is none of that name.
    """
    found = CATALOGUE.get(name)
    if found is None:
        raise Invalid(
            f"There is no gate {name[:80]!r}.",
            remedy=f"The gates are: {', '.join(CATALOGUE)}.",
            field="gate",
            code="gates.unknown_gate",
        )
    return found
