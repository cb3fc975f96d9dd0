"""Small modules that the notebooks share, one idea each. First the road, flat, in the order in which data flows:

    tasks          draw a prompt from a family of tasks; lay it out as tokens; read a prediction back
    attention      one attention layer as a function of its matrices
    constructions  weights written by hand, so that a layer is a learning algorithm
    learners       the other road: gradient descent, ridge and others, which learn from the same prompt
    metrics        numbers that compare two learners
    probes         questions to a learner that is a black box
    plotting       style, palette and the recurring pictures
    diagrams       schematic pictures, drawn by code and described in words
    widgets        controls -> compute -> draw -> read-out

Under it lie `checks` (clear errors at the door), `picture` (a figure that redraws only what moves), `pen` (for
diagrams), `progress` (bars), `training` (the outer loop), `kept` (files), `shell` (commands) and `usual` (torch's
defaults). `walkthrough` goes along it number by number, and `walkthrough_sheet` draws that. Beside it are rooms, each a
folder, which the road does not need:

    theory         what can be known on paper: expected losses, kernels, Bayes, the dual form, mixing by softmax
    models         what can be trained: stacks of layers, learned features, copying and induction models, small GPTs
    finetuning     the same demonstrations as context and as training data; a toy language, and real language models
    trained        weights that took longer than a notebook may, and the scripts that made them
    exercises      a module for each notebook: checks for the reader's answers
    verdicts       a module for each notebook: its claims, each measured and judged

Write `from helpers import tasks, attention` and `from helpers.theory import dual`: each call then names its file.
"""
