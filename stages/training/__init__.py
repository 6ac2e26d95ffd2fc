"""One training kernel: what every training of this project needs besides its own batches, model and losses.

A training is a `Task` (task.py), a class of about a page, and offers

    identity()           what decides its weights, as JSON values: recipe, seed, fingerprints of its data
    parts()              what changes while training, by name: anything with `state_dict` and `load_state_dict`
    step(clock, progress)   one optimisation step; returns losses by name

and, only where it has epochs, `epoch_steps`, `end_epoch` (validation, keeping the best) and `is_over` (patience). A
task with a gradient descent on one loss per step derives from `Descent`, which has the step, and offers its `loss`.
Whatever a step draws at random depends only on its seed and `clock`, so no random state needs to be stored.

The kernel, `train` (loop.py), does the rest:

    length        a number of steps, minutes or epochs; `progress` runs from 0 to 1 and drives schedules
    checkpoints   checkpoint.pt every minute, after every epoch and at the end; written completely or not at all
    resume        a killed training continues to the same bytes; a checkpoint of another identity is refused, and
                  so is a damaged one, in one line that names the file and the fix
    curve         curve.jsonl and experiment trackers; what a killed run logged after its checkpoint is removed
    processes     torchrun starts several; they agree on time and end, and the first one writes
    arithmetic    deterministic algorithms: equal inputs give equal bytes on one machine

clock.py       progress and length         descent.py    one step of gradient descent, averaged weights
task.py        what a task offers          curve.py      the learning curve
loop.py        the loop                    processes.py  several processes and their devices
checkpoint.py  save, read, refuse          arithmetic.py reproducible arithmetic
command.py     flags and main of a training command
folder.py      the folder of a stage's training: finished, continued, or started anew
experiment.py  runs in experiment trackers; trackers/ holds the trackers
"""
