"""An ensemble against the models that its steps name, as they lie in the repository."""

from __future__ import annotations

from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.repository import look
from mm_publisher.rules.ensembles import StepModel, against_repository
from mm_publisher.source import Source
from mm_publisher.storage import Storage


def check_steps(storage: Storage, source: Source, config: ModelConfig) -> None:
    """Checks an ensemble; any other model passes.

    Args:
        storage: the repository.
        source: what is to be published.
        config: its checked configuration.

    Raises:
        Refused: naming everything that would keep Triton from loading it.
    """
    if not config.is_ensemble:
        return

    def find(name: str) -> StepModel | None:
        present = look(storage, name)
        return None if present.config is None else StepModel(present.config, present.serving)

    problems = against_repository(config, source.name, find)
    if problems:
        raise Refused(f"{source.text} was not published; it does not fit the models in {storage.url}:", problems)
