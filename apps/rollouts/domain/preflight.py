"""Whether a rollout fits, before anything of it starts. Pure.

A canary runs beside the stable revision: for a while both need their replicas, memory and GPUs.
A rollout that only finds out half-way is stuck half-way.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Fitting(StrEnum):
    """Whether it fits."""

    FITS = "fits"
    BY_RECREATE = "by_recreate"  # only if stable stops first, with an outage
    NOT = "not"


@dataclass(frozen=True)
class Needs:
    """What one revision takes.

    Attributes:
        replicas: Processes.
        memory_mb: Of all of them.
        gpus: Of all of them.
    """

    replicas: int
    memory_mb: int
    gpus: int = 0


@dataclass(frozen=True)
class Room:
    """What is free where the endpoint runs.

    Attributes:
        memory_mb: Memory that new servers may take.
        gpus: GPUs that nobody uses.
        quota: Replicas that one revision may have here.
    """

    memory_mb: int
    gpus: int
    quota: int


@dataclass(frozen=True)
class Fit:
    """What came of looking.

    Attributes:
        fitting: Whether it fits.
        sentence: In words, with the numbers.
        remedy: What would make it fit.
        outage: For how long nobody would answer, if stable stopped first.
    """

    fitting: Fitting
    sentence: str = ""
    remedy: str = ""
    outage: timedelta | None = None


def fit(
    candidate: Needs, stable: Needs | None, room: Room, *, recreate: bool, start: timedelta
) -> Fit:
    """Return whether both revisions fit at once, and what would make them.

    Args:
        candidate: What the new revision takes.
        stable: What the live one takes, which stopping it would free; None when nothing is live.
        room: What is free while the live one runs.
        recreate: Whether the strategy stops the live one first.
        start: How long a revision takes from nothing to answering.
    """
    if candidate.replicas > room.quota:
        return Fit(
            Fitting.NOT,
            f"{candidate.replicas} replicas are asked for, and {room.quota} are allowed here.",
            f"Ask for at most {room.quota}, or have an admin raise the environment's limit.",
        )
    freed = stable or Needs(0, 0)
    beside = _lacking(candidate, Room(room.memory_mb, room.gpus, room.quota))
    instead = _lacking(
        candidate, Room(room.memory_mb + freed.memory_mb, room.gpus + freed.gpus, room.quota)
    )
    if recreate and not instead:
        outage = start if stable else None
        said = f"It fits: {_by_recreate(start)}" if stable else _fits(candidate)
        return Fit(Fitting.FITS, said, "", outage)
    if not beside:
        return Fit(Fitting.FITS, _fits(candidate))
    if not instead:
        return Fit(
            Fitting.BY_RECREATE,
            f"Both revisions do not fit at once: {beside}.",
            "Free as much, ask for fewer replicas, or propose it with the strategy recreate: "
            f"{_by_recreate(start)}",
            start,
        )
    return Fit(
        Fitting.NOT,
        f"It does not fit, not even alone: {instead}.",
        "Retire another endpoint, ask for fewer replicas, or serve a smaller variant.",
    )


def _lacking(needs: Needs, room: Room) -> str:
    """Return what is missing, as a clause; "" when nothing is."""
    said = []
    if needs.memory_mb > room.memory_mb:
        said.append(
            f"{needs.memory_mb} MB of memory are needed and {max(0, room.memory_mb)} MB are free"
        )
    if needs.gpus > room.gpus:
        said.append(f"{needs.gpus} GPUs are needed and {max(0, room.gpus)} are free")
    return ", and ".join(said)


def _fits(needs: Needs) -> str:
    replicas = "one more replica" if needs.replicas == 1 else f"{needs.replicas} more replicas"
    gpus = f" and {needs.gpus} GPUs" if needs.gpus else ""
    return f"It fits: {replicas}, with about {needs.memory_mb} MB of memory{gpus}."


def _by_recreate(start: timedelta) -> str:
    seconds = f"{start.total_seconds():.0f} s"
    return f"the live revision stops first, and for about {seconds} nobody answers."
