"""Trains, exports and registers three versions of a small real model; runs in the model registry's own Python packages.

Versions 1 and 2 are logistic regressions on Fisher's irises, of which the second was given more freedom, so that the
two tell the same flower with different probabilities. Version 3 is of another kind: it passes every check that can be
made without Triton, and does not load there.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIG = """\
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "measurements" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "probabilities" data_type: TYPE_FP32 dims: [ 3 ] } ]
dynamic_batching { }
"""
_BROKEN = """\
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("weights.bin is missing")
"""


def _export(freedom: float) -> Any:
    from skl2onnx import convert_sklearn  # type: ignore[import-not-found, unused-ignore]
    from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-not-found, unused-ignore]
    from sklearn.datasets import load_iris  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-not-found, import-untyped, unused-ignore]

    irises = load_iris()
    model = LogisticRegression(C=freedom, max_iter=1000).fit(irises.data, irises.target)
    return convert_sklearn(
        model,
        initial_types=[("measurements", FloatTensorType([None, 4]))],
        options={"zipmap": False},
        target_opset=17,
    )


def main(name: str) -> None:
    """Registers the versions under `name`, where MLFLOW_TRACKING_URI says."""
    import mlflow

    client = mlflow.MlflowClient()
    client.create_registered_model(name)
    experiment = client.create_experiment(name)
    with tempfile.TemporaryDirectory() as scratch:
        for version, freedom in ((1, 1.0), (2, 100.0), (3, None)):
            folder = Path(scratch) / str(version)
            folder.mkdir()
            if freedom is None:
                (folder / "model.py").write_text(_BROKEN)
                (folder / "config.pbtxt").write_text(CONFIG.replace("onnxruntime", "python"))
            else:
                (folder / "model.onnx").write_bytes(_export(freedom).SerializeToString())
                (folder / "config.pbtxt").write_text(CONFIG)
            run = client.create_run(experiment)
            client.log_artifacts(run.info.run_id, str(folder), "model")
            client.set_terminated(run.info.run_id)
            client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias(name, "champion", "1")


if __name__ == "__main__":
    main(sys.argv[1])
