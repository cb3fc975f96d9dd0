# make lab · make check · make test · make refresh · make bench · make handouts.   On Linux, CPU=1 fetches the small torch.
PYTHON ?= python3
BIN := .venv/bin
CPU_TORCH := https://download.pytorch.org/whl/cpu

lab: .venv/lab  ## open the series
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

test: .venv/test  ## every unit test, every notebook, every widget in a real browser
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

check: .venv/test  ## what is quick, at every save: no notebook is run
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -n auto --dist loadgroup --no-loadscope-reorder -m "not runs_notebooks"

refresh: .venv/lab  ## run every notebook and save it with its outputs, as refresh.py says
	$(BIN)/jupyter nbconvert --config refresh.py --to notebook --execute --inplace notebooks/*.ipynb

bench: .venv/test  ## slider to picture in the browser, training and fine-tuning against the clock; takes some minutes
	$(BIN)/python benchmarks/slider_latency.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/finetuning.py

handouts: .venv/lab  ## the notebooks without their solutions, for a class
	$(BIN)/jupyter nbconvert --to notebook --output-dir handouts --TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_cell_tags=solution notebooks/*.ipynb

.venv/lab: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(if $(CPU),$(BIN)/pip install torch==2.13.0 --index-url $(CPU_TORCH))
	$(BIN)/pip install -r requirements.txt
	touch $@

.venv/test: .venv/lab
	$(BIN)/pip install -e '.[test]'
	touch $@

.PHONY: lab test check refresh bench handouts
