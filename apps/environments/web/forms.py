"""Forms of freezes: one for each way to say when. They parse; the services decide."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms

from apps.environments.domain.calendar import Kind, Listed, Once, Weekly
from apps.environments.domain.ical import LONGEST
from apps.environments.models import Environment

KINDS = (
    (str(Kind.FREEZE), "Freeze: no rollout may start"),
    (str(Kind.WINDOW), "Change window: rollouts may start only inside one"),
)
DAYS = tuple(enumerate(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
                        "Sunday")))  # fmt: skip
LATER = ((0, "the same day"), (1, "one day later"), *((n, f"{n} days later") for n in range(2, 7)))


class DeclareForm(forms.Form):
    """What every way asks: where, what, its title and why."""

    way: ClassVar[str] = ""

    environment = forms.ChoiceField(label="Environment")
    kind = forms.ChoiceField(label="What it does", choices=KINDS)
    title = forms.CharField(
        label="Title",
        max_length=120,
        help_text="What people will call it: Year end, Office hours.",
    )
    reason = forms.CharField(
        label="Why",
        max_length=500,
        required=False,
        help_text="A freeze needs it: whoever is stopped reads this.",
    )

    def __init__(self, *args: Any, places: Sequence[Environment], **kwargs: Any) -> None:
        """Offer the environments that the reader may freeze."""
        super().__init__(*args, **kwargs)
        self.zones = {p.slug: ZoneInfo(p.time_zone) for p in places}
        self.fields["environment"].choices = [  # type: ignore[attr-defined]  # a ChoiceField
            (p.slug, p.title if p.time_zone == "UTC" else f"{p.title} ({p.time_zone})")
            for p in places
        ]

    def when(self) -> Once | Weekly | Listed:
        """Return when it stands."""
        raise NotImplementedError


class OnceForm(DeclareForm):
    """From one moment to another."""

    way = "once"

    starts_at = forms.DateTimeField(
        label="From",
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    ends_at = forms.DateTimeField(
        label="Until",
        required=False,
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="On the environment's clock. A freeze without an end stands until somebody "
        "ends it.",
    )

    def when(self) -> Once:
        """Return both moments, read on the environment's clock."""
        starts_at, ends_at = self.cleaned_data["starts_at"], self.cleaned_data["ends_at"]
        return Once(self._local(starts_at), self._local(ends_at) if ends_at else None)

    def _local(self, given: datetime) -> datetime:
        # The field read it as UTC; what was typed is the environment's wall clock.
        return given.replace(tzinfo=self.zones[self.cleaned_data["environment"]])


class WeeklyForm(DeclareForm):
    """The same hours every week."""

    way = "weekly"

    days = forms.TypedMultipleChoiceField(
        label="Starts on",
        choices=DAYS,
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one day."},
    )
    start = forms.TimeField(label="At", widget=forms.TimeInput(attrs={"type": "time"}))
    end = forms.TimeField(label="Ends at", widget=forms.TimeInput(attrs={"type": "time"}))
    days_later = forms.TypedChoiceField(label="On", choices=LATER, coerce=int, initial=0)

    def when(self) -> Weekly:
        """Return the days and hours."""
        given = self.cleaned_data
        return Weekly(frozenset(given["days"]), given["start"], given["end"], given["days_later"])


class CalendarForm(DeclareForm):
    """The events of an iCalendar file."""

    way = "calendar"

    file = forms.FileField(
        label="File",
        required=False,
        widget=forms.FileInput(attrs={"accept": ".ics,text/calendar"}),
        help_text="An .ics file, as calendars export it.",
    )
    ics = forms.CharField(
        label="or paste it",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="All-day events are days on the environment's clock.",
    )

    def clean(self) -> dict[str, Any]:
        """Take the file or the text; exactly one is needed."""
        given = super().clean() or {}
        file, pasted = given.get("file"), given.get("ics")
        if bool(file) is bool(pasted):
            self.add_error("ics", "Choose a file or paste a calendar; exactly one is needed.")
        elif file:
            if file.size > LONGEST * 4:
                self.add_error("file", f"The file has {file.size} bytes; that is no calendar.")
            else:
                given["ics"] = file.read().decode("utf-8", errors="replace")
        return given

    def when(self) -> Listed:
        """Return the calendar's text."""
        return Listed(self.cleaned_data["ics"])


WAYS: dict[str, type[DeclareForm]] = {f.way: f for f in (OnceForm, WeeklyForm, CalendarForm)}
