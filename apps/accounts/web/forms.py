"""Forms of accounts: what is asked, and how an error of a service finds its field."""

from typing import Any

from django import forms

from apps.accounts.domain import access, scopes
from apps.accounts.services.tokens import DEFAULT_DAYS, MAX_DAYS
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Conflict, ControlPlaneError, Invalid, Missing

# What a person can mend in the form; anything else is a page of its own.
MENDABLE = (Conflict, Invalid, Missing)
LIVES = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (180, "180 days"), (365, "a year"))
ROLE_WORDS = {
    Role.VIEWER: "Viewer: reads",
    Role.CONTRIBUTOR: "Contributor: registers, builds, serves outside production",
    Role.REVIEWER: "Reviewer: approves",
    Role.OPERATOR: "Operator: moves traffic, also in production",
    Role.ADMIN: "Admin: everything, and people",
}


def show_error(form: forms.Form, error: ControlPlaneError) -> None:
    """Put what a service said where the person looks."""
    field = error.field if error.field in form.fields else None
    form.add_error(field, " ".join(filter(None, (error.sentence, error.remedy))))


class SignInForm(forms.Form):
    """Name and password."""

    username = forms.CharField(
        label="Name",
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none"}),
    )
    password = forms.CharField(
        strip=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class PasswordForm(forms.Form):
    """A change of one's own password."""

    current = forms.CharField(
        label="Your password now",
        strip=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    new = forms.CharField(
        label="New password",
        strip=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 10 characters, and none of the common ones.",
    )
    again = forms.CharField(
        label="New password again",
        strip=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, Any]:
        """Refuse two different new passwords."""
        given = super().clean() or {}
        if given.get("new") and given.get("again") and given["new"] != given["again"]:
            self.add_error("again", "The two new passwords differ.")
        return given


class TokenForm(forms.Form):
    """A new API token."""

    name = forms.CharField(max_length=80, help_text="What uses it: ci, laptop, notebook.")
    scope = forms.ChoiceField(
        label="May do",
        choices=[(p.key, p.title) for p in scopes.PRESETS] + [("chosen", "Chosen verbs")],
        initial="ci",
        widget=forms.RadioSelect,
    )
    verbs = forms.MultipleChoiceField(
        required=False,
        choices=[(verb, verb) for verb in access.TABLE],
        widget=forms.CheckboxSelectMultiple,
    )
    days = forms.TypedChoiceField(
        label="Lives for",
        choices=LIVES,
        coerce=int,
        initial=min(DEFAULT_DAYS, MAX_DAYS),
    )

    def scopes(self) -> list[str] | None:
        """Return the verbs asked for; None for everything."""
        chosen = self.cleaned_data["scope"]
        if chosen == "chosen":
            return list(self.cleaned_data["verbs"])
        verbs = next(p.verbs for p in scopes.PRESETS if p.key == chosen)
        return None if verbs is None else sorted(verbs)


class PersonForm(forms.Form):
    """Somebody new."""

    username = forms.CharField(
        label="Name to sign in with", max_length=80, help_text="Small letters, digits and dots."
    )
    display_name = forms.CharField(label="Full name", max_length=120, required=False)
    email = forms.EmailField(label="E-mail", required=False)


class TeamForm(forms.Form):
    """A new team."""

    slug = forms.CharField(
        label="Short name", max_length=40, help_text="Small letters, digits and hyphens."
    )
    name = forms.CharField(label="Full name", max_length=80, required=False)


class RoleForm(forms.Form):
    """A role for somebody."""

    role = forms.ChoiceField(choices=[(r.value, words) for r, words in ROLE_WORDS.items()])
    team = forms.ChoiceField(required=False)
    environment = forms.CharField(
        required=False, max_length=40, help_text="Empty for every environment."
    )

    def __init__(self, *args: Any, teams: list[str], **kwargs: Any) -> None:
        """Offer the teams there are."""
        super().__init__(*args, **kwargs)
        self.fields["team"].choices = [  # type: ignore[attr-defined]  # a ChoiceField
            ("", "Every team"),
            *[(slug, slug) for slug in teams],
        ]
