"""What people get to see of an answer, and what of a mistake."""

from __future__ import annotations

import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from client_testing.echo import API_KEY
from client_testing.media import grey_frames, write
from client_testing.pages import ModelsServer, Visit, shown
from starlette.datastructures import FormData, UploadFile

from mm_console import videos
from mm_console.forms import Form
from mm_console.samples import MAKERS

SCRIPT = {"x-requested-with": "console"}
# What begins as an array does, and is none; and what is nothing.
DAMAGED = [b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00garbage", b"\xff\xfe\x00"]


def tried(visit: Visit, model: str, kind: str, files: Any = None, **fields: str) -> str:
    answer = visit.post("/try", {"model": model, "kind": kind, **fields}, files)
    assert answer.status_code == 200, shown(answer.text)
    return str(answer.text)


def refused(visit: Visit, model: str, kind: str, files: Any = None, **fields: str) -> dict[str, str]:
    answer = visit.post("/try", {"model": model, "kind": kind, **fields}, files, headers=SCRIPT)
    assert 400 <= answer.status_code < 500
    problem: dict[str, str] = answer.json()["problem"]
    assert all(problem.values())
    assert not list(visit.console.uploads.iterdir())
    return problem


def downloaded(visit: Visit, page: str, name: str) -> bytes:
    (address,) = re.findall(rf'href="(file\?[^"]*name={name})"', page)
    return bytes(visit.http.get("/" + address.replace("&amp;", "&")).content)


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def red_square() -> bytes:
    image = np.full((240, 320, 3), 60, np.uint8)
    image[80:140, 100:180] = (0, 0, 255)
    return bytes(cv2.imencode(".png", image)[1])


def steps(visit: Visit, **fields: Any) -> list[dict[str, Any]]:
    answer = visit.post("/stream", fields.pop("fields"), **fields)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


def test_arrays_come_back_as_a_table_and_as_files(visit: Visit) -> None:
    files = {"file:t": ("words.json", b'[["<a>"], ["b"]]')}
    page = tried(visit, "pair", "arrays", files, **{"value:x": "[[1, 2, 3], [4, 5, 6]]"})
    assert "x INT64 [2, 3] 1, 2, 3, 4, 5, 6 min 1, mean 3.5, max 6" in shown(page)
    assert "<a>" not in page
    assert np.load(io.BytesIO(downloaded(visit, page, "x.npy"))).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert np.load(io.BytesIO(downloaded(visit, page, "t.npy"))).tolist() == [["<a>"], ["b"]]


def test_a_npy_file_is_taken_and_what_lacks_is_made_up(visit: Visit) -> None:
    page = tried(visit, "pair", "arrays", {"file:x": ("anything", npy(np.array([[7, 8, 9]])))})
    assert "Made up: t." in shown(page)
    assert "x INT64 [1, 3] 7, 8, 9" in shown(page)


def test_a_script_gets_the_answer_alone(visit: Visit) -> None:
    answer = visit.post("/try", {"model": "pair", "kind": "arrays"}, headers=SCRIPT)
    assert answer.text.lstrip().startswith('<p class="summary">pair version 10 answered in ')


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "oops",
            "Input x: what was written cannot be read: it is no JSON (Expecting value: line 1 column 1 (char 0)).",
        ),
        ("[[1, 2], [3]]", "Input x: what was written cannot be read: its lists differ in length."),
        ('[["a"]]', "Input x: what was written cannot be read: its values are of another type."),
        ("[[1.5, 2, 3]]", "Input x: what was written cannot be read: it has fractions."),
        ("{}", "Input x: what was written cannot be read: its values are of another type."),
        ("[" * 100_000, "Input x: what was written cannot be read: it is no JSON (maximum recursion depth exceeded"),
    ],
)
def test_values_that_are_none_are_refused_in_words(visit: Visit, value: str, said: str) -> None:
    problem = refused(visit, "pair", "arrays", **{"value:x": value})
    assert problem["wrong"].startswith(said)
    assert problem["expected"] == "A .npy file, or JSON such as [[1, 2], [3, 4]], for INT64 [-1, 3]."


def test_a_shape_that_does_not_fit_is_refused_in_words(visit: Visit) -> None:
    problem = refused(visit, "pair", "arrays", **{"value:x": "[1, 2]"})
    assert problem == {
        "wrong": "Input 'x' does not fit: its shape is [2].",
        "expected": "INT64 [-1, 3].",
        "advice": "Reshape it; -1 stands for any number.",
    }


@pytest.mark.parametrize("data", [*DAMAGED, npy(np.array([1]))[:-4]])
def test_a_damaged_array_is_refused_by_its_own_name(visit: Visit, data: bytes) -> None:
    problem = refused(visit, "pair", "arrays", {"file:x": ("C:\\mine\\my data.npy", data)})
    assert problem["wrong"].startswith("Input x: my data.npy cannot be read: ")


