"""What a strategy would do, said before anything is proposed. Reads only, and asks no machine.

Whether there is room is only known when a rollout begins: a worker looks then. What a revision
would take is known now, and how long one like it took to start.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from apps.builds import selectors as builds
from apps.builds.models import Variant
from apps.endpoints import selectors as endpoints
from apps.endpoints.models import Revision
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.registry import selectors as registry
from apps.registry.models import ModelVersion
from apps.rollouts import seeing, selectors
from apps.rollouts.domain import document, words
from apps.rollouts.domain.preflight import Needs
from apps.rollouts.domain.steps import Step, compile_steps, least_time
from apps.rollouts.domain.strategy import TITLES, Strategy, StrategyKind
from apps.rollouts.domain.words import StepLine
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Invalid
from controlplane.kernel.figures import THIN

K = StrategyKind
TEMPLATE = "template:"
KEEP = "keep"  # of a form: the strategy as it is, which its own page says
PLAIN = (K.ALL_AT_ONCE, K.CANARY, K.LINEAR, K.BLUE_GREEN, K.SHADOW, K.RECREATE)


@dataclass(frozen=True)
class Coming:
    """What would be served, as far as it has been said.

    Attributes:
        environment: Where.
        version: The version.
        variant: Its variant; None before any was built.
        live: What answers there now; None when nothing does.
        runtime: A name in the runtime catalogue; "" for the variant's best.
        replicas: How many processes.
    """

    environment: Environment
    version: ModelVersion
    variant: Variant | None
    live: Revision | None
    runtime: str
    replicas: int


@dataclass(frozen=True)
class Needed:
    """What a rollout takes besides what is live.

    Attributes:
        replicas: Processes.
        memory_mb: Of all of them; None while nothing was built.
        gpus: Of all of them.
        outage: For how long nobody would answer; None when somebody always does.
        sentence: All of that, for a person.
    """

    replicas: int
    memory_mb: int | None
    gpus: int
    outage: timedelta | None
    sentence: str


@dataclass(frozen=True)
class Offer:
    """One way to move traffic that somebody may choose.

    Attributes:
        value: What a form sends: a kind, or "template:" and a name.
        title: What people call it.
        sentence: What it does.
        document: Its whole document.
        is_template: Whether it is one of the environment's own.
        is_default: Whether releases that name none take it.
    """

    value: str
    title: str
    sentence: str
    document: Mapping[str, Any]
    is_template: bool = False
    is_default: bool = False


@dataclass(frozen=True)
class Preview:
    """What a strategy would do.

    Attributes:
        strategy: The strategy.
        document: Its whole document, defaults written out.
        sentence: What happens, and how long it takes at least.
        steps: The steps before everything is answered by the new revision.
        lines: The same for a person, down to the last request.
        least: How long the steps take at least.
        takes: The same in words; "" where no step is held.
        has_stable: Whether something is live that it takes over from; assumed when nobody said
            what would be served where.
        needed: What it takes; None when nobody said what would be served where.
    """

    strategy: Strategy
    document: dict[str, Any]
    sentence: str
    steps: tuple[Step, ...]
    lines: list[StepLine]
    least: timedelta
    takes: str
    has_stable: bool
    needed: Needed | None = None

    @property
    def cost(self) -> str:
        """Return what it takes in time and room: "Takes at least 40 min, and needs ..."."""
        needs = self.needed.sentence if self.needed else self._usual_needs()
        takes = f"takes at least {self.takes}" if self.takes and self.steps else ""
        said = ", and ".join(part for part in (takes, needs) if part)
        return f"{said[:1].upper()}{said[1:]}."

    def _usual_needs(self) -> str:
        if self.strategy.kind is StrategyKind.RECREATE:
            return "needs no room beside what is live, and nobody answers in between"
        return "needs room for its replicas beside those of what is live"


def preview(strategy: Strategy, coming: Coming | None = None) -> Preview:
    """Return what `strategy` would do; with what it would take when it is said what is coming."""
    has_stable = coming is None or coming.live is not None
    steps = compile_steps(strategy, has_stable=has_stable)
    least = least_time(steps)
    return Preview(
        strategy=strategy,
        document=document.as_document(strategy),
        sentence=words.sentence(strategy),
        steps=steps,
        lines=words.step_lines(strategy, has_stable),
        least=least,
        takes=words.length(least),
        has_stable=has_stable,
        needed=_needed(strategy, coming) if coming else None,
    )


def offers(environment: Environment, kinds: Collection[str]) -> list[Offer]:
    """Return what may be chosen where `kinds` are allowed: templates, then plain kinds.

    An experiment and a bandit need to be told what they learn from, so they come by a template or
    by a document of their own.
    """
    own = [
        Offer(
            value=f"{TEMPLATE}{row.name}",
            title=row.title,
            sentence=words.sentence(document.parse(row.document)),
            document=row.document,
            is_template=True,
            is_default=row.is_default,
        )
        for row in selectors.templates_of(environment)
        if row.document["kind"] in kinds
    ]
    return [*own, *(plain(kind) for kind in PLAIN if kind in kinds)]


def plain(kind: StrategyKind) -> Offer:
    """Return a kind with everything as usual."""
    strategy = document.parse({"kind": str(kind)})
    return Offer(str(kind), TITLES[kind], words.sentence(strategy), document.as_document(strategy))


def told(chosen: str) -> dict[str, Any] | None:
    """Return what a form's choice asks for, as `selectors.strategy` takes it."""
    if not chosen:
        return None
    if chosen.startswith(TEMPLATE):
        return {"template": chosen.removeprefix(TEMPLATE)}
    return {"kind": chosen}


