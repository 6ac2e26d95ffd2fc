"""What the project costs on a GPU, part by part: `python -m benchmarks.gpu`."""
