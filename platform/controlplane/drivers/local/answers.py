"""What the model servers on this machine keep of their answers, read over HTTP."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import httpx
import orjson

from apps.analysis.domain.answers import AnswersRead, Element, Kept, Output, ServerAnswers
from controlplane.kernel.errors import Transient

PATH = "/modelyard/answers"
SECONDS = 3.0
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

Json = dict[str, Any]


class LocalAnswers:
    """Implements `apps.analysis.ports.AnswerLog`."""

    def __init__(self) -> None:
        """Prepare for reading; no connection is kept, as it would hold up a server's end."""
        unkept = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(timeout=SECONDS, trust_env=False, limits=unkept)

    def close(self) -> None:
        """Let go of what reading needs."""
        self._client.close()

    def read(self, ports: Collection[int], *, after: Mapping[int, int]) -> AnswersRead:
        """Implement `AnswerLog.read`."""
        found = {port: self._server(port, after.get(port, 0)) for port in sorted(set(ports))}
        return AnswersRead(
            servers={port: server for port, server in found.items() if server is not None},
            silent=frozenset(port for port, server in found.items() if server is None),
        )

    def _server(self, port: int, after: int) -> ServerAnswers | None:
        """Return all that one server keeps; None when it does not keep answers."""
        page = self._page(port, after)
        if page is None:
            return None
        # What is answered while we read is left for the next time: this ends.
        run, end, lost, answers = page["run"], page["last"], page["lost"], page["answers"]
        while page["next"] < end:
            page = self._page(port, page["next"])
            if page is None or page["run"] != run:
                raise _unanswered(port, "the server was restarted")
            lost += page["lost"]
            answers += page["answers"]
        return ServerAnswers(run, lost, tuple(_kept(port, answer) for answer in answers))

    def _page(self, port: int, after: int) -> Json | None:
        url = f"http://127.0.0.1:{port}{PATH}"
        try:
            answer = self._client.get(url, params={"after": after})
        except httpx.HTTPError as error:
            raise _unanswered(port, str(error) or type(error).__name__) from error
        if answer.status_code >= 500:
            raise _unanswered(port, f"status {answer.status_code}")
        if answer.status_code != 200:  # Triton says 400 of what it does not know, others 404
            return None
        try:
            page: Json = orjson.loads(answer.content)
        except orjson.JSONDecodeError as error:
            raise _unanswered(port, f"it is not JSON: {error}") from error
        return page


def _unanswered(port: int, words: str) -> Transient:
    return Transient(
        f"The model server at port {port} does not say what it has answered: {words}.",
        code="answers.unreachable",
    )


def _kept(port: int, value: Json) -> Kept:
    return Kept(
        port=port,
        sequence=value["sequence"],
        at=value["at"],
        request_id=value["request_id"],
        body=value["body"],
        status=value["status"],
        milliseconds=value["milliseconds"],
        outputs=tuple(_output(output) for output in value["outputs"]),
    )


def _output(value: Json) -> Output:
    return Output(
        name=value["name"],
        datatype=value["datatype"],
        shape=tuple(value["shape"]),
        data=tuple(_elements(value["datatype"], value["data"])),
        step=value.get("step", 1),
        digest=value.get("digest", ""),
    )


def _elements(datatype: str, data: list[Element]) -> list[Element]:
    if not datatype.startswith("FP"):
        return data
    return [_NOT_FINITE.get(element, element) for element in data]  # type: ignore[arg-type]  # looked up as it came
