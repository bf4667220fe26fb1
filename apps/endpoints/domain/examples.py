"""Requests that can be copied: a first prediction for somebody who has never made one. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

LARGEST = 2_000  # values of one tensor that are written out
FREE = 1  # what a free dimension is in an example


@dataclass(frozen=True)
class Address:
    """Where an endpoint answers, and how to ask it.

    Attributes:
        infer: For predictions, by POST.
        model: For the model's metadata.
        ready: Answers 200 when a prediction would be answered.
        body: A request that can be sent as it is.
        curl: A command for a shell.
        python: A program that needs nothing but Python.
    """

    infer: str
    model: str
    ready: str
    body: Mapping[str, Any]
    curl: str
    python: str


def address(
    serving_url: str,
    *,
    environment: str,
    name: str,
    inputs: Sequence[Mapping[str, Any]],
    signature: Sequence[Mapping[str, Any]],
    key_required: bool,
) -> Address:
    """Return an endpoint's addresses with examples.

    Args:
        serving_url: Where the proxy listens, without a trailing slash.
        environment: The environment's slug.
        name: The endpoint's name.
        inputs: Input tensors that are known to be answered; empty when none are known.
        signature: The version's inputs, for an example when none are known.
        key_required: Whether callers send a key.
    """
    base = f"{serving_url}/{quote(environment, safe='')}/{quote(name, safe='')}/v2"
    model = f"{base}/models/{quote(name, safe='')}"
    body = {"inputs": [dict(t) for t in inputs] or [_zeros(tensor) for tensor in signature]}
    return Address(
        infer=f"{model}/infer",
        model=model,
        ready=f"{base}/health/ready",
        body=body,
        curl=_curl(f"{model}/infer", body, key_required=key_required),
        python=_python(f"{model}/infer", body, key_required=key_required),
    )


def _zeros(tensor: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tensor of the right shape: one row, and nothing in it."""
    shape = [d if isinstance(d, int) and d > 0 else FREE for d in tensor.get("shape", [])]
    size = min(math.prod(shape), LARGEST)
    datatype = str(tensor.get("datatype", "FP32"))
    nothing: Any = {"BOOL": False, "BYTES": ""}.get(datatype, 0.0 if "FP" in datatype else 0)
    return {
        "name": tensor.get("name", "input"),
        "datatype": datatype,
        "shape": shape,
        "data": [nothing] * size,
    }


def _curl(url: str, body: Mapping[str, Any], *, key_required: bool) -> str:
    key = ' \\\n  -H "X-Api-Key: $MODELYARD_KEY"' if key_required else ""
    text = json.dumps(body).replace("'", "'\\''")
    return f"curl -sS {url} \\\n  -H 'Content-Type: application/json'{key} \\\n  -d '{text}'"


def _python(url: str, body: Mapping[str, Any], *, key_required: bool) -> str:
    key = ', "X-Api-Key": os.environ["MODELYARD_KEY"]' if key_required else ""
    return "\n".join(
        [
            "import json" + (", os" if key_required else ""),
            "import urllib.request",
            "",
            f"body = json.loads({json.dumps(json.dumps(body))})",
            "request = urllib.request.Request(",
            f"    {json.dumps(url)},",
            "    data=json.dumps(body).encode(),",
            f'    headers={{"Content-Type": "application/json"{key}}},',
            ")",
            "print(json.load(urllib.request.urlopen(request, timeout=30)))",
        ]
    )
