"""What somebody is writing: a template by its fields, or by its JSON, whichever they touched.

The form carries the document as it was when it was made. When the JSON differs from that, it was
edited, and the fields follow it; otherwise the fields were, and the JSON follows them. So both
say the same without a script, after each preview.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.http import QueryDict
from rest_framework.exceptions import ParseError

from apps.rollouts import previewing
from apps.rollouts.domain import document as documents
from apps.rollouts.domain.strategy import StrategyKind
from apps.rollouts.previewing import Preview
from apps.rollouts.web import fields
from apps.rollouts.web.fields import Document
from apps.rollouts.web.forms import FORMS, KindForm
from controlplane.http.api import strict_json
from controlplane.kernel.errors import Invalid

FIRST = StrategyKind.CANARY
LONGEST = 100_000  # characters of a document


@dataclass(frozen=True)
class Draft:
    """A strategy that is being written.

    Attributes:
        document: The last document that made sense; the form carries it.
        text: What the editor of the JSON shows.
        form: The fields of its kind.
        preview: What it would do; None while it makes no sense.
        error: What is wrong with the JSON, or with the fields together; None for nothing.
        by_json: Whether the JSON was edited.
        kind_changed: Whether another kind was chosen.
    """

    document: Document
    text: str
    form: KindForm
    preview: Preview | None
    error: Invalid | None = None
    by_json: bool = False
    kind_changed: bool = False

    @property
    def kind(self) -> StrategyKind:
        """Return the kind whose fields are shown."""
        return self.form.kind

    @property
    def base(self) -> str:
        """Return the document as the form carries it."""
        return json.dumps(self.document, separators=(",", ":"), ensure_ascii=False)

    @property
    def makes_sense(self) -> bool:
        """Return whether it can be saved."""
        return self.preview is not None

    @property
    def faults(self) -> list[str]:
        """Return what is wrong, in sentences."""
        said = [f"{self.error.sentence} {self.error.remedy}".strip()] if self.error else []
        for name, errors in self.form.errors.items():
            label = self.form.fields[name].label if name in self.form.fields else ""
            said += [f"{label}: {error}" if label else str(error) for error in errors]
        return said


def of(document: Mapping[str, Any]) -> Draft:
    """Return the draft that a document begins with."""
    return _of(documents.as_document(documents.parse(document)))


def first() -> Draft:
    """Return the draft that a new template begins with."""
    return _of(fields.usual(FIRST))


def read(posted: QueryDict) -> Draft:
    """Return what somebody has written by now."""
    base, text = _base(posted.get("base", "")), posted.get("document", "")
    if _is_edited(text, base):
        return _by_json(text, base)
    now = StrategyKind(base["kind"])
    chosen = posted.get("kind", "")
    if chosen in list(StrategyKind) and chosen != now:
        return _of(fields.usual(StrategyKind(chosen)), kind_changed=True)
    return _by_fields(FORMS[now](posted, base=base), base)


def _by_json(text: str, base: Document) -> Draft:
    try:
        draft = _of(_loaded(text))
    except Invalid as error:
        return replace(_of(base), text=text, preview=None, error=error, by_json=True)
    # What was typed stays as it was typed.
    return replace(draft, text=text, by_json=True)


def _by_fields(form: KindForm, base: Document) -> Draft:
    if not form.is_valid():
        return Draft(base, _text(base), form, None)
    try:
        strategy = documents.parse(form.document)
    except Invalid as error:
        return Draft(base, _text(base), form, None, error)
    document = documents.as_document(strategy)
    return Draft(document, _text(document), form, previewing.preview(strategy))


def _of(document: Document, *, kind_changed: bool = False) -> Draft:
    kind = StrategyKind(document["kind"])
    form = FORMS[kind](initial=fields.fields_of(document), base=document)
    preview = previewing.preview(documents.parse(document))
    return Draft(document, _text(document), form, preview, kind_changed=kind_changed)


def _base(text: str) -> Document:
    """Return the document that the form carried; what a new one begins with, if it did not."""
    try:
        return _loaded(text)
    except Invalid:
        return fields.usual(FIRST)


def _is_edited(text: str, base: Document) -> bool:
    if not text.strip():
        return False
    try:
        return _loaded(text) != base
    except Invalid:
        return True


def _loaded(text: str) -> Document:
    """Return the whole document that a text says.

    Raises:
        Invalid: It is not JSON, or no strategy.
    """
    try:
        found = strict_json(text[:LONGEST].encode())
    except (ParseError, UnicodeEncodeError) as error:
        raise _not_json(error) from error
    if not isinstance(found, dict):
        raise _not_json("It is no object.")
    return documents.as_document(documents.parse(found))


def _text(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _not_json(why: object) -> Invalid:
    return Invalid(
        f"The document cannot be read: {why}".replace("The body", "it"),
        remedy="Put it right, or undo the edit and use the fields.",
        field="document",
        code="rollout.bad_strategy",
    )
