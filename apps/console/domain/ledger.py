"""Ledger entries as sentences: "ada registered card-fraud-score v42". Pure."""

from dataclasses import dataclass
from datetime import datetime

SENTENCES = {
    "registry.model.create": "created the model {subject}",
    "registry.model.edit": "edited {subject}",
    "registry.model.archive": "archived the model {subject}",
    "registry.model.restore": "restored the model {subject}",
    "registry.version.register": "registered {subject}",
    "registry.version.adopt": "read the files of {subject}",
    "registry.version.edit": "edited {subject}",
    "registry.version.learn": "learnt the signature of {subject}",
    "registry.version.validate": "validated {subject}",
    "registry.version.reject": "rejected {subject}",
    "registry.version.archive": "archived {subject}",
    "registry.version.restore": "restored {subject}",
    "registry.alias.move": "moved the alias {subject}",
    "registry.alias.remove": "removed the alias {subject}",
    "builds.start": "asked for a build of {subject}",
    "builds.cancel": "cancelled a build of {subject}",
    "builds.retry": "asked again for a build of {subject}",
    "endpoints.serve": "asked to serve {subject}",
    "endpoints.retire": "retired {subject}",
    "endpoints.scale": "scaled {subject}",
    "endpoints.key.create": "made a key for {subject}",
    "endpoints.key.revoke": "revoked a key of {subject}",
    "endpoints.revision.settle": "put {subject} into service",
    "endpoints.revision.fail": "could not start {subject}",
    "endpoints.revision.drain": "took traffic from {subject}",
    "endpoints.revision.retire": "stopped {subject}",
    "builds.succeed": "finished {subject}",
    "builds.fail": "could not finish {subject}",
    "accounts.token.create": "made the token {subject}",
    "accounts.token.revoke": "revoked the token {subject}",
    "accounts.sign_in": "signed in",
    "accounts.sign_out": "signed out",
}
TONES = {
    "registry.version.validate": "validated",
    "registry.version.reject": "rejected",
    "builds.fail": "failed",
    "builds.succeed": "succeeded",
    "endpoints.retire": "retired",
    "endpoints.revision.settle": "live",
    "endpoints.revision.fail": "failed",
}
# Steps on the way: whoever wants to know them opens the page of the thing.
QUIET = (
    "accounts.",
    "registry.upload",
    "registry.version.learn",
    "endpoints.revision.start",
    "endpoints.revision.warm",
    "endpoints.revision.verify",
    "endpoints.revision.shift",
    "endpoints.revision.drain",
)
WORKERS = {
    "builds": "the builder",
    "endpoints": "the endpoint worker",
    "mirror": "the MLflow mirror",
    "tidy": "the tidier",
}


@dataclass(frozen=True)
class Told:
    """One entry, ready to be read.

    Attributes:
        at: When.
        actor_name: Who.
        by_person: Whether a person did it; acts by people are bold.
        words: What, as the rest of the sentence.
        reason: Why, in the actor's words.
        state: Whose tone the mark takes; "" for none.
    """

    at: datetime
    actor_name: str
    by_person: bool
    words: str
    reason: str
    state: str


def tell(
    *, at: datetime, actor_kind: str, actor_name: str, verb: str, subject: str, reason: str
) -> Told:
    """Return an entry as a sentence; a verb without one is spelt out of its own name."""
    sentence = SENTENCES.get(verb) or f"{_spelt(verb)} {{subject}}"
    words = sentence.replace("{subject}", subject).strip()
    return Told(
        at=at,
        actor_name=_named(actor_name) if actor_kind == "worker" else actor_name,
        by_person=actor_kind == "person",
        words=words,
        reason=reason,
        state=TONES.get(verb, ""),
    )


def _named(actor_name: str) -> str:
    name = actor_name.removeprefix("worker:")
    return WORKERS.get(name, name)


def _spelt(verb: str) -> str:
    """Spell "endpoints.revision.settle" as "revision settle:"."""
    return " ".join(verb.split(".")[1:]).replace("_", " ") + ":"
