"""The real vLLM server on this machine's CPU, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.models import MAX_POSITIONS

NAME = "teacher"
START_SECONDS = 240


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def vllm_server(model: Path, log: Path, *, seconds: float = START_SECONDS) -> Iterator[str]:
    """The URL of a vLLM server of `model`, called `teacher`; it takes about 20 seconds to start."""
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
        "--max-model-len": str(MAX_POSITIONS),
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
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"no answer within {seconds} s: {log.read_text(errors='replace')[-4000:]}")
