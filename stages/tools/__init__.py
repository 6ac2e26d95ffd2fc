"""What a person runs beside the workflow: checks, imports and exports, comparisons, pictures."""
