"""Everything that can be known to be wrong before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mm_publisher.config import FILE, ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.source import Source
from mm_publisher.write_config import ConfigOptions

_ONNX, _ONNX_FILE = "onnxruntime", "model.onnx"
_NO_DTYPE = "INVALID"


@dataclass(frozen=True)
class Checked:
    """A source that may be published.

    Attributes:
        config: its configuration, under the model's name.
        notes: what was found out, for people.
    """

    config: ModelConfig
    notes: tuple[str, ...]


def check(source: Source, options: ConfigOptions | None) -> Checked:
    """Checks a source by itself.

    Args:
        source: what is to be published.
        options: how to make a config.pbtxt from the ONNX file; None takes the source's own.

    Returns:
        Its configuration and what was found out.

    Raises:
        Refused: naming everything that is wrong.
        UsageError: options contradict the source or each other.
    """
    config = _configuration(source, options)
    problems = _config_problems(source, config)
    if problems:
        raise Refused(f"{source.text} was not published:", problems)
    notes = []
    model_file = config.model_file
    if config.backend == _ONNX and model_file is not None:
        # Only here: other models need no ONNX.
        from mm_publisher import onnx_model, trial

        path = source.onnx_path(model_file)
        disagreements = onnx_model.disagreements(onnx_model.read(path), config)
        if disagreements:
            raise Refused(f"{source.text} was not published: {FILE} and {model_file} disagree:", disagreements)
        notes.append(f"{FILE} agrees with {model_file}")
        if others := [
            name for name in source.files if name.endswith(".onnx") and "/" not in name and name != model_file
        ]:
            notes.append(
                f"{', '.join(others)} is published as well, and Triton loads {model_file}; remove what nothing reads"
            )
        notes.append(f"{model_file} {trial.run_once(path, config)}")
    if config.environment is not None and len(config.own_files) == len(config.label_files):
        notes.append(
            f"EXECUTION_ENV_PATH is {config.environment}, which Triton must have: it is not the model's to publish"
        )
    if config.backend == "python":
        _check_python(source.files["model.py" if model_file is None else model_file])
    return Checked(config, tuple(notes))


def _configuration(source: Source, options: ConfigOptions | None) -> ModelConfig:
    if options is None:
        if source.config_text is None:
            raise Refused(
                f"{source.text} has no {FILE}; put one beside the model's files, or let one be made from an ONNX file "
                "(--write-config)"
            )
        config = ModelConfig.parse(source.config_text)
        if config.name not in ("", source.name):
            raise Refused(
                f"{FILE} says name: {config.name!r}, and the model is to be published as {source.name!r}; Triton wants "
                "both to be the same: correct one of them, or leave the name out of config.pbtxt"
            )
        return config
    if source.config_text is not None:
        raise Refused(f"{source.text} has a {FILE} of its own; remove it, or publish without --write-config")
    file = source.onnx_file
    if file is None:
        deeper = sorted(path.rpartition("/")[0] for path in source.files if path.endswith(f"/{_ONNX_FILE}"))
        advice = f"publish the folder {deeper[0]} in it" if deeper else "export the model to ONNX, or write one by hand"
        raise Refused(
            f"{source.text} has no {_ONNX_FILE}, nor one other .onnx file, to make a {FILE} from; it has "
            f"{_some(source)}; {advice}"
        )
    from mm_publisher import onnx_model
    from mm_publisher.write_config import write_config

    return write_config(onnx_model.read(source.onnx_path(file)), source.name, options).with_model_file(file)


def _config_problems(source: Source, config: ModelConfig) -> list[str]:
    problems = []
    if not config.backend:
        problems.append(f'{FILE} names no backend; expected one such as backend: "onnxruntime"')
    wanted = config.model_file
    if wanted is not None and not any(path == wanted or path.startswith(f"{wanted}/") for path in source.files):
        problems.append(
            f"{config.backend} wants {wanted}, and the version has {_some(source)}; rename the file, or set "
            "default_model_filename"
        )
    for kind, tensors in (("input", config.inputs), ("output", config.outputs)):
        for tensor in tensors:
            if not tensor.name:
                problems.append(f"an {kind} in {FILE} has no name")
            if tensor.datatype == _NO_DTYPE:
                problems.append(f"{kind} {tensor.name!r} has no data_type; expected one such as TYPE_FP32")
            if not tensor.dims or any(dim == 0 or dim < -1 for dim in tensor.dims):
                problems.append(
                    f"{kind} {tensor.name!r} has dims {list(tensor.dims)}; expected at least one, each -1 or 1 and more"
                )
    problems += [
        f"labels {name!r} are named in {FILE} and not there" for name in config.label_files if name not in source.files
    ]
    if environment := _environment_problem(source, config):
        problems.append(environment)
    if config.warmup_files:
        problems.append(
            f"{FILE} warms up from files ({', '.join(config.warmup_files)}), which all versions would share; use "
            "zero_data or random_data"
        )
    return problems


def _environment_problem(source: Source, config: ModelConfig) -> str:
    """What is wrong with a model's own Python environment, which publishing takes into the version folder; or ""."""
    said = config.environment
    if said is None or said.startswith("/"):
        return ""
    if not said.startswith("$$"):
        return (
            f"EXECUTION_ENV_PATH is {said!r}, relative to wherever Triton was started; expected "
            "$$TRITON_MODEL_DIRECTORY/ and a file of the model, or an absolute path in Triton's image; correct it"
        )
    own = [path for path in config.own_files if path not in config.label_files]
    if not own or any(f"{path}/".startswith(f"{own[0]}/") for path in source.files):
        return ""
    return (
        f"EXECUTION_ENV_PATH names {own[0]}, and the model has {_some(source)}; expected that file, as conda-pack "
        "writes it; add it"
    )


def _check_python(path: Path) -> None:
    try:
        compile(path.read_bytes(), path.name, "exec")
    except (SyntaxError, ValueError) as error:
        raise Refused(f"{path.name} is no Python that can be compiled: {error}") from error


def _some(source: Source) -> str:
    names = sorted(source.files)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