def asked(
    actor: Actor,
    *,
    strategy: Mapping[str, Any] | None = None,
    environment: str = "",
    model: str = "",
    version: int | None = None,
    variant: str = "",
    runtime: str = "",
    replicas: int | None = None,
) -> Preview:
    """Return what the strategy that somebody asks about would do.

    Args:
        actor: Who asks.
        strategy: A document or a template's name, as `selectors.strategy` takes it.
        environment: A slug; needed for templates, and to say what it takes.
        model: A model's name; with `version`, what would be served.
        version: Its version's number.
        variant: A `VariantKind`; "" for the fastest that passed its proof.
        runtime: A name in the runtime catalogue; "" for the variant's best.
        replicas: How many processes; None for the environment's default.

    Raises:
        Denied: The actor may not read rollouts.
        Missing: There is no such environment, template, model, version or variant.
        Invalid: The strategy makes no sense, or only half of what is coming is named.
    """
    selectors.rollouts(actor)  # asks whether they may read at all
    place = environments.by_slug(environment) if environment else None
    wanted = selectors.strategy(strategy, place)
    if not model and version is None:
        return preview(wanted)
    if place is None or not model or version is None:
        raise Invalid(
            "What would be served is named by a model, a version and an environment.",
            remedy="Name all three, or none of them.",
            field="environment" if place is None else "model" if not model else "version",
            code="rollout.preview_incomplete",
        )
    number = registry.version_of(registry.model(actor, model), version)
    return preview(
        wanted, coming(number, place, variant=variant, runtime=runtime, replicas=replicas)
    )


def coming(
    version: ModelVersion,
    environment: Environment,
    *,
    variant: str = "",
    runtime: str = "",
    replicas: int | None = None,
) -> Coming:
    """Return what would be served if somebody proposed it now.

    Raises:
        Missing: The version was built, and has no such variant.
    """
    found = builds.variant(version.pk, variant) if variant else builds.best_variant(version.pk)
    live = endpoints.live_in(version.model_id, environment.pk)
    count = environment.default_replicas if replicas is None else replicas
    return Coming(environment, version, found, live, runtime, count)


def _needed(strategy: Strategy, coming: Coming) -> Needed:
    alone = strategy.kind is StrategyKind.RECREATE and coming.live is not None
    revision = _revision(coming)
    needs = seeing.needs_of(revision) if revision else Needs(coming.replicas, 0)
    outage = seeing.usual_start(revision) if alone and revision else None
    return Needed(
        replicas=needs.replicas,
        memory_mb=needs.memory_mb if revision else None,
        gpus=needs.gpus,
        outage=outage,
        sentence=_words(needs, beside=coming.live is not None and not alone)
        + (_alone(outage) if alone else ""),
    )


def _revision(coming: Coming) -> Revision | None:
    """Return the revision that would be made, which is never written; None before any build."""
    if coming.variant is None:
        return None
    runtime = coming.runtime or next(iter(coming.variant.runtimes), "")
    return Revision(
        endpoint=coming.live.endpoint if coming.live else None,
        version=coming.version,
        variant=coming.variant,
        runtime=runtime,
        replicas=coming.replicas,
    )


def _words(needs: Needs, *, beside: bool) -> str:
    more = "more " if beside else ""
    replicas = f"one {more}replica" if needs.replicas == 1 else f"{needs.replicas} {more}replicas"
    memory = f", about {needs.memory_mb}{THIN}MB" if needs.memory_mb else ""
    gpus = f" and {needs.gpus} GPUs" if needs.gpus else ""
    return f"needs {replicas}{memory}{gpus}"


def _alone(outage: timedelta | None) -> str:
    lasts = f" for about {words.length(outage)}" if outage else ""
    return f" in the room of what is live, and nobody answers{lasts}"
