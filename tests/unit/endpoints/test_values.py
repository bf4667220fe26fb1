"""Golden answers, the choice of a variant, examples, keys, sizes and the word for an endpoint."""

import ast
import base64
import json
import shlex

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from apps.endpoints.domain import choice, examples, golden, keys, sizes
from apps.endpoints.domain.choice import Candidate
from apps.endpoints.domain.summary import EndpointState, Part, endpoint_state
from controlplane.kernel.errors import ControlPlaneError


def out(*data: object, name: str = "y") -> list[dict[str, object]]:
    return [{"name": name, "data": list(data)}]


@pytest.mark.parametrize(
    ("expected", "answered", "says"),
    [
        (out(1.0, 2.0), out(1.0, 2.0), ""),
        (out(1.0), out(1.0009), ""),
        (out(1000.0), out(1000.9), ""),  # relative, above 1
        (out(1.0), out(1.002), "Output “y” has 1.002 at 0, not 1.0."),
        (out([1.0, 2.0]), out(1.0, 2.0), ""),  # nested or flat is the same
        (out("a"), out("a"), ""),
        (out("a"), out("b"), "Output “y” has 'b' at 0, not 'a'."),
        (out(1), out("1"), "Output “y” has '1' at 0, not 1."),
        (out(True), out(False), "Output “y” has False at 0, not True."),
        (out(float("nan")), out(float("nan")), ""),
        (out(float("nan")), out(1.0), "Output “y” has 1.0 at 0, not nan."),
        (out(float("inf")), out(float("inf")), ""),
        (out(1.0), out(1.0, 2.0), "Output “y” has 2 values, not 1."),
        (out(1.0), out(1.0, name="z"), "The answer has no output called “y”."),
        ([], out(1.0), ""),
    ],
)
def test_an_answer_is_compared_with_the_original_s(
    expected: list[dict[str, object]], answered: list[dict[str, object]], says: str
) -> None:
    assert golden.difference(expected, answered, tolerance=1e-3) == says


def variant(id: int, kind: str, verdict: str = "passed", **more: object) -> Candidate:
    return Candidate(id=id, kind=kind, state="built", verdict=verdict, **more)  # type: ignore[arg-type]


NATIVE = variant(1, "native", "unknown", p50_ms=5.0)
ONNX = variant(2, "onnx", p50_ms=0.2)
FASTER = variant(3, "onnx-optimised", p50_ms=0.1)
INT8 = variant(4, "onnx-int8-dynamic", p50_ms=0.05)
LOSSY = variant(5, "onnx-int8-static", "too_lossy")
SKIPPED = Candidate(id=6, kind="tensorrt", state="skipped", verdict="unknown", reason="no GPU")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([NATIVE, ONNX, FASTER, INT8, LOSSY, SKIPPED], FASTER),
        ([NATIVE, ONNX, variant(3, "onnx-optimised", p50_ms=0.3)], ONNX),
        ([NATIVE, variant(2, "onnx", "too_lossy")], NATIVE),
        ([NATIVE, INT8], NATIVE),
        ([variant(7, "onnx", "too_lossy"), ONNX], ONNX),  # the newest of a kind counts
        ([variant(2, "onnx"), variant(3, "onnx-optimised")], variant(3, "onnx-optimised")),
    ],
)
def test_the_fastest_variant_that_answers_as_the_original_is_taken(
    offered: list[Candidate], chosen: Candidate
) -> None:
    assert choice.choose(offered, lossy_allowed=False) == chosen


@pytest.mark.parametrize(
    ("offered", "kind", "code"),
    [
        ([], "", "endpoint.not_built"),
        ([SKIPPED], "", "endpoint.not_built"),
        ([LOSSY], "", "endpoint.not_built"),
        ([NATIVE], "onnx", "endpoint.no_variant"),
        ([SKIPPED], "tensorrt", "endpoint.not_built"),
        ([LOSSY], "onnx-int8-static", "endpoint.too_lossy"),
        ([variant(9, "onnx", "unknown")], "onnx", "endpoint.too_lossy"),
    ],
)
def test_a_variant_that_may_not_be_served_is_refused(
    offered: list[Candidate], kind: str, code: str
) -> None:
    with pytest.raises(ControlPlaneError) as refused:
        choice.choose(offered, kind=kind, lossy_allowed=False)
    assert refused.value.code == code
    assert refused.value.remedy


def test_a_lossy_variant_is_served_where_it_is_named_and_allowed() -> None:
    assert choice.choose([LOSSY], kind=LOSSY.kind, lossy_allowed=True) == LOSSY


def test_a_key_names_itself_and_is_signed_by_us() -> None:
    seed = bytes(range(32))
    head, body, signature = keys.mint(seed, name="k1", expires=9).split(".")
    assert json.loads(decoded(head)) == {"alg": "EdDSA"}
    assert json.loads(decoded(body)) == {"iss": "modelyard", "jti": "k1", "exp": 9}
    (public,) = keys.public_keys(seed)["keys"]
    verifier = Ed25519PublicKey.from_public_bytes(decoded(public["x"]))
    verifier.verify(decoded(signature), f"{head}.{body}".encode())
    assert keys.public_keys(bytes(32)) != keys.public_keys(seed)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def example(**more: object) -> examples.Address:
    known = {
        "environment": "dev", "name": "my model", "inputs": [], "key_required": True,
        "signature": [{"name": "it's", "datatype": "FP32", "shape": [-1, 3]}],
    }  # fmt: skip
    return examples.address("http://h:1", **{**known, **more})  # type: ignore[arg-type]


def test_examples_can_be_sent_as_they_are() -> None:
    shown = example()
    assert shown.infer == "http://h:1/dev/my%20model/v2/models/my%20model/infer"
    assert shown.body["inputs"][0]["shape"] == [1, 3]
    words = shlex.split(shown.curl.replace("\\\n", " "))
    assert json.loads(words[words.index("-d") + 1]) == shown.body
    assert "X-Api-Key: $MODELYARD_KEY" in words
    ast.parse(shown.python)
    assert "X-Api-Key" not in example(key_required=False).curl


def test_a_request_that_was_answered_is_the_better_example() -> None:
    answered = [{"name": "x", "datatype": "INT64", "shape": [1], "data": [7]}]
    assert example(inputs=answered).body == {"inputs": answered}


@pytest.mark.parametrize(
    ("retired", "parts", "word"),
    [
        (True, [Part("live", 1, ("ready",))], EndpointState.RETIRED),
        (False, [Part("live", 1, ("ready",))], EndpointState.LIVE),
        (False, [Part("live", 2, ("ready", "starting"))], EndpointState.DEGRADED),
        (False, [Part("live", 1, ("failed",))], EndpointState.DOWN),
        (False, [Part("live", 1, ())], EndpointState.DOWN),
        (False, [Part("starting", 1, ()), Part("live", 1, ("ready",))], EndpointState.LIVE),
        (False, [Part("starting", 1, ())], EndpointState.STARTING),
        (False, [], EndpointState.STARTING),
        (False, [Part("failed", 1, ())], EndpointState.FAILED),
    ],
)
def test_an_endpoint_is_one_word(retired: bool, parts: list[Part], word: EndpointState) -> None:
    assert endpoint_state(retired=retired, parts=parts) == word


def test_a_replica_takes_at_least_what_was_measured() -> None:
    assert sizes.memory_mb(model_bytes=0, measured_mb=None) == sizes.SERVER_MB
    assert sizes.memory_mb(model_bytes=0, measured_mb=1000) == 1100
    assert sizes.memory_mb(model_bytes=1024**3, measured_mb=10) > 2048
