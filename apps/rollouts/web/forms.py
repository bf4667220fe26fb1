"""Forms of strategy templates: one for each kind. They parse; the services decide."""

from typing import Any, ClassVar

from django import forms

from apps.rollouts.domain.strategy import TITLES, OnDeadline, StrategyKind
from apps.rollouts.web import fields
from apps.rollouts.web.fields import ALL, AS_IT_IS, LAST, NONE, Document, Wrong

K = StrategyKind
KINDS = [(str(kind), TITLES[kind]) for kind in StrategyKind]
JUDGED = [
    (ALL, "after every step"),
    (LAST, "after the last step only"),
    (NONE, "never: the hold is enough"),
]
ASKED = [(NONE, "never"), (LAST, "after the last step"), (ALL, "after every step")]
MIXED = (AS_IT_IS, "at the steps that the JSON names")


class ReadField(forms.CharField):
    """A text that one of the readers in `fields` turns into a value."""

    def clean(self, value: Any) -> Any:
        """Return what the text says.

        Raises:
            ValidationError: It says nothing sensible, or nothing at all where it must.
        """
        text = str(super().clean(value) or "")
        try:
            return self.read(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def read(self, text: str) -> Any:
        """Return what the text says.

        Raises:
            ValueError: Nothing sensible.
        """
        return text


class LengthField(ReadField):
    """A length of time: "30 s", "10 min", "2 h"."""

    def read(self, text: str) -> float:
        """Return its seconds."""
        return fields.seconds_of(text)


class LengthsField(ReadField):
    """Lengths of time between commas; one counts for all."""

    def read(self, text: str) -> list[float]:
        """Return the seconds of each."""
        return fields.many_seconds_of(text)


class WeightsField(ReadField):
    """Percents between commas."""

    def read(self, text: str) -> list[int]:
        """Return each."""
        return fields.weights_of(text)


class TemplateForm(forms.Form):
    """What every template has, whatever its strategy."""

    title = forms.CharField(
        label="Title",
        max_length=80,
        help_text="What people choose it by: Careful canary, Friday evening.",
    )
    is_default = forms.BooleanField(
        label="Releases that name no strategy take this one", required=False
    )
    reason = forms.CharField(
        label="Why it changes", max_length=2000, required=False, help_text="For the ledger."
    )


Groups = tuple[tuple[str, tuple[str, ...]], ...]
AFTERWARDS = ("Once it answers everything", ("keep_warm",))
LADDER: Groups = (
    ("Steps", ("weights", "holds")),
    ("Before each next step", ("judge", "deadlines", "ask", "on_deadline")),
)


class KindForm(forms.Form):
    """The fields of one kind of strategy."""

    kind: ClassVar[StrategyKind]
    groups: ClassVar[Groups] = ()

    keep_warm = LengthField(
        label="Keep what was live warm for",
        max_length=20,
        help_text="Going back within that time needs no start.",
    )

    def clean(self) -> dict[str, Any]:
        """Turn the fields into a document, once each of them can be read."""
        told = super().clean() or {}
        if not self.errors:
            try:
                self.document = fields.document_of(self.kind, told, self.base)
            except Wrong as error:
                self.add_error(error.field, error.sentence)
        return told

    def __init__(self, *args: Any, base: Document, **kwargs: Any) -> None:
        """Take the document that the fields were filled from."""
        super().__init__(*args, **kwargs)
        self.base = base
        self.document = base
        for name in ("judge", "ask"):
            self._offer_mixed(name)

    def grouped(self) -> list[tuple[str, list[forms.BoundField]]]:
        """Return the fields under the headings that they stand under."""
        groups = (*self.groups, AFTERWARDS)
        return [(title, [self[name] for name in names]) for title, names in groups]

    def _offer_mixed(self, name: str) -> None:
        """Offer to leave steps as they are, where a document says more than the choice can."""
        field = self.fields.get(name)
        if isinstance(field, forms.ChoiceField):
            now = fields.fields_of(self.base).get(name)
            field.choices = [*(JUDGED if name == "judge" else ASKED)] + (
                [MIXED] if now == AS_IT_IS else []
            )


class JudgedForm(KindForm):
    """The fields of a kind that is judged."""

    on_deadline = forms.ChoiceField(
        label="Without an answer in time",
        choices=[(str(OnDeadline.ASK), "ask a person"), (str(OnDeadline.ABORT), "go back")],
    )


class LadderForm(JudgedForm):
    """The fields of a ladder."""

    weights = WeightsField(
        label="Steps, in percent of requests",
        max_length=200,
        help_text="Such as 5, 10, 25, 50. What follows the last step is everything.",
    )
    holds = LengthsField(
        label="Hold each step for at least",
        max_length=300,
        help_text="10 min for all of them, or one for each: 2 min, 5 min, 10 min, 10 min.",
    )
    judge = forms.ChoiceField(label="The judge must find it not worse", choices=JUDGED)
    ask = forms.ChoiceField(label="A person must say so as well", choices=ASKED)
    deadlines = LengthsField(
        label="Then the judge has",
        max_length=300,
        help_text="How long after the hold an answer may take.",
    )


class AllAtOnceForm(KindForm):
    """All requests at once."""

    kind = K.ALL_AT_ONCE


class RecreateForm(KindForm):
    """Stop, then start."""

    kind = K.RECREATE


class CanaryForm(LadderForm):
    """A ladder."""

    kind, groups = K.CANARY, LADDER


class LinearForm(JudgedForm):
    """A ladder of equal steps."""

    kind = K.LINEAR
    groups = (
        ("Steps", ("by", "hold")),
        ("Before each next step", ("judged", "deadline", "on_deadline")),
    )

    by = forms.IntegerField(label="Each step adds, in percent", min_value=1, max_value=100)
    hold = LengthField(label="Hold each step for at least", max_length=20)
    judged = forms.BooleanField(
        label="The judge must find each step not worse before the next", required=False
    )
    deadline = LengthField(
        label="Then the judge has",
        max_length=20,
        help_text="How long after the hold an answer may take.",
    )


class BlueGreenForm(KindForm):
    """A preview, then a switch."""

    kind = K.BLUE_GREEN
    groups = (("Before the switch", ("preview", "asks")),)

    preview = LengthField(
        label="At the preview address for at least",
        max_length=20,
        help_text="Only who asks for the preview gets its answers.",
    )
    asks = forms.BooleanField(label="A person decides before the switch", required=False)


class ShadowForm(LadderForm):
    """Copies first."""

    kind = K.SHADOW
    groups = (
        ("While its answers are only compared", ("mirror", "hold", "deadline", "asks")),
        ("Then, step by step", ("weights", "holds")),
        LADDER[1],
    )

    mirror = forms.IntegerField(
        label="Copy so many percent of requests", min_value=1, max_value=100
    )
    hold = LengthField(label="Copy for at least", max_length=20)
    deadline = LengthField(
        label="Then the judge has",
        max_length=20,
        help_text="How long after that an answer may take.",
    )
    asks = forms.BooleanField(
        label="A person decides before anybody gets its answers", required=False
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Let the ladder that follows be empty."""
        super().__init__(*args, **kwargs)
        weights, holds, deadlines = (self.fields[n] for n in ("weights", "holds", "deadlines"))
        weights.required = holds.required = deadlines.required = False
        weights.help_text = "Such as 10, 50. Empty: everything at once."


class TryingForm(JudgedForm):
    """The fields of what learns from an outcome."""

    metric = forms.CharField(
        label="Metric",
        max_length=40,
        help_text="The name under which callers send it as feedback: converted, revenue.",
    )
    metric_title = forms.CharField(label="What people call it", max_length=120, required=False)
    metric_kind = forms.ChoiceField(
        label="An outcome is",
        choices=[("rate", "yes or no"), ("mean", "a number, such as an amount")],
    )
    better = forms.ChoiceField(label="Better is", choices=[("higher", "more"), ("lower", "less")])
    weight = forms.IntegerField(label="Percent of requests", min_value=1, max_value=99)
    horizon = LengthField(
        label="Ends without an answer after",
        max_length=20,
        help_text="At most 30 d.",
    )
    sticky_by = forms.ChoiceField(
        label="A caller is recognised by", choices=[("header", "a header"), ("cookie", "a cookie")]
    )
    sticky_name = forms.CharField(
        label="Its name",
        max_length=80,
        help_text="Whoever has the same value stays on the same side: x-user-id.",
    )


class AbForm(TryingForm):
    """An experiment."""

    kind = K.AB
    groups = (
        (
            "What is measured",
            (
                "hypothesis", "metric", "metric_title", "metric_kind", "better", "least_effect",
            ),
        ),
        ("Who gets it", ("weight", "sticky_by", "sticky_name")),
        ("Until when", ("horizon", "on_deadline")),
    )  # fmt: skip

    hypothesis = forms.CharField(
        label="Hypothesis",
        max_length=500,
        required=False,
        help_text="What you believe, in your own words.",
    )
    least_effect = forms.FloatField(
        label="Smallest difference that matters",
        required=False,
        min_value=0,
        help_text="In the metric's own unit; 0.01 is one point of a share. Empty: any.",
    )


class BanditForm(TryingForm):
    """A bandit."""

    kind = K.BANDIT
    groups = (
        ("What it learns from", ("metric", "metric_title", "metric_kind", "better")),
        (
            "Who gets it",
            (
                "weight", "floor", "ceiling", "every", "segment_header", "segment_values",
                "sticky_by", "sticky_name",
            ),
        ),
        ("Until when", ("horizon", "on_deadline")),
    )  # fmt: skip

    every = LengthField(label="Move weights every", max_length=20)
    floor = forms.IntegerField(
        label="Each side gets at least, in percent", min_value=1, max_value=50
    )
    ceiling = forms.IntegerField(label="And at most", min_value=50, max_value=99)
    segment_header = forms.CharField(
        label="Learn apart by the header",
        max_length=80,
        required=False,
        help_text="Such as x-country. Empty: all callers together.",
    )
    segment_values = forms.CharField(
        label="For its values", max_length=500, required=False, help_text="Such as de, fr, us."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Let callers change sides where nobody said by what they are known."""
        super().__init__(*args, **kwargs)
        self.fields["sticky_name"].required = False
        self.fields["weight"].label = "Percent of requests at first"


FORMS: dict[StrategyKind, type[KindForm]] = {
    form.kind: form
    for form in (
        AllAtOnceForm, CanaryForm, LinearForm, BlueGreenForm, ShadowForm, AbForm, BanditForm,
        RecreateForm,
    )
}  # fmt: skip
