"""Named sets of verbs, so that nobody has to pick forty boxes for a token."""

from dataclasses import dataclass

from apps.accounts.domain.access import TABLE

READ = frozenset(verb for verb in TABLE if verb.endswith(".read"))
SHIP = frozenset(
    {
        "registry.model.create",
        "registry.model.edit",
        "registry.version.register",
        "registry.version.edit",
        "registry.alias.move",
        "registry.upload",
        "builds.start",
        "builds.cancel",
        "builds.retry",
        "endpoints.serve",
        "endpoints.predict",
        "slos.objective.edit",
        "gates.run",
        "gates.evidence.record",
        "releases.propose",
        "releases.revise",
        "releases.withdraw",
        "releases.comment",
        "mlflow.write",
    }
)


@dataclass(frozen=True)
class Preset:
    """A choice on the page of tokens.

    Attributes:
        key: How the form names it.
        title: What a person reads.
        meaning: What it may do, in a few words.
        verbs: The scopes; None for everything its owner may do.
    """

    key: str
    title: str
    meaning: str
    verbs: frozenset[str] | None


PRESETS = (
    Preset(
        "ci",
        "Ship from CI",
        "register, build, serve and propose, and read everything",
        READ | SHIP,
    ),
    Preset("read", "Only read", "see everything, change nothing", READ),
    Preset("all", "Everything I may do", "also what an admin grants you later", None),
)


def named(verbs: list[str] | None) -> str:
    """Return what a person calls these scopes: a preset's title, or their number."""
    for preset in PRESETS:
        if preset.verbs == (None if verbs is None else frozenset(verbs)):
            return preset.title
    count = len(verbs or [])
    return f"{count} verb{'' if count == 1 else 's'}"
