"""A recording through a model: its waveform, its spectrogram, and the answer."""

from __future__ import annotations

import time
from pathlib import Path

from mm_client.sound import read_recording
from mm_client_api import Model
from mm_console.blocks import Answer, Plot, labelled, outputs_table, save_arrays, summary_of, texts_of
from mm_console.plots import spectrogram, waveform
from mm_console.results import Result


def run(model: Model, path: Path, rate: int | None, result: Result) -> Answer:
    """Send a recording as FP32 mono from -1 to 1.

    Args:
        model: takes one waveform, by `kinds.takes_sound`.
        path: of the recording: WAV, FLAC, OGG or MP3.
        rate: Hz to resample to; None leaves it as it is.
        result: where files go.

    Raises:
        UsageError: the file is none.
        AckError, CallError: as `Model`.
    """
    samples, hertz = read_recording(path, rate)
    name = next(name for name, spec in model.inputs.items() if not spec.optional)
    began = time.perf_counter()
    arrays = model({name: samples})
    answer = Answer(summary_of(arrays.result, (time.perf_counter() - began) * 1000))
    answer.blocks += [*texts_of(arrays), *labelled(arrays, model.description)]
    answer.blocks.append(outputs_table(arrays, {name: spec.datatype for name, spec in model.outputs.items()}))
    if len(samples):
        answer.blocks.append(Plot(f"Waveform, {len(samples)} samples at {hertz} Hz", waveform(samples, hertz)))
        answer.blocks.append(Plot("Spectrogram", spectrogram(samples, hertz)))
    save_arrays(answer, result, arrays)
    return answer
