"""Forms of notifications: what is asked for a channel, a preference, a mail address."""

from collections.abc import Sequence
from typing import Any

from django import forms

from apps.notifications.domain.kinds import KINDS, Transport, Way

WAY_WORDS = {
    Way.PAGE: "On this site",
    Way.MAIL: "By mail, at once",
    Way.DIGEST: "In the daily mail",
    Way.OFF: "Not at all",
}
TRANSPORTS = (
    (Transport.APPRISE, "Chat or pager", "Slack, Teams, PagerDuty, Opsgenie and others"),
    (Transport.WEBHOOK, "Webhook", "a signed CloudEvent to an address of yours"),
    (Transport.MAIL, "Mail", "to a mailing list, for example"),
)
EVERYTHING, CHOSEN = "all", "chosen"


class ChannelForm(forms.Form):
    """A channel; its address is asked again only to change it."""

    name = forms.CharField(
        max_length=80, label="Name", help_text="What people call it: #fraud-ops."
    )
    target = forms.CharField(
        max_length=2000,
        label="Address",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="It is sealed, and never shown whole again.",
    )
    on_call = forms.BooleanField(required=False, label="On call")
    which = forms.ChoiceField(
        choices=[(EVERYTHING, "Everything"), (CHOSEN, "Only some things")], initial=EVERYTHING
    )
    kinds = forms.MultipleChoiceField(
        required=False,
        choices=[(kind.name, kind.title) for kind in KINDS.values()],
        widget=forms.CheckboxSelectMultiple,
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a choice of nothing."""
        given = super().clean() or {}
        if given.get("which") == CHOSEN and not given.get("kinds"):
            self.add_error("kinds", "Choose at least one, or everything.")
        return given

    def wanted(self) -> list[str]:
        """Return the kinds that were chosen; none for everything."""
        chosen = self.cleaned_data["which"] == CHOSEN
        return list(self.cleaned_data["kinds"]) if chosen else []


class NewChannelForm(ChannelForm):
    """A new channel, with its owner and its transport."""

    team = forms.ChoiceField(
        required=False, label="Whose", widget=forms.Select(attrs={"class": "input"})
    )
    transport = forms.ChoiceField(
        choices=[(t.value, title) for t, title, _ in TRANSPORTS], initial=Transport.APPRISE.value
    )

    def __init__(self, *args: Any, teams: Sequence[str], **kwargs: Any) -> None:
        """Offer the teams whose channels the reader may manage."""
        super().__init__(*args, **kwargs)
        self.fields["team"].choices = [  # type: ignore[attr-defined]  # a ChoiceField
            ("", "Yours alone"),
            *[(slug, f"Team {slug}") for slug in teams],
        ]


class EditChannelForm(ChannelForm):
    """A channel that there is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Leave the address as it is unless one is given."""
        super().__init__(*args, **kwargs)
        self.fields["target"].required = False
        self.fields["target"].label = "New address"


class MailForm(forms.Form):
    """One's own mail address."""

    email = forms.EmailField(
        required=False,
        label="Your mail address",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
