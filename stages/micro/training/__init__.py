"""Trains the micro models from scratch on the embedded data set; the only input is its generator.

    python -m stages.micro.training.sam2              python -m stages.micro.training.grounding_dino
    python -m stages.micro.training.text              python -m stages.micro.training.mllm

Each is a package with a task of the training kernel (`stages.training`), which has the loop, checkpoints, the learning
curve and the flags. Shared: sentences.py (endless sentences with their meaning), card.py (fills a model's card).
"""
