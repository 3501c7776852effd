# ruff: noqa: N806 - shape letters end a tensor's name: T positions, V vocabulary

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GREEDY = """
import json, sys
from vllm import LLM, SamplingParams
llm = LLM(model=sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=128,
          kv_cache_memory_bytes=64 << 20, max_num_batched_tokens=512, max_num_seqs=16,
          enable_prefix_caching=False, logprobs_mode="raw_logprobs")
chosen = SamplingParams(temperature=0, max_tokens=8, logprobs=0)
(answer,) = llm.chat([{"role": "user", "content": "Add 481 and 952."}], chosen, use_tqdm=False)
tokens = answer.outputs[0]
pairs = zip(tokens.token_ids, tokens.logprobs)
print(json.dumps([answer.prompt_token_ids, [[i, p[i].logprob] for i, p in pairs]]))
"""
ONE_PROCESS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


@pytest.mark.engine
def test_vllm_loads_the_saved_folder_and_its_greedy_tokens_are_those_of_transformers(
    student_folder: Path,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    # A process of its own: an engine in this one would outlive the test.
    done = subprocess.run(
        [sys.executable, "-c", GREEDY, str(student_folder)],
        env=os.environ | ONE_PROCESS,
        capture_output=True,
        text=True,
        check=True,
    )
    prompt, answered = json.loads(done.stdout.splitlines()[-1])
    model = AutoModelForCausalLM.from_pretrained(student_folder)
    ids = [*prompt, *(token for token, _ in answered)]
    with torch.inference_mode():
        logp_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    for t, (token, nats) in enumerate(answered, start=len(prompt) - 1):
        assert int(logp_TV[t].argmax()) == token
        assert nats == pytest.approx(float(logp_TV[t, token]), abs=1e-4)
