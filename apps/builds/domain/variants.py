"""Variants: the forms in which one version can be served."""

from enum import StrEnum


class VariantKind(StrEnum):
    """One form of a version."""

    NATIVE = "native"
    ONNX = "onnx"
    ONNX_OPTIMISED = "onnx-optimised"
    ONNX_INT8_DYNAMIC = "onnx-int8-dynamic"
    ONNX_INT8_STATIC = "onnx-int8-static"
    TENSORRT = "tensorrt"


class VariantState(StrEnum):
    """What came of making a variant."""

    BUILT = "built"
    SKIPPED = "skipped"  # it does not apply, and `reason` says why
    FAILED = "failed"  # it was tried and did not work; the build itself goes on


class ProofVerdict(StrEnum):
    """What the proof sheet says about a variant."""

    PASSED = "passed"
    TOO_LOSSY = "too_lossy"
    UNKNOWN = "unknown"