def test_pickles_are_not_loaded(visit: Visit) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    problem = refused(visit, "pair", "arrays", {"file:x": ("x.npy", buffer.getvalue())})
    assert "it is damaged, or holds Python objects" in problem["wrong"]


def test_boxes_are_drawn_and_listed(visit: Visit) -> None:
    page = tried(visit, "detects", "image", {"file": ("street.png", red_square())})
    assert "1 object found; 320 × 240 pixels, sent as FP32 [1, 3, 320, 320]" in shown(page)
    assert "Label Score Left Top Right Bottom car 0.900 100 80 180 140" in shown(page)
    drawn = cv2.imdecode(np.frombuffer(downloaded(visit, page, "annotated.png"), np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn.shape == (240, 320, 3)
    assert drawn[110, 100].tolist() != [0, 0, 255]
    assert json.loads(downloaded(visit, page, "detections.json"))[0]["label"] == "car"
    assert 'alt="The picture with its detections: car 0.90"' in page


def test_a_threshold_drops_detections(visit: Visit) -> None:
    page = tried(visit, "detects", "image", {"file": ("street.png", red_square())}, threshold="0.95")
    assert "0 objects found" in shown(page)
    problem = refused(visit, "detects", "image", {"file": ("a.png", red_square())}, threshold="2")
    assert problem["wrong"] == "Threshold is '2'."
    assert problem["expected"] == "A number from 0 to 1."


def test_what_is_no_picture_is_refused_by_its_own_name(visit: Visit) -> None:
    problem = refused(visit, "detects", "image", {"file": ("notes.txt", b"hello")})
    assert problem == {
        "wrong": "notes.txt cannot be decoded as a picture: it is damaged or of another format.",
        "expected": "JPEG, PNG or WebP.",
        "advice": "Correct the input and try again.",
    }


def test_without_a_file_it_says_so(visit: Visit) -> None:
    assert refused(visit, "detects", "image")["wrong"] == "No file was chosen."


@pytest.mark.parametrize("name", MAKERS)
def test_samples_are_at_hand(visit: Visit, name: str) -> None:
    answer = visit.http.get("/sample", params={"name": name})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert len(answer.content) > 1000
    missing = visit.http.get("/sample", params={"name": "../" + name})
    assert missing.status_code == 404


@pytest.mark.parametrize(("model", "kind"), [("detects", "image"), ("detects", "video"), ("hears", "sound")])
def test_a_sample_can_be_sent(visit: Visit, model: str, kind: str) -> None:
    assert "Download" in tried(visit, model, kind, sample="1", frames="3")


def test_a_video_is_counted_drawn_and_plotted(visit: Visit, tmp_path: Path) -> None:
    frames = grey_frames(6)
    for frame in frames[2:]:
        frame[40:100, 20:80] = (0, 0, 255)
    video = write(tmp_path / "v.mp4", frames).read_bytes()
    fields = {"model": "detects", "kind": "video", "frames": "0"}
    *progress, last = steps(visit, fields=fields, files={"file": ("v.mp4", video)})
    assert progress == [{"frames": number + 1} for number in range(6)]
    page = last["html"]
    assert "detects version 1: 6 frames in " in shown(page)
    assert "car 1 4 0.67" in shown(page)
    assert 'aria-label="Objects in each frame over time"' in page
    rows = [json.loads(line) for line in downloaded(visit, page, "frame_counts.jsonl").splitlines()]
    assert [row["count"] for row in rows] == [0, 0, 1, 1, 1, 1]
    (preview,) = re.findall(r'<video src="([^"]*)"', page)
    shown_video = visit.http.get("/" + preview.replace("&amp;", "&"), headers={"range": "bytes=0-3"})
    assert (shown_video.status_code, shown_video.content) == (206, b"\x1aE\xdf\xa3")
    assert shown_video.headers["content-type"] == "video/webm"


def test_a_run_that_nobody_waits_for_ends(visit: Visit, models_server: ModelsServer, tmp_path: Path) -> None:
    sample = visit.console.samples.path("sample.mp4")
    result = visit.console.results.new()
    # Without this frame's answer it cannot end by itself.
    models_server.held.add("cam-001-00000020")
    settings = {"mm_addr": models_server.addr}
    steps = videos.run(visit.console.model("detects", ""), sample, 0.25, 0, settings, result)
    assert next(steps) == 1
    steps.close()
    models_server.held.clear()
    for thread in threading.enumerate():
        if thread.name == "video":
            thread.join()
    assert len((result.folder / "frame_counts.jsonl").read_text().splitlines()) < 60


def test_files_of_a_form_go_with_it(tmp_path: Path) -> None:
    upload = UploadFile(io.BytesIO(b"a"), filename="a.txt")
    form = Form(FormData({"file": upload}), tmp_path, from_script=True)
    path, name = form.upload("file")
    assert path is not None
    assert (path.read_bytes(), name) == (b"a", "a.txt")
    del form
    assert not list(tmp_path.iterdir())


def test_what_is_no_video_is_refused_by_its_own_name(visit: Visit) -> None:
    fields = {"model": "detects", "kind": "video"}
    (line,) = steps(visit, fields=fields, files={"file": ("notes.txt", b"hello")})
    assert line["problem"]["wrong"].startswith("notes.txt cannot be read as a video: it is empty or damaged")
    assert not list(visit.console.uploads.iterdir())


def test_a_recording_has_its_waveform_and_spectrogram(visit: Visit) -> None:
    sample = visit.http.get("/sample", params={"name": "sample.wav"}).content
    page = tried(visit, "hears", "sound", {"file": ("hello.wav", sample)}, rate="8000")
    assert "WAVEFORM FP32 [16000]" in shown(page)
    assert "Waveform, 16000 samples at 8000 Hz" in shown(page)
    assert 'aria-label="Waveform of 2.00 s at 8000 Hz"' in page
    assert 'aria-label="Spectrogram up to 4000 Hz"' in page
    problem = refused(visit, "hears", "sound", {"file": ("hello.wav", b"RIFF1234WAVE")})
    assert problem["wrong"] == "hello.wav cannot be read as a WAV file: it has no samples."


def test_texts_come_back_a_line_each(visit: Visit) -> None:
    page = tried(visit, "reads", "text", text="one\n\n<two>\n")
    assert "one\n&lt;two&gt;</pre>" in page
    assert refused(visit, "reads", "text", text=" \n")["wrong"] == "There is no text."


def test_scores_are_bars_with_the_models_own_labels(visit: Visit) -> None:
    page = tried(visit, "sorts", "arrays", **{"value:scores": "[[0.1, 0.7, 0.2]]"})
    assert "scores, the highest first" in shown(page)
    assert "dog 0.700 &lt;bird&gt; 0.200 cat 0.100" in shown(page)
    assert 'width="70.0"' in page


def test_a_language_model_streams_its_answer(visit: Visit) -> None:
    fields = {"model": "talker", "kind": "chat", "prompt": "Hello <world>", "history": '[["Hi", "Ho"]]'}
    lines = steps(visit, fields=fields)
    assert len(lines) > 5
    assert "".join(line["text"] for line in lines) == "<user>Hi<assistant>Ho<user>Hello <world>"
    page = tried(visit, "talker", "chat", prompt="Hello <world>")
    assert "&lt;user&gt;Hello &lt;world&gt;" in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": " "}, "The prompt is empty."),
        ({"prompt": "a", "history": "{"}, "The conversation cannot be read."),
        ({"prompt": "a", "history": "[1]"}, "The conversation cannot be read."),
        ({"prompt": "a", "temperature": "hot"}, "Temperature is 'hot'."),
    ],
)
def test_a_question_that_is_none_is_refused_in_words(visit: Visit, fields: dict[str, str], said: str) -> None:
    (line,) = steps(visit, fields={"model": "talker", "kind": "chat", **fields})
    assert line["problem"]["wrong"] == said


