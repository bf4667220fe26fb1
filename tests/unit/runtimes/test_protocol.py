"""Tensors there and back, and refusals that name what is wrong."""

import json
import math
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from workers.runtimes.oip import protocol
from workers.runtimes.oip.protocol import DATATYPES, Refused, TensorSpec

X = TensorSpec("X", "FP32", (-1, 2))
NUMERIC = sorted(set(DATATYPES) - {"BYTES"})
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["inputs", "outputs", "name", "shape", "datatype", "data", "id", "parameters"]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    if draw(st.booleans()):
        kind = DATATYPES[draw(st.sampled_from(NUMERIC))]
        return draw(arrays.arrays(kind, SHAPES))
    return draw(arrays.arrays(np.object_, SHAPES, elements=texts))


def sent(array: np.ndarray[Any, Any], *, binary: bool) -> tuple[bytes, int | None]:
    """Return `array` as a client would send it: as the writer of answers writes it."""
    request = protocol.InferRequest({}, (("X", binary),), None)
    content, head = protocol.write_response({"X": array}, request=request, model="m", version="1")
    document = orjson.loads(content[:head])
    body = orjson.dumps({"inputs": document["outputs"]})
    return body + (content[head:] if head else b""), len(body) if head else None


def read(body: bytes, spec: TensorSpec = X, head: int | None = None) -> np.ndarray[Any, Any]:
    request = protocol.read_request(body, inputs=[spec], outputs=[], header_length=head)
    return request.inputs[spec.name]


def infer(**entry: Any) -> bytes:
    usual = {"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
    return json.dumps({"inputs": [usual | entry]}).encode()


@given(tensors(), st.booleans())
def test_every_tensor_survives_the_way(array: np.ndarray[Any, Any], binary: bool) -> None:
    spec = TensorSpec("X", protocol.datatype_of(array), (-1,) * array.ndim)
    body, head = sent(array, binary=binary)
    found = read(body, spec, head)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@given(json_values)
def test_any_json_is_read_or_refused(value: Any) -> None:
    try:
        body = orjson.dumps(value)
    except orjson.JSONEncodeError:  # a number beyond 64 bits
        return
    with suppress(Refused):
        protocol.read_request(body, inputs=[X], outputs=[X])


@given(st.binary(max_size=60), st.none() | st.integers(-5, 80))
def test_any_bytes_are_refused(body: bytes, head: int | None) -> None:
    with pytest.raises(Refused):
        protocol.read_request(body, inputs=[X], outputs=[X], header_length=head)


@given(json_values)
def test_any_data_is_taken_exactly_or_refused(data: Any) -> None:
    try:
        found = read(orjson.dumps({"inputs": [json.loads(infer())["inputs"][0] | {"data": data}]}))
    except (Refused, orjson.JSONEncodeError):
        return
    flat = np.array(data, dtype=np.object_).reshape(-1).tolist()
    assert [np.float32(float(value)) for value in flat] == pytest.approx(
        found.reshape(-1).tolist(), nan_ok=True
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_lacks_is_spelt(value: float) -> None:
    body, _ = sent(np.array([[value, 1.5]], dtype=np.float32), binary=False)
    spelt = json.loads(body)["inputs"][0]["data"][0]
    assert isinstance(spelt, str)
    assert str(float(spelt)) == str(value)


@pytest.mark.parametrize(
    ("datatype", "data", "named"),
    [
        ("INT8", [200, 0], "200"),
        ("INT64", [1.5, 0], "1.5"),
        ("INT64", [2**64, 0], "1.8446744073709552e+19"),
        ("UINT8", [-1, 0], "-1"),
        ("FP16", [70000.0, 0], "70000.0"),
        ("FP32", [1e39, 0], "1e+39"),
        ("FP32", ["7", 0], "“7”"),
        ("FP32", [None, 0], "None"),
        ("FP32", [True, False], "True"),
        ("BOOL", [1, 0], "1"),
        ("BYTES", [b"x".hex(), 5], "5"),
        ("BYTES", [["a"], {"b": 1}], "['a']"),
    ],
)
def test_a_value_that_does_not_fit_is_named(datatype: str, data: list[Any], named: str) -> None:
    spec = TensorSpec("X", datatype, (-1, 2))
    with pytest.raises(Refused) as refused:
        read(infer(datatype=datatype, data=data), spec)
    assert named in refused.value.sentence
    assert "X" in refused.value.sentence
    assert datatype in refused.value.sentence


def test_large_unsigned_numbers_keep_every_digit() -> None:
    spec = TensorSpec("X", "UINT64", (-1, 2))
    given_numbers = [1, 2**63 + 1]
    assert read(infer(datatype="UINT64", data=given_numbers), spec).tolist() == [given_numbers]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"shape": [1, 3]},
            "The input “X” was given as FP32 of shape [1, 3]; this model expects FP32 of shape "
            "[-1, 2], where -1 is any size.",
        ),
        (
            {"datatype": "FP64"},
            "The input “X” was given as FP64 of shape [1, 2]; this model expects FP32 of shape "
            "[-1, 2], where -1 is any size.",
        ),
        ({"data": [1.0]}, "The input “X” has 1 values; its shape [1, 2] needs 2."),
        (
            {"name": "Y"},
            "There is no input called “Y”; this model takes “X”: FP32 of shape [-1, 2].",
        ),
        (
            {"shape": "wide"},
            "The input “X” has the shape 'wide'; this model expects FP32 of shape [-1, 2], "
            "where -1 is any size.",
        ),
    ],
)
def test_a_refusal_says_what_was_given_and_what_is_expected(
    entry: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Refused) as refused:
        read(infer(**entry))
    assert refused.value.sentence == sentence


def test_an_input_given_twice_is_refused() -> None:
    entries = json.loads(infer())["inputs"] * 2
    with pytest.raises(Refused, match="twice"):
        read(orjson.dumps({"inputs": entries}))


def test_inputs_come_in_the_models_order() -> None:
    specs = [TensorSpec("a", "INT64", (-1,)), TensorSpec("b", "INT64", (-1,))]
    entries = [{"name": n, "datatype": "INT64", "shape": [1], "data": [1]} for n in ("b", "a")]
    request = protocol.read_request(
        orjson.dumps({"inputs": entries, "id": 7}), inputs=specs, outputs=[]
    )
    assert list(request.inputs) == ["a", "b"]
    assert request.id == "7"


def test_bytes_that_are_no_text_are_refused_in_json_and_sent_in_binary() -> None:
    array = np.array([b"\xff"], dtype=np.object_)
    with pytest.raises(Refused, match="binary_data"):
        sent(array, binary=False)
    content, _ = sent(array, binary=True)
    assert content.endswith(b"\x01\x00\x00\x00\xff")
