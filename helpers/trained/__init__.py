"""Weights that were trained for longer than a notebook may, and the scripts that trained them.

Each module is the command

    python -m helpers.trained.NAME [FOLDER]

and has

    untrained(…, seed)             a new model
    train(model, iterations, …)    trains it in place; returns its training.History
    load(…)                        what comes with the series, frozen, read from FOLDER
    main(folder)                   trains all anew, writes its files to the folder; if it was stopped, it goes on

but `scaled_gpts`, whose command trains models of any size and keeps what was measured, not the weights; `linear_runs`,
which are short enough to be done while you wait; and two that help the others, `films` and `copying_measures`.
"""
