"""Real models, trained on the spot from data that scikit-learn ships: for the demo and the smoke.

Imports of training libraries stay inside the functions: the command line must start quickly.
"""
# ruff: noqa: PLC0415

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WIDE = 3000  # neurons in each of two layers: 36 MB of weights


@dataclass(frozen=True)
class Trained:
    """One trained model on disk, and what is needed to check its predictions.

    Attributes:
        file: The saved model.
        inputs: float32 of shape (rows, features): data that it was not trained on.
        expected: float64 of shape (rows,) or (rows, classes): its own predictions for `inputs`.
        metrics: What it scored on `inputs`.
        params: How it was trained.
        dataset: What it was trained on.
    """

    file: Path
    inputs: np.ndarray[Any, Any]
    expected: np.ndarray[Any, Any]
    metrics: dict[str, float]
    params: dict[str, str]
    dataset: str


def breast_cancer(folder: Path, *, seed: int = 7) -> Trained:
    """Train a scaled logistic regression on the breast-cancer data; `expected` is P(benign)."""
    import joblib
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, random_state=seed))
    model.fit(x_train, y_train)
    file = folder / "breast-cancer.joblib"
    joblib.dump(model, file)
    scores = model.predict_proba(x_test)
    return Trained(
        file,
        x_test,
        scores,
        {
            "auc": float(roc_auc_score(y_test, scores[:, 1])),
            "accuracy": model.score(x_test, y_test),
        },
        {"estimator": "StandardScaler, LogisticRegression", "seed": str(seed)},
        "Wisconsin breast cancer, 569 rows",
    )


def breast_cancer_wide(folder: Path, *, seed: int = 7) -> Trained:
    """Train a network that is far too wide for the breast-cancer data; `expected` is P(benign).

    It is about as good as the small model, and takes many times as long to answer.
    """
    import warnings

    import joblib
    from sklearn.datasets import load_breast_cancer
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, random_state=seed)
    network = MLPClassifier((WIDE, WIDE), max_iter=4, random_state=seed)
    model = make_pipeline(StandardScaler(), network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # four rounds are enough to be right
        model.fit(x_train, y_train)
    # Only training needs them, and nobody vouches for what they are made of.
    del network._optimizer, network._random_state
    file = folder / "breast-cancer-wide.joblib"
    joblib.dump(model, file)
    scores = model.predict_proba(x_test)
    return Trained(
        file,
        x_test,
        scores,
        {
            "auc": float(roc_auc_score(y_test, scores[:, 1])),
            "accuracy": model.score(x_test, y_test),
        },
        {"estimator": "StandardScaler, MLPClassifier", "layers": f"{WIDE}, {WIDE}"},
        "Wisconsin breast cancer, 569 rows",
    )


def digits(folder: Path, *, seed: int = 7) -> Trained:
    """Train a small neural network on 8 x 8 images of digits; `expected` is P(digit)."""
    import joblib
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, random_state=seed)
    model = MLPClassifier((64, 32), max_iter=120, random_state=seed, early_stopping=True)
    model.fit(x_train, y_train)
    file = folder / "digits.joblib"
    joblib.dump(model, file)
    return Trained(
        file,
        x_test,
        model.predict_proba(x_test),
        {"accuracy": float(model.score(x_test, y_test))},
        {"estimator": "MLPClassifier", "layers": "64, 32", "seed": str(seed)},
        "Optical recognition of handwritten digits, 1,797 images",
    )


def wine(folder: Path, *, seed: int = 7, trees: int = 60, depth: int = 3) -> Trained:
    """Train gradient-boosted trees (XGBoost) on the wine data; `expected` is P(cultivar)."""
    import xgboost
    from sklearn.datasets import load_wine
    from sklearn.model_selection import train_test_split

    x, y = load_wine(return_X_y=True)
    x = x.astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, random_state=seed)
    model = xgboost.XGBClassifier(n_estimators=trees, max_depth=depth, random_state=seed, n_jobs=1)
    model.fit(x_train, y_train)
    file = folder / "wine.ubj"
    model.save_model(file)
    return Trained(
        file,
        x_test,
        model.predict_proba(x_test),
        {"accuracy": float(model.score(x_test, y_test))},
        {
            "estimator": "XGBClassifier",
            "trees": str(trees),
            "depth": str(depth),
            "seed": str(seed),
        },
        "Wine recognition, 178 rows",
    )


Trainer = Callable[..., Trained]
