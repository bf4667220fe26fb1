"""What a job is told: JOBDIR/spec.json, parsed once."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

GIB = 1024**3


@dataclass(frozen=True)
class Limits:
    """What one job may use.

    Attributes:
        wall_seconds: From start to end.
        cpu_seconds: Of each process.
        memory_bytes: Address space of each process.
        file_bytes: The largest file that may be written.
        open_files: At a time.
    """

    wall_seconds: int = 1200
    cpu_seconds: int = 1200
    memory_bytes: int = 8 * GIB
    file_bytes: int = 8 * GIB
    open_files: int = 512


@dataclass(frozen=True)
class Spec:
    """One job.

    Attributes:
        job: The job folder.
        format: How the model's bytes are written (`apps.registry.domain.kinds.Format`).
        inputs: The registered input signature; empty when it is not known yet.
        outputs: The registered output signature; likewise.
        variants: The variants that are wanted; empty for all that apply.
        samples: A file in the job folder with held-out inputs; "" to draw them.
        tolerance: The largest |difference| to the native model that passes.
        min_agreement: The smallest share of equal labels that passes.
        policy: What to do about imports nobody has vouched for: allow, warn or block.
        limits: What the job may use.
    """

    job: Path
    format: str
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    samples: str = ""
    tolerance: float = 1e-3
    min_agreement: float = 0.99
    policy: str = "warn"
    limits: Limits = field(default_factory=Limits)

    @property
    def files(self) -> Path:
        """The folder with the version's files; never written to."""
        return self.job / "files"

    @property
    def out(self) -> Path:
        """The one folder that the steps may write to."""
        return self.job / "out"

    @property
    def work(self) -> Path:
        """The folder for what the steps make."""
        return self.out / "work"

    def wants(self, kind: str) -> bool:
        """Return whether a variant of `kind` was asked for."""
        return not self.variants or kind in self.variants


def read(job: Path) -> Spec:
    """Return the job that `job` describes."""
    told = json.loads((job / "spec.json").read_bytes())
    limits = Limits(**told.pop("limits", {}))
    return Spec(job=job.resolve(), limits=limits, **told)


def as_json(spec: Spec) -> dict[str, Any]:
    """Return `spec` as `read` expects it."""
    told = asdict(spec)
    told.pop("job")
    return told
