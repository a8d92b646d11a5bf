"""Everything that can be known to be wrong before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mm_publisher import completing, trial
from mm_publisher.config import FILE, ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.rules import core, onnx_backend
from mm_publisher.session import Opened, open_model
from mm_publisher.source import Source
from mm_publisher.write_config import ConfigOptions, write_config

_ONNX, _ONNX_FILE = "onnxruntime", "model.onnx"


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
    model = _OnnxModel(source)
    config, added = _configuration(source, options, model)
    problems = [*core.problems(config), *_config_problems(source, config)]
    if problems:
        raise Refused(f"{source.text} was not published:", problems)
    notes = [added] if added else []
    model_file = config.model_file
    if config.backend == _ONNX and model_file is not None:
        opened = model.opened(model_file)
        disagreements = onnx_backend.disagreements(opened.graph, config)
        if disagreements:
            raise Refused(f"{source.text} was not published: {FILE} and {model_file} disagree:", disagreements)
        notes.append(f"{FILE} agrees with {model_file}")
        if others := [
            name for name in source.files if name.endswith(".onnx") and "/" not in name and name != model_file
        ]:
            notes.append(
                f"{', '.join(others)} is published as well, and Triton loads {model_file}; remove what nothing reads"
            )
        notes.append(f"{model_file} {trial.run_once(opened, config)}")
    if config.environment is not None and len(config.own_files) == len(config.label_files):
        notes.append(
            f"EXECUTION_ENV_PATH is {config.environment}, which Triton must have: it is not the model's to publish"
        )
    if config.backend == "python":
        _check_python(source.files["model.py" if model_file is None else model_file])
    return Checked(config, tuple(notes))


class _OnnxModel:
    """A source's ONNX model, which is loaded once, and only if it is needed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._opened: dict[str, Opened] = {}

    def opened(self, file: str) -> Opened:
        if file not in self._opened:
            self._opened[file] = open_model(self._source.onnx_path(file))
        return self._opened[file]


def _configuration(source: Source, options: ConfigOptions | None, model: _OnnxModel) -> tuple[ModelConfig, str]:
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
        return _completed(source, config, model)
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
    return write_config(model.opened(file).graph, source.name, options).with_model_file(file), ""


def _completed(source: Source, config: ModelConfig, model: _OnnxModel) -> tuple[ModelConfig, str]:
    config = completing.with_backend(config, source.files)
    if _file_problem(source, config):
        # Without the file, nothing can be known about the model; `check` says so with everything else that is wrong.
        return config, ""
    return completing.completed(config, lambda: model.opened(config.model_file or "model.onnx").graph)


def _file_problem(source: Source, config: ModelConfig) -> list[str]:
    wanted = config.model_file
    if wanted is None or wanted in source.files:
        return []
    if any(path.startswith(f"{wanted}/") for path in source.files):
        if config.backend != _ONNX or f"{wanted}/model.onnx" in source.files:
            return []
        wanted = f"{wanted}/model.onnx"
    said = f"{config.backend} wants {wanted}, and the version has {_some(source)}"
    return [f"{said}; expected that file; rename it, or set default_model_filename"]


def _config_problems(source: Source, config: ModelConfig) -> list[str]:
    problems = _file_problem(source, config)
    problems += [
        f"labels {name!r} are named in {FILE} and not there; expected that file; add it, or remove label_filename"
        for name in config.label_files
        if name not in source.files
    ]
    if environment := _environment_problem(source, config):
        problems.append(environment)
    if config.warmup_files:
        problems.append(
            f"{FILE} warms up from files ({', '.join(config.warmup_files)}), which all versions would share; expected "
            "data without a file; use zero_data or random_data"
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
