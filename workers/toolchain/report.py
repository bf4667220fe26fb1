"""What a job says about itself: JOBDIR/out/report.json, replaced whole at every step."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workers.toolchain.problems import BuildFailed, Problem


@dataclass
class Step:
    """One step, as far as it has come."""

    name: str
    started_at: str
    state: str = "running"
    ended_at: str = ""
    summary: str = ""


@dataclass
class VariantResult:
    """One variant, as far as it has come; `proof` holds the measured sheet."""

    kind: str
    state: str  # built, skipped, failed
    reason: str = ""
    bundle_digest: str = ""
    size: int = 0
    format: str = ""
    verdict: str = "unknown"
    measures: dict[str, float | None] = field(default_factory=dict)
    compatibility: dict[str, Any] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)


@dataclass
class Report:
    """The whole report.

    Attributes:
        path: Where it is written.
        state: running, succeeded or failed.
        steps: In order.
        variants: By kind.
        learned: What loading the model taught: inputs, outputs, facts.
        problem: Why it failed.
    """

    path: Path
    state: str = "running"
    steps: list[Step] = field(default_factory=list)
    variants: dict[str, VariantResult] = field(default_factory=dict)
    learned: dict[str, Any] = field(default_factory=dict)
    problem: Problem | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Run one step under its name, and record its times and how it ended."""
        step = Step(name=name, started_at=_now())
        self.steps.append(step)
        self.save()
        say(f"== {name}")
        begun = time.monotonic()
        try:
            yield step
        except BaseException:
            step.state = "failed"
            raise
        else:
            step.state = "succeeded"
        finally:
            step.ended_at = _now()
            say(f"   {step.state} after {time.monotonic() - begun:.1f} s. {step.summary}".rstrip())
            self.save()

    def skip(self, kind: str, reason: str) -> None:
        """Record that a variant does not apply."""
        self._settle(kind, "skipped", reason)

    def fail(self, kind: str, reason: str) -> None:
        """Record that a variant was tried and did not work."""
        self._settle(kind, "failed", reason)

    def end(self, problem: Problem | None) -> None:
        """Record how the job ended."""
        self.state = "failed" if problem else "succeeded"
        if problem and not problem.step and self.steps:
            problem = Problem(problem.code, problem.sentence, problem.remedy, self.steps[-1].name)
        self.problem = problem
        if problem:
            say(f"!! {problem.sentence} {problem.remedy}")
        self.save()

    def save(self) -> None:
        """Replace the file, whole."""
        body = {
            "state": self.state,
            "steps": [vars(step) for step in self.steps],
            "variants": [vars(variant) for variant in self.variants.values()],
            "learned": self.learned,
            "problem": self.problem.as_json() if self.problem else None,
        }
        write_json(self.path, body)

    def _settle(self, kind: str, state: str, reason: str) -> None:
        self.variants[kind] = VariantResult(kind=kind, state=state, reason=reason[:500])
        say(f"   {kind}: {state}. {reason}")
        self.save()


def write_json(path: Path, body: dict[str, Any]) -> None:
    """Replace `path` by `body` in one move."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(body, allow_nan=False))
    os.replace(draft, path)


def say(line: str) -> None:
    """Add a line to the log, which is this process's output."""
    print(line, flush=True)


def why(error: BaseException) -> str:
    """Return one line that says what `error` is."""
    if isinstance(error, BuildFailed):
        return error.problem.sentence
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__


def _now() -> str:
    return datetime.now(UTC).isoformat()
