"""Small modules that the notebooks share, one idea each, in the order in which data flows through them.

sample a task (`tasks`) -> lay it out as tokens (`tasks`) -> attention layer (`attention`, with weights from
`constructions`) -> prediction (`tasks`) -> metric (`metrics`) -> picture (`plotting`) -> slider (`widgets`).
Beside that road runs the other one: `learners`, which learn from the same prompt by explicit arithmetic.
Write `from helpers import tasks, attention, learners`, so that each call names the file to open.
"""
