"""Every stable error code, with its meaning and what to do, read from the code itself.

A problem document's `type` leads to an entry here. Nothing is listed by hand: the source is
parsed, once, and whatever is raised with a code and a sentence is an entry. So the page cannot
go stale, and an error without a remedy shows that it has none.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from controlplane.http.problems import STATUS_OF, STATUS_OF_CODE, TITLES

PACKAGES = ("controlplane", "apps", "workers")
CODE = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
GAP = "…"  # stands where the sentence names a value
KINDS = {kind.__name__: status for kind, status in STATUS_OF}
MOST_SENTENCES = 4
# What an error of a status means and asks for, where its own words are put together elsewhere.
GENERAL: dict[int, tuple[str, str]] = {
    400: ("The request could not be read.", "Send one JSON object, in UTF-8."),
    403: ("You may not do this.", "Act as somebody who may, or ask an admin for such a role."),
    404: ("There is nothing of that name, or you may not know of it.", "Check the name."),
    409: ("Things stand so that it is not possible now.", "Look at the object, then try again."),
    422: ("An input is wrong; `field` and `errors` name it.", "Mend it, and send it again."),
    429: ("That came too often.", "Wait as long as `Retry-After` says."),
    500: ("A fault of ours.", "Try again; if it stays, give `request_id` to whoever runs this."),
    502: ("Another system refused; the same again cannot help.", "Mend what the sentence names."),
    503: ("Another system does not answer.", "Try again after as long as `Retry-After` says."),
    0: (
        "Work in the background stopped; its page shows why.",
        "Do what the page says, and retry.",
    ),
}


@dataclass(frozen=True)
class Raised:
    """One place that raises a code.

    Attributes:
        code: The stable identifier.
        sentence: What is so, with a gap for each value; "" where it is put together elsewhere.
        remedy: What to do about it.
        status: The HTTP status it is answered with; 0 where the place does not tell.
    """

    code: str
    sentence: str = ""
    remedy: str = ""
    status: int = 0


@dataclass(frozen=True)
class Entry:
    """One code, from all places that raise it."""

    code: str
    status: int
    sentences: tuple[str, ...]
    remedies: tuple[str, ...]

    @property
    def title(self) -> str:
        """Return the name of its status."""
        return TITLES.get(self.status, "")

    @property
    def meaning(self) -> tuple[str, ...]:
        """Return what it says, at least in general."""
        return self.sentences or (self._general[0],)

    @property
    def advice(self) -> tuple[str, ...]:
        """Return what to do, at least in general."""
        return self.remedies or (self._general[1],)

    @property
    def _general(self) -> tuple[str, str]:
        return GENERAL.get(self.status) or (f"{self.title}.", GENERAL[400][1])

    @property
    def area(self) -> str:
        """Return what it is about: the code up to its first dot."""
        return self.code.partition(".")[0]


@dataclass
class Class:
    """An error class, as its source says.

    Attributes:
        bases: The names of what it is derived from.
        code: Its own code, when it has one.
        meaning: The first line of its docstring.
    """

    bases: tuple[str, ...] = ()
    code: str = ""
    meaning: str = ""


@dataclass
class Source:
    """What was found in the source: classes by name, and calls that may make an error."""

    classes: dict[str, Class] = field(default_factory=dict)
    calls: list[ast.Call] = field(default_factory=list)

    def status(self, name: str) -> int:
        """Return the status of errors of the class `name`; 0 when it is none."""
        if name in KINDS:
            return KINDS[name]
        bases = self.classes[name].bases if name in self.classes else ()
        return next((status for base in bases if (status := self.status(base))), 0)

    def code(self, name: str) -> str:
        """Return the code of errors of the class `name`, its own or inherited."""
        known = self.classes.get(name)
        if known is None or known.code:
            return known.code if known else ""
        return next((code for base in known.bases if (code := self.code(base))), "")


@require_safe
def problems_page(request: HttpRequest) -> HttpResponse:
    """Return the page of all codes. Open to anybody: it tells nothing of what is in here."""
    entries = catalogue()
    areas = [(area, list(found)) for area, found in groupby(entries, key=lambda e: e.area)]
    return render(request, "errors/catalogue.html", {"areas": areas, "total": len(entries)})


@cache
def catalogue() -> tuple[Entry, ...]:
    """Return every code, by name."""
    source = read(_files())
    raised = sorted(_raised(source), key=lambda r: r.code)
    return tuple(
        _entry(code, list(places)) for code, places in groupby(raised, key=lambda r: r.code)
    )


def read(files: Iterable[Path]) -> Source:
    """Parse `files`."""
    source = Source()
    for path in files:
        text = path.read_text(encoding="utf-8")
        if "code" not in text and "Problem(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                source.classes[node.name] = _class(node)
            elif isinstance(node, ast.Call):
                source.calls.append(node)
    return source


def _files() -> Iterator[Path]:
    for package in PACKAGES:
        found = find_spec(package)
        for folder in found.submodule_search_locations or () if found else ():
            yield from sorted(Path(folder).rglob("*.py"))


def _class(node: ast.ClassDef) -> Class:
    code = ""
    for line in node.body:
        if isinstance(line, ast.Assign) and _is_name(line.targets[0], "code"):
            code = _text(line.value)
    meaning = (ast.get_docstring(node) or "").partition("\n")[0]
    return Class(tuple(_name(base) for base in node.bases), code, meaning)


def _raised(source: Source) -> Iterator[Raised]:
    for name, known in source.classes.items():
        if CODE.fullmatch(known.code):
            yield Raised(known.code, known.meaning, status=source.status(name))
    for call in source.calls:
        found = _of_call(source, call)
        if CODE.fullmatch(found.code):
            yield found


def _of_call(source: Source, call: ast.Call) -> Raised:
    """Return what a call makes: a problem, an error of a known class, or anything with a code."""
    name = _name(call.func)
    named = {word.arg: word.value for word in call.keywords if word.arg}
    remedy = _text(named.get("remedy"))
    match call.args:
        case [ast.Constant(value=int(given)), said_here, code_here, *_] if name == "Problem":
            return Raised(_text(code_here), _text(said_here), remedy, given)
    status = source.status(name)
    code = _text(named.get("code")) or (source.code(name) if status else "")
    said = [_text(given) for given in (*call.args, named.get("sentence"))]
    sentence = next((text for text in said if " " in text), "")
    return Raised(code, sentence, remedy, status)


def _entry(code: str, places: list[Raised]) -> Entry:
    status = STATUS_OF_CODE.get(code) or next((p.status for p in places if p.status), 0)
    sentences = dict.fromkeys(p.sentence for p in places if p.sentence.strip(f"{GAP}: ."))
    remedies = dict.fromkeys(p.remedy for p in places if p.remedy.strip(f"{GAP}: ."))
    return Entry(code, status, tuple(sentences)[:MOST_SENTENCES], tuple(remedies)[:MOST_SENTENCES])


def _text(node: ast.expr | None) -> str:
    """Return a literal text; a gap for every value in it, "" for what is no literal."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(part) or GAP for part in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case ast.IfExp(body=body):
            return _text(body)
        case _:
            return ""


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _name(value)
        case _:
            return ""


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
