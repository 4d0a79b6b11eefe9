"""The sentence for each way in which a model does not load, from logs as llama.cpp writes them."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from slackwater.backends.llamacpp.causes import CRASHES, Failure, of_end, of_failed_start
from slackwater.backends.llamacpp.fitting import LocalModel
from slackwater.backends.llamacpp.gguf import GGUF

PATH = Path("/models/a.gguf")
MODEL = LocalModel(name="a", path=PATH)
WITH_IMAGES = replace(MODEL, mmproj=Path("/models/mmproj.gguf"))
FACTS = GGUF(
    path=PATH,
    parts=(PATH,),
    size_bytes=1,
    architecture="llama",
    name="a",
    quantization="F16",
    parameters=1,
    context_length=1,
    layers=1,
    embedding_length=1,
    kv_bytes_per_token=1,
    window_tokens=0,
    window_bytes_per_token=0,
    state_bytes_per_slot=0,
    vocabulary=1,
    control_tokens=(),
    chat_template=None,
)
UNKNOWN = "which this engine does not know; a newer engine may: pip install --upgrade 'slackwater[local]'."
ENDING = (
    "0.00.004.742 E srv    load_model: failed to load model, '/models/a.gguf'\nRuntimeError: Failed to init server\n"
)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("unknown model architecture: 'new'", f"has the architecture 'new', {UNKNOWN}"),
        (
            "error loading model vocabulary: unknown pre-tokenizer type: 'new'",
            f"has a tokenizer of the kind 'new', {UNKNOWN}",
        ),
        ("found tensors with invalid data", "has damaged weights: some of them are no numbers; download it again."),
        (
            "tensor 'x' data is not within the file bounds",
            "(llama) cannot be loaded: tensor 'x' data is not within the file bounds; download it again.",
        ),
        (
            "error loading model hyperparameters: key not found in model: llama.embedding_length",
            "(llama) cannot be loaded: key not found in model: llama.embedding_length.",
        ),
    ],
)
def test_what_the_engine_says_becomes_a_sentence(log: str, sentence: str) -> None:
    """With the file and what to do; it holds until the file changes."""
    lines = f"0.00.005.740 E llama_model_load: error loading model: {log}\n{ENDING}"
    found = of_failed_start(MODEL, FACTS, {"failed": "Failed to init server", "kind": "load"}, lines, 3)
    assert found == Failure(sentence=f"/models/a.gguf {sentence}", tries=1)


def test_a_wrong_place_of_a_tensor_is_named_before_what_follows_from_it() -> None:
    """The first line is the cause, the later ones say only that the file was not loaded."""
    log = """\
0.00.166.139 E gguf_init_from_reader: tensor 'output_norm.weight' has offset 33, expected 397568
0.00.166.150 E gguf_init_from_reader: failed to read tensor data
0.00.166.324 E llama_model_load: error loading model: llama_model_loader: failed to load model from /models/a.gguf
"""
    found = of_failed_start(MODEL, FACTS, {"failed": "Failed to init server", "kind": "load"}, log, 3)
    assert found.sentence == (
        "/models/a.gguf (llama) cannot be loaded: tensor 'output_norm.weight' has offset 33, expected 397568;"
        " download it again."
    )


def test_the_last_resort_is_the_engine_s_first_complaint() -> None:
    """Without the place in its code that made it."""
    found = of_failed_start(MODEL, FACTS, {"failed": "Failed to init server", "kind": "load"}, ENDING, 3)
    assert found.sentence == "/models/a.gguf (llama) cannot be loaded: failed to load model, '/models/a.gguf'."


def test_a_silent_engine_is_said_to_be_silent() -> None:
    """What it said may have been lost, so that it is asked again."""
    found = of_failed_start(MODEL, FACTS, {"failed": "", "kind": "load"}, "", 3)
    assert found == Failure(sentence="/models/a.gguf cannot be loaded: the engine did not say why.", tries=CRASHES)


def test_a_projector_that_does_not_fit_is_named() -> None:
    """The model is fine without it."""
    log = (
        "0.0 E clip_init: failed to load model '/models/mmproj.gguf': mismatch between text model and it\n"
        "0.0 E srv    load_model: failed to load multimodal model, '/models/mmproj.gguf'\n"
    )
    found = of_failed_start(WITH_IMAGES, FACTS, {"kind": "load"}, log, 3)
    assert found.sentence.startswith("/models/mmproj.gguf cannot be used as projector (mmproj) with /models/a.gguf: ")
    assert "mismatch between text model" in found.sentence


@pytest.mark.parametrize(
    ("answer", "status", "sentence", "tries"),
    [
        (
            {"kind": "import", "failed": "libx.so:\n not found."},
            3,
            "The engine cannot be loaded: libx.so: not found.",
            1,
        ),
        ({"kind": "slow", "failed": "nothing after 9 seconds"}, -9, "/models/a.gguf was not loaded: nothing", CRASHES),
        ({"kind": "smoke", "failed": "no slot"}, 3, "/models/a.gguf was loaded but could not generate", 1),
        ({"kind": "crash"}, -signal.SIGKILL, "/models/a.gguf was not loaded: the engine was killed", None),
        ({"kind": "crash"}, -signal.SIGILL, "The engine does not run on this processor", 1),
        ({"kind": "crash"}, -signal.SIGSEGV, "/models/a.gguf makes the engine crash while it is loaded", CRASHES),
        ({"kind": "crash"}, 1, "/models/a.gguf makes the engine crash while it is loaded: it ended with", CRASHES),
    ],
)
def test_other_failures_are_told_apart(answer: dict[str, str], status: int, sentence: str, tries: int | None) -> None:
    """By what may help: another file, more memory, or nothing."""
    found = of_failed_start(MODEL, FACTS, answer, "", status)
    assert found.sentence.startswith(sentence)
    assert found.sentence.endswith(".")
    assert found.tries == tries


def test_want_of_memory_is_tried_again() -> None:
    """It may be there later."""
    log = "0.0 E ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 123\n"
    found = of_failed_start(MODEL, FACTS, {"kind": "load"}, log, 3)
    assert found == Failure(sentence="/models/a.gguf was not loaded: there was not enough memory for it.", tries=None)


def test_the_end_of_a_running_engine_is_described() -> None:
    """By its signal or status, and by its last complaint."""
    assert of_end(-9, "") == "it was ended by SIGKILL"
    assert of_end(-99, "") == "it was ended by signal 99"
    assert of_end(1, "x\nGGML_ASSERT(n > 0) failed\n") == (
        "it ended with status 1; the last it said: GGML_ASSERT(n > 0) failed"
    )
