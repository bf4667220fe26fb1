"""The words a registered model and its versions are described with."""

from enum import StrEnum


class RiskTier(StrEnum):
    """How much harm a wrong prediction can do."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Format(StrEnum):
    """How a model's bytes are written."""

    ONNX = "onnx"
    SKLEARN = "sklearn"  # a joblib or pickle file of a scikit-learn estimator
    XGBOOST = "xgboost"  # native .json or .ubj
    LIGHTGBM = "lightgbm"  # native text
    TORCH_EXPORT = "torch-export"  # torch.export's .pt2
    TORCHSCRIPT = "torchscript"
    MLFLOW = "mlflow"  # a folder with an MLmodel file
    PICKLE = "pickle"  # a pickle of something else
    SAVEDMODEL = "savedmodel"
    SAFETENSORS = "safetensors"
    GGUF = "gguf"


class Door(StrEnum):
    """Which way a version came in."""

    BROWSER = "browser"
    REST = "rest"
    MLFLOW = "mlflow"


class MirrorState(StrEnum):
    """Whether MLflow knows a version as we do."""

    PENDING = "pending"  # we have it, MLflow has not yet
    ADOPTING = "adopting"  # MLflow has it, we have not read its files yet
    MIRRORED = "mirrored"
    FAILED = "failed"
