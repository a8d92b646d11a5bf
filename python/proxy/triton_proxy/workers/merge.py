"""The metrics of all workers as those of one proxy: each sum has the labels that a single process would give it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar, Sample

from triton_proxy.telemetry import metrics_table as table

_Key = tuple[str, tuple[tuple[str, str], ...]]
# What is the same for all workers, or is as bad as in the worst of them. Everything else adds up.
_RULES: dict[str, Callable[[float, float], float]] = {
    **dict.fromkeys((metric.name for metric in table.WORST_IS_HIGHEST), max),
    **dict.fromkeys((metric.name for metric in table.WORST_IS_LOWEST), min),
    "process_start_time_seconds": min,
}
# Types whose values only grow, until their process ends.
_GROWING = ("counter", "histogram")


@dataclass(eq=False)
class Series:
    """The metrics of one worker, or of several.

    Attributes:
        families: type and help of each metric, by its name.
        samples: of each metric, the values by the names of samples and their labels.
    """

    families: dict[str, tuple[str, str]] = field(default_factory=dict)
    samples: dict[str, dict[_Key, tuple[float, Exemplar | None]]] = field(default_factory=dict)

    @classmethod
    def of(cls, families: Iterable[Family]) -> Series:
        """Those that a library has."""
        made = cls()
        for family in families:
            made.families[family.name] = family.type, family.documentation
            made.samples[family.name] = {_key(sample): (sample.value, sample.exemplar) for sample in family.samples}
        return made

    @classmethod
    def parsed(cls, exposition: bytes) -> Series:
        """Those that a worker wrote, in OpenMetrics' format."""
        return cls.of(text_string_to_metric_families(exposition.decode()))  # type: ignore[no-untyped-call] # the library has no types there

    def add(self, other: Series) -> None:
        """Puts another's to these.

        Args:
            other: stays as it is.
        """
        for name, described in other.families.items():
            self.families.setdefault(name, described)
            own = self.samples.setdefault(name, {})
            rule = _RULES.get(name)
            for key, (value, exemplar) in other.samples[name].items():
                before = own.get(key)
                if before is None:
                    own[key] = value, exemplar
                else:
                    together = before[0] + value if rule is None else rule(before[0], value)
                    own[key] = together, exemplar or before[1]

    def growing(self) -> Series:
        """What only grows: it counts on once its process has ended, since a sum that falls looks like a new start."""
        names = [name for name, (type_, _) in self.families.items() if type_ in _GROWING]
        return Series({name: self.families[name] for name in names}, {name: self.samples[name] for name in names})

    def collect(self) -> Iterator[Family]:
        """As a registry of prometheus-client's wants them."""
        for name, (type_, help_) in self.families.items():
            family = Family(name, help_, type_)
            for (sample, labels), (value, exemplar) in self.samples[name].items():
                family.add_sample(sample, dict(labels), value, exemplar=exemplar)
            yield family

    def describe(self) -> list[Family]:
        """Names nothing beforehand."""
        return []


def _key(sample: Sample) -> _Key:
    return sample.name, tuple(sample.labels.items())
