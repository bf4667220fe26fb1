"""What a person may do to a rollout now, and what happens if they do."""

from collections.abc import Callable
from dataclasses import dataclass

from apps.rollouts import services
from apps.rollouts.domain import words
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.models import Rollout
from apps.rollouts.web import answer
from apps.rollouts.web.seen import Seen

S = RolloutState
POSSIBLE = {
    "pause": (S.PROGRESSING,),
    "resume": (S.PAUSED,),
    "skip": (S.PROGRESSING, S.PAUSED),
    "promote": (S.PROGRESSING, S.PAUSED),
    "abort": (S.PENDING, S.PROGRESSING, S.PAUSED, S.PROMOTING),
}
SERVICES: dict[str, Callable[..., Rollout]] = {
    "pause": services.pause,
    "resume": services.resume,
    "skip": services.skip,
    "promote": services.promote,
    "abort": services.abort,
}
ICONS = {
    "pause": "pause",
    "resume": "play",
    "skip": "right",
    "promote": "up-circle",
    "abort": "undo",
}


@dataclass(frozen=True)
class Act:
    """One thing that the reader may do now.

    Attributes:
        verb: As in its address.
        word: Of the button in the head.
        title: What is asked.
        happens: What will happen, and how to undo it.
        does: Of the button that does it.
        icon: Of both.
        kind: "primary", "danger" or "".
        needs_reason: Whether it is refused without one.
    """

    verb: str
    word: str
    title: str
    happens: str
    does: str
    icon: str
    kind: str
    needs_reason: bool


def acts(seen: Seen) -> list[Act]:
    """Return what the reader may do now, what ends it last."""
    return [act(seen, verb) for verb in POSSIBLE if possible(seen, verb) and seen.may(verb)]


def permitted(seen: Seen) -> list[Act]:
    """Return whatever the reader may do at some time, for dialogs that outlast a change."""
    return [] if seen.ended else [act(seen, verb) for verb in POSSIBLE if seen.may(verb)]


def possible(seen: Seen, verb: str) -> bool:
    """Return whether the rollout's state allows it now."""
    if seen.row.rehearsal and verb in ("skip", "promote"):
        return False
    if verb == "skip" and (seen.step is None or seen.coming):
        return False
    return seen.state in POSSIBLE[verb]


def act(seen: Seen, verb: str) -> Act:
    """Return one act with its words."""
    word, title, happens, does = _WORDS[verb](seen)
    primary = verb == "resume"
    return Act(
        verb=verb,
        word=word,
        title=title,
        happens=happens,
        does=does,
        icon=ICONS[verb],
        kind="danger" if verb == "abort" else "primary" if primary else "",
        needs_reason=verb != "resume",
    )


def _name(seen: Seen) -> str:
    return f"{seen.row.endpoint.name} v{seen.row.candidate.version.number}"


def _pause(seen: Seen) -> tuple[str, str, str, str]:
    stays = words.in_force(seen.row.candidate.observed_weight, seen.in_force)
    return (
        "Pause",
        f"Pause {_name(seen)}",
        f"The traffic stays as it is, {stays} to the canary, until somebody resumes. The judge "
        "goes on looking: what proves the canary worse still ends the rollout.",
        "Pause the rollout",
    )


def _resume(seen: Seen) -> tuple[str, str, str, str]:
    asked = seen.row.pause not in ("", "person")
    goes = answer.goes_on_to(seen)
    happens = (
        f"This says that the step is good enough: {goes}."
        if asked
        else "It goes on where it stands, with what the step still waits for."
    )
    return ("Resume", f"Resume {_name(seen)}", happens, "Resume the rollout")


def _skip(seen: Seen) -> tuple[str, str, str, str]:
    name = seen.step.name if seen.step else ""
    goes = answer.goes_on_to(seen)
    return (
        "Skip step",
        f"Skip the step “{name}”",
        f"Whatever the step still waits for is not waited for: {goes} now. The steps after it "
        "are held and judged as planned.",
        "Skip the step",
    )


def _promote(seen: Seen) -> tuple[str, str, str, str]:
    left = max(0, len(seen.steps) - seen.row.step - 1)
    without = f", without the {left} steps that are left" if left > 1 else ""
    warm = words.length(seen.strategy.keep_warm)
    stable = seen.row.stable
    stays = f" v{stable.version.number} stays warm for {warm}." if stable and warm else ""
    return (
        "Promote now",
        f"Promote {_name(seen)} now",
        f"v{seen.row.candidate.version.number} answers every request{without}, whatever the "
        f"judge says.{stays}",
        f"Send every request to v{seen.row.candidate.version.number}",
    )


def _abort(seen: Seen) -> tuple[str, str, str, str]:
    stable, title = seen.row.stable, f"Abort {_name(seen)}"
    if seen.state is S.PENDING:
        return ("Cancel", f"Cancel the rollout of {_name(seen)}",
                "Nothing of it has started; it just ends.", "Cancel the rollout")  # fmt: skip
    if stable is None:
        return ("Abort", title, "The canary is taken away, and nothing answers, as before.",
                "Abort the rollout")  # fmt: skip
    number = stable.version.number
    return (
        "Abort",
        title,
        f"Every request goes back to revision {stable.number}, v{number}. It is a change of "
        "route: nothing is redeployed. A new release brings the canary back.",
        f"Abort and send traffic to v{number}",
    )


_WORDS: dict[str, Callable[[Seen], tuple[str, str, str, str]]] = {
    "pause": _pause,
    "resume": _resume,
    "skip": _skip,
    "promote": _promote,
    "abort": _abort,
}
