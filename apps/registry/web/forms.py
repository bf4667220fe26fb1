"""Forms of the registry's pages. They parse; the services decide."""

from collections.abc import Mapping
from typing import Any

from django import forms

from apps.accounts.models import Team
from apps.registry.domain import details as described
from apps.registry.domain.details import Details
from apps.registry.domain.kinds import RiskTier
from controlplane.kernel.errors import Invalid

TIERS = [(str(t), f"{t.value.capitalize()} risk") for t in RiskTier]


class PairsField(forms.CharField):
    """Names and values, one pair a line: "auc = 0.97"."""

    widget = forms.Textarea(attrs={"rows": 4})

    def clean(self, value: Any) -> dict[str, str]:
        """Return the pairs.

        Raises:
            ValidationError: A line is none.
        """
        pairs: dict[str, str] = {}
        for line in str(super().clean(value) or "").splitlines():
            if not line.strip():
                continue
            name, separator, given = line.partition("=" if "=" in line else ":")
            if not separator or not name.strip():
                raise forms.ValidationError(f"“{line.strip()[:60]}” is not “name = value”.")
            pairs[name.strip()] = given.strip()
        return pairs


class MetricsField(PairsField):
    """Pairs whose values are numbers."""

    def clean(self, value: Any) -> dict[str, Any]:
        """Return finite numbers by name.

        Raises:
            ValidationError: A value is not a finite number.
        """
        try:
            return described.metrics({n: _number(v) for n, v in super().clean(value).items()})
        except Invalid as error:
            raise forms.ValidationError(f"{error.sentence} {error.remedy}") from error


class ModelForm(forms.Form):
    """What people say about a registered model."""

    name = forms.CharField(
        max_length=128,
        label="Name",
        help_text="Letters, digits, hyphens, dots and underscores. It becomes part of addresses.",
        widget=forms.TextInput(attrs={"placeholder": "card-fraud-score", "autofocus": True}),
    )
    description = forms.CharField(
        required=False,
        label="What it does",
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="One or two sentences for somebody who sees it for the first time.",
    )
    card = forms.CharField(
        required=False,
        label="Model card",
        max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 10}),
        help_text="Markdown: intended use, training data, limits, who to ask.",
    )
    team = forms.ChoiceField(label="Owner team")
    risk_tier = forms.ChoiceField(
        label="Risk",
        choices=TIERS,
        initial=str(RiskTier.MEDIUM),
        help_text="How much harm a wrong prediction can do.",
    )
    task = forms.CharField(
        required=False,
        max_length=80,
        label="Task",
        widget=forms.TextInput(attrs={"placeholder": "binary classification"}),
    )
    tolerance = forms.FloatField(
        label="Tolerance",
        initial=1e-3,
        min_value=0,
        help_text="The largest difference from the original that a variant may show.",
    )
    min_agreement = forms.FloatField(
        label="Agreement",
        initial=0.99,
        min_value=0,
        max_value=1,
        help_text="The smallest share of equal labels, 0 to 1.",
    )

    def __init__(
        self, *args: Any, teams: list[Team], editing: bool = False, **kwargs: Any
    ) -> None:
        """Offer `teams`; a model that exists keeps its name."""
        super().__init__(*args, **kwargs)
        if editing:
            del self.fields["name"]
        choose = self.fields["team"]
        assert isinstance(choose, forms.ChoiceField)  # noqa: S101  for the type checker
        choose.choices = [(team.slug, team.name) for team in teams]


class RunForm(forms.Form):
    """An MLflow run's model."""

    run_id = forms.CharField(
        max_length=64,
        label="Run",
        help_text="The run's id in MLflow: 32 hexadecimal digits.",
        widget=forms.TextInput(attrs={"placeholder": "7f1c0a…"}),
    )
    artifact_path = forms.CharField(
        max_length=500,
        required=False,
        label="Artifact path",
        initial="model",
        help_text="The name that the model was logged under.",
    )


class DetailsForm(forms.Form):
    """What a person knows about a version besides its bytes."""

    semver = forms.CharField(
        required=False,
        max_length=40,
        label="Semantic version",
        widget=forms.TextInput(attrs={"placeholder": "1.4.0"}),
    )
    git_commit = forms.CharField(
        required=False,
        max_length=64,
        label="Commit",
        widget=forms.TextInput(attrs={"placeholder": "3e9a0d4"}),
    )
    description = forms.CharField(
        required=False,
        max_length=100_000,
        label="What is new in it",
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    metrics = MetricsField(required=False, label="Metrics", help_text="One a line: auc = 0.97")
    params = PairsField(required=False, label="Parameters", help_text="One a line: depth = 8")
    dataset = forms.CharField(required=False, max_length=200, label="Training data")
    dataset_digest = forms.CharField(required=False, max_length=80, label="Digest of the data")

    def details(self) -> Details:
        """Return the form as the services take it.

        Raises:
            Invalid: A value is not allowed.
        """
        given: Mapping[str, Any] = self.cleaned_data
        return Details(**{**given, "params": described.words(given["params"], "params")})


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text
