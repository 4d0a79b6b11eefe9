# Every recipe does its own set-up: Python >= 3.11 is all it expects. `make PYTHON=/path/to/python3.12 ...` chooses another one.
#
#   make demo     a server, its own engine with a toy model, real texts of this machine in one batch: from nothing, in one go
#   make serve    a server on http://127.0.0.1:8321 with its data in ./data        (SERVE="--port 9000 --config my.toml")
#   make test     everything CI runs, but the check                                (PYTEST="-k admit -x")
#   make check    format, lint, types, import layers, spelling
#   make bench    how fast it is on this machine                                   (BENCH="--help")
#   make profile  where its time goes, into docs/profile.md
#   make torture  the long form of the tests that kill, cut and fill things        (PYTEST="-k postgresql")

.DELETE_ON_ERROR:
.PHONY: help demo serve test check format bench profile torture model sdks peers lock clean

BIN := .venv/bin
# Of the simulation, which runs beside the tests in time that they leave.
SEEDS := 2000
export PYTHON

help:
	@sed -n '3,11s/^# \{0,1\}//p' Makefile

demo:
	@scripts/environment.sh demo
	@$(BIN)/python examples/demo.py

serve:
	@scripts/environment.sh run
	@exec $(BIN)/slackwater serve --data data $(SERVE)

test:
	@scripts/environment.sh dev
	@scripts/environment.sh demo
	@scripts/postgres.sh
	@$(BIN)/python scripts/sdks.py
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" --seeds $(SEEDS) $(PYTEST)

check:
	@scripts/environment.sh dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose
	$(BIN)/codespell

format:
	@scripts/environment.sh dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench:
	@scripts/environment.sh dev
	@scripts/environment.sh demo
	@scripts/postgres.sh || true
	@scripts/nginx.sh || true
	@$(BIN)/python bench/run.py $(BENCH)

profile:
	@scripts/environment.sh dev
	@scripts/nginx.sh || true
	@$(BIN)/python bench/spent.py $(PROFILE)

torture:
	@scripts/environment.sh dev
	@scripts/environment.sh demo
	@scripts/postgres.sh
	@command -v eatmydata >/dev/null || scripts/apt.sh eatmydata || true
	@$(BIN)/python -m pytest -m slow $(PYTEST)

# The demo model from nothing: a vocabulary, 45 minutes of training on 4 cores (MINUTES=...), the file in the package, its scores.
model:
	@scripts/environment.sh dev
	@test -d build/model/venv || $(BIN)/python -m uv venv --quiet --python $(BIN)/python build/model/venv
	@$(BIN)/python -m uv pip install --quiet --python build/model/venv --group train --constraints requirements/train.lock
	build/model/venv/bin/python models/demo/train.py --out build/model --minutes $(or $(MINUTES),45)
	build/model/venv/bin/python models/demo/export.py build/model src/slackwater/backends/llamacpp/slackwater-demo-3m.gguf
	build/model/venv/bin/python models/demo/evaluate.py src/slackwater/backends/llamacpp/slackwater-demo-3m.gguf

# The official SDKs in environments of their own, for the acceptance tests (.sdk/).
sdks:
	@scripts/environment.sh dev
	@$(BIN)/python scripts/sdks.py

# What the benchmarks compare with, in environments of their own (.peers/).
peers:
	@scripts/environment.sh dev
	@$(BIN)/python scripts/peers.py

lock:
	@scripts/lock.sh $(LOCK)

clean:
	rm -rf .venv .sdk .peers .mypy_cache .ruff_cache .hypothesis .import_linter_cache
