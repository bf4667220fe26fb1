"""What is known of the job behind a build: values that a driver fills in and `decide` reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any


class JobState(StrEnum):
    """What became of a job."""

    ABSENT = "absent"  # it was never started, or its folder is gone
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # it ended, and says why
    LOST = "lost"  # it stopped without a word: the machine restarted, or it was killed


@dataclass(frozen=True)
class Problem:
    """Why a build failed: a stable code, what is so, what to do, and in which step."""

    code: str
    sentence: str
    remedy: str
    step: str = ""


@dataclass(frozen=True)
class StepReport:
    """One step, as far as it has come."""

    name: str
    state: str
    started_at: datetime
    ended_at: datetime | None = None
    summary: str = ""


@dataclass(frozen=True)
class VariantReport:
    """One variant, as far as it has come.

    Attributes:
        kind: Which form of the version.
        state: built, skipped or failed.
        reason: Why it was skipped, failed, or is too lossy.
        bundle_digest: Of the OCI manifest; "" when it was not built.
        size: Bytes of the model's files.
        format: The bundle's, which decides on the runtimes.
        verdict: What the proof sheet says.
        measures: The numbers of the proof sheet, by column.
        compatibility: What it needs to run.
        proof: The rest of the sheet.
    """

    kind: str
    state: str
    reason: str = ""
    bundle_digest: str = ""
    size: int = 0
    format: str = ""
    verdict: str = "unknown"
    measures: Mapping[str, float | None] = field(default_factory=dict)
    compatibility: Mapping[str, Any] = field(default_factory=dict)
    proof: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Learned:
    """What loading the model taught."""

    inputs: Sequence[Mapping[str, Any]] = ()
    outputs: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobReport:
    """What a job says, at one moment.

    Attributes:
        state: What became of it.
        starts: How often it has been started.
        steps: In order.
        variants: As far as they were made.
        learned: What loading the model taught, once it was loaded.
        problem: Why it failed.
    """

    state: JobState
    starts: int = 0
    steps: Sequence[StepReport] = ()
    variants: Sequence[VariantReport] = ()
    learned: Learned = field(default_factory=Learned)
    problem: Problem | None = None

    @property
    def digests(self) -> list[str]:
        """The digests of the bundles that were built."""
        return [v.bundle_digest for v in self.variants if v.bundle_digest]


@dataclass(frozen=True)
class JobSpec:
    """What a job is told.

    Attributes:
        format: How the version's files are written.
        inputs: Its registered input signature.
        outputs: Its registered output signature.
        variants: The variants wanted; empty for all.
        samples: What the file with held-out inputs is called in the job's folder; "" for none.
        tolerance: The largest difference that passes.
        min_agreement: The smallest share of equal labels that passes.
        policy: What to do about imports nobody vouches for: allow, warn or block.
    """

    format: str
    inputs: Sequence[Mapping[str, Any]] = ()
    outputs: Sequence[Mapping[str, Any]] = ()
    variants: Sequence[str] = ()
    samples: str = ""
    tolerance: float = 1e-3
    min_agreement: float = 0.99
    policy: str = "warn"


FILES = Path("files")  # where a version's files lie in a job's folder
