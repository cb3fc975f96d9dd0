# make lab · make check · make test · make refresh · make bench · make handouts.   GPU=1 takes the torch with CUDA.
PYTHON ?= python3
BIN := .venv/bin

lab: .venv/lab  ## open the series
	$(BIN)/python -m jupyterlab notebooks/00_start_here.ipynb

test: .venv/test  ## every unit test, every notebook, every widget in a real browser
	$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check .
	$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

check: .venv/test  ## what is quick, at every save: no notebook is run
	$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check .
	$(BIN)/python -m pytest -q -n auto --dist loadgroup --no-loadscope-reorder -m "not runs_notebooks"

refresh: .venv/lab  ## run every notebook and save it with its outputs, as refresh.py says
	$(BIN)/python -m nbconvert --config refresh.py --to notebook --execute --inplace notebooks/*.ipynb

bench: .venv/test  ## slider to picture in the browser, training and fine-tuning against the clock; takes some minutes
	$(BIN)/python benchmarks/slider_latency.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/finetuning.py

handouts: .venv/lab  ## the notebooks without their solutions, for a class
	$(BIN)/python -m nbconvert --to notebook --output-dir handouts --TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_cell_tags=solution notebooks/*.ipynb

.venv/lab:  # looks each time, and makes or mends what is not as it should be
	@$(PYTHON) install.py

.venv/test:
	@$(PYTHON) install.py test

.PHONY: lab check test refresh bench handouts .venv/lab .venv/test
