"""The engine's own process: opens one model with xllamacpp, says where it listens, and ends when its parent does.

It is started by its path, not as a module, so that none of the server's packages are loaded here, and it is the only
module that imports xllamacpp. One line of JSON comes in on stdin (`Settings` in `process.py`), one goes out on stdout:
`{"url": …}` when the model has generated a few tokens, or `{"failed": …, "kind": …}`.
"""

import ctypes
import importlib
import json
import math
import os
import signal
import sys
import threading
from typing import Any, Final, TextIO

PR_SET_PDEATHSIG: Final = 1
SMOKE_TOKENS: Final = 4
OOM_SCORE: Final = "500"
"""When memory runs out, the kernel ends this process and not the server."""
FAILED: Final = 3
LOG_SECONDS: Final = 0.1
"""llama.cpp writes its log in a thread that nobody waits for, and why a model does not load is said there only."""
WARNINGS: Final = 2
"""llama.cpp's log level: what goes wrong, and nothing for each request."""


def main() -> None:
    """Serve until stdin ends."""
    settings = json.loads(sys.stdin.buffer.readline())
    _die_with(settings["parent"])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints belongs to the log
    try:
        server = _open(settings)
    except ImportError as error:
        _say(answers, {"failed": str(error), "kind": "import"})
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001  # the parent finds the cause in the log
        _say(answers, {"failed": str(error), "kind": "load"})
        threading.Event().wait(LOG_SECONDS)
        sys.exit(FAILED)
    trouble = _trouble(server)
    if trouble is not None:
        kind, reason = trouble
        _say(answers, {"failed": reason, "kind": kind})
        os._exit(FAILED)
    _say(answers, {"url": server.listening_address})
    while os.read(0, 1):
        pass
    os._exit(0)


def _die_with(parent: int) -> None:
    """End with the parent also while a model is being loaded, when nothing here can watch stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123  # pathlib loads slowly
            file.write(OOM_SCORE)
    except OSError:
        pass


def _open(settings: dict[str, Any]) -> Any:  # noqa: ANN401  # xllamacpp has no types
    sys.path.append(settings["package_directory"])
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    if settings["mmproj"]:
        params.mmproj.path = settings["mmproj"]
    params.n_parallel = settings["parallel"]
    params.n_ctx = settings["context_tokens"] * settings["parallel"]
    params.kv_unified = False  # a shared pool fails every request in it when it is full
    params.n_batch = params.n_ubatch = settings["batch_tokens"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.n_threads_http = settings["http_threads"]
    params.n_ctx_checkpoints = settings["checkpoints"]
    params.cache_ram_mib = settings["cache_mib"]  # the library's own default grows to 8 GiB
    params.check_tensors = settings["check_tensors"]
    params.fit_params = False  # slots and context are the parent's choice
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["api_key"]]
    params.cors_origins = ""
    params.ui = False
    params.offline = True
    params.verbosity = WARNINGS
    return xllamacpp.Server(params)


def _trouble(server: Any) -> tuple[str, str] | None:  # noqa: ANN401  # xllamacpp has no types
    """Generate a few tokens: damaged weights load without a word and then give numbers that are none."""
    answer = server.handle_completions(
        {"prompt": "Hello", "n_predict": SMOKE_TOKENS, "temperature": 0, "n_probs": 1, "ignore_eos": True}
    )
    try:
        tokens = answer["choices"][0]["logprobs"]["content"]
        chances = [token["logprob"] for token in tokens]
    except (KeyError, IndexError, TypeError):
        return "smoke", str(answer.get("error", answer) if isinstance(answer, dict) else answer)[:500]
    if not all(isinstance(chance, int | float) and math.isfinite(chance) for chance in chances):
        return "damaged", "numbers that are none"
    return None


def _say(answers: TextIO, answer: dict[str, str]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
