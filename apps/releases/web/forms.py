"""Forms of releases. They parse; the services decide."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from apps.builds.models import Variant
from apps.releases.models import Release
from apps.rollouts import previewing
from apps.rollouts.domain import document, words
from apps.rollouts.domain.strategy import StrategyKind
from apps.rollouts.previewing import KEEP, Offer
from controlplane.kernel.figures import rounded, sized

MOST_SETTINGS = 30
USUAL = str(StrategyKind.ALL_AT_ONCE)


class SettingsField(forms.CharField):
    """Settings of the runtime, one "name = whole number" a line."""

    widget = forms.Textarea(attrs={"rows": 2})

    def clean(self, value: Any) -> dict[str, int]:
        """Return the settings.

        Raises:
            ValidationError: A line is none.
        """
        found: dict[str, int] = {}
        for line in str(super().clean(value) or "").splitlines()[:MOST_SETTINGS]:
            name, _, number = (part.strip() for part in line.partition("="))
            if not line.strip():
                continue
            if not name or not (number.isascii() and number.isdigit() and len(number) < 10):
                raise forms.ValidationError(f"“{line.strip()[:60]}” is not “name = whole number”.")
            found[name] = int(number)
        return found


class ReleaseForm(forms.Form):
    """What is to be served, and why."""

    variant = forms.ChoiceField(required=False, widget=forms.RadioSelect, label="Variant")
    runtime = forms.ChoiceField(required=False, label="Runtime")
    replicas = forms.IntegerField(required=False, min_value=1, max_value=1000, label="Replicas")
    configuration = SettingsField(
        required=False,
        max_length=2000,
        label="Settings of the runtime",
        help_text="One a line, such as “max_batch = 64”.",
    )
    strategy = forms.ChoiceField(
        required=False, widget=forms.RadioSelect, label="How traffic moves"
    )
    summary = forms.CharField(
        required=False,
        max_length=10_000,
        label="Why",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What is better, and what a reviewer should look at. Markdown.",
    )

    def __init__(
        self, *args: Any, variants: Sequence[Variant], offers: Sequence[Offer], **more: Any
    ) -> None:
        """Offer what the version has, and what the policy allows."""
        super().__init__(*args, **more)
        self.variants = {v.kind: v for v in variants}
        self.offers = list(offers)
        self.initial.setdefault("strategy", usual_of(offers))
        fastest = "The fastest that passed its proof"
        runtimes = sorted({str(r) for v in variants for r in v.runtimes})
        self._offer("variant", [("", fastest), *((v.kind, v.kind) for v in variants)])
        self._offer("runtime", [("", "the best one for the variant"), *((r, r) for r in runtimes)])
        self._offer("strategy", [(offer.value, offer.title) for offer in offers])

    def _offer(self, name: str, choices: Sequence[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  declared so above
        field.choices = list(choices)

    def words(self) -> list[tuple[str, str, str, bool]]:
        """Return the variants as value, name, numbers, and whether it is chosen."""
        chosen = self["variant"].value() or ""
        best = ("", "The fastest that passed", "chosen when the build has ended", not chosen)
        return [best, *((v.kind, v.kind, numbers(v), chosen == v.kind) for v in self._variants())]

    def ways(self) -> list[tuple[str, bool, list[tuple[Offer, bool]]]]:
        """Return the ways to move traffic: a heading, whether it is open, and what it offers."""
        chosen = self["strategy"].value() or ""
        own = [(offer, offer.value == chosen) for offer in self.offers if offer.is_template]
        plain = [(offer, offer.value == chosen) for offer in self.offers if not offer.is_template]
        groups = [("Templates", own), ("Plain kinds", plain)]
        return [
            (title, not own or any(is_chosen for _, is_chosen in some), some)
            for title, some in groups
            if some
        ]

    def wanted(self) -> dict[str, Any]:
        """Return what the service takes, once the form is clean."""
        told = self.cleaned_data
        return {
            "variant": told["variant"],
            "runtime": told["runtime"],
            "replicas": told["replicas"],
            "configuration": told["configuration"],
            "strategy": None if told["strategy"] == KEEP else previewing.told(told["strategy"]),
            "summary": told["summary"],
        }

    def _variants(self) -> list[Variant]:
        return list(self.variants.values())


def usual_of(offers: Sequence[Offer]) -> str:
    """Return what is chosen before anybody chose: the default, or all at once where allowed."""
    default = [offer.value for offer in offers if offer.is_default]
    plain = [offer.value for offer in offers if offer.value == USUAL]
    return next(iter([*default, *plain, *(offer.value for offer in offers)]), "")


def with_kept(offers: Sequence[Offer], row: Release) -> list[Offer]:
    """Return what is on offer for a release; first what it has, if nothing else says that."""
    if _same(offers, row):
        return list(offers)
    now = document.parse(row.strategy)
    kept = Offer(KEEP, "As it is", words.sentence(now), row.strategy, is_template=True)
    return [kept, *offers]


def initial_of(row: Release, offers: Sequence[Offer]) -> Mapping[str, Any]:
    """Return what a release says now."""
    settings = "\n".join(f"{name} = {value}" for name, value in sorted(row.configuration.items()))
    return {
        "variant": row.variant_kind,
        "runtime": row.runtime,
        "replicas": row.replicas,
        "configuration": settings,
        "strategy": _same(offers, row) or KEEP,
        "summary": row.summary,
    }


def _same(offers: Sequence[Offer], row: Release) -> str:
    """Return the value of an offer that says what a release says; "" when none does."""
    now = document.as_document(document.parse(row.strategy))
    return next((o.value for o in offers if _whole(o) == now), "")


def _whole(offer: Offer) -> dict[str, Any]:
    return document.as_document(document.parse(offer.document))


def numbers(variant: Variant) -> str:
    """Return a variant's numbers, to choose by."""
    parts = [sized(variant.size)]
    if variant.p95_ms is not None:
        parts.append(f"p95 {rounded(variant.p95_ms)} ms")
    if variant.verdict == "too_lossy":
        parts.append("too lossy: it cannot be released")
    elif variant.kind == "native":
        parts.append("the original")
    elif variant.max_difference is not None:
        parts.append(f"differs by {rounded(variant.max_difference, 2)}")
    return ", ".join(parts)