def test_a_model_that_is_not_there_is_refused_in_words(visit: Visit) -> None:
    answer = visit.http.get("/try", params={"model": "piar"})
    assert answer.status_code == 404
    assert "There is no model &#39;piar&#39;, or you may not use it; did you mean pair." in answer.text
    assert "Expected A model and version that client.models() lists." in shown(answer.text)


def test_a_way_that_a_model_does_not_have_is_refused(visit: Visit) -> None:
    assert refused(visit, "pair", "video")["wrong"] == "Model pair cannot be tried with video."


def test_so_many_runs_go_on_at_once(visit: Visit) -> None:
    runs = [visit.console.one_run() for _ in range(4)]
    for run in runs:
        run.__enter__()
    answer = visit.post("/try", {"model": "pair", "kind": "arrays"})
    assert answer.status_code == 503
    assert "4 runs are under way." in answer.text
    for run in runs:
        run.__exit__(None, None, None)
    assert tried(visit, "pair", "arrays")


def test_no_credential_shows_in_an_error(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Authorization", "Bearer s3cret-token")
    answer = visit.http.get("/try", params={"model": f"{API_KEY} and s3cret-token and http://ada:pass@camera/"})
    assert answer.status_code == 404
    assert "There is no model &#39;*** and *** and http://***@camera/" in answer.text
