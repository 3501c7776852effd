"""The real vLLM server on this machine's CPU, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

NAME: Final = "teacher"
START_SECONDS: Final = 240.0


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def vllm_server(
    model: Path, log: Path, *, max_model_len: int = 512, seconds: float = START_SECONDS
) -> Iterator[str]:
    """The URL of a vLLM server of `model`, called `teacher`; it takes about 20 seconds to start.

    Args:
        model: a folder; its weights are run in float32.
        log: where the server's output goes.
        max_model_len: the longest sequence, in ids.
        seconds: how long its start may take.
    """
    port = free_port()
    environment = {
        **os.environ,
        "TORCHDYNAMO_DISABLE": "1",  # else the first prompt_logprobs waits for a compiler
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    words = {
        "--model": str(model),
        "--served-model-name": NAME,
        "--host": "127.0.0.1",
        "--port": str(port),
        "--dtype": "float32",
        "--max-model-len": str(max_model_len),
        "--kv-cache-memory-bytes": str(64 << 20),
        "--max-num-batched-tokens": "512",
        "--max-num-seqs": "16",
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += [word for pair in words.items() for word in pair]
    command += ["--enforce-eager", "--no-enable-prefix-caching"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, process_group=0
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(process, url, log, seconds)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"vLLM did not start: {_end_of(log)}")
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"vLLM did not answer within {seconds} s: {_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]
