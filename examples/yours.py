"""What to paste after the demo: a server of one's own, a batch from Python, TypeScript and curl, a real model."""

START = """\
make serve       # http://127.0.0.1:8321; its first start prints a key. Then, in another shell:
export ANTHROPIC_BASE_URL=http://127.0.0.1:8321 ANTHROPIC_API_KEY=slw_…"""

PYTHON = """\
from anthropic import Anthropic

client = Anthropic()
hello = [{"role": "user", "content": "Hello!"}]
params = {"model": "claude-haiku-4-5-20251001", "max_tokens": 64, "messages": hello}
batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
file = client.files.upload(file=("contract.pdf", open("contract.pdf", "rb"), "application/pdf"))
document = {"type": "document", "source": {"type": "file", "file_id": file.id}}  # in a content"""

TYPESCRIPT = """\
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const batch = await client.messages.batches.create({
  requests: [{ custom_id: "a", params: {
    model: "claude-haiku-4-5-20251001", max_tokens: 64,
    messages: [{ role: "user", content: "Hello!" }],
  } }],
});"""

CURL = """\
curl $ANTHROPIC_BASE_URL/v1/messages/batches -H "x-api-key: $ANTHROPIC_API_KEY" \\
  -H "anthropic-version: 2023-06-01" -H "content-type: application/json" -d '{
  "requests": [{"custom_id": "a", "params": {"model": "claude-haiku-4-5-20251001",
    "max_tokens": 64, "messages": [{"role": "user", "content": "Hello!"}]}}]}'"""

WATCH = """\
.venv/bin/slackwater batches list
.venv/bin/slackwater batches results msgbatch_…"""

DOCTOR = """\
.venv/bin/slackwater doctor                  # what lies or runs on this machine, and what fits
.venv/bin/slackwater models add model.gguf   # a file, which slackwater runs itself"""

CONFIG = """\
[[backends]]
name = "gpu0"
protocol = "openai"        # vLLM, SGLang, llama.cpp, Ollama, LM Studio, hosted APIs
url = "http://127.0.0.1:8000"

[[models]]
id = "*"                   # every name that clients send
backend = "gpu0"
upstream = "Qwen/Qwen3-8B"
"""

ALL = "\n\n".join(
    (
        START,
        f"# Python (pip install anthropic)\n{PYTHON}",
        f"// TypeScript (npm install @anthropic-ai/sdk)\n{TYPESCRIPT}",
        f"# curl\n{CURL}",
        f"# What became of it\n{WATCH}",
        f"# A real model\n{DOCTOR}",
        f"# Or a server: slackwater.toml, for `make serve SERVE='--config slackwater.toml'`\n{CONFIG}",
    )
)
